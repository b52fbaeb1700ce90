"""timm's models as backbones."""

import sys

import pytest
import torch

from focalkit.config import ModelConfig, RuntimeConfig, TrainConfig
from focalkit.detection import build_backbone, build_detector, resolve_backbone
from focalkit.detection.models.timm_backbone import TimmBackbone
from focalkit.errors import ConfigError, InputError

timm = pytest.importorskip("timm")
NAME = "timm:mobilenetv3_small_050"


@pytest.fixture(scope="module")
def backbone():
    torch.manual_seed(0)
    return TimmBackbone(NAME, norm="batch")


def test_its_maps_are_c3_to_c5(backbone):
    with torch.no_grad():
        maps = backbone.eval()(torch.zeros(1, 3, 70, 100))
    assert [x.shape[1] for x in maps] == list(backbone.channels)
    assert [tuple(x.shape[2:]) for x in maps] == [(9, 13), (5, 7), (3, 4)]


def test_other_strides_are_an_argument():
    assert len(TimmBackbone(NAME, (4, 8)).channels) == 2
    with pytest.raises(ConfigError, match=r"has maps of strides \[2, 4, 8, 16, 32\].*\[64\] lack"):
        TimmBackbone(NAME, (8, 16, 64))


@pytest.mark.parametrize("detector", ["retinanet", "gfl", "rtmdet"])
def test_detectors_take_it(detector):
    config = ModelConfig(NAME, fpn_channels=8, head_channels=8, head_depth=1, detector=detector, freeze_at=0)
    model = build_detector(config, 2).eval()
    with torch.no_grad():
        out = model(torch.zeros(1, 3, 64, 64))
    assert out.num_classes == 2
    assert model.card.config.backbone == NAME


def test_frozen_stages_and_norms_keep_still():
    net = build_backbone(NAME, norm="frozen", freeze_at=2)
    trains = {name for name, p in net.net.named_parameters() if p.requires_grad}
    assert not any(name.startswith(("conv_stem", "bn1", "blocks.0")) for name in trains)
    assert any(name.startswith("blocks.1") for name in trains)
    assert not any(m.training for m in net.train().modules() if isinstance(m, torch.nn.BatchNorm2d))
    live = build_backbone(NAME, norm="batch", freeze_at=0).train()
    assert all(p.requires_grad for p in live.parameters())
    assert all(m.training for m in live.modules())


def test_a_file_of_the_whole_model_is_taken_and_one_that_lacks_weights_is_refused(backbone, tmp_path):
    whole = timm.create_model(NAME.removeprefix("timm:"), num_classes=3).state_dict()
    torch.save(whole, tmp_path / "whole.pth")
    got = build_backbone(NAME, weights=tmp_path / "whole.pth").net.state_dict()
    assert all(torch.equal(t, whole[name]) for name, t in got.items())
    torch.save({n: t for n, t in whole.items() if n != "conv_stem.weight"}, tmp_path / "part.pth")
    with pytest.raises(InputError, match=r"part\.pth: does not fit the backbone(?s:.*)conv_stem\.weight"):
        build_backbone(NAME, weights=tmp_path / "part.pth")


def test_flattened_names_are_the_same_names(tmp_path):
    whole = timm.create_model("resnet10t").state_dict()
    torch.save(whole, tmp_path / "resnet.pth")
    got = build_backbone("timm:resnet10t", weights=tmp_path / "resnet.pth", freeze_at=1).net.state_dict()
    assert torch.equal(got["layer4.0.conv2.weight"], whole["layer4.0.conv2.weight"])


@pytest.mark.parametrize("name", ["timm:no_such_model", "timm:hf_hub:someone/model", "timm:hf-hub:a/b", "timm:"])
def test_names_that_timm_does_not_have_are_refused(name):
    with pytest.raises(InputError, match="timm has no model"):
        resolve_backbone(name)
    with pytest.raises(InputError, match=r"nearest: mobilenetv3_small_100"):
        resolve_backbone("timm:mobilenetv3_small_10")


def test_a_model_without_a_pyramid_is_refused():
    with pytest.raises(ConfigError, match=r"has maps of strides \[16, 16, 16\]"):
        build_backbone("timm:vit_tiny_patch16_224")


def test_without_timm_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match=r"pip install 'focalkit\[timm\]'"):
        resolve_backbone(NAME)


def test_a_first_stage_without_parameters_of_its_own_freezes_the_stem():
    """In timm's ResNets it ends at an activation."""
    frozen = {
        n for n, p in TimmBackbone("timm:resnet18", norm="batch", freeze_at=1).named_parameters() if not p.requires_grad
    }
    assert frozen == {"net.conv1.weight", "net.bn1.weight", "net.bn1.bias"}


def test_live_norms_of_timm_are_refused_on_several_gpus(monkeypatch, tmp_path):
    """torch's SyncBatchNorm would take the activations of timm's norms away."""
    from focalkit.training.engine import build_trainer

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    config = TrainConfig(model=ModelConfig(NAME, "batch"), runtime=RuntimeConfig(devices=2, logger="none"))
    with pytest.raises(ConfigError, match="live BatchNorm of timm's backbones is not for several GPUs"):
        build_trainer(config, tmp_path, [], epochs=1, start_step=0)
