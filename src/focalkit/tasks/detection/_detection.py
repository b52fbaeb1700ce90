"""The task of boxes: how they are read and split, and which detector learns them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from focalkit.config import (
    AugmentConfig,
    CriterionConfig,
    DecoderConfig,
    DetectorName,
    ModelConfig,
    TrainConfig,
    cpu_small,
    dfine_small,
    paper,
    rtdetrv2_small,
    with_detector,
)

from .._task import Budget, Inspection, Metric, Outputs, Picture, Range, Source, Splits
from . import _average_precision as ap

if TYPE_CHECKING:
    from focalkit.compare.methods import Method

    from ._fitted import DetectionFitted, DetectionModel


OF_QUALITIES = ("ce", "focal_alpha", "qfl", "varifocal", "mal", "ia_bce")
"""What is worth comparing on a set predictor; the first four on a dense detector of qualities."""


@dataclass(frozen=True)
class Detection:
    """Objects with boxes.

    Attributes:
        config: Makes the configuration that every method trains with. Of its losses only that of the boxes is used,
            its paths are not, and images are not enlarged. Without pretrained weights the backbone learns from nothing.
    """

    name: str = "detection"
    config: Callable[[], TrainConfig] = cpu_small

    metrics = (
        Metric("AP", ap.average_precision, of="outputs", summary="COCO's average precision, overlaps .5 to .95"),
        Metric("AP50", ap.ap50, of="outputs", summary="average precision at an overlap of .5"),
        Metric("AP75", ap.ap75, of="outputs", summary="average precision at an overlap of .75"),
        Metric("AP_rare", ap.ap_rare, of="outputs", summary="AP of classes in at most 10 training images"),
        Metric("AP_common", ap.ap_common, of="outputs", summary="AP of classes in 11 to 100 training images"),
        Metric("AP_frequent", ap.ap_frequent, of="outputs", summary="AP of classes in more than 100 training images"),
    )
    decision_metric: str = ""
    models: tuple[str, ...] = ("no_prior", "fcos", "atss", "gfl", "vfnet")
    default_methods: tuple[str, ...] = ("ce", "alpha_ce", "focal_alpha", "hard_negative_mining", "sampled_anchors")
    resplits: bool = False

    @property
    def kinds(self) -> frozenset[str]:
        """Beside "boxes" what the detector can be taught by: "anchors" matched by their place, "qualities"."""
        from ._configure import kinds_of

        return frozenset({"boxes"}) | kinds_of(self.config())

    def recognises(self, path: Path) -> bool:
        """A folder, or the file, of boxes in one of the forms that `focalkit.data` reads."""
        from ._read import looks_like_boxes

        return looks_like_boxes(path)

    def inspect(self, source: Source, labels: bool = True) -> Inspection:
        """Classes, empty images, and how anchors match the boxes; wrong labels are not looked for."""
        from ._inspect import inspect

        return inspect(source, self.config())

    def read(self, source: Source, seed: int) -> Splits:
        """The data's own parts; where there is no test part, val is it, and images are held out of train for val."""
        from ._read import read

        return read(source)

    def space(self, model: str) -> Mapping[str, Range]:
        """Learning rate, for a batch of `optim.lr_batch`, and weight decay."""
        adamw = self.config().optim.optimizer == "adamw"
        lr = Range(1e-4, 1e-2, log=True) if adamw else Range(1e-3, 1e-1, log=True)
        return {"lr": lr, "weight_decay": Range(1e-5, 1e-2, log=True)}

    def fit(self, method: "Method", splits: Splits, budget: Budget, seed: int, out: Path) -> "DetectionFitted":
        """Train a detector."""
        from ._fit import fit

        return fit(self, method, splits, budget, seed)

    def error_costs(self, outputs: Outputs, classes: Sequence[str]) -> Mapping[str, float]:
        """AP50, and how much it would rise if one of TIDE's kinds of errors were mended."""
        from ._show import error_costs

        return error_costs(outputs, classes)

    def pictures(self, source: Source, outputs: Outputs) -> Sequence[Picture]:
        """The hardest images, and errors of every kind."""
        from ._show import illustrate

        return illustrate(source, outputs)

    def load(self, folder: Path) -> "DetectionModel":
        """A stored detector."""
        from ._fitted import DetectionModel

        return DetectionModel.load(Path(folder))


TASK = Detection()
PAPER = Detection(config=paper)
"""Lin et al., 2017, sec. 4: for a GPU, with ImageNet weights that are downloaded."""


def _relative(detector: DetectorName) -> Detection:
    return Detection(config=lambda: with_detector(cpu_small(), detector))


FCOS, ATSS = _relative("fcos"), _relative("atss")
GFL, VFNET, RTMDET = (replace(_relative(d), default_methods=OF_QUALITIES[:4]) for d in ("gfl", "vfnet", "rtmdet"))
RTDETRV2 = Detection(config=rtdetrv2_small, default_methods=OF_QUALITIES)
DFINE = Detection(config=dfine_small, default_methods=OF_QUALITIES)
DEIM = replace(DFINE, config=lambda: with_detector(dfine_small(), "deim"))

BY_DETECTOR: Mapping[str, str] = {
    name: f"focalkit.tasks.detection:{name.upper()}"
    for name in ("fcos", "atss", "gfl", "vfnet", "rtmdet", "rtdetrv2", "dfine", "deim")
} | {"retinanet": "focalkit.tasks.detection:TASK"}
"""Detector -> its task under every method."""
NOT_COMPARED: Mapping[str, str] = {
    "centernet": "its heat maps have one loss, gaussian_focal, so there is nothing to compare"
}
"""Detector -> why it has no task."""


def _mini() -> TrainConfig:
    config = cpu_small()
    return replace(
        config,
        min_size=128,
        max_size=128,
        model=ModelConfig("tiny", "batch", 0, 32, 32, 1, anchor_sizes=config.model.anchor_sizes),
        criterion=CriterionConfig(),
        augment=AugmentConfig(flip=0.0, scale=(0.8, 1.25)),  # a mirrored digit is no digit
        optim=replace(config.optim, lr=2e-3, weight_decay=1e-3),
    )


def _mini_set() -> TrainConfig:
    config, small = rtdetrv2_small(), _mini()
    decoder = DecoderConfig(layers=2, queries=30, expansion=0.5, feedforward=96, denoising=30)
    return replace(
        config,
        min_size=128,
        max_size=128,
        augment=small.augment,
        model=ModelConfig("tiny", "batch", 0, 48, detector="rtdetrv2", decoder=decoder),
        optim=replace(config.optim, lr=1e-3, warmup_steps=100, ema_decay=0.99),
    )


MINI = Detection(config=_mini)
"""A detector that one thread trains in half a minute on the demo scenes at 128 px, from random weights."""
RTDETRV2_MINI = Detection(config=_mini_set, default_methods=OF_QUALITIES)
"""RT-DETRv2 with two layers and 30 queries, for the demo scenes at 128 px, from random weights."""
