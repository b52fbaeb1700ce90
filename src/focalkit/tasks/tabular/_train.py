"""Train the network for tables: AdamW, the best validation score kept, an end when it no longer rises.

The score that decides is the task's own ranking metric, whatever the loss: a loss could not be compared across methods.
"""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from focalkit.errors import ConfigError
from focalkit.sampling import epoch_indices, resample_table
from focalkit.training.losses import Seen

from .._clock import Clock
from .._diverged import Watch
from .._losses import MethodLoss, mixup_alpha
from .._task import Budget
from ._network import Factory, TableNetwork

if TYPE_CHECKING:
    from focalkit.compare.methods import Method

STEPS = 2000
LARGEST_BATCH = 1024
PASSES = 20
"""Over the rows at most, where a batch is the largest: there one pass is many steps, and a step takes longest."""
EVALUATE_EVERY = 50
PATIENCE = 8
"""Evaluations without a better score before the end."""
LEARNING_RATE, WEIGHT_DECAY = 2e-3, 1e-2
CHUNK = 8192


@dataclass(frozen=True)
class Rows:
    """Encoded rows: (n, d) numbers, (n, c) codes, (n,) labels, (n,) ids: -1 of rows that were made."""

    numbers: Tensor
    codes: Tensor
    labels: Tensor
    ids: Tensor

    def take(self, index: Tensor) -> "Rows":
        """The rows `index`."""
        return Rows(self.numbers[index], self.codes[index], self.labels[index], self.ids[index])


@dataclass(frozen=True)
class Trained:
    """The network of the best step."""

    network: nn.Module
    steps: int
    best_step: int
    score: float


def train_network(
    method: "Method",
    train: Rows,
    val: Rows,
    levels: list[int],
    class_counts: tuple[int, ...],
    score: Callable[[np.ndarray], float],
    budget: Budget,
    seed: int,
    factory: Factory = TableNetwork,
) -> Trained:
    """Fit.

    Args:
        method: Loss, sampling, weights, schedule, augmentation and settings.
        train, val: Encoded rows.
        levels: Codes of each category column.
        class_counts: Of the training rows.
        score: Of validation logits (n, k); higher is better.
        budget: Steps, seconds, threads.
        seed: Of initial weights, batches and dropout.
        factory: Makes the network.

    Raises:
        DivergedError: A loss or a gradient that is NaN or infinite.
    """
    torch.manual_seed(seed)
    settings = method.settings
    network = factory(train.numbers.shape[1], levels, len(class_counts))
    loss = MethodLoss(method, class_counts)
    alpha = mixup_alpha(method.augment)
    if alpha is not None and not isinstance(network, TableNetwork):
        raise ConfigError(f"mixup mixes encoded rows, which only focalkit's network has; got {type(network).__name__}")
    n = len(train.labels)
    large = batch_size_of(n) == LARGEST_BATCH
    optimizer = torch.optim.AdamW(
        network.parameters(),
        lr=float(settings.get("lr", LEARNING_RATE)),
        weight_decay=float(settings.get("weight_decay", WEIGHT_DECAY)),
        fused=large,  # elsewhere it would only change the last digits of what is published
    )
    random = np.random.default_rng([seed, 3])
    limit = budget.steps or (min(STEPS, math.ceil(PASSES * n / LARGEST_BATCH)) if large else STEPS)
    clock, watch = Clock(limit, budget.seconds), Watch("rows")
    best, best_step, best_state, step = -np.inf, 0, copy.deepcopy(network.state_dict()), 0
    for step, batch in enumerate(_batches(method.sampler, train, seed), 1):
        numbers, codes, labels = batch.numbers, batch.codes, batch.labels
        network.train()
        share = clock.share(step - 1)
        if alpha is None or not isinstance(network, TableNetwork):
            value = loss(network(numbers, codes), labels, share)
        else:
            mix, other = float(random.beta(alpha, alpha)), torch.from_numpy(random.permutation(len(labels)))
            encoded = network.encode(numbers, codes)
            logits = network.classify(mix * encoded + (1 - mix) * encoded[other])
            value = mix * loss(logits, labels, share) + (1 - mix) * loss(logits, labels[other], share)
        optimizer.zero_grad()
        value.backward()
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        lr = optimizer.param_groups[0]["lr"]
        watch.step(step, {"classification": value}, Seen(batch.ids.tolist(), loss.seen), norm, lr)
        optimizer.step()
        last = clock.share(step) >= 1
        if step % EVALUATE_EVERY == 0 or last:
            watch.look()
            found = score(logits_of(network, val.numbers, val.codes))
            if found > best:
                best, best_step, best_state = found, step, copy.deepcopy(network.state_dict())
            # deferred weights have not had their turn before the schedule's start
            waited = step - max(best_step, int(loss.start * limit)) >= PATIENCE * EVALUATE_EVERY
            if last or waited:
                break
    network.load_state_dict(best_state)
    return Trained(network, step, best_step, best)


@torch.no_grad()
def logits_of(network: nn.Module, numbers: Tensor, codes: Tensor) -> np.ndarray:
    """(n, k) float32, in evaluation mode."""
    network.eval()
    chunks = [network(x, c) for x, c in zip(numbers.split(CHUNK), codes.split(CHUNK), strict=True)]
    return torch.cat(chunks).numpy().astype(np.float32)


def batch_size_of(rows: int) -> int:
    """A power of two: about 1/64 of the rows, between 64 and 1024."""
    return int(2 ** np.clip(np.round(np.log2(max(rows, 1) / 64)), 6, math.log2(LARGEST_BATCH)))


def _batches(sampler: str | None, train: Rows, seed: int) -> Iterator[Rows]:
    """Endlessly; the size of a batch depends on the data and not on the sampler."""
    size = batch_size_of(len(train.labels))
    if sampler is not None and sampler.startswith("smote"):
        train, sampler = _with_new_rows(sampler, train, seed), None
    labels = train.labels.numpy()
    epoch = 0
    while True:
        order = torch.from_numpy(epoch_indices(sampler, labels, seed, epoch))
        # an incomplete last batch is joined with nothing: a tiny one would make a wild step
        for chosen in order.split(size):
            if len(chosen) == size or len(order) < size:
                yield train.take(chosen)
        epoch += 1


def _with_new_rows(sampler: str, train: Rows, seed: int) -> Rows:
    d, c = train.numbers.shape[1], train.codes.shape[1]
    x = np.concatenate([train.numbers.numpy(), train.codes.numpy().astype(np.float32)], 1)
    x, y = resample_table(x, train.labels.numpy(), sampler, categorical=range(d, d + c), seed=seed)
    numbers, codes = torch.from_numpy(x[:, :d].copy()), torch.from_numpy(x[:, d:].astype(np.int64))
    return Rows(numbers, codes, torch.from_numpy(y), torch.full((len(y),), -1))
