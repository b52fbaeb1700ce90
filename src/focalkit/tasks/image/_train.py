"""One training of a network on images: SGD with momentum, random crops and flips, a fixed number of steps."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from focalkit.sampling import epoch_indices
from focalkit.training.losses import Seen

from .. import _ranks
from .._clock import Clock
from .._diverged import Watch
from .._losses import MethodLoss

if TYPE_CHECKING:
    from ._read import Pictures

WARM_UP = 0.05
"""Share of the training over which the rate rises from 0."""
SLOW_AFTER = 0.2
LOOK = 50
"""Steps after which it is seen that one was not finite."""
CROP = 1 / 8
"""Largest shift of a random crop, in image sides."""

Pairs = Sequence[tuple[float, Tensor]]
"""(weight, labels (b,)) of a batch: one pair, or two where images are mixed."""
Objective = Callable[[Tensor, Pairs, float], Tensor]
"""Images (b, 3, h, w) in 0..1, their labels, and the share of the training that is done -> the value to descend."""


@dataclass(frozen=True)
class Run:
    """What all trainings of one fit share.

    Attributes:
        data: Training images.
        loss: What the objectives call; it knows what the logits were.
        batch: Images of a step.
        rate, weight_decay: Of SGD.
        decay_at: See `Images`.
        mixup: Its alpha, or None.
        seed: Of the order of the images.
        generator: Of crops, flips and mixing.
    """

    data: "Pictures"
    loss: MethodLoss
    batch: int
    rate: float
    weight_decay: float
    decay_at: tuple[float, ...]
    mixup: float | None
    seed: int
    generator: np.random.Generator


def train(run: Run, objective: Objective, module: nn.Module, sampler: str | None, clock: Clock) -> int:
    """Change the parameters of `module` until the clock has run down, on a schedule of their own; the steps taken.

    Processes that share the training draw the same batches, and each computes its part of the images: what one process
    would have descended, all of them descend together, by losses that are `MethodLoss.of_parts`. A process without a
    part, where there are fewer images than processes, adds 0.

    Raises:
        DivergedError: A loss or a gradient that is NaN or infinite, in all processes alike.
    """
    device = next(module.parameters()).device
    optimizer = torch.optim.SGD(_groups(module, run.weight_decay), lr=run.rate, momentum=0.9, nesterov=True)
    batches, watch = _batches(sampler, run, device), Watch("images")
    for step in range(clock.steps):
        share = clock.share(step)
        for group in optimizer.param_groups:
            group["lr"] = run.rate * _schedule(share, run.decay_at)
        images, labels, chosen = next(batches)
        pairs = [(1.0, labels)]
        if run.mixup is not None:
            mix = float(run.generator.beta(run.mixup, run.mixup))
            other = torch.from_numpy(run.generator.permutation(len(labels))).to(device)
            images = mix * images + (1 - mix) * images[other]
            pairs = [(mix, labels), (1 - mix, labels[other])]
        own = _ranks.own_part(len(labels))
        of_all = len(labels[own]) / len(labels)
        value = objective(images[own], [(weight, of[own]) for weight, of in pairs], share)
        # subtle: a process without images takes part too, for the sake of the norms; its gradient is 0
        value = value * of_all
        optimizer.zero_grad()
        value.backward()
        _ranks.sum_gradients(module)
        norm = nn.utils.get_total_norm([p.grad for p in module.parameters() if p.grad is not None])
        seen = Seen(run.data.ids[chosen[own]].tolist(), run.loss.seen)
        # subtle: the watch takes the mean over the processes of what is to be their sum
        watch.step(step + 1, {"classification": value * _ranks.count()}, seen, norm, optimizer.param_groups[0]["lr"])
        optimizer.step()
        last = clock.share(step + 1) >= 1
        if last or (step + 1) % LOOK == 0:
            watch.look()
        if last:
            return step + 1
    return clock.steps


def _groups(module: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Weights decay; biases and what BatchNorm scales by do not."""
    weights = [p for p in module.parameters() if p.ndim > 1]
    others = [p for p in module.parameters() if p.ndim <= 1]
    return [{"params": weights, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def _schedule(share: float, decay_at: tuple[float, ...]) -> float:
    """The rate as a share of its largest value, after `share` of the training."""
    if share < WARM_UP:
        return (share + 1e-3) / WARM_UP
    if decay_at:
        return 0.01 ** sum(share >= at for at in decay_at)
    return 0.5 * (1 + math.cos(math.pi * max(0.0, share - SLOW_AFTER) / (1 - SLOW_AFTER)))


def _batches(sampler: str | None, run: Run, device: torch.device) -> Iterator[tuple[Tensor, Tensor, np.ndarray]]:
    """Endlessly (images (b, 3, h, w) in 0..1, labels (b,), their indices), cropped and flipped at random."""
    epoch = 0
    while True:
        order = epoch_indices(sampler, run.data.labels, run.seed, epoch)
        for start in range(0, max(1, len(order) - run.batch + 1), run.batch):
            chosen = order[start : start + run.batch]
            images = torch.from_numpy(_augmented(run.data.images[chosen], run.generator)).to(device)
            labels = torch.from_numpy(run.data.labels[chosen]).to(device)
            yield images.permute(0, 3, 1, 2).float() / 255, labels, chosen
        epoch += 1


def _augmented(images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Every image shifted by up to an eighth of its side, black coming in, and half of them mirrored."""
    n, side = images.shape[:2]
    shift = max(1, round(side * CROP))
    padded = np.pad(images, ((0, 0), (shift, shift), (shift, shift), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(1, 2))
    top, left = generator.integers(0, 2 * shift + 1, size=(2, n))
    found = np.ascontiguousarray(windows[np.arange(n), top, left].transpose(0, 2, 3, 1))
    mirrored = generator.random(n) < 0.5
    found[mirrored] = found[mirrored, :, ::-1]
    return found
