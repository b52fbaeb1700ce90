"""How a detector's classification loss is spread over its examples: Figure 4 of the paper, for a model of your own.

Lin et al., 2017 (fig. 4): take the converged model, sort the losses of the negatives (and, separately, of the
positives), normalise each group to sum 1 and plot the cumulative share. With gamma = 0 the easy negatives hold a large
part of the loss; with gamma = 2 almost all of it lies in few hard ones.

What differs from the paper: it samples 10^7 negative and 10^5 positive windows, here an example is one element of the
logits (one prior and one class, what the sigmoid loss sums over) and all of them are counted, in a histogram of the
signed logit u with bins of 1/256. The loss falls strictly with u for every gamma, so the order by u is the order by
loss, and the bin's centre gives the loss of its members to about 1e-6 relative. Memory does not grow with the data.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from focalkit.detection.criterion import Matcher, assign
from focalkit.detection.types import BACKGROUND, IGNORE, DenseOutputs, DetectionTarget, flatten_level

GAMMAS = (0.0, 0.5, 1.0, 2.0)
# subtle: for gamma = 2 nearly everything happens in the last per cent, so the last positions are closer together
FRACTIONS = (*(i / 100 for i in range(100)), *(0.99 + i / 1000 for i in range(1, 10)), 0.9995, 0.9999, 1.0)

_RANGE = 64.0  # beyond it the loss is 0 (u > 0) or the logit of a diverged model (u < 0)
_PER_UNIT = 256
_BINS = int(2 * _RANGE * _PER_UNIT)


@dataclass(frozen=True)
class LogitHistogram:
    """Counts of the signed logit u (the logit of a positive, minus the logit of a negative), in bins of 1/256.

    Attributes:
        positives: float64 (bins,).
        negatives: float64 (bins,).
    """

    positives: Tensor
    negatives: Tensor

    def __add__(self, other: "LogitHistogram") -> "LogitHistogram":
        return LogitHistogram(self.positives + other.positives, self.negatives + other.negatives)


def logit_histogram(logits: Tensor, labels: Tensor) -> LogitHistogram:
    """Count one level.

    Args:
        logits: (..., n, k).
        labels: Integer (..., n): 0..k-1, -1 background, -100 ignored. An element is positive where its class is the
            label; the other classes of a positive prior are negatives.
    """
    logits, labels = logits.flatten(0, -2), labels.flatten()
    logits, labels = logits[labels != IGNORE], labels[labels != IGNORE]
    rows = (labels != BACKGROUND).nonzero().squeeze(1)
    positive = logits[rows, labels[rows]]
    # all as if negative, less the positives counted so: no dense mask of the targets
    negatives = _count(-logits.flatten()) - _count(-positive)
    return LogitHistogram(_count(positive), negatives)


def _count(u: Tensor) -> Tensor:
    u = torch.nan_to_num(u.detach().float(), nan=-_RANGE)  # a diverged model is as wrong as can be
    place = ((u + _RANGE) * _PER_UNIT).floor().clamp(0, _BINS - 1).long()
    return torch.bincount(place, minlength=_BINS).double().cpu()


def concentration_curves(histogram: LogitHistogram, gammas: Sequence[float] = GAMMAS) -> dict[str, Any]:
    """Cumulative share of the focal loss over the sorted examples, easiest first, per gamma and group.

    `alpha` multiplies every example of a group alike and so does not matter.

    Returns:
        {"gammas", "fraction": positions 0..1 on the x axis, "positives": a curve per gamma, "negatives": a curve per
        gamma, "num_positives", "num_negatives"}. A group without examples has empty curves.
    """
    centres = (torch.arange(_BINS, dtype=torch.float64) + 0.5) / _PER_UNIT - _RANGE
    curves: dict[str, list[list[float]]] = {}
    for name in ("positives", "negatives"):
        counts = getattr(histogram, name).flip(0)  # easiest first: the largest u
        curves[name] = []
        for gamma in gammas:
            loss = torch.exp(-gamma * F.softplus(centres.flip(0))) * F.softplus(
                -centres.flip(0)
            )  # (1-p_t)^g (-log p_t)
            curves[name].append(_cumulative(counts, counts * loss))
    return {
        "gammas": [float(g) for g in gammas],
        "fraction": list(FRACTIONS),
        **curves,
        "num_positives": int(histogram.positives.sum()),
        "num_negatives": int(histogram.negatives.sum()),
    }


def easy_shares(histogram: LogitHistogram, gammas: Sequence[float] = GAMMAS, easy: float = 0.1) -> list[dict[str, Any]]:
    """How much of focal loss, and of its gradient, comes from positives, from hard and from easy negatives.

    The gradient of an example is the size of the derivative by its logit. `alpha` would weigh the positives and the
    negatives as groups; it is left out.

    Args:
        histogram: Of all examples.
        gammas: One row each.
        easy: A negative is easy below this probability.

    Returns:
        Rows {"gamma", "loss": {"positives", "hard negatives", "easy negatives"}, "gradient": the same}; the three add
        up to 1, or are 0 where there is no loss.
    """
    u = (torch.arange(_BINS, dtype=torch.float64) + 0.5) / _PER_UNIT - _RANGE
    hard = (torch.sigmoid(-u) >= easy).double()
    groups = {
        "positives": histogram.positives,
        "hard negatives": histogram.negatives * hard,
        "easy negatives": histogram.negatives * (1 - hard),
    }
    nll, rows = F.softplus(-u), []
    for gamma in gammas:
        modulator = torch.exp(-gamma * F.softplus(u))
        loss = modulator * nll
        gradient = modulator * (torch.sigmoid(-u) + gamma * torch.sigmoid(u) * nll)  # |dFL / du|
        row: dict[str, Any] = {"gamma": float(gamma)}
        for name, size in (("loss", loss), ("gradient", gradient)):
            sums = {group: float((counts * size).sum()) for group, counts in groups.items()}
            total = sum(sums.values())
            row[name] = {group: value / total if total else 0.0 for group, value in sums.items()}
        rows.append(row)
    return rows


def _cumulative(counts: Tensor, loss: Tensor) -> list[float]:
    """Share of the loss below each of FRACTIONS of the examples, linear within a bin."""
    total, total_loss = float(counts.sum()), float(loss.sum())
    if total == 0:
        return []
    if total_loss == 0:  # a huge gamma, underflow
        return list(FRACTIONS)
    x = torch.cat([torch.zeros(1, dtype=torch.float64), counts.cumsum(0) / total])
    y = torch.cat([torch.zeros(1, dtype=torch.float64), loss.cumsum(0) / total_loss])
    at = torch.tensor(FRACTIONS, dtype=torch.float64)
    right = torch.searchsorted(x, at).clamp(1, len(x) - 1)
    left = right - 1
    step = (x[right] - x[left]).clamp(min=torch.finfo(torch.float64).tiny)
    share = y[left] + (y[right] - y[left]) * ((at - x[left]) / step).clamp(0, 1)
    return share.clamp(0, 1).tolist()


class LossConcentration:
    """Collects the signed logits of batches; memory does not grow with their number.

    Args:
        assigner: As the criterion matches: `MaxIoUAssigner(...)`.
    """

    def __init__(self, assigner: Matcher) -> None:
        self.assigner = assigner
        self.histogram = LogitHistogram(*torch.zeros(2, _BINS, dtype=torch.float64))

    def add(self, outputs: DenseOutputs, targets: Sequence[DetectionTarget]) -> None:
        """Count a batch."""
        labels = torch.stack([found.labels for found in assign(self.assigner, outputs, targets)])
        start = 0
        for level in outputs.logits:
            flat = flatten_level(level, outputs.num_classes)
            self.histogram = self.histogram + logit_histogram(flat, labels[:, start : start + flat.shape[1]])
            start += flat.shape[1]

    def curves(self, gammas: Sequence[float] = GAMMAS) -> dict[str, Any]:
        """See `concentration_curves`."""
        return concentration_curves(self.histogram, gammas)


def loss_concentration(
    model: nn.Module,
    assigner: Matcher,
    batches: Iterable[tuple[Tensor, Sequence[DetectionTarget]]],
    gammas: Sequence[float] = GAMMAS,
    *,
    max_negatives: float = math.inf,
) -> dict[str, Any]:
    """Figure 4 of the paper for this model and data. The model is put in evaluation mode for the time of the call.

    Args:
        model: Images (b, 3, H, W) -> `DenseOutputs`.
        assigner: As the criterion matches: `criterion.matcher`.
        batches: Pairs of images in [0, 1], on the model's device, and targets.
        gammas: One pair of curves each.
        max_negatives: Stop after the batch that reaches this many negatives (the paper used 1e7).

    Returns:
        See `concentration_curves`.

    Example:
        >>> curves = loss_concentration(model, criterion.matcher, [(images, targets)])   # doctest: +SKIP
        >>> curves["negatives"][3][80]   # the easiest 80 % of negatives, gamma = 2   # doctest: +SKIP
        0.0004
    """
    collected = LossConcentration(assigner)
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            for images, targets in batches:
                collected.add(model(images), targets)
                if float(collected.histogram.negatives.sum()) >= max_negatives:
                    break
    finally:
        model.train(training)
    return collected.curves(gammas)
