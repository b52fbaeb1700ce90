"""The architecture that a set of weights belongs to, read from its names and shapes."""

import re
from collections.abc import Mapping

from focalkit.config import ModelConfig, NumericsConfig
from focalkit.detection.models.backbones import RESNETS
from focalkit.errors import InputError

Shapes = Mapping[str, tuple[int, ...]]


class MissingError(Exception):
    """A weight without which the architecture cannot be told; holds our name of it."""


def p6_from(shapes: Shapes) -> str:
    """ "c5" or "p5": the map that fits the channels of P6's convolution."""
    channels, c5 = _need(shapes, "neck.p6.weight")[1], _need(shapes, "neck.lateral.2.weight")[1]
    return "c5" if channels == c5 else "p5"


def count_classes(shapes: Shapes) -> int:
    """K, from the channels of the last convolutions; anchors have four box channels each."""
    return _need(shapes, "head.class_output.weight")[0] // _count_anchors(shapes)


def model_config(shapes: Shapes, numerics: NumericsConfig, source: str) -> ModelConfig:
    """The configuration of the model with these weights.

    Args:
        shapes: Of each weight, by our name.
        numerics: What the shapes do not say.
        source: For messages.

    Raises:
        MissingError: A weight that decides.
        InputError: An architecture that is not ours.
    """
    anchors = _count_anchors(shapes)
    if anchors != 9:
        raise InputError(
            f"{source}: has {anchors} anchors per cell; which they are is not in the file, so only the paper's nine can"
            " be loaded"
        )
    normed = has_norms(shapes)
    channels = _need(shapes, "head.class_output.weight")[1]
    depth = _count(shapes, r"head\.class_tower\.convs\.(\d+)\.weight")
    if any(name.startswith("head.") and name.endswith("running_mean") for name in shapes):
        raise InputError(f"{source}: has BatchNorm in its towers; group norm or none is what can be loaded")
    if normed and (channels % 32 or channels < 128):
        raise InputError(f"{source}: has group norm on {channels} channels; at least 128, in 32 groups, can be loaded")
    return ModelConfig(
        backbone=_backbone(shapes, source),
        fpn_channels=_need(shapes, "neck.lateral.0.weight")[0],
        head_channels=channels,
        head_depth=depth,
        head_norm="group" if normed else "none",
        numerics=numerics,
    )


def has_norms(shapes: Shapes) -> bool:
    """Whether the towers have a norm."""
    return any(".norms." in name for name in shapes)


def _backbone(shapes: Shapes, source: str) -> str:
    blocks = tuple(_count(shapes, rf"backbone\.body\.layer{stage}\.(\d+)\.conv1\.weight") for stage in (1, 2, 3, 4))
    out, inside = _need(shapes, "backbone.body.layer1.0.conv2.weight")[:2]
    bottleneck = "backbone.body.layer1.0.conv3.weight" in shapes
    groups = out // inside
    found = (blocks, bottleneck, groups, out // groups)
    for name, architecture in RESNETS.items():
        if architecture == found:
            return name
    kind = "bottleneck" if bottleneck else "basic"
    raise InputError(
        f"{source}: its backbone has {'-'.join(map(str, blocks))} {kind} blocks, {groups} groups of width"
        f" {out // groups}; known are {', '.join(RESNETS)}"
    )


def _count_anchors(shapes: Shapes) -> int:
    return _need(shapes, "head.box_output.weight")[0] // 4


def _count(shapes: Shapes, pattern: str) -> int:
    """One more than the highest number: a gap is a missing weight, not another architecture."""
    return 1 + max((int(match[1]) for name in shapes if (match := re.fullmatch(pattern, name))), default=-1)


def _need(shapes: Shapes, name: str) -> tuple[int, ...]:
    if name not in shapes:
        raise MissingError(name)
    return shapes[name]
