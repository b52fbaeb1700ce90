"""The criterion that a configuration describes: one page, nested constructors. The models are in `relatives.py`."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from focalkit import losses
from focalkit.config import TrainConfig
from focalkit.detection.boxes import quality
from focalkit.detection.criterion import DetectionCriterion, Matching
from focalkit.detection.gfl import side_distribution_loss
from focalkit.detection.matching.atss import ATSSAssigner
from focalkit.detection.matching.center import CenterAssigner
from focalkit.detection.matching.fcos import PointAssigner
from focalkit.detection.matching.heat_map import GaussianHeatMap
from focalkit.detection.matching.libraries import LIBRARIES
from focalkit.detection.matching.max_iou import MaxIoUAssigner
from focalkit.detection.matching.sample import BalancedSampler
from focalkit.detection.models.relatives import coder_of
from focalkit.errors import ConfigError

# detector -> classification loss, box loss and its weight, as its authors train it
OWN_LOSSES = {
    "retinanet": ("focal(gamma=2.0, alpha=0.25)", "smooth_l1", 1.0),
    "fcos": ("focal(gamma=2.0, alpha=0.25)", "giou", 1.0),
    "atss": ("focal(gamma=2.0, alpha=0.25)", "giou", 2.0),
    "gfl": ("qfl", "giou", 2.0),
    "vfnet": ("varifocal", "giou", 2.0),
    "centernet": ("gaussian_focal", "l1", 1.0),
}


FACTS = ("num_classes", "class_counts", "frequency")
"""What a loss may ask the training data for, by the name of an argument: the number of classes, boxes per class, share
of the images that show each class."""


def losses_of(config: TrainConfig) -> tuple[str, str, float]:
    """Classification loss, box loss and its weight: those that the configuration names, else the detector's own."""
    named = (config.loss, config.criterion.box_loss, config.criterion.box_weight)
    loss, box_loss, box_weight = OWN_LOSSES[config.model.detector]
    return (
        loss if named[0] is None else named[0],
        box_loss if named[1] is None else named[1],
        box_weight if named[2] is None else named[2],
    )


def with_own_losses(config: TrainConfig) -> TrainConfig:
    """`config` with the losses of its detector where it names none; what it names stays.

    Example:
        >>> from focalkit.config import ModelConfig
        >>> with_own_losses(TrainConfig(model=ModelConfig(detector="gfl"))).loss
        'qfl'
    """
    loss, box_loss, box_weight = losses_of(config)
    return replace(config, loss=loss, criterion=replace(config.criterion, box_loss=box_loss, box_weight=box_weight))


def check_losses(config: TrainConfig) -> None:
    """Refuse losses that `build_criterion` would refuse, before the training data is known.

    Raises:
        ConfigError: A classification loss or a box loss that cannot serve the detector.
    """
    cls_loss, box_loss, _ = losses_of(config)
    _check(config.model.detector, losses.parse(cls_loss)[0], losses.parse(box_loss)[0])
    losses.build(box_loss, reduction="sum")
    if not set(FACTS) & set(losses.argument_names(cls_loss)):
        losses.build(cls_loss, class_dim=-1, reduction="sum")


def build_criterion(config: TrainConfig, facts: Mapping[str, Any] | None = None) -> DetectionCriterion:
    """The criterion that a training configuration describes. A box loss of your own gets encoded deltas.

    Classification losses that keep a state, and your own, see whole images at once.

    Args:
        config: Names the losses.
        facts: Values of `FACTS`. A classification loss whose arguments have one of these names gets it, unless the
            configuration gives it a value.

    Raises:
        ConfigError: A classification loss or a box loss that cannot serve the detector.

    Example:
        >>> build_criterion(TrainConfig(loss="eqlv2(gamma=10)"), {"num_classes": 7}).cls_loss.num_classes
        7
    """
    c, detector = config.criterion, config.model.detector
    cls_spec, box_spec, box_weight = losses_of(config)
    cls_name, box_name = losses.parse(cls_spec)[0], losses.parse(box_spec)[0]
    _check(detector, cls_name, box_name)
    asked = losses.argument_names(cls_spec)
    known = {name: value for name, value in (facts or {}).items() if name in FACTS and name in asked}
    box_loss = losses.LOSSES.get(box_name)
    to_branch = detector in ("fcos", "atss")
    to_classes = detector in ("gfl", "vfnet")
    return DetectionCriterion(
        assigner=assigner_of(config),
        coder=coder_of(config.model),
        cls_loss=losses.build(cls_spec, class_dim=-1, reduction="sum", **known),
        box_loss=losses.build(box_spec, reduction="sum"),
        box_weight=box_weight,
        normalizer=c.normalizer,
        box_space="boxes" if box_loss is not None and box_loss.targets == "boxes" else "deltas",
        whole_images=cls_name not in losses.LOSSES or losses.LOSSES[cls_name].function is None,
        sampler=None if c.sample is None else BalancedSampler(c.sample, c.sample_positive),
        quality=quality.centerness if to_branch else quality.iou if to_classes else None,
        quality_to="branch" if to_branch else "classes",
        distribution_loss=side_distribution_loss if detector == "gfl" else None,
        heat_map=GaussianHeatMap() if detector == "centernet" else None,
    )


def assigner_of(config: TrainConfig) -> Matching:
    """How priors are matched to boxes."""
    c, model = config.criterion, config.model
    match model.detector:
        case "fcos":
            return PointAssigner(limits=tuple(2 * size for size in model.anchor_sizes[:-1]))
        case "atss" | "gfl" | "vfnet":
            return ATSSAssigner()
        case "centernet":
            return CenterAssigner()
        case _ if c.matching == "focalkit":
            return MaxIoUAssigner(c.fg_iou, c.bg_iou, c.min_pos_iou)
        case _:
            return LIBRARIES[c.matching](c.fg_iou, c.bg_iou)


def _check(detector: str, cls_name: str, box_name: str) -> None:
    kinds = {"gfl": ("binary", "quality"), "vfnet": ("binary", "quality"), "centernet": ("heat map",)}
    serving = _names(*kinds.get(detector, ("binary",)))
    if cls_name in losses.LOSSES and cls_name not in serving:
        raise ConfigError(
            f"the loss {cls_name!r} is not one of independent sigmoids with the targets that {detector} needs;"
            f" expected one of {', '.join(serving)}, or your own as my_pkg.mod:MyLoss"
        )
    spaces = {"gfl": ("boxes",), "centernet": ("deltas",)}
    serving = _names(*spaces.get(detector, ("boxes", "deltas")))
    if ":" not in box_name and box_name not in serving:
        known = "unknown" if box_name not in _names("boxes", "deltas") else "unfit"
        raise ConfigError(f"{known} box loss {box_name!r} for {detector}; expected one of {', '.join(serving)}")


def _names(*kinds: str) -> list[str]:
    return sorted(name for name, line in losses.LOSSES.items() if line.targets in kinds)
