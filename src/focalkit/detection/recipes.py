"""What each detector is made of, in one literal table; its name decides nothing anywhere else.

What is left out: FCOS's regression to strides without exp, VarifocalNet's star convolution and second box, ATSS's boxes
as deltas of anchors (its paper finds points as good, sec. 4.2).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

from torch import nn
from torch.nn import functional as F

from focalkit.config import CriterionConfig, DecoderConfig, DetectorName, ModelConfig
from focalkit.detection import parts
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
from focalkit.detection.boxes.whole_image import WholeImage
from focalkit.detection.criterion import DetectionCriterion, Matcher
from focalkit.detection.matching.atss import ATSSAssigner
from focalkit.detection.matching.center import CenterAssigner
from focalkit.detection.matching.fcos import PointAssigner
from focalkit.detection.matching.hungarian import HungarianMatcher
from focalkit.detection.matching.predicted.dynamic_k import DynamicSoftLabelAssigner
from focalkit.detection.models.center_neck import CenterNeck
from focalkit.detection.models.detr.detector import AnyDetector, SetDetector
from focalkit.detection.models.retinanet import RetinaNet
from focalkit.detection.models.rtmdet.neck import CSPNeXtPAFPN
from focalkit.detection.parts import Terms
from focalkit.detection.set_criterion import SetCriterion
from focalkit.detection.terms import BoxTerm, Space
from focalkit.detection.types import BoxCoder, PriorGrid

BINS = 17
"""Positions of GFL's distributions, 0 to 16 (Li et al., 2020, sec. 4: n = 16)."""
SIDE = 8
"""Width of ATSS's square priors in units of what distances are counted in: strides (Zhang et al., 2020, sec. 4.1)."""
STRIDES = (8, 16, 32)
"""Of RTMDet's maps."""
FOCAL = "focal(gamma=2.0, alpha=0.25)"

ANCHORS = tuple(f"model.anchor_{of}" for of in ("sizes", "scales", "ratios"))
GRID = tuple(f"model.numerics.{name}" for name in ("rounded_anchors", "anchor_stride", "clamp_dwdh_min"))
PYRAMID = ("model.numerics.p6_from", "model.numerics.p7_relu")
TOWERS = ("model.head_channels", "model.head_depth", "model.head_norm")
OVERLAP = tuple(f"criterion.{name}" for name in ("matching", "fg_iou", "bg_iou", "min_pos_iou"))
SAMPLING = ("criterion.sample", "criterion.sample_positive")
DECODER = tuple(f"model.decoder.{field.name}" for field in fields(DecoderConfig))

SHARES = CenterSizeCoder((1.0, 1.0, 1.0, 1.0))
"""Centre and size as shares of the prior, which is the image."""


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
        reads: The options that it is made with, of those that not every detector has (`focalkit.detection.options`).
        normalizers: What its losses may be divided by.
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
    reads: tuple[str, ...]
    class_targets: tuple[str, ...] = ("binary",)
    box_spaces: tuple[Space, ...] = ("deltas", "boxes")
    iou_threshold: float = 0.6  # what the code of all authors but RetinaNet's has
    peak_window: int = 1
    normalizers: tuple[str, ...] = ("batch", "image", "ema")
    model: Callable[..., AnyDetector] = RetinaNet
    criterion: Callable[[Matcher, Terms, Any], DetectionCriterion | SetCriterion] = DetectionCriterion


RETINANET = Recipe(
    title="RetinaNet",
    priors=parts.anchors,
    coder=lambda model: DeltaXYWH(clamp_dwdh_min=model.numerics.clamp_dwdh_min),
    neck=parts.pyramid,
    head=parts.anchor_head,
    matcher=parts.overlap_matcher,
    terms=parts.label_terms,
    loss=FOCAL,
    box_loss="smooth_l1",
    box_weight=1.0,
    reads=(*ANCHORS, *GRID, *OVERLAP, *PYRAMID, *TOWERS, *SAMPLING),
    iou_threshold=0.5,
)
FCOS = Recipe(
    title="FCOS",
    priors=lambda model: PointGrid(),
    coder=lambda model: DistanceCoder(),
    neck=parts.pyramid,
    head=partial(parts.point_head, quality=True),
    matcher=lambda model, _: PointAssigner(limits=tuple(2 * size for size in model.anchor_sizes[:-1])),
    terms=parts.centerness_terms,
    loss=FOCAL,
    box_loss="giou",
    box_weight=1.0,
    reads=("model.anchor_sizes", *PYRAMID, *TOWERS, *SAMPLING),
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
    head=parts.point_head,
    terms=parts.iou_terms,
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
    head=parts.point_head,
    matcher=lambda model, _: CenterAssigner(),
    terms=parts.heat_map_terms,
    loss="gaussian_focal",
    box_loss="l1",
    box_weight=1.0,
    reads=(*TOWERS, *SAMPLING),
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
    head=parts.rtmdet_head,
    matcher=lambda model, _: DynamicSoftLabelAssigner(RTMDET.coder(model)),
    terms=parts.assigned_terms,
    loss="qfl",
    box_loss="giou",
    box_weight=2.0,
    reads=("model.head_channels", "model.head_depth", "model.neck_depth", "model.numerics.plain_distances"),
    class_targets=("binary", "quality"),
    iou_threshold=0.65,
)
RTDETRV2 = Recipe(
    title="RT-DETRv2",
    priors=lambda model: WholeImage(),
    coder=lambda model: SHARES,
    neck=parts.hybrid_encoder,
    head=parts.set_head,
    matcher=lambda model, _: HungarianMatcher(SHARES),
    terms=parts.set_terms,
    loss="varifocal",
    box_loss="l1",
    box_weight=5.0,
    reads=DECODER,
    class_targets=("binary", "quality"),
    box_spaces=("deltas",),
    iou_threshold=1.0,  # each object has one query, so nothing is suppressed
    normalizers=("batch", "image"),
    model=SetDetector,
    criterion=SetCriterion,
)
DFINE = replace(
    RTDETRV2,
    title="D-FINE",
    neck=parts.fine_encoder,
    head=parts.fine_head,
    terms=parts.fine_terms,
    reads=(*DECODER, "model.neck_depth"),
    normalizers=("batch",),
    criterion=partial(SetCriterion, united=("box", "giou", "sides", "distillation")),
)
DEIM = replace(  # Huang et al., 2025; mosaic and mixup, for more objects in an image, are in the presets
    DFINE, title="DEIM", head=partial(parts.fine_head, activation=F.silu), loss="mal"
)

DETECTORS: dict[DetectorName, Recipe] = {
    "retinanet": RETINANET,
    "fcos": FCOS,
    "atss": ATSS,
    "gfl": GFL,
    "vfnet": VFNET,
    "centernet": CENTERNET,
    "deim": DEIM,
    "dfine": DFINE,
    "rtdetrv2": RTDETRV2,
    "rtmdet": RTMDET,
}
"""Recipes by the name that `model.detector` takes."""
