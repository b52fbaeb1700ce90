"""What each detector is made of, in one literal table; its name decides nothing anywhere else.

What is left out: FCOS's regression to strides without exp, VarifocalNet's star convolution and second box, ATSS's boxes
as deltas of anchors (its paper finds points as good, sec. 4.2).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import nn

from focalkit import losses
from focalkit.config import CriterionConfig, DetectorName, ModelConfig
from focalkit.detection.boxes.anchors import AnchorGrid
from focalkit.detection.boxes.center_size import CenterSizeCoder
from focalkit.detection.boxes.deltas import DeltaXYWH
from focalkit.detection.boxes.points import (
    DistanceCoder,
    DistributionCoder,
    PlainDistanceCoder,
    PointGrid,
    square_grid,
)
from focalkit.detection.boxes.quality import AssignedQuality, Centerness, PredictedIoU
from focalkit.detection.boxes.whole_image import WholeImage
from focalkit.detection.criterion import DetectionCriterion, Matcher
from focalkit.detection.matching.atss import ATSSAssigner
from focalkit.detection.matching.center import CenterAssigner
from focalkit.detection.matching.fcos import PointAssigner
from focalkit.detection.matching.hungarian import HungarianMatcher
from focalkit.detection.matching.libraries import LIBRARIES
from focalkit.detection.matching.max_iou import MaxIoUAssigner
from focalkit.detection.matching.predicted.dynamic_k import DynamicSoftLabelAssigner
from focalkit.detection.models.center_neck import CenterNeck
from focalkit.detection.models.detr.decoder import SetHead
from focalkit.detection.models.detr.denoising import ContrastiveDenoising
from focalkit.detection.models.detr.detector import AnyDetector, SetDetector
from focalkit.detection.models.detr.hybrid_encoder import HybridEncoder
from focalkit.detection.models.fpn import FPN
from focalkit.detection.models.head import RetinaNetHead
from focalkit.detection.models.point_head import PointHead
from focalkit.detection.models.retinanet import RetinaNet
from focalkit.detection.models.rtmdet.head import RTMDetHead
from focalkit.detection.models.rtmdet.neck import CSPNeXtPAFPN
from focalkit.detection.set_criterion import SetCriterion
from focalkit.detection.terms import (
    BoxTerm,
    ClassTerm,
    DistributionTerm,
    HeatMapTerm,
    QualityClassTerm,
    QualityTerm,
    Space,
)
from focalkit.detection.types import BoxCoder, PriorGrid

BINS = 17
"""Positions of GFL's distributions, 0 to 16 (Li et al., 2020, sec. 4: n = 16)."""
SIDE = 8
"""Width of ATSS's square priors in units of what distances are counted in: strides (Zhang et al., 2020, sec. 4.1)."""
STRIDES = (8, 16, 32)
"""Of RTMDet's maps."""
FOCAL = "focal(gamma=2.0, alpha=0.25)"

Terms = Mapping[str, nn.Module]


@dataclass(frozen=True)
class Recipe:
    """The parts of a detector and how its authors train it.

    Attributes:
        title: Its name in prose.
        priors: What its outputs refer to.
        coder: What its box outputs mean.
        neck: (channels of C3, C4, C5; configuration) -> the pyramid.
        head: (configuration, number of classes, priors, coder) -> the head.
        matcher: How priors are matched to boxes.
        terms: (classification loss, box term without its quality, coder) -> the terms of the criterion.
        loss: Classification loss, a spec of the catalog.
        box_loss: Box loss, a spec of the catalog.
        box_weight: Its factor.
        class_targets: Kinds of targets (`LossSpec.targets`) that a classification loss may take.
        box_spaces: Where a box loss may compare, "deltas" or "boxes"; a loss outside the catalog in the first.
        iou_threshold: Of suppression; 1 suppresses nothing.
        peak_window: See `DensePostprocess`.
        model: What holds the backbone, the neck and the head.
        criterion: (matcher, terms, normalizer) -> what is minimised.
    """

    title: str
    priors: Callable[[ModelConfig], PriorGrid]
    coder: Callable[[ModelConfig], BoxCoder]
    neck: Callable[[Sequence[int], ModelConfig], nn.Module]
    head: Callable[[ModelConfig, int, PriorGrid, BoxCoder], nn.Module]
    matcher: Callable[[ModelConfig, CriterionConfig], Matcher]
    terms: Callable[[nn.Module, Callable[..., BoxTerm], BoxCoder], Terms]
    loss: str
    box_loss: str
    box_weight: float
    class_targets: tuple[str, ...] = ("binary",)
    box_spaces: tuple[Space, ...] = ("deltas", "boxes")
    iou_threshold: float = 0.6  # what the code of all authors but RetinaNet's has
    peak_window: int = 1
    model: Callable[..., AnyDetector] = RetinaNet
    criterion: Callable[[Matcher, Terms, Any], DetectionCriterion | SetCriterion] = DetectionCriterion


def pyramid(channels: Sequence[int], model: ModelConfig) -> FPN:
    return FPN(channels, model.fpn_channels, p6_from=model.numerics.p6_from, p7_relu=model.numerics.p7_relu)


def anchors(model: ModelConfig) -> AnchorGrid:
    return AnchorGrid(
        model.anchor_sizes,
        model.anchor_scales,
        model.anchor_ratios,
        rounded=model.numerics.rounded_anchors,
        stride_from="image" if model.numerics.anchor_stride == "image" else "levels",
    )


def overlap_matcher(model: ModelConfig, criterion: CriterionConfig) -> Matcher:
    c = criterion
    if c.matching == "focalkit":
        return MaxIoUAssigner(c.fg_iou, c.bg_iou, c.min_pos_iou)
    return LIBRARIES[c.matching](c.fg_iou, c.bg_iou)


def towers(model: ModelConfig, priors: PriorGrid) -> dict[str, Any]:
    """What both kinds of heads are told."""
    return {
        "channels": model.head_channels,
        "depth": model.head_depth,
        "norm": None if model.head_norm == "none" else model.head_norm,
        "prior_prob": model.prior_prob,
        "num_levels": len(priors.strides),
    }


def anchor_head(model: ModelConfig, num_classes: int, priors: PriorGrid, coder: BoxCoder) -> RetinaNetHead:
    return RetinaNetHead(model.fpn_channels, num_classes, priors.per_cell, **towers(model, priors))


def point_head(
    model: ModelConfig, num_classes: int, priors: PriorGrid, coder: BoxCoder, *, quality: bool = False
) -> PointHead:
    told = towers(model, priors)
    return PointHead(model.fpn_channels, num_classes, box_channels=coder.channels, quality=quality, **told)


def rtmdet_head(model: ModelConfig, num_classes: int, priors: PriorGrid, coder: BoxCoder) -> RTMDetHead:
    told = towers(model, priors)
    told.pop("norm")  # always batch norm, of each level's own
    return RTMDetHead(model.fpn_channels, num_classes, **told)


def label_terms(loss: nn.Module, box: Callable[..., BoxTerm], coder: BoxCoder) -> Terms:
    return {"classification": ClassTerm(loss), "box": box()}


def centerness_terms(loss: nn.Module, box: Callable[..., BoxTerm], coder: BoxCoder) -> Terms:
    return {"classification": ClassTerm(loss), "box": box(quality=Centerness()), "quality": QualityTerm(Centerness())}


def iou_terms(loss: nn.Module, box: Callable[..., BoxTerm], coder: BoxCoder) -> Terms:
    iou = PredictedIoU(coder)
    terms = {"classification": QualityClassTerm(loss, iou), "box": box(quality=iou)}
    if isinstance(coder, DistributionCoder):
        terms["distribution"] = DistributionTerm(coder, quality=iou)
    return terms


def assigned_terms(loss: nn.Module, box: Callable[..., BoxTerm], coder: BoxCoder) -> Terms:
    assigned = AssignedQuality()
    return {"classification": QualityClassTerm(loss, assigned, by_quality=True), "box": box(quality=assigned)}


def heat_map_terms(loss: nn.Module, box: Callable[..., BoxTerm], coder: BoxCoder) -> Terms:
    return {"classification": HeatMapTerm(loss), "box": box()}


def hybrid_encoder(channels: Sequence[int], model: ModelConfig) -> HybridEncoder:
    d = model.decoder
    return HybridEncoder(channels, model.fpn_channels, heads=d.heads, feedforward=d.feedforward, expansion=d.expansion)


def set_head(model: ModelConfig, num_classes: int, priors: PriorGrid, coder: BoxCoder) -> SetHead:
    d = model.decoder
    return SetHead(
        model.fpn_channels,
        num_classes,
        channels=model.fpn_channels,
        layers=d.layers,
        queries=d.queries,
        heads=d.heads,
        feedforward=d.feedforward,
        points=d.points,
        denoising=ContrastiveDenoising(d.denoising, d.label_noise, d.box_noise) if d.denoising else None,
        prior_prob=model.prior_prob,
    )


def set_terms(loss: nn.Module, box: Callable[..., BoxTerm], coder: BoxCoder) -> Terms:
    """The class target is what the loss asks for: the IoU where it learns qualities, else the class."""
    learns_quality = any(type(loss) is line.module for line in losses.LOSSES.values() if line.targets == "quality")
    return {
        "classification": QualityClassTerm(loss, PredictedIoU(coder)) if learns_quality else ClassTerm(loss),
        "box": box(),
        "giou": BoxTerm(losses.GIoULoss(reduction="sum"), coder, "boxes", 2.0),
    }


SHARES = CenterSizeCoder((1.0, 1.0, 1.0, 1.0))
"""Centre and size as shares of the prior, which is the image."""


RETINANET = Recipe(
    title="RetinaNet",
    priors=anchors,
    coder=lambda model: DeltaXYWH(clamp_dwdh_min=model.numerics.clamp_dwdh_min),
    neck=pyramid,
    head=anchor_head,
    matcher=overlap_matcher,
    terms=label_terms,
    loss=FOCAL,
    box_loss="smooth_l1",
    box_weight=1.0,
    iou_threshold=0.5,
)
FCOS = Recipe(
    title="FCOS",
    priors=lambda model: PointGrid(),
    coder=lambda model: DistanceCoder(),
    neck=pyramid,
    head=partial(point_head, quality=True),
    matcher=lambda model, _: PointAssigner(limits=tuple(2 * size for size in model.anchor_sizes[:-1])),
    terms=centerness_terms,
    loss=FOCAL,
    box_loss="giou",
    box_weight=1.0,
)
ATSS = replace(
    FCOS,
    title="ATSS",
    priors=lambda model: square_grid([2 * size for size in model.anchor_sizes]),
    coder=lambda model: DistanceCoder(1 / SIDE),
    matcher=lambda model, _: ATSSAssigner(),
    box_weight=2.0,
)
VFNET = replace(
    ATSS,
    title="VarifocalNet",
    head=point_head,
    terms=iou_terms,
    loss="varifocal",
    class_targets=("binary", "quality"),
)
GFL = replace(
    VFNET,
    title="GFL",
    coder=lambda model: DistributionCoder(BINS, 1 / SIDE),
    loss="qfl",
    box_spaces=("boxes",),
)
CENTERNET = Recipe(
    title="CenterNet",
    priors=lambda model: PointGrid((4,)),
    coder=lambda model: CenterSizeCoder(),
    neck=lambda channels, model: CenterNeck(channels, model.fpn_channels),
    head=point_head,
    matcher=lambda model, _: CenterAssigner(),
    terms=heat_map_terms,
    loss="gaussian_focal",
    box_loss="l1",
    box_weight=1.0,
    class_targets=("heat map",),
    box_spaces=("deltas",),
    iou_threshold=1.0,  # a peak is an object, of which nothing is suppressed
    peak_window=3,
)

RTMDET = Recipe(
    title="RTMDet",
    priors=lambda model: AnchorGrid(tuple(map(float, STRIDES)), (1.0,), (1.0,), STRIDES),  # points at cells' corners
    coder=lambda model: PlainDistanceCoder() if model.numerics.plain_distances else DistanceCoder(),
    neck=lambda channels, model: CSPNeXtPAFPN(channels, model.fpn_channels, model.neck_depth),
    head=rtmdet_head,
    matcher=lambda model, _: DynamicSoftLabelAssigner(RTMDET.coder(model)),
    terms=assigned_terms,
    loss="qfl",
    box_loss="giou",
    box_weight=2.0,
    class_targets=("binary", "quality"),
    iou_threshold=0.65,
)
RTDETRV2 = Recipe(
    title="RT-DETRv2",
    priors=lambda model: WholeImage(),
    coder=lambda model: SHARES,
    neck=hybrid_encoder,
    head=set_head,
    matcher=lambda model, _: HungarianMatcher(SHARES),
    terms=set_terms,
    loss="varifocal",
    box_loss="l1",
    box_weight=5.0,
    class_targets=("binary", "quality"),
    box_spaces=("deltas",),
    iou_threshold=1.0,  # each object has one query, so nothing is suppressed
    model=SetDetector,
    criterion=SetCriterion,
)

DETECTORS: dict[DetectorName, Recipe] = {
    "retinanet": RETINANET,
    "fcos": FCOS,
    "atss": ATSS,
    "gfl": GFL,
    "vfnet": VFNET,
    "centernet": CENTERNET,
    "rtdetrv2": RTDETRV2,
    "rtmdet": RTMDET,
}
"""Recipes by the name that `model.detector` takes."""
