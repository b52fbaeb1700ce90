"""RTMDet in ONNX Runtime: the detector's own detections, in int8 nearly its outputs."""

import copy

import numpy as np
import pytest
import torch

from focalkit.export import export_detector, load_exported

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")


def same(found, expected):
    for a, b in zip(found, expected, strict=True):
        assert len(a) == len(b) > 10
        torch.testing.assert_close(a.scores, b.scores, atol=1e-5, rtol=0)
        for box, score, label in zip(a.boxes, a.scores, a.labels, strict=True):
            twin = (b.labels == label) & ((b.scores - score).abs() < 1e-5) & ((b.boxes - box).abs().amax(1) < 1e-3)
            assert twin.any()


@pytest.fixture(scope="module")
def rtmdet(detectors):
    """Sees squares of one size, for which a file is quickly written."""
    one = copy.copy(detectors("rtmdet"))
    one.min_size = one.max_size = 128
    one.resize = "square"
    return one


def test_onnx_runtime_finds_what_rtmdet_finds(rtmdet, images, tmp_path):
    done = export_detector(rtmdet, tmp_path / "rtmdet.onnx", image_size=128)
    assert done.difference < 1e-4
    same(load_exported(done.path).predict(images), rtmdet.predict(images))


@pytest.mark.soak
def test_with_open_sizes_and_suppression_inside_too(detectors, images, tmp_path):
    one = detectors("rtmdet")
    done = export_detector(one, tmp_path / "rtmdet.onnx", with_nms=True)
    same(load_exported(done.path).predict(images, batch_size=3), one.predict(images, batch_size=3))


def test_its_outputs_in_int8_follow_its_own(rtmdet, images, tmp_path):
    path = export_detector(rtmdet, tmp_path / "int8.onnx", image_size=128, calibrate_on=images).path
    loaded, batch = load_exported(path), torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    assert loaded.model.info["int8"]
    with torch.no_grad():
        expected, found = rtmdet.model(batch), loaded.model(batch)
    for a, b in zip((*expected.logits, *expected.deltas), (*found.logits, *found.deltas), strict=True):
        assert np.corrcoef(a.flatten(), b.flatten())[0, 1] > 0.97
        assert not torch.equal(a, b)
