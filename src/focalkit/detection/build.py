"""From a configuration to a model and a criterion: one page, nested constructors. What each detector is made of is in
`recipes.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from torch import nn

from focalkit import losses
from focalkit.config import DetectorName, ModelConfig, NumericsConfig, TrainConfig
from focalkit.detection.criterion import DetectionCriterion, Matcher
from focalkit.detection.inference.postprocess import DensePostprocess
from focalkit.detection.matching.sample import BalancedSampler, Sampled
from focalkit.detection.models.backbones import build_backbone, resolve_backbone
from focalkit.detection.models.card import ModelCard
from focalkit.detection.models.detr.detector import AnyDetector
from focalkit.detection.models.retinanet import RetinaNet
from focalkit.detection.options import check_options
from focalkit.detection.recipes import DETECTORS
from focalkit.detection.set_criterion import SetCriterion
from focalkit.detection.terms import BoxTerm, Space
from focalkit.errors import ConfigError

FACTS = ("num_classes", "class_counts", "frequency")
"""What a loss may ask the training data for, by the name of an argument: the number of classes, boxes per class, share
of the images that show each class."""


def build_detector(
    config: ModelConfig, num_classes: int, backbone_weights: str | Path | None = None, pretrained: bool = False
) -> AnyDetector:
    """The model that a configuration describes, whichever detector it is; the weights to start from are given apart.

    Args:
        config: Its `detector` chooses the recipe. Of `anchor_sizes` the relatives take their scale: the squares of ATSS
            are twice as wide.
        num_classes: K foreground classes.
        backbone_weights: A file with ImageNet weights.
        pretrained: Download torchvision's ImageNet weights instead.
    """
    config = replace(config, backbone=resolve_backbone(config.backbone, backbone_weights))
    backbone = build_backbone(
        config.backbone,
        weights=backbone_weights,
        pretrained=pretrained,
        norm=config.backbone_norm,
        freeze_at=config.freeze_at,
        norm_eps=config.numerics.norm_eps,
        stride_in_1x1=config.numerics.stride_in_1x1,
    )
    return _around(backbone, config, num_classes, ModelCard(config))


def build_retinanet(
    config: ModelConfig, num_classes: int, backbone_weights: str | Path | None = None, pretrained: bool = False
) -> RetinaNet:
    """As `build_detector`, a RetinaNet whatever `config.detector` says."""
    model = build_detector(replace(config, detector="retinanet"), num_classes, backbone_weights, pretrained)
    assert isinstance(model, RetinaNet)
    return model


def retinanet(
    num_classes: int,
    backbone: str | nn.Module = "resnet50",
    *,
    pretrained_backbone: bool = False,
    backbone_weights: str | Path | None = None,
    backbone_norm: Literal["frozen", "batch"] = "frozen",
    freeze_at: int = 2,
    fpn_channels: int = 256,
    head_channels: int = 256,
    head_depth: int = 4,
    head_norm: Literal["group", "batch"] | None = None,
    anchor_sizes: Sequence[float] = (32.0, 64.0, 128.0, 256.0, 512.0),
    anchor_scales: Sequence[float] = (1.0, 2 ** (1 / 3), 2 ** (2 / 3)),
    anchor_ratios: Sequence[float] = (0.5, 1.0, 2.0),
    prior_prob: float | None = 0.01,
    numerics: NumericsConfig | None = None,
) -> RetinaNet:
    """RetinaNet with the paper's structure unless told otherwise.

    Args:
        num_classes: K foreground classes; background is not one.
        backbone: A name of `focalkit.detection.BACKBONES`, or a module that returns C3, C4, C5 and has `.channels`.
        pretrained_backbone: Download torchvision's ImageNet weights (the IMAGENET1K_V1 file).
        backbone_weights: A .pth, .safetensors or .npz file with ImageNet weights; needs no network.
        backbone_norm: "frozen" BatchNorm for pretrained weights, live "batch" to train from scratch.
        freeze_at: Backbone stages from the stem on that stay as they are; 2 is everything up to stride 4.
        prior_prob: Foreground probability at initialisation (sec. 4.1); None leaves the class bias at 0.
        numerics: Where other libraries' RetinaNets differ beside their weights; None takes our defaults.

    Raises:
        InputError: An unknown backbone, or weights that do not fit; the message names the nearest.

    Example:
        >>> model = retinanet(3, backbone="tiny", fpn_channels=16, head_channels=16, head_depth=1)
        >>> [tuple(x.shape) for x in model(torch.zeros(1, 3, 64, 64)).logits][:2]
        [(1, 27, 8, 8), (1, 27, 4, 4)]
    """
    config = ModelConfig(
        backbone_norm=backbone_norm,
        freeze_at=freeze_at,
        fpn_channels=fpn_channels,
        head_channels=head_channels,
        head_depth=head_depth,
        head_norm=head_norm or "none",
        anchor_sizes=tuple(anchor_sizes),
        anchor_scales=tuple(anchor_scales),
        anchor_ratios=tuple(anchor_ratios),
        prior_prob=prior_prob,
        numerics=NumericsConfig() if numerics is None else numerics,
    )
    if isinstance(backbone, str):
        return build_retinanet(replace(config, backbone=backbone), num_classes, backbone_weights, pretrained_backbone)
    if pretrained_backbone or backbone_weights is not None:
        raise ValueError("a backbone module brings its own weights: pass a name, or load them into the module first")
    model = _around(backbone, config, num_classes, card=None)
    assert isinstance(model, RetinaNet)
    return model


def _around(backbone: nn.Module, config: ModelConfig, num_classes: int, card: ModelCard | None) -> AnyDetector:
    """The rest of the detector put around a backbone."""
    recipe, numerics = DETECTORS[config.detector], config.numerics
    priors, coder = recipe.priors(config), recipe.coder(config)
    channels: Any = backbone.channels
    return recipe.model(
        backbone=backbone,
        neck=recipe.neck(channels, config),
        head=recipe.head(config, num_classes, priors, coder),
        priors=priors,
        postprocess=DensePostprocess(
            coder,
            iou_threshold=recipe.iou_threshold,
            max_detections=numerics.max_detections,
            peak_window=recipe.peak_window,
            clip=numerics.clip,
            keep_empty=numerics.keep_empty,
        ),
        card=card,
        pixel_mean=numerics.pixel_mean,
        pixel_std=numerics.pixel_std,
    )


def build_criterion(config: TrainConfig, facts: Mapping[str, Any] | None = None) -> DetectionCriterion | SetCriterion:
    """The criterion that a training configuration describes.

    A classification loss of your own sees whole images at once; a box loss of your own gets encoded deltas, with GFL
    boxes.

    Args:
        config: Names the losses; where it names none, the detector's own are taken.
        facts: Values of `FACTS`. A classification loss whose arguments have one of these names gets it, unless the
            configuration gives it a value.

    Raises:
        ConfigError: A classification loss or a box loss that cannot serve the detector, or an option that it does not
            read.

    Example:
        >>> criterion = build_criterion(TrainConfig(loss="eqlv2(gamma=10)"), {"num_classes": 7})
        >>> criterion.terms["classification"].loss.num_classes
        7
    """
    check_options(config)
    recipe, (cls_spec, box_spec, box_weight) = DETECTORS[config.model.detector], losses_of(config)
    _check_class_targets(config.model.detector, cls_spec)
    space = _box_space(config.model.detector, box_spec)
    asked = losses.argument_names(cls_spec)
    known = {name: value for name, value in (facts or {}).items() if name in FACTS and name in asked}
    cls_loss = losses.build(cls_spec, class_dim=-1, reduction="sum", **known)
    if config.criterion.federated_classes is not None:
        _check_federated(cls_spec)
        frequency = (facts or {}).get("frequency")
        if frequency is None:
            raise ConfigError("criterion.federated_classes needs the share of images that show each class")
        cls_loss = losses.FederatedLoss(cls_loss, frequency, config.criterion.federated_classes)
    box_loss = losses.build(box_spec, reduction="sum")
    c, coder, matcher = config.criterion, recipe.coder(config.model), assigner_of(config)
    if c.sample is not None:
        assert callable(matcher), "check_options has seen to it"
        matcher = Sampled(matcher, BalancedSampler(c.sample, c.sample_positive))
    return recipe.criterion(
        matcher,
        recipe.terms(cls_loss, partial(BoxTerm, box_loss, coder, space, box_weight), coder),
        c.normalizer,
    )


def assigner_of(config: TrainConfig) -> Matcher:
    """How a configuration matches priors to boxes, before any sampling."""
    return DETECTORS[config.model.detector].matcher(config.model, config.criterion)


def losses_of(config: TrainConfig) -> tuple[str, str, float]:
    """Classification loss, box loss and its weight: those that the configuration names, else the detector's own."""
    recipe, c = DETECTORS[config.model.detector], config.criterion
    return (
        recipe.loss if config.loss is None else config.loss,
        recipe.box_loss if c.box_loss is None else c.box_loss,
        recipe.box_weight if c.box_weight is None else c.box_weight,
    )


def with_own_losses(config: TrainConfig) -> TrainConfig:
    """`config` with the losses of its detector where it names none; what it names stays.

    Example:
        >>> with_own_losses(TrainConfig(model=ModelConfig(detector="gfl"))).loss
        'qfl'
    """
    loss, box_loss, box_weight = losses_of(config)
    return replace(config, loss=loss, criterion=replace(config.criterion, box_loss=box_loss, box_weight=box_weight))


def check_training(config: TrainConfig) -> None:
    """Refuse losses and options that `build_criterion` would refuse, before the training data is known.

    Raises:
        ConfigError: A classification loss or a box loss that cannot serve the detector, or an option that it does not
            read.
    """
    check_options(config)
    cls_spec, box_spec, _ = losses_of(config)
    _check_class_targets(config.model.detector, cls_spec)
    if config.criterion.federated_classes is not None:
        _check_federated(cls_spec)
    _box_space(config.model.detector, box_spec)
    losses.build(box_spec, reduction="sum")
    if not set(FACTS) & set(losses.argument_names(cls_spec)):
        losses.build(cls_spec, class_dim=-1, reduction="sum")


def _check_federated(spec: str) -> None:
    if "class_weight" not in losses.argument_names(spec):
        raise ConfigError(f"the loss {spec!r} takes no class_weight, by which federated_classes leaves classes out")


def _check_class_targets(detector: DetectorName, spec: str) -> None:
    name, kinds = losses.parse(spec)[0], DETECTORS[detector].class_targets
    if name in losses.LOSSES and losses.LOSSES[name].targets not in kinds:
        raise ConfigError(
            f"the loss {name!r} is not one of independent sigmoids with the targets that {detector} needs;"
            f" expected one of {_names(*kinds)}, or your own as my_pkg.mod:MyLoss"
        )


def _box_space(detector: DetectorName, spec: str) -> Space:
    """Where a box loss compares."""
    name, spaces = losses.parse(spec)[0], DETECTORS[detector].box_spaces
    if ":" in name:
        return spaces[0]
    for space in spaces:
        if name in losses.LOSSES and losses.LOSSES[name].targets == space:
            return space
    known = name in losses.LOSSES and losses.LOSSES[name].targets in ("boxes", "deltas")
    kind = "unfit" if known else "unknown"
    raise ConfigError(f"{kind} box loss {name!r} for {detector}; expected one of {_names(*spaces)}")


def _names(*kinds: str) -> str:
    return ", ".join(sorted(name for name, line in losses.LOSSES.items() if line.targets in kinds))
