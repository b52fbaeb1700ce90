"""An exported file gives what the model gives, whatever the runtime, the batch and the sizes."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from focalkit.detection import AugmentedDetector, DeltaXYWH, Detections, Detector, retinanet
from focalkit.detection.models.frozen_norm import SameConv2d
from focalkit.errors import BackendError, InputError
from focalkit.export import (
    FORMATS,
    _onnx,
    compare_detections,
    export_detector,
    is_exported,
    load_exported,
    numpy_postprocess,
)
from focalkit.export._check import compare_outputs
from focalkit.export._form import Form, fitted
from focalkit.export._load import as_detector
from focalkit.export._metadata import KEY, anchors_of, coder_from, describe, outputs_of
from focalkit.export._network import RawNetwork
from focalkit.export._postprocess import GraphPostprocess, suppress_in_torch

RELATIVES = ("fcos", "atss", "gfl", "vfnet", "centernet", "rtmdet")
KINDS = [(format, nms) for format in FORMATS for nms in (False, True)]
PACKAGES = {"onnx": "onnxruntime", "openvino": "openvino", "torch-export": "torchvision"}


def same(found, expected):
    """The same detections; those whose scores differ by less than the runtimes' rounding may change places."""
    assert [len(d) for d in found] == [len(d) for d in expected]
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a.scores, b.scores, atol=1e-5, rtol=0)
        assert a.names == b.names
        for box, score, label in zip(a.boxes, a.scores, a.labels, strict=True):
            if len(b) == 100 and score < b.scores[-1] + 1e-5:
                continue  # at the limit, one of two equals is cut off
            twin = (b.labels == label) & ((b.scores - score).abs() < 1e-5) & ((b.boxes - box).abs().amax(1) < 1e-3)
            assert twin.any(), (box, score, label)


def needs(format):
    if format != "torch-export":
        pytest.importorskip("onnxscript")
    pytest.importorskip(PACKAGES[format])


@pytest.mark.parametrize(("format", "nms"), KINDS)
def test_a_file_finds_what_the_detector_finds(format, nms, detector, images, exported):
    needs(format)
    loaded = load_exported(exported(format, nms).path, trust=True)
    for batch_size in (1, 3):
        expected = detector.predict(images, batch_size=batch_size)
        same(loaded.predict(images, batch_size=batch_size), expected)
        assert min(map(len, expected)) > 20
        assert len({label for d in expected for label in d.labels.tolist()}) == 3
    same(loaded.predict(images, score_threshold=0.6), detector.predict(images, score_threshold=0.6))
    assert (loaded.min_size, loaded.max_size, loaded.category_ids) == (96, 160, (3, 5, 9))


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_of_a_relative_finds_what_the_detector_finds(format, detectors, images, tmp_path):
    needs(format)
    one = detectors("everything")
    expected = one.predict(images, batch_size=3)
    assert min(map(len, expected)) > 10
    for nms in (False, True):
        done = export_detector(one, tmp_path / f"{nms}{FORMATS[format]}", format=format, with_nms=nms)
        assert nms or done.difference < 1e-4
        same(load_exported(done.path, trust=True).predict(images, batch_size=3), expected)


@pytest.mark.parametrize("name", ["retinanet", "torchvision", *RELATIVES])
def test_the_graphs_post_processing_is_the_detectors(name, detectors):
    one = detectors(name)
    images, sizes = torch.rand(3, 3, 160, 224), [(160, 224), (155, 201), (32, 32)]
    graph = GraphPostprocess(anchors_of(one.model), one.postprocess, 3, suppress_in_torch)
    with torch.no_grad():
        outputs = one.model(images)
        *rows, counts = graph(RawNetwork(one.model)(images), torch.tensor(sizes))
    found = [Detections(*(row[i, :count] for row in rows)) for i, count in enumerate(counts.tolist())]
    expected = one.postprocess(outputs, sizes)
    same(found, expected)
    assert len(expected[0]) > 20
    assert all((row[2, counts[2] :] == 0).all() for row in rows[1:2]), "padding scores 0"


def test_the_coder_of_an_earlier_versions_file_is_read():
    described = {"kind": "deltas", "weights": [1.0, 1.0, 1.0, 1.0], "bound_shrink": True}
    assert coder_from(described) == DeltaXYWH(clamp_dwdh_min=True)
    raw, priors = np.array([[0, 0, -9, 9]], np.float32), np.array([[0, 0, 8, 8]], np.float32)
    expected = DeltaXYWH(clamp_dwdh_min=True).decode(torch.from_numpy(raw), torch.from_numpy(priors)).numpy()
    np.testing.assert_allclose(numpy_postprocess.decode(raw, priors, {"coder": described}), expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["torchvision", *RELATIVES])
def test_the_metadata_brings_the_detector_back(name, detectors, images):
    one = detectors(name)
    info = json.loads(json.dumps(describe(one, nms=False, int8=False, display_threshold=None)))
    network = RawNetwork(one.model).eval()

    def run(inputs):
        with torch.no_grad():
            return [output.numpy() for output in network(torch.from_numpy(inputs["images"]))]

    loaded = as_detector(info, run)
    assert loaded.resize == one.resize
    assert loaded.model.priors == anchors_of(one.model)
    assert loaded.postprocess == one.postprocess
    same(loaded.predict(images), one.predict(images))


def test_outputs_are_named_by_what_they_are_and_their_stride(detectors):
    fcos = [f"{kind}_p{level}" for kind in ("logits", "deltas", "quality") for level in (3, 4)]
    assert outputs_of(detectors("fcos")) == fcos
    assert outputs_of(detectors("gfl")) == ["logits_p3", "logits_p4", "deltas_p3", "deltas_p4"]
    assert outputs_of(detectors("centernet")) == ["logits_p2", "deltas_p2"]


@pytest.mark.parametrize("format", FORMATS)
def test_the_file_says_what_it_takes_to_use_it(format, exported):
    needs(format)
    done = exported(format, False)
    info = load_exported(done.path, trust=True).model.info
    assert info == json.loads(json.dumps(done.info))
    assert info["names"] == ["cat", "dog", "bird"]
    assert info["category_ids"] == [3, 5, 9]
    assert (info["score_threshold"], info["display_threshold"], info["iou_threshold"]) == (0.05, 0.4, 0.5)
    assert info["anchors"]["strides"] == [8, 16, 32, 64, 128]
    assert done.difference < 1e-4
    assert all(file.is_file() for file in done.files)


def test_a_graph_with_post_processing_cannot_give_what_it_has_dropped(exported, images):
    needs("onnx")
    path = exported("onnx", True).path
    with pytest.raises(InputError, match=r"no more than 0\.05 and cannot go down to 0\.01"):
        load_exported(path, score_threshold=0.01)
    with pytest.raises(InputError, match="export without --with-nms"):
        load_exported(path).predict(images, score_threshold=0.01)
    kept = load_exported(path).postprocess
    assert kept.max_detections == 100
    with pytest.raises(InputError, match="keeps at most 100 detections of an image, not 500"):
        replace(kept, max_detections=500)


@pytest.mark.parametrize(("format", "nms"), [(format, nms) for format in FORMATS for nms in (False, True)])
def test_an_image_has_the_same_detections_alone_and_among_others(format, nms, exported, images):
    needs(format)
    loaded = load_exported(exported(format, nms).path, trust=True)
    same(loaded.predict(images, batch_size=8), [loaded.predict(image)[0] for image in images])


def test_an_exported_file_can_look_several_times(exported, detector, images):
    needs("onnx")
    loaded = load_exported(exported("onnx", False).path)
    same(AugmentedDetector(loaded, (1.0,)).predict(images[:2]), AugmentedDetector(detector, (1.0,)).predict(images[:2]))


MOVES_DATA = {"ScatterND", "ScatterElements", "Slice", "Gather", "Transpose", "Pad", "Range"}


def operators(path):
    onnx = pytest.importorskip("onnx")
    return {node.op_type for node in onnx.load(path).graph.node}


def test_the_network_in_a_file_computes_and_moves_nothing(exported):
    """What copies activations to and fro costs a runtime as much as the convolutions."""
    needs("onnx")
    assert not operators(exported("onnx", False).path) & MOVES_DATA


class OneConvolution(torch.nn.Module):
    """As much of a detector as `RawNetwork` needs, around a convolution with TensorFlow's padding."""

    def __init__(self):
        super().__init__()
        self.backbone = torch.nn.Sequential(SameConv2d(3, 4, 3, 2, bias=True), torch.nn.ReLU6(inplace=True))
        self.neck = torch.nn.Identity()
        self.head = torch.nn.Module()
        self.head.forward = lambda features: ((features,), ())
        self.register_buffer("pixel_mean", torch.zeros(3, 1, 1))
        self.register_buffer("pixel_std", torch.ones(3, 1, 1))


def test_the_padding_of_tensorflow_is_in_the_convolution(tmp_path, monkeypatch):
    needs("onnx")
    torch.manual_seed(0)
    model = OneConvolution().eval()
    x = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(RawNetwork(model)(x)[0], model.backbone(x))
    monkeypatch.setattr(_onnx, "outputs_of", lambda detector: ["features"])
    path = tmp_path / "one.onnx"
    path.write_bytes(_onnx.network(SimpleNamespace(model=model), Form()).SerializeToString())
    assert operators(path) == {"Sub", "Div", "Conv", "Clip"}


def test_frozen_norms_are_in_the_convolutions():
    from focalkit.detection.models.frozen_norm import FrozenNorm, NormedConv2d

    torch.manual_seed(0)
    model = retinanet(2, "resnet18", fpn_channels=16, head_channels=16, head_depth=1)
    for norm in (m for m in model.modules() if isinstance(m, FrozenNorm)):
        norm.weight.uniform_(0.5, 1.5)
        norm.bias.normal_()
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    network, x = RawNetwork(model), torch.rand(2, 3, 64, 96)
    assert not any(isinstance(m, FrozenNorm | NormedConv2d) for m in network.modules())
    with torch.no_grad():
        expected, found = model.eval()(x), network(x)
    for a, b in zip((*expected.logits, *expected.deltas), found, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    assert any(isinstance(m, NormedConv2d) for m in model.modules()), "the model itself stays as it was"


def test_a_file_that_computes_something_else_is_refused(detector, exported, detectors):
    needs("onnx")
    path = exported("onnx", False).path
    assert compare_outputs(detector, path, Form()) < 1e-4
    with pytest.raises(BackendError, match="differ from the model's"):
        compare_outputs(detectors("torchvision"), path, Form())


def test_half_precision_halves_the_file_and_keeps_the_detections(detector, images, exported, tmp_path):
    needs("onnx")
    whole = exported("onnx", False)
    done = export_detector(detector, tmp_path / "half.onnx", half=True)
    assert 1e-5 < done.difference < 0.1
    assert done.path.stat().st_size < 0.75 * whole.path.stat().st_size
    found = compare_detections(detector, load_exported(done.path), images)
    assert (found.images, found.detections) == (5, sum(map(len, detector.predict(images))))
    assert found.missing + found.added < 0.1 * found.detections
    assert found.score_difference < 0.02
    joined = export_detector(detector, tmp_path / "joined.onnx", half=True, with_nms=True)
    found = compare_detections(detector, load_exported(joined.path), images)
    assert found.missing + found.added < 0.1 * found.detections
    exact = compare_detections(detector, load_exported(whole.path), images)
    assert (exact.missing, exact.added) == (0, 0)
    assert exact.score_difference < 1e-5


def test_onnx_runtimes_threads_do_not_spin_while_torch_works(exported, monkeypatch):
    needs("onnx")
    import onnxruntime

    given = []
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda path, o, **k: given.append(o) or real(path, o, **k))
    load_exported(exported("onnx", False).path)
    assert given[0].get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert given[0].intra_op_num_threads == torch.get_num_threads()


def test_the_opset_is_the_one_asked_for(detector, tmp_path):
    needs("onnx")
    import onnx

    done = export_detector(detector, tmp_path / "model.onnx", opset=18)
    assert [one.version for one in onnx.load(done.path).opset_import if not one.domain] == [18]
    assert done.difference < 1e-4


def test_a_file_of_a_fixed_shape_takes_any_batch_and_what_fits(detector, images):
    info = describe(detector, nms=False, int8=False, display_threshold=None) | {"shape": (2, 160, 160)}
    network, path = RawNetwork(detector.model).eval(), Path("fixed.onnx")

    def run(inputs):
        assert inputs["images"].shape == (2, 3, 160, 160)
        with torch.no_grad():
            return [output.numpy() for output in network(torch.from_numpy(inputs["images"]))]

    loaded = as_detector(info, fitted(run, info, path))
    small = [image for image in images if max(image.shape) <= 160 and min(image.shape[1:]) == 96]  # not resized
    whole = torch.tensor(detector.fill).view(3, 1, 1).expand(3, 160, 160).repeat(len(small), 1, 1, 1)
    for place, image in zip(whole, small, strict=True):
        place[:, : image.shape[1], : image.shape[2]] = image / 255
    sizes = [(image.shape[1], image.shape[2]) for image in small]
    with torch.no_grad():
        expected = detector.postprocess(detector.model(whole), sizes)
    for batch_size in (1, 3):
        found = loaded.predict(small, batch_size=batch_size)
        same([replace(one, names=None) for one in found], expected)
    batch = numpy_postprocess.pad_batch([np.zeros((96, 131, 3), np.uint8)], info)
    assert batch.shape == (2, 3, 160, 160)
    loaded.max_size = 200
    with pytest.raises(InputError, match="takes images of 160 x 160 px"):
        loaded.predict(images)


def test_a_smaller_fixed_size_makes_images_smaller(detector, images, tmp_path):
    done = export_detector(detector, tmp_path / "fixed.pt2", format="torch-export", image_size=96, with_nms=True)
    loaded = load_exported(done.path, trust=True)
    assert (loaded.min_size, loaded.max_size, done.info["shape"]) == (96, 96, (1, 96, 96))
    assert (detector.min_size, detector.max_size) == (96, 160)
    whole = Detector(detector.model, names=detector.names, min_size=96, max_size=96)
    square = [image for image in images if image.shape[1] == image.shape[2]]
    same(loaded.predict(square), whole.predict(square))


def test_what_cannot_be_exported_is_refused_before_anything_is_written(detector, tmp_path):
    from dataclasses import replace

    for options, message in (
        ({"format": "tflite"}, "unknown format 'tflite', expected one of onnx"),
        ({"format": "openvino"}, r"must end in \.xml"),
        ({"format": "torch-export", "calibrate_on": []}, r"must end in \.pt2"),
        ({"opset": 9}, "opset from 18 to 23, got 9"),
        ({"image_size": 100}, "multiple of 32, got 100"),
        ({"batch": 2}, "needs a fixed image size"),
        ({"half": True, "calibrate_on": []}, "not both"),
    ):
        with pytest.raises(InputError, match=message):
            export_detector(detector, tmp_path / "model.onnx", **options)
    with pytest.raises(InputError, match="not as torch-export"):
        export_detector(detector, tmp_path / "model.pt2", format="torch-export", calibrate_on=[])
    with pytest.raises(InputError, match="on, got none"):
        export_detector(detector, tmp_path / "model.onnx", calibrate_on=[])
    mine = Detector(detector.model, postprocess=replace(detector.postprocess, coder=object()))
    with pytest.raises(InputError, match=r"with DeltaXYWH or .* can be exported, this one has object"):
        export_detector(mine, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named_with_what_brings_it(detectors, tmp_path, monkeypatch):
    monkeypatch.setattr("focalkit.export._packages.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"packages onnx, onnxscript, not installed: pip install 'focalkit\[export\]'"):
        export_detector(detectors("vfnet"), tmp_path / "model.onnx")  # one that no test has converted


def test_what_is_no_exported_file_is_refused(tmp_path):
    assert is_exported("x/model.ONNX")
    assert not is_exported("runs/first")
    with pytest.raises(InputError, match="expected an exported file"):
        load_exported(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        load_exported(tmp_path / "model.onnx")
    (tmp_path / "model.pt2").write_bytes(b"no archive")
    with pytest.raises(InputError, match="cannot be read as an exported detector"):
        load_exported(tmp_path / "model.pt2", trust=True)


def test_a_file_of_somebody_else_is_refused(tmp_path):
    needs("onnx")
    import onnx

    value = onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, [1])
    out = onnx.helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["images"], ["out"])], "g", [value], [out])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(InputError, match="no metadata of focalkit"):
        load_exported(tmp_path / "model.onnx")
    onnx.helper.set_model_props(model, {KEY: json.dumps({"schema": 99})})
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(InputError, match="schema 99, this focalkit reads 2"):
        load_exported(tmp_path / "model.onnx")
