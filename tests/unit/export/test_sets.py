"""An exported set predictor gives what the model gives."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from focalkit.config import DecoderConfig, ModelConfig, NumericsConfig
from focalkit.detection import Detector, build_detector
from focalkit.export import FORMATS, compare_detections, export_detector, load_exported, numpy_postprocess

TINY = ModelConfig(
    "tiny",
    fpn_channels=16,
    detector="rtdetrv2",
    decoder=DecoderConfig(layers=1, queries=400, heads=2, feedforward=32, expansion=0.5),
    numerics=NumericsConfig(resize="square"),
    prior_prob=0.3,
)


def make(name, layers):
    """Every cell is a query, near its cell, and all of them are detections: none is lost to rounding."""
    torch.manual_seed(0)
    model = build_detector(replace(TINY, detector=name, decoder=replace(TINY.decoder, layers=layers)), 3)
    with torch.no_grad():
        for classes, boxes in zip(model.head.class_output, model.head.box_output, strict=True):
            nn.init.normal_(classes.weight, std=0.2)
            nn.init.normal_(boxes.layers[-1].weight, std=0.02)
    return Detector(model.eval(), names=("a", "b", "c"), min_size=128, max_size=128)


@pytest.fixture(scope="module")
def detector():
    return make("rtdetrv2", layers=1)


@pytest.fixture(scope="module")
def fine():
    return make("dfine", layers=2)


@pytest.fixture(scope="module")
def files(detector, tmp_path_factory):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("sets")
    return {nms: export_detector(detector, folder / f"{nms}.onnx", with_nms=nms) for nms in (False, True)}


def same(found, expected):
    for a, b in zip(found, expected, strict=True):
        assert len(a) == len(b) > 5
        torch.testing.assert_close(a.scores, b.scores, atol=1e-5, rtol=0)
        for box, score, label in zip(a.boxes, a.scores, a.labels, strict=True):
            twin = (b.labels == label) & ((b.scores - score).abs() < 1e-4) & ((b.boxes - box).abs().amax(1) < 1e-3)
            assert twin.any()


@pytest.mark.parametrize("nms", [False, True])
def test_a_file_finds_what_the_detector_finds(nms, detector, files, images):
    loaded = load_exported(files[nms].path)
    same(loaded.predict(images), detector.predict(images))


def test_the_file_of_a_d_fine_finds_what_it_finds(fine, images, tmp_path):
    """Of one size, which is written in half the time."""
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    done = export_detector(fine, tmp_path / "fine.onnx", image_size=128)
    assert done.difference < 1e-3
    same(load_exported(done.path).predict(images), fine.predict(images))
    agrees_in_int8(fine, images, tmp_path / "int8.onnx", image_size=128)


def test_numpy_alone_finds_the_same(detector, files, images):
    import onnxruntime

    info = files[False].info
    session = onnxruntime.InferenceSession(str(files[False].path), providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == ["logits", "pred_boxes"]
    assert files[False].difference < 1e-4
    height, width = numpy_postprocess.fit_size(*images[0].shape[1:], info)
    assert (height, width) == (128, 128)
    image = torch.nn.functional.interpolate(images[0][None].float(), (height, width))[0].round().to(torch.uint8)
    batch = numpy_postprocess.pad_batch([np.ascontiguousarray(image.permute(1, 2, 0).numpy())], info)
    boxes, scores, labels = numpy_postprocess.postprocess(session.run(None, {"images": batch}), [(128, 128)], info)[0]
    with torch.no_grad():
        expected = detector.postprocess(detector.model(torch.from_numpy(batch)), [(128, 128)])[0]
    np.testing.assert_allclose(scores, expected.scores, atol=1e-5)
    np.testing.assert_allclose(boxes[:5], expected.boxes[:5], atol=1e-3)
    assert labels[:5].tolist() == expected.labels[:5].tolist()


def agrees_in_int8(detector, images, path, **form):
    rule = replace(detector.postprocess, max_detections=1200, top_k=1200)
    everything = Detector(detector.model, min_size=128, max_size=128, postprocess=rule)
    format = {suffix: name for name, suffix in FORMATS.items()}[path.suffix]
    done = export_detector(everything, path, format=format, calibrate_on=images[:2], **form)
    found = compare_detections(everything, load_exported(path), images[:2])
    assert found.detections > 1600
    assert found.missing + found.added < 0.02 * found.detections, found
    assert 0 < found.score_difference < 0.1
    if format == "onnx":
        import onnx

        graph = onnx.load(path).graph
        weights = [len(i.dims) for i in graph.initializer if i.data_type == onnx.TensorProto.INT8]
        assert weights.count(4) == [node.op_type for node in graph.node].count("Conv") > 10
        assert weights.count(2) == 0, "attention and the decoder stay as they are"
    return done


@pytest.mark.parametrize("format", ["onnx", pytest.param("openvino", marks=pytest.mark.soak)])
def test_int8_quantises_the_convolutions_alone_and_finds_nearly_the_same(format, detector, files, images, tmp_path):
    pytest.importorskip("nncf" if format == "openvino" else "onnxruntime")
    done = agrees_in_int8(detector, images, tmp_path / f"int8{FORMATS[format]}")
    assert sum(f.stat().st_size for f in done.files) < files[False].path.stat().st_size
