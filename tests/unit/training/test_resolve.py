"""From what was asked for to what will run."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from focalkit.config import (
    AugmentConfig,
    CriterionConfig,
    DataConfig,
    ModelConfig,
    OptimConfig,
    RuntimeConfig,
    TrainConfig,
    cpu_small,
    paper,
)
from focalkit.detection import with_own_losses
from focalkit.errors import ConfigError, InputError
from focalkit.training.resolve import resolve


@pytest.fixture
def folded(tmp_path) -> Path:
    """What tells folded MobileNetV2 weights from others: a convolution with a bias and no BatchNorm."""
    file = tmp_path / "folded.npz"
    np.savez(file, **{"features.0.0.weight": np.zeros(1), "features.0.0.bias": np.zeros(1)})
    return file


def test_folded_weights_name_their_backbone_and_keep_it_frozen(folded):
    resolved = resolve(replace(cpu_small(), backbone_weights=folded))
    assert resolved.config.model.backbone == "mobilenet_v2_tf"
    assert (resolved.config.model.backbone_norm, resolved.config.model.freeze_at) == ("frozen", 2)
    assert "mobilenet_v2_tf" in resolved.notes[0]


def test_a_backbone_without_weights_learns_everything_and_says_so():
    resolved = resolve(cpu_small())
    assert (resolved.config.model.backbone_norm, resolved.config.model.freeze_at) == ("batch", 0)
    assert "--backbone-weights" in resolved.notes[0]


def test_a_backbone_without_norms_gets_none():
    resolved = resolve(TrainConfig(model=ModelConfig(backbone="mobilenet_v2_tf")))
    assert (resolved.config.model.backbone_norm, resolved.config.model.freeze_at) == ("frozen", 0)
    assert "BatchNorm" not in resolved.notes[0]


def test_pretrained_backbones_stay_as_asked():
    assert resolve(paper()).config == with_own_losses(paper())
    assert resolve(paper()).notes == ()


def test_resolving_twice_changes_nothing(folded):
    for config in (cpu_small(), replace(cpu_small(), backbone_weights=folded, data=DataConfig(Path("here")))):
        once = resolve(config).config
        assert resolve(once).config == once


def test_paths_become_absolute():
    assert resolve(replace(cpu_small(), data=DataConfig(Path("here")))).config.data.path == Path.cwd() / "here"
    for split, kept in (("../splits.json", str(Path.cwd().parent / "splits.json")), ("80/10/10", "80/10/10")):
        assert resolve(replace(cpu_small(), data=DataConfig(split=split))).config.data.split == kept


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"batch_size": 6, "runtime": RuntimeConfig(devices=2), "accumulate": 2},
            "6 cannot be dealt out evenly to 2 devices x 2 passes",
        ),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"max_steps": 0}, "max_steps must be at least 1"),
        ({"min_size": 500, "max_size": 400}, "at least min_size (500), got 400"),
        ({"runtime": RuntimeConfig(workers=-1)}, "cannot be negative"),
        ({"patience": 0}, "patience must be at least 1"),
        ({"optim": OptimConfig(lr=0.0)}, "optim.lr and optim.lr_batch must be positive"),
        ({"optim": OptimConfig(ema_decay=1.5)}, "between 0 and 1, got 1.5"),
        ({"optim": OptimConfig(clip_norm=0.0)}, 'positive, or "none"'),
        ({"optim": OptimConfig(milestones=(60_000.0,))}, "fractions of the run"),
        ({"model": ModelConfig(head_channels=0)}, "model.head_channels must be at least 1, got 0"),
        ({"model": ModelConfig(prior_prob=0.0)}, "model.prior_prob must lie between 0 and 1"),
        ({"criterion": CriterionConfig(fg_iou=0.3)}, "in this order, got 0.4 and 0.3"),
        ({"criterion": CriterionConfig(bg_iou=0.0)}, "in this order, got 0.0 and 0.5"),
        ({"model": ModelConfig(anchor_ratios=())}, "model.anchor_ratios must be positive numbers, at least one"),
        ({"augment": AugmentConfig(flip=2.0)}, "augment.flip must lie between 0 and 1, got 2.0"),
        ({"augment": AugmentConfig(scale=(0.0, 1.0))}, "augment.scale is a range of positive factors, got [0.0, 1.0]"),
        ({"pretrained_backbone": True, "backbone_weights": Path("f.pth")}, "give one of them"),
    ],
)
def test_what_cannot_work_is_refused_with_the_values(change, message):
    with pytest.raises(ConfigError) as caught:
        resolve(replace(cpu_small(), **change))
    assert message in str(caught.value)


def test_an_unknown_backbone_is_refused_with_the_nearest():
    with pytest.raises(InputError, match="resnet50"):
        resolve(TrainConfig(model=ModelConfig(backbone="resnet5O")))
