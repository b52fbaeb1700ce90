"""Reliability curves: how often things happen that were given a probability, with counts and bootstrap bands."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .._arrays import ArrayLike, as_tensor, labelled
from .binning import Closed, Scheme, binned
from .calibration_error import top_label


@dataclass(frozen=True)
class ReliabilityCurve:
    """One entry per bin; NaN where a bin is empty.

    Attributes:
        edges: (B + 1,) ascending from 0 to 1.
        confidence: (B,) mean probability.
        accuracy: (B,) how often it was right; for soft targets their mean.
        counts: (B,) rows.
        low: (B,) lower end of the bootstrap band of the accuracy.
        high: (B,) upper end.
    """

    edges: Tensor
    confidence: Tensor
    accuracy: Tensor
    counts: Tensor
    low: Tensor
    high: Tensor

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, for JSON."""
        return {name: getattr(self, name).tolist() for name in self.__dataclass_fields__}


def reliability_curve(
    probabilities: ArrayLike,
    labels: ArrayLike,
    bins: int = 15,
    scheme: Scheme = "uniform",
    *,
    closed: Closed = "right",
    groups: ArrayLike | None = None,
    confidence: float = 0.95,
    bootstrap: int = 1000,
    seed: int = 0,
) -> ReliabilityCurve:
    """Confidence against accuracy per bin, with percentile bootstrap bands.

    A softmax (class indices as labels) is looked at by its most probable class; multi-label scores are pooled.

    Args:
        probabilities: (n,) or (n, k) in [0, 1].
        labels: As in `expected_calibration_error`; for (n,) also soft targets in [0, 1], such as IoU.
        bins, scheme, closed: As in `expected_calibration_error`.
        groups: (n,) integers: rows of one group, such as the detections of one image, are drawn together.
        confidence: Of the band, in (0, 1).
        bootstrap: Resamples; 0 leaves the band NaN.
        seed: Of the resampling.

    Raises:
        ValueError: As `expected_calibration_error`.

    Example:
        >>> curve = reliability_curve([0.1, 0.15, 0.9, 0.95], [0, 1, 1, 1], bins=2)
        >>> curve.accuracy.tolist(), curve.counts.tolist()
        ([0.5, 1.0], [2, 2])
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    scores, targets = _rows(probabilities, labels)
    found = binned(scores, targets, bins, scheme, closed)
    band = torch.full((2, len(found.counts)), torch.nan, dtype=torch.float64)
    if bootstrap:
        generator = torch.Generator().manual_seed(seed)
        if groups is None:
            drawn = _redraw_rows(found.index, targets, len(found.counts), bootstrap, generator)
        else:
            of = as_tensor(groups, "groups").long()
            if of.shape != scores.shape:
                raise ValueError(f"expected groups of shape {tuple(scores.shape)}, got {tuple(of.shape)}")
            drawn = _redraw_groups(found.index, targets, of, len(found.counts), bootstrap, generator)
        tails = torch.tensor([(1 - confidence) / 2, (1 + confidence) / 2], dtype=torch.float64)
        band = torch.nanquantile(drawn, tails, dim=0)
    return ReliabilityCurve(found.edges, found.confidence, found.accuracy, found.counts, band[0], band[1])


def _rows(probabilities: ArrayLike, labels: ArrayLike) -> tuple[Tensor, Tensor]:
    y = as_tensor(labels, "labels")
    if y.ndim == 1 and y.is_floating_point() and bool((y != y.round()).any()):
        if not bool(((y >= 0) & (y <= 1)).all()):
            raise ValueError("expected soft targets in [0, 1]")
        scores = labelled(probabilities, torch.zeros_like(y), name="probabilities", probabilities=True).scores
        return scores, y.double()
    scores, right = top_label(labelled(probabilities, labels, name="probabilities", probabilities=True))
    return scores, right.double()


def _redraw_rows(index: Tensor, targets: Tensor, size: int, times: int, generator: torch.Generator) -> Tensor:
    """Accuracies of `times` resamples of rows (times, B)."""
    if bool(((targets == 0) | (targets == 1)).all()):
        # subtle: of hard targets only the counts of (bin, target) matter; Poisson counts are the bootstrap's in the
        # limit of many rows, whatever their number
        cells = torch.bincount(2 * index + targets.long(), minlength=2 * size).double()
        drawn = torch.poisson(cells.expand(times, -1), generator=generator).view(times, size, 2)
        return drawn[..., 1] / drawn.sum(-1)
    return _redraw_groups(index, targets, torch.arange(len(index)), size, times, generator)


def _redraw_groups(
    index: Tensor, targets: Tensor, groups: Tensor, size: int, times: int, generator: torch.Generator
) -> Tensor:
    """Accuracies of `times` resamples of whole groups (times, B)."""
    _, of = groups.unique(return_inverse=True)
    number = int(of.max()) + 1
    totals = torch.zeros(2, number * size, dtype=torch.float64)
    totals[0].index_add_(0, of * size + index, targets)
    totals[1].index_add_(0, of * size + index, torch.ones_like(targets))
    totals = totals.view(2, number, size)
    drawn = torch.empty(times, size, dtype=torch.float64)
    for t in range(times):
        picked = torch.randint(number, (number,), generator=generator)
        times_drawn = torch.bincount(picked, minlength=number).double()
        drawn[t] = (times_drawn @ totals[0]) / (times_drawn @ totals[1])
    return drawn
