"""From a method to the configuration that a detector trains with."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from focalkit.config import DetectorName, TrainConfig, with_detector
from focalkit.data import DetectionData
from focalkit.detection.build import assigner_of
from focalkit.detection.options import without_unread
from focalkit.detection.recipes import DETECTORS
from focalkit.errors import ConfigError
from focalkit.losses import LOSSES, argument_names, parse
from focalkit.training.resolve import resolve

from .._losses import class_weights
from .._task import Budget
from ._sample import of_anchors

if TYPE_CHECKING:
    from focalkit.compare.methods import Method

PLAIN = "bce"
"""Cross-entropy of a dense detector is that of independent sigmoids: background is no class."""
GUIDED = "guided"
"""Chen et al. (2019, arXiv 1909.04868): no sampling and no focusing, but a bias and a scale that fit the data.

The paper's third part, a score threshold at the share of positives, has no place here: every method is judged on all
scores.
"""
SMALLEST = 128
"""Pixels; the coarsest map of a detector has one cell for so many."""


def configure(
    config: TrainConfig, method: "Method", class_counts: Sequence[int], budget: Budget, seed: int
) -> TrainConfig:
    """The configuration of the task with everything that the method changes.

    Raises:
        ConfigError: Something in the method that a detector cannot do.
    """
    for name, known in (("augment", (None,)), ("schedule", (None, GUIDED))):
        if (asked := getattr(method, name)) not in known:
            raise ConfigError(f"the task detection has no {name} {asked!r}, which the method {method.name!r} asks for")
    plain, plain_loss = method.loss in ("default", "ce"), PLAIN
    if method.model in DETECTORS and (plain or not takes(config.model.detector, method.loss)):
        config = without_unread(with_detector(config, method.model))
        plain_loss = DETECTORS[method.model].loss
    if method.model == "no_prior":
        config = replace(config, model=replace(config.model, prior_prob=None))
    loss = _weighted(plain_loss if plain else method.loss, method.class_weight, class_counts)
    optim = replace(config.optim, **{k: float(v) for k, v in method.settings.items() if k in ("lr", "weight_decay")})
    gpu = torch.cuda.is_available()
    return resolve(
        replace(
            config,
            loss=loss,
            optim=optim,
            criterion=replace(config.criterion, **_sampled_anchors(method.sampler)),
            max_steps=budget.steps or config.max_steps,
            seed=seed,
            runtime=replace(
                config.runtime,
                workers=config.runtime.workers if gpu else 0,
                accelerator="auto" if gpu else "cpu",
            ),
        )
    ).config


def kinds_of(config: TrainConfig) -> frozenset[str]:
    """What methods the detector takes beside those of all: "anchors", "qualities"; see `Detection.kinds`."""
    by_place = callable(assigner_of(config))
    by_quality = "quality" in DETECTORS[config.model.detector].class_targets
    return frozenset({name for name, there in (("anchors", by_place), ("qualities", by_quality)) if there})


def takes(detector: DetectorName, loss: str) -> bool:
    """Whether a detector's classification can be taught by a loss; one of your own always."""
    name = parse(loss)[0]
    return name not in LOSSES or LOSSES[name].targets in DETECTORS[detector].class_targets


def not_enlarged(config: TrainConfig, data: DetectionData) -> TrainConfig:
    """The configuration with an image size no larger than the data's largest image, but at least SMALLEST."""
    side = max(SMALLEST, *(max(image.width, image.height) for image in data.images))
    return replace(config, min_size=min(config.min_size, side), max_size=min(config.max_size, side))


def _sampled_anchors(sampler: str | None) -> dict[str, Any]:
    """The fields of `CriterionConfig` for "anchors(count=256, positive=0.5)"; {} for other samplers."""
    name, arguments = of_anchors(sampler)
    return {"sample": arguments["count"], "sample_positive": arguments["positive"]} if name == "anchors" else {}


def _weighted(loss: str, class_weight: str | None, class_counts: Sequence[int]) -> str:
    """The loss with a weight for the column of every class, of mean 1 over the columns."""
    weights = class_weights(class_weight, [max(n, 1) for n in class_counts])
    if weights is None:
        return loss
    if "class_weight" not in argument_names(loss):
        raise ConfigError(f"the loss {loss!r} takes no class weights")
    name, arguments = parse(loss)
    shown = {**arguments, "class_weight": [round(float(w), 6) for w in weights * len(weights) / weights.sum()]}
    return f"{name}({', '.join(f'{k}={v!r}' for k, v in shown.items())})"
