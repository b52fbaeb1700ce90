"""Bins of confidence, shared by calibration errors and reliability curves.

Edges. Equal width: 0, 1/B, ..., 1. Equal mass: the scores of rank ceil(i n / B), each once, so that equal scores share
a bin and there may be fewer bins than asked for. A score on an edge belongs to the bin below it: (low, high], the first
with its lower edge, as in Guo et al. (2017) and scikit-learn; `closed="left"` takes [low, high), the last with its
upper edge, as NumPy and netcal do. Empty bins count for nothing.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

Scheme: TypeAlias = Literal["uniform", "quantile"]
Closed: TypeAlias = Literal["right", "left"]


@dataclass(frozen=True)
class Bins:
    """Rows in bins.

    Attributes:
        edges: (B + 1,) ascending from 0 to 1.
        index: (n,) the bin of each row.
        counts: (B,) rows.
        confidence: (B,) mean score; NaN where empty.
        accuracy: (B,) mean target; NaN where empty.
    """

    edges: Tensor
    index: Tensor
    counts: Tensor
    confidence: Tensor
    accuracy: Tensor

    @property
    def gaps(self) -> Tensor:
        """|accuracy - confidence| of each bin, 0 where empty."""
        return (self.accuracy - self.confidence).abs().nan_to_num(0.0)


def binned(scores: Tensor, targets: Tensor, bins: int, scheme: Scheme = "uniform", closed: Closed = "right") -> Bins:
    """Put scores in [0, 1] with their targets in [0, 1] into bins."""
    check_bins(bins, scheme, closed)
    s, t = scores.double(), targets.double()
    edges = edges_of(s, bins, scheme)
    index = bin_index(s, edges, closed)
    size = len(edges) - 1
    counts = torch.bincount(index, minlength=size)
    some = counts.double().masked_fill(counts == 0, torch.nan)
    confidence, accuracy = (torch.bincount(index, weights=v, minlength=size) / some for v in (s, t))
    return Bins(edges, index, counts, confidence, accuracy)


def edges_of(scores: Tensor, bins: int, scheme: Scheme) -> Tensor:
    """See the head of this file."""
    edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64)
    if scheme == "uniform" or not len(scores):
        return edges
    ranks = (torch.arange(1, bins) * len(scores) + bins - 1) // bins - 1
    inner = scores.double().sort().values[ranks].unique()
    return torch.cat([edges[:1], inner[(inner > 0) & (inner < 1)], edges[-1:]])


def bin_index(scores: Tensor, edges: Tensor, closed: Closed = "right") -> Tensor:
    """The bin of each score."""
    return torch.searchsorted(edges[1:-1].contiguous(), scores.double().contiguous(), right=closed == "left")


def check_bins(bins: int, scheme: str = "uniform", closed: str = "right") -> None:
    """Raises ValueError where the words or the number make no bins."""
    if bins < 1:
        raise ValueError(f"expected at least 1 bin, got {bins}")
    if scheme not in ("uniform", "quantile"):
        raise ValueError(f'scheme must be "uniform" or "quantile", got {scheme!r}')
    if closed not in ("right", "left"):
        raise ValueError(f'closed must be "right" or "left", got {closed!r}')
