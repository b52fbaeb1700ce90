"""timm's models as backbones."""

import copy
import sys

import pytest
import torch

from focalkit.config import DecoderConfig, ModelConfig
from focalkit.detection import DETECTORS, build_backbone, build_detector, resolve_backbone
from focalkit.detection.models.synced_norm import synced_norms
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


@pytest.mark.parametrize("detector", DETECTORS)
def test_every_detector_takes_it(detector):
    decoder = DecoderConfig(layers=1, queries=10, heads=2, feedforward=16, expansion=0.5)
    sizes = {"fpn_channels": 8, "head_channels": 8, "head_depth": 1, "decoder": decoder}
    config = ModelConfig(NAME, **sizes, detector=detector, freeze_at=0)
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


def test_norms_over_several_gpus_keep_the_activations_of_timms(backbone):
    images = torch.rand(1, 3, 64, 64)
    synced = synced_norms(copy.deepcopy(backbone)).eval()
    torchs = torch.nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(backbone)).eval()
    kinds = {type(m) for m in synced.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)}
    assert kinds
    assert all(issubclass(kind, torch.nn.SyncBatchNorm) for kind in kinds)
    with torch.no_grad():
        expected, ours, theirs = (net(images) for net in (backbone.eval(), synced, torchs))
    assert all(map(torch.equal, ours, expected))
    assert not any(map(torch.equal, theirs, expected)), "torch's own conversion drops them"
    still = synced_norms(TimmBackbone("timm:resnet18", norm="batch", freeze_at=1)).train()
    assert not still.net.bn1.training
    assert still.net.layer1[0].bn1.training
