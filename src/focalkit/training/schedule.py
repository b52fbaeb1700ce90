"""The learning rate as a pure function of the step: warm-up, constant, step, cosine, one-cycle. Free of torch."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from focalkit.config import TrainConfig

WARMUP_START = 1e-3


@dataclass(frozen=True)
class Plan:
    """How long a run is, and its rate.

    Attributes:
        steps_per_epoch: Optimiser steps of a whole epoch.
        steps: Optimiser steps of the run.
        epochs: Epochs that are begun.
        lr: The base rate, scaled to the batch.
    """

    steps_per_epoch: int
    steps: int
    epochs: int
    lr: float


def plan_run(config: TrainConfig, images: int) -> Plan:
    """The plan for so many training images. An epoch is as many whole batches as they fill, at least one."""
    per_epoch = max(images // config.batch_size, 1)
    steps = config.max_steps or config.epochs * per_epoch
    lr = scaled_lr(config.optim.lr, config.batch_size, config.optim.lr_batch)
    return Plan(per_epoch, steps, math.ceil(steps / per_epoch), lr)


def lr_factor(step: int, *, total: int, schedule: str, warmup: int = 0, milestones: Sequence[float] = ()) -> float:
    """What the base rate is multiplied by at optimiser step `step` (0 is the first).

    - "constant": 1.
    - "step": divided by ten at each of `milestones`, fractions of the run (Lin et al., 2017: 60k and 80k of 90k).
    - "cosine": half a cosine from 1 down to 0 (Loshchilov & Hutter, 2017, eq. 5, without restarts).
    - "onecycle": a cosine up from 1/25 to 1 in the first 30 % of the run and a cosine down to 4e-6 (Smith & Topin,
      2018, with the constants of `torch.optim.lr_scheduler.OneCycleLR`); its own warm-up, `warmup` is not used.

    The first three are multiplied by a linear warm-up from 1/1000 to 1 over `warmup` steps, at most a tenth of the run.

    Args:
        step: 0 .. total - 1; later steps keep the last value.
        total: Optimiser steps of the whole run.

    Example:
        >>> [lr_factor(s, total=90, schedule="step", milestones=(2 / 3, 8 / 9)) for s in (0, 60, 80)]
        [1.0, 0.1, 0.01]
    """
    step = min(max(step, 0), max(total - 1, 0))
    if schedule == "onecycle":
        return _onecycle(step, total)
    warmup = min(warmup, total // 10)
    warm = 1.0 if step >= warmup else WARMUP_START + (1 - WARMUP_START) * step / warmup
    return warm * _SHAPES[schedule](step, total, milestones)


def _constant(step: int, total: int, milestones: Sequence[float]) -> float:
    return 1.0


def _step(step: int, total: int, milestones: Sequence[float]) -> float:
    return 10.0 ** -sum(step >= round(m * total) for m in milestones)


def _cosine(step: int, total: int, milestones: Sequence[float]) -> float:
    return 0.5 * (1 + math.cos(math.pi * step / max(total, 1)))


def _onecycle(step: int, total: int) -> float:
    low, last = 1 / 25, 1 / 25 / 1e4
    peak = 0.3 * total - 1
    if step <= peak:
        return _between(low, 1.0, step / peak) if peak > 0 else 1.0
    return _between(1.0, last, (step - peak) / max(total - 1 - peak, 1e-12))


def _between(start: float, end: float, fraction: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * fraction))


_SHAPES: dict[str, Callable[[int, int, Sequence[float]], float]] = {
    "constant": _constant,
    "cosine": _cosine,
    "step": _step,
}


def scaled_lr(lr: float, batch: int, lr_batch: int) -> float:
    """The linear rule (Goyal et al., 2017): a rate given for `lr_batch` images, for batches of `batch`."""
    return lr * batch / lr_batch
