"""A calibrated detector's files give its calibrated scores: in every format, inside the graph and outside, in numpy."""

import copy

import numpy as np
import pytest
import torch

from focalkit.calibration import AppliedCalibration, DetectionCalibration
from focalkit.export import FORMATS, export_detector, load_exported, numpy_postprocess
from focalkit.export._calibration import GraphCalibration
from focalkit.export._load import as_detector

METHODS = ["none", "temperature", "platt", "beta", "isotonic", "histogram", "box", "posterior"]


def calibration(method: str, k: int = 3) -> AppliedCalibration:
    """Own maps for classes 0 and 1, the pooled one for class 2."""
    if method == "posterior":
        return AppliedCalibration.posterior(2.0, 0.25)
    g = torch.Generator().manual_seed(0)
    labels = torch.multinomial(torch.tensor([0.6, 0.38, 0.02]), 3000, replacement=True, generator=g)
    scores = torch.rand(3000, generator=g)
    boxes = torch.rand(3000, 4, generator=g) * 0.8 + 0.1
    correct = torch.rand(3000, generator=g) < (scores**2 * (1 - 0.2 * labels) * (0.5 + 0.5 * boxes[:, 2]))
    fitted = DetectionCalibration(method).fit(scores, labels, correct.double(), boxes)
    return AppliedCalibration(fitted, (0.05, 0.1, 0.02))


def calibrated(detector, method: str):
    one = copy.copy(detector)  # the same model
    one.calibration = calibration(method)
    return one


def same(found, expected):
    for a, b in zip(found, expected, strict=True):
        assert len(a) == len(b)
        torch.testing.assert_close(a.scores, b.scores, atol=1e-5, rtol=0)
        for box, score, label in zip(a.boxes, a.scores, a.labels, strict=True):
            twin = (b.labels == label) & ((b.scores - score).abs() < 1e-5) & ((b.boxes - box).abs().amax(1) < 1e-3)
            assert twin.any()


@pytest.mark.parametrize("method", METHODS)
def test_graph_and_numpy_map_as_python_does(method: str):
    applied = calibration(method)
    g = torch.Generator().manual_seed(1)
    scores = torch.cat([torch.rand(400, generator=g), torch.tensor([1e-6, 1e-3, 0.999, 1.0, 0.5, 0.05])])
    labels = torch.randint(3, scores.shape, generator=g)
    corner = torch.rand(len(scores), 2, generator=g) * 80
    boxes = torch.cat([corner, corner + torch.rand(len(scores), 2, generator=g) * 40 + 1], 1)
    size = (130, 150)
    expected = applied.transform(scores, labels, boxes, size)
    limits = torch.tensor([150.0, 130.0, 150.0, 130.0]).view(1, 1, 4)
    graph = GraphCalibration(applied, 3)(scores[None], labels[None], boxes[None], limits)[0]
    torch.testing.assert_close(graph, expected, atol=1e-5, rtol=0)
    arrays = (scores.numpy(), labels.numpy(), boxes.numpy())
    found = numpy_postprocess.calibrate(*arrays, size, applied.to_dict())
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)


@pytest.fixture(scope="module")
def isotonic(detector):
    """One detector for both formats, so that its graph is traced once; of all maps this one has the most operations."""
    return calibrated(detector, "isotonic")


@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_a_file_finds_what_the_calibrated_detector_finds(format: str, isotonic, images, tmp_path):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime" if format == "onnx" else "openvino")
    for nms in (False, True):
        done = export_detector(isotonic, tmp_path / f"{nms}{FORMATS[format]}", format=format, with_nms=nms)
        loaded = load_exported(done.path)
        same(loaded.predict(images), isotonic.predict(images))
        same(loaded.predict(images, "calibrated"), isotonic.predict(images, "calibrated"))
        assert loaded.calibration.thresholds == (0.05, 0.1, 0.02)
    assert done.info["calibrated_inside"]


def test_numpy_post_processing_gives_calibrated_scores(detector, images):
    from focalkit.export._metadata import describe
    from focalkit.export._network import RawNetwork

    detector = calibrated(detector, "beta")
    info = describe(detector, nms=False, int8=False, display_threshold=None)
    network = RawNetwork(detector.model)

    def run(inputs):
        with torch.no_grad():
            return [o.numpy() for o in network(torch.from_numpy(inputs["images"]))]

    image = images[0].permute(1, 2, 0).numpy()
    batch = numpy_postprocess.pad_batch([image], info)
    boxes, scores, _ = numpy_postprocess.postprocess(run({"images": batch}), [image.shape[:2]], info)[0]
    assert bool((np.diff(scores) <= 0).all())
    expected = as_detector(info, run).predict(images[0])[0]
    np.testing.assert_allclose(scores, expected.scores.numpy(), atol=1e-5)
    assert len(boxes) == len(expected)
