"""The dense relatives of RetinaNet, each a few other arguments of the same parts: every model on one page.

| detector  | priors             | matching        | box outputs          | quality               |
|-----------|--------------------|-----------------|----------------------|-----------------------|
| fcos      | points             | ranges, centres | log distances        | centerness, a branch  |
| atss      | one square per cell| ATSS            | log distances        | centerness, a branch  |
| gfl       | one square per cell| ATSS            | distributions        | IoU, the class target |
| vfnet     | one square per cell| ATSS            | log distances        | IoU, the class target |
| centernet | points of stride 4 | centres         | offset and size      | a heat map instead    |

What is left out: FCOS's regression to strides without exp, VarifocalNet's star convolution and second box, ATSS's boxes
as deltas of anchors (its paper finds points as good, sec. 4.2).
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from focalkit.config import ModelConfig
from focalkit.detection.boxes.center_size import CenterSizeCoder
from focalkit.detection.boxes.deltas import DeltaXYWH
from focalkit.detection.boxes.points import DistanceCoder, DistributionCoder, PointGrid, square_grid
from focalkit.detection.inference.postprocess import DensePostprocess
from focalkit.detection.models.backbones import build_backbone, resolve_backbone
from focalkit.detection.models.card import ModelCard
from focalkit.detection.models.center_neck import CenterNeck
from focalkit.detection.models.fpn import FPN
from focalkit.detection.models.point_head import PointHead
from focalkit.detection.models.retinanet import RetinaNet, build_retinanet
from focalkit.detection.types import BoxCoder

BINS = 17
"""Positions of GFL's distributions, 0 to 16 (Li et al., 2020, sec. 4: n = 16)."""
SIDE = 8
"""Width of ATSS's square priors in units of what distances are counted in: strides (Zhang et al., 2020, sec. 4.1)."""


def build_detector(
    config: ModelConfig, num_classes: int, backbone_weights: str | Path | None = None, pretrained: bool = False
) -> RetinaNet:
    """The model that a configuration describes, whichever detector it is; the weights to start from are given apart.

    Args:
        config: Its `detector` chooses the parts. Of `anchor_sizes` the relatives take their scale: the squares of ATSS
            are twice as wide.
        num_classes: K foreground classes.
        backbone_weights: A file with ImageNet weights.
        pretrained: Download torchvision's ImageNet weights instead.
    """
    if config.detector == "retinanet":
        return build_retinanet(config, num_classes, backbone_weights, pretrained)
    config = replace(config, backbone=resolve_backbone(config.backbone, backbone_weights))
    numerics = config.numerics
    backbone = build_backbone(
        config.backbone,
        weights=backbone_weights,
        pretrained=pretrained,
        norm=config.backbone_norm,
        freeze_at=config.freeze_at,
        norm_eps=numerics.norm_eps,
        stride_in_1x1=numerics.stride_in_1x1,
    )
    for name, value in (("pixel_mean", numerics.pixel_mean), ("pixel_std", numerics.pixel_std)):
        if value is not None:
            setattr(backbone, name, value)
    channels: Sequence[int] = backbone.channels
    centres = config.detector == "centernet"
    neck: nn.Module = (
        CenterNeck(channels, config.fpn_channels)
        if centres
        else FPN(channels, config.fpn_channels, p6_from=numerics.p6_from, p7_relu=numerics.p7_relu)
    )
    head = PointHead(
        config.fpn_channels,
        num_classes,
        channels=config.head_channels,
        depth=config.head_depth,
        norm=None if config.head_norm == "none" else config.head_norm,
        box_channels=4 * BINS if config.detector == "gfl" else 4,
        quality=config.detector in ("fcos", "atss"),
        prior_prob=config.prior_prob,
        num_levels=1 if centres else len(config.anchor_sizes),
    )
    if centres:
        priors = PointGrid((4,))
    elif config.detector == "fcos":
        priors = PointGrid()
    else:
        priors = square_grid([2 * size for size in config.anchor_sizes])
    rules = DensePostprocess(
        coder_of(config),
        # a peak is an object, of which nothing is suppressed; 0.6 is what the code of all the others' authors has
        iou_threshold=1.0 if centres else 0.6,
        peak_window=3 if centres else 1,
        max_detections=numerics.max_detections,
        clip=numerics.clip,
        keep_empty=numerics.keep_empty,
    )
    return RetinaNet(backbone, neck, head, priors, rules, ModelCard(config))


def coder_of(config: ModelConfig) -> BoxCoder:
    """What the model's box outputs mean."""
    match config.detector:
        case "gfl":
            return DistributionCoder(BINS, 1 / SIDE)
        case "atss" | "vfnet":
            return DistanceCoder(1 / SIDE)
        case "fcos":
            return DistanceCoder()
        case "centernet":
            return CenterSizeCoder()
        case _:
            return DeltaXYWH(bound_shrink=config.numerics.bound_shrink)
