"""Names, shapes, orders and files: what is recognised, what is refused, and how it is said."""

import os
import pickle
import sys
import types
from dataclasses import replace

import numpy as np
import pytest
import torch

from focalkit._config_io import config_to_dict
from focalkit._runs import RunDir
from focalkit.config import ModelConfig, NumericsConfig, TrainConfig
from focalkit.detection import Detector, load_weights, retinanet, save_weights
from focalkit.detection.models.backbones import RESNETS
from focalkit.detection.models.card import ModelCard
from focalkit.detection.weights import STYLES, weights_as
from focalkit.detection.weights._load import LAYOUTS
from focalkit.detection.weights._order import inverse, reorder_anchors
from focalkit.detection.weights._structure import model_config
from focalkit.detection.weights.layouts import mmdet
from focalkit.errors import ConfigError, InputError

LIBRARIES = list(LAYOUTS)


def small(classes=3, backbone="resnet18", **more):
    torch.manual_seed(0)
    return retinanet(classes, backbone, fpn_channels=16, head_channels=16, **more).eval()


@pytest.fixture(scope="module")
def model():
    """ResNet-18 with sixteen channels, three classes, and statistics that are not the default ones."""
    model = small()
    for name, buffer in model.backbone.named_buffers():
        if name.endswith(("running_mean", "bias")):
            buffer.normal_(std=0.1)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return model


def equal(one, other):
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.mark.parametrize("layout", LIBRARIES)
def test_every_layout_is_recognised_and_comes_back(layout, model):
    theirs = weights_as(model, layout)
    back = load_weights(theirs)
    n = back.card.config.numerics
    assert n.resize == layout
    assert (back.card.config.backbone, back.card.config.fpn_channels, back.num_classes) == ("resnet18", 16, 3)
    assert equal(back, model)
    assert not back.training
    assert back.postprocess.max_detections == (300 if layout == "torchvision" else 100)


NAMES = [
    # ours, then torchvision's, Detectron2's and MMDetection's
    ("backbone.body.conv1.weight", "backbone.body.conv1.weight", "backbone.bottom_up.stem.conv1.weight",
     "backbone.conv1.weight"),
    ("backbone.body.bn1.running_var", "backbone.body.bn1.running_var",
     "backbone.bottom_up.stem.conv1.norm.running_var", "backbone.bn1.running_var"),
    ("backbone.body.layer3.11.conv2.weight", "backbone.body.layer3.11.conv2.weight",
     "backbone.bottom_up.res4.11.conv2.weight", "backbone.layer3.11.conv2.weight"),
    ("backbone.body.layer1.0.bn3.bias", "backbone.body.layer1.0.bn3.bias",
     "backbone.bottom_up.res2.0.conv3.norm.bias", "backbone.layer1.0.bn3.bias"),
    ("backbone.body.layer4.0.downsample.1.weight", "backbone.body.layer4.0.downsample.1.weight",
     "backbone.bottom_up.res5.0.shortcut.norm.weight", "backbone.layer4.0.downsample.1.weight"),
    ("neck.lateral.0.bias", "backbone.fpn.inner_blocks.0.0.bias", "backbone.fpn_lateral3.bias",
     "neck.lateral_convs.0.conv.bias"),
    ("neck.output.2.weight", "backbone.fpn.layer_blocks.2.0.weight", "backbone.fpn_output5.weight",
     "neck.fpn_convs.2.conv.weight"),
    ("neck.p6.weight", "backbone.fpn.extra_blocks.p6.weight", "backbone.top_block.p6.weight",
     "neck.fpn_convs.3.conv.weight"),
    ("neck.p7.bias", "backbone.fpn.extra_blocks.p7.bias", "backbone.top_block.p7.bias", "neck.fpn_convs.4.conv.bias"),
    ("head.class_tower.convs.3.weight", "head.classification_head.conv.3.0.weight", "head.cls_subnet.6.weight",
     "bbox_head.cls_convs.3.conv.weight"),
    ("head.box_tower.convs.1.bias", "head.regression_head.conv.1.0.bias", "head.bbox_subnet.2.bias",
     "bbox_head.reg_convs.1.conv.bias"),
    ("head.class_output.weight", "head.classification_head.cls_logits.weight", "head.cls_score.weight",
     "bbox_head.retina_cls.weight"),
    ("head.box_output.bias", "head.regression_head.bbox_reg.bias", "head.bbox_pred.bias", "bbox_head.retina_reg.bias"),
]  # fmt: skip


@pytest.mark.parametrize(("ours", "theirs"), [(row[0], row[1:]) for row in NAMES], ids=[row[0] for row in NAMES])
def test_names_are_translated_both_ways(ours, theirs):
    for layout, name in zip(LAYOUTS.values(), theirs, strict=True):
        assert layout.ours(name) == ours
        assert layout.theirs(ours) == name


def test_older_names_are_read():
    tv, mm = LAYOUTS["torchvision"], LAYOUTS["mmdet"]
    assert tv.ours("head.classification_head.conv.6.bias") == "head.class_tower.convs.3.bias"
    assert tv.ours("backbone.fpn.inner_blocks.2.weight") == "neck.lateral.2.weight"
    assert mm.ours("neck.fpn_convs.4.weight") == "neck.p7.weight"
    assert tv.ours("head.classification_head.conv.5.bias") is None
    assert LAYOUTS["detectron2"].ours("head.cls_subnet.5.weight") is None


def test_anchors_are_in_the_order_that_each_library_numbers_them():
    order = LAYOUTS["detectron2"].anchors
    # channel a * 2 + i of theirs says 10 * scale + ratio
    theirs = torch.tensor([[10.0 * (a // 3) + a % 3] * 2 for a in range(9)]).flatten()
    ours = reorder_anchors(theirs, order)
    assert ours[::2].tolist() == [10 * scale + ratio for ratio in range(3) for scale in range(3)]
    assert torch.equal(reorder_anchors(ours, inverse(order)), theirs)
    odd = (2, 0, 1)
    assert reorder_anchors(reorder_anchors(torch.arange(6), odd), inverse(odd)).tolist() == list(range(6))


def test_the_first_convolution_takes_red_green_blue_after_loading(model):
    stem = model.backbone.body["conv1"].weight
    theirs = weights_as(model, "detectron2")["backbone.bottom_up.stem.conv1.weight"]
    assert torch.equal(theirs[:, 0], stem[:, 2])
    assert torch.equal(theirs[:, 1], stem[:, 1])


@pytest.mark.parametrize("name", RESNETS)
def test_the_architecture_is_read_from_the_shapes(name):
    with torch.device("meta"):
        state = retinanet(80, name, head_norm="group").state_dict()
    numerics = NumericsConfig(norm_eps=0.5)
    config = model_config({name: tuple(t.shape) for name, t in state.items()}, numerics, "x")
    assert config == ModelConfig(backbone=name, head_norm="group", numerics=numerics)


def test_names_that_do_not_fit_are_named_with_the_nearest(model):
    state = weights_as(model, "mmdet")
    state["bbox_head.cls_convs.1.conv.wieght"] = state.pop("bbox_head.cls_convs.1.conv.weight")
    state["neck.fpn_convs.1.conv.bias"] = torch.zeros(7)
    with pytest.raises(InputError) as error:
        load_weights(state)
    text = str(error.value)
    assert "MMDetection with resnet18 and 3 classes (3 keys)" in text
    assert "neck.fpn_convs.1.conv.bias: shape (7,), expected (16,)" in text
    assert (
        "bbox_head.cls_convs.1.conv.weight: missing (nearest: bbox_head.cls_convs.1.conv.wieght)\n"
        "  bbox_head.cls_convs.1.conv.wieght: unknown (nearest: bbox_head.cls_convs.1.conv.weight)"
    ) in text


def test_a_weight_that_decides_the_architecture_is_named_too(model):
    state = weights_as(model, "detectron2")
    state["head.bbox_predd.weight"] = state.pop("head.bbox_pred.weight")
    with pytest.raises(InputError, match=r"no head\.bbox_pred\.weight \(nearest: head\.bbox_predd\.weight\)"):
        load_weights(state)


def test_other_models_are_refused(model):
    with pytest.raises(InputError, match=r"not recognised as a RetinaNet.*features"):
        load_weights({"features.0.weight": torch.zeros(1)})
    with pytest.raises(InputError, match="expected a state dict; found epoch"):
        load_weights({"epoch": 3})
    state = weights_as(model, "torchvision")
    for name, channels in (("cls_logits", 6 * 3), ("bbox_reg", 6 * 4)):
        key = next(k for k in state if k.endswith(f"{name}.weight"))
        state[key] = torch.zeros(channels, 16, 3, 3)
    with pytest.raises(InputError, match="has 6 anchors per cell"):
        load_weights(state)
    deeper = weights_as(model, "mmdet")
    deeper |= {name.replace("layer1.1", "layer1.2"): t for name, t in deeper.items() if "layer1.1" in name}
    with pytest.raises(InputError, match="3-2-2-2 basic blocks"):
        load_weights(deeper)


def test_options_that_make_no_sense_are_refused(model):
    state = weights_as(model, "torchvision")
    with pytest.raises(InputError, match=r"80 of 91 classes.*here are 3"):
        load_weights(state, coco80=True)
    with pytest.raises(InputError, match=r"unknown style 'mmdet_cafe' \(nearest: mmdet_caffe\)"):
        load_weights(state, style="mmdet_cafe")
    with pytest.raises(InputError, match="unknown layout 'caffe2'"):
        load_weights(state, "caffe2")


def test_eighty_of_ninety_one_classes_are_the_same_channels():
    model = small(91)
    ours = load_weights(weights_as(model, "torchvision"), coco80=True)
    ids = [i for i, _ in ours.card.categories]
    assert (ids[0], ids[79], len(ids), ours.num_classes) == (1, 90, 80, 80)
    for name in ("weight", "bias"):
        expected = getattr(model.head.class_output, name).reshape(9, 91, -1)[:, ids]
        assert torch.equal(getattr(ours.head.class_output, name).reshape(9, 80, -1), expected)


def test_a_style_can_be_given(model):
    state = weights_as(model, "mmdet")
    chosen = load_weights(state, style="mmdet_caffe")
    assert chosen.card.config.numerics == STYLES["mmdet_caffe"].numerics
    assert torch.equal(chosen.backbone.body["conv1"].weight, model.backbone.body["conv1"].weight.flip(1))
    mine = NumericsConfig(max_detections=7)
    assert load_weights(state, numerics=mine).postprocess.max_detections == 7


def test_mmdetections_configuration_tells_the_style():
    two = "backbone=dict(style='caffe'), img_norm_cfg = dict(mean=[1, 2, 3], std=[1, 1, 1], to_rgb=False)"
    three = (
        'style="pytorch", data_preprocessor=dict(mean=[\n 25.5, 51.0, 76.5], std=[255, 255, 255], bgr_to_rgb=True),'
        " target_means=[0, 0, 0, 0]"
    )
    found = mmdet.read_config(two)
    assert (found.bgr, found.numerics.stride_in_1x1) == (True, True)
    assert found.numerics.pixel_mean == (3 / 255, 2 / 255, 1 / 255)
    found = mmdet.read_config(three)
    assert (found.bgr, found.numerics.stride_in_1x1) == (False, False)
    assert found.numerics.pixel_mean == (0.1, 0.2, 0.3)
    assert found.numerics.pixel_std == (1, 1, 1)
    assert mmdet.read_config("") == mmdet.PYTORCH


def test_classes_in_the_file_are_read(model):
    state = weights_as(model, "mmdet")
    for meta in ({"CLASSES": ("a", "b", "c")}, {"dataset_meta": {"classes": ["a", "b", "c"]}}):
        assert load_weights({"meta": meta, "state_dict": state}).card.categories == ((0, "a"), (1, "b"), (2, "c"))
    assert load_weights({"meta": {"CLASSES": ("a",)}, "state_dict": state}).card.categories is None


def test_older_detectron2_files_bring_their_pixels(model):
    state = weights_as(model, "detectron2")
    assert state["pixel_mean"].tolist() == pytest.approx([103.53, 116.28, 123.675])
    back = load_weights(state)
    assert back.pixel_mean.tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert back.pixel_std.tolist() == pytest.approx([0.229, 0.224, 0.225])
    state |= {"pixel_mean": torch.tensor([123.675, 116.28, 103.53]), "pixel_std": torch.ones(3, 1, 1)}
    rgb = load_weights(state)
    assert rgb.pixel_mean.tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert torch.equal(rgb.backbone.body["conv1"].weight, model.backbone.body["conv1"].weight.flip(1))


# files


def test_a_model_zoo_pickle_of_arrays_is_read(model, tmp_path):
    arrays = {name: t.numpy() for name, t in weights_as(model, "detectron2").items() if "pixel" not in name}
    for protocol in (2, 5):
        content = {"model": arrays, "__author__": "Detectron2 Model Zoo", "score": np.float32(1)}
        (tmp_path / "model.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
        assert equal(load_weights(tmp_path / "model.pkl"), model)


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


@pytest.mark.parametrize("suffix", [".pkl", ".pth"])
def test_a_pickle_that_runs_code_is_refused_unless_trusted(suffix, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = {"state_dict": weights_as(model, "mmdet"), "meta": Bomb()}
    path = tmp_path / f"bad{suffix}"
    if suffix == ".pth":
        torch.save(content, path)
    else:
        content["state_dict"] = {name: t.numpy() for name, t in content["state_dict"].items()}
        path.write_bytes(pickle.dumps(content))
    with pytest.raises(InputError, match=r"posix\.mkdir|nt\.mkdir") as error:
        load_weights(path)
    assert "--trust" in str(error.value)
    assert not (tmp_path / "exploded").exists()
    assert equal(load_weights(path, trust=True), model)
    assert (tmp_path / "exploded").exists()


def test_a_trusted_file_may_hold_objects_of_packages_that_are_not_here(model, tmp_path, monkeypatch):
    module = types.ModuleType("mmengine_history")
    module.HistoryBuffer = type("HistoryBuffer", (), {"__module__": "mmengine_history"})
    monkeypatch.setitem(sys.modules, "mmengine_history", module)
    buffer = module.HistoryBuffer()
    buffer.values = [1, 2]
    torch.save({"state_dict": weights_as(model, "mmdet"), "message_hub": {"loss": buffer}}, tmp_path / "epoch_12.pth")
    monkeypatch.delitem(sys.modules, "mmengine_history")
    with pytest.raises(InputError, match=r"holds mmengine_history\.HistoryBuffer"):
        load_weights(tmp_path / "epoch_12.pth")
    assert equal(load_weights(tmp_path / "epoch_12.pth", trust=True), model)


def test_damaged_and_missing_files_are_named(tmp_path):
    with pytest.raises(InputError, match="no such weights file"):
        load_weights(tmp_path / "none.pth")
    for name in ("bad.pth", "bad.pkl", "bad.safetensors", "empty.pth"):
        (tmp_path / name).write_bytes(b"" if name == "empty.pth" else b"not weights")
        with pytest.raises(InputError, match=f"{name}: cannot be read as weights") as caught:
            load_weights(tmp_path / name)
        assert "weights_only" not in str(caught.value)


def test_names_of_data_parallel_training_are_read(model):
    state = {f"module.{name}": t for name, t in weights_as(model, "torchvision").items()}
    assert equal(load_weights({"model": state, "epoch": 3}), model)


# our own files


@pytest.mark.parametrize("name", ["model.pth", "model.safetensors"])
def test_one_file_of_ours_holds_everything(name, tmp_path):
    model = small(2, "tiny", backbone_norm="batch", numerics=replace(STYLES["mmdet_pytorch"].numerics, resize="mmdet"))
    model.card = replace(model.card, categories=((3, "a"), (7, "b")), min_size=64, max_size=96)
    assert save_weights(model, tmp_path / name) == {}
    detector = Detector.open(tmp_path / name, "cpu", score_threshold=0.001)
    assert detector.model.card == model.card
    assert detector.postprocess == replace(model.postprocess, score_threshold=0.001)
    assert (detector.names, detector.category_ids, detector.min_size, detector.resize) == (
        ("a", "b"),
        (3, 7),
        64,
        "mmdet",
    )
    image = torch.randint(0, 256, (3, 70, 90), dtype=torch.uint8)
    (one,), (other,) = detector.predict(image), Detector(model, score_threshold=0.001).predict(image)
    assert len(one) > 0
    assert torch.equal(one.boxes, other.boxes)


def test_a_run_and_its_checkpoint_are_the_same_model(tmp_path):
    config = TrainConfig(
        min_size=96,
        max_size=128,
        model=ModelConfig(
            "tiny", "batch", 0, fpn_channels=16, head_channels=16, numerics=NumericsConfig(p7_relu=False)
        ),
    )
    categories = [{"id": 3, "name": "a"}]
    run = RunDir(tmp_path / "run")
    run.write_run({"config": config_to_dict(config), "categories": categories})
    model = small(1, "tiny", backbone_norm="batch", freeze_at=0)
    header = {"schema": 1, "categories": categories, "config": config_to_dict(config)}
    (run.path / "checkpoints").mkdir()
    torch.save({"focalkit": header, "model": model.state_dict(), "epoch": 1}, run.checkpoint("best"))
    for source in (run.path, run.checkpoint("best")):
        back = load_weights(source)
        assert equal(back, model)
        assert back.card == ModelCard(config.model, ((3, "a"),), 96, 128)
        assert back.neck.p7_relu is False
    with pytest.raises(InputError, match="focalkit's own"):
        load_weights(run.path, coco80=True)
    with pytest.raises(InputError, match="not the configuration of their model"):
        load_weights(model.state_dict())


def test_what_cannot_be_saved_is_said(model, tmp_path):
    with pytest.raises(ConfigError, match=r"expected a name ending in \.pth"):
        save_weights(model, tmp_path / "model.onnx")
    own = retinanet(3, model.backbone, fpn_channels=16, head_channels=16)
    with pytest.raises(ConfigError, match="does not know its own structure"):
        save_weights(own, tmp_path / "model.pth")
    normed = small(head_norm="group")
    with pytest.raises(InputError, match=r"Detectron2's RetinaNet has no place for head\.class_tower\.norms\.0"):
        save_weights(normed, tmp_path / "model.pth", layout="detectron2")
    with pytest.raises(InputError, match="MMDetection's RetinaNet has a ResNet or ResNeXt, this is retinanet on tiny"):
        weights_as(small(2, "tiny", backbone_norm="batch"), "mmdet")


def test_a_model_for_other_pixels_is_scaled_for_torchvision(model, tmp_path):
    theirs = load_weights(weights_as(model, "detectron2"), style="detectron2", numerics=STYLES["detectron2"].numerics)
    left = save_weights(theirs, tmp_path / "tv.safetensors", layout="torchvision")
    assert left["stride_in_1x1"] == (True, False)
    assert "pixel_std" not in left
    numerics = replace(STYLES["detectron2"].numerics, pixel_mean=None, pixel_std=None)
    back = load_weights(tmp_path / "tv.safetensors", numerics=numerics)
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        for one, other in zip(theirs(x).logits, back(x).logits, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-4)
    other_mean = load_weights(weights_as(model, "mmdet"), numerics=NumericsConfig(pixel_mean=(0.5, 0.5, 0.5)))
    with pytest.raises(InputError, match="torchvision subtracts"):
        save_weights(other_mean, tmp_path / "no.pth", layout="torchvision")


def test_the_styles_are_what_the_libraries_do():
    fields = ("p6_from", "p7_relu", "stride_in_1x1", "norm_eps", "rounded_anchors", "anchor_stride", "clamp_dwdh_min")
    fields += ("clip", "keep_empty", "max_detections", "resize")
    table = {
        "torchvision_v1": ("p5", True, False, 0.0, True, "image", False, "before_nms", True, 300, "torchvision"),
        "torchvision_v1_eps": ("p5", True, False, 1e-5, True, "image", False, "before_nms", True, 300, "torchvision"),
        "torchvision_v2": ("c5", True, False, 1e-5, True, "image", False, "before_nms", True, 300, "torchvision"),
        "detectron2": ("c5", True, True, 1e-5, False, "fixed", False, "after_nms", False, 100, "detectron2"),
        "mmdet_pytorch": ("c5", False, False, 1e-5, False, "fixed", True, "before_nms", False, 100, "mmdet"),
        "mmdet_caffe": ("c5", False, True, 1e-5, False, "fixed", True, "before_nms", False, 100, "mmdet"),
    }
    assert {k: tuple(getattr(s.numerics, f) for f in fields) for k, s in STYLES.items()} == table
    assert [name for name, style in STYLES.items() if style.bgr] == ["detectron2", "mmdet_caffe"]


def test_a_first_model_of_torchvision_with_a_trained_norm_keeps_its_epsilon():
    state = weights_as(small(91, numerics=NumericsConfig(p6_from="p5")), "torchvision")
    state["backbone.fpn.extra_blocks.p6.weight"] = torch.zeros(16, 16, 3, 3)
    assert load_weights(state).card.config.numerics.norm_eps == 0
    state["backbone.body.bn1.num_batches_tracked"] = torch.tensor(3)
    assert load_weights(state).card.config.numerics.norm_eps == 1e-5
