"""What the recipes of detectors are put together from: functions of the configuration, one for each choice."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn
from torch.nn import functional as F

from focalkit import losses
from focalkit.config import CriterionConfig, ModelConfig
from focalkit.detection.boxes.anchors import AnchorGrid
from focalkit.detection.boxes.points import DistributionCoder
from focalkit.detection.boxes.quality import AssignedQuality, Centerness, PredictedIoU
from focalkit.detection.criterion import Matcher
from focalkit.detection.matching.libraries import LIBRARIES
from focalkit.detection.matching.max_iou import MaxIoUAssigner
from focalkit.detection.models.detr.decoder import SetHead
from focalkit.detection.models.detr.denoising import ContrastiveDenoising
from focalkit.detection.models.detr.fine_decoder import SCALE, FineHead
from focalkit.detection.models.detr.hybrid_encoder import HybridEncoder
from focalkit.detection.models.detr.layers import Activation, ConvNorm, DepthwiseDown, ELANBlock
from focalkit.detection.models.fpn import FPN
from focalkit.detection.models.head import RetinaNetHead
from focalkit.detection.models.point_head import PointHead
from focalkit.detection.models.rtmdet.head import RTMDetHead
from focalkit.detection.refinement_terms import DistillationTerm, SideTerm
from focalkit.detection.terms import (
    BoxTerm,
    ClassTerm,
    DistributionTerm,
    HeatMapTerm,
    QualityClassTerm,
    QualityTerm,
)
from focalkit.detection.types import BoxCoder, PriorGrid

Terms = Mapping[str, nn.Module]


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
        groups=d.groups,
    )


def fine_encoder(channels: Sequence[int], model: ModelConfig) -> HybridEncoder:
    d = model.decoder
    return HybridEncoder(
        channels,
        model.fpn_channels,
        heads=d.heads,
        feedforward=d.feedforward,
        expansion=d.expansion,
        depth=model.neck_depth,
        fusion=ELANBlock,
        lateral=lambda c: ConvNorm(c, c),
        down=DepthwiseDown,
    )


def fine_head(
    model: ModelConfig, num_classes: int, priors: PriorGrid, coder: BoxCoder, *, activation: Activation = F.relu
) -> FineHead:
    d = model.decoder
    return FineHead(
        model.fpn_channels,
        num_classes,
        layers=d.layers,
        queries=d.queries,
        heads=d.heads,
        feedforward=d.feedforward,
        points=(d.points, 2 * d.points, d.points),
        activation=activation,
        denoising=ContrastiveDenoising(d.denoising, d.label_noise, d.box_noise) if d.denoising else None,
        prior_prob=model.prior_prob,
        groups=d.groups,
    )


def fine_terms(loss: nn.Module, box: Callable[..., BoxTerm], coder: BoxCoder) -> Terms:
    sides, distillation = SideTerm(coder, SCALE), DistillationTerm(coder)
    return {**set_terms(loss, box, coder), "sides": sides, "distillation": distillation}


def set_terms(loss: nn.Module, box: Callable[..., BoxTerm], coder: BoxCoder) -> Terms:
    """The class target is what the loss asks for: the IoU where it learns qualities, else the class."""
    own = loss.loss if isinstance(loss, losses.FederatedLoss) else loss
    learns_quality = any(type(own) is line.module for line in losses.LOSSES.values() if line.targets == "quality")
    return {
        "classification": QualityClassTerm(loss, PredictedIoU(coder)) if learns_quality else ClassTerm(loss),
        "box": box(),
        "giou": BoxTerm(losses.GIoULoss(reduction="sum"), coder, "boxes", 2.0),
    }
