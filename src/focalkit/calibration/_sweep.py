"""The exact sweep over all cut-offs of a score, and the bootstrap of what it chooses.

A cut at s keeps the rows that score at least s: rows of equal score are kept or cut together. Of equally good cuts the
highest is taken.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

CELLS = 4096
"""Cuts that the bootstrap looks at: with more different scores, neighbours are put together."""


@dataclass(frozen=True)
class Cuts:
    """Every cut, the highest first; the last axis runs over cuts, others over resamples.

    Attributes:
        hits: Positives kept.
        kept: Rows kept.
        positives: All positives, those without a score among them; shape () or (resamples, 1).
        rows: All rows; likewise.
    """

    hits: Tensor
    kept: Tensor
    positives: Tensor
    rows: Tensor


Aim: TypeAlias = Callable[[Cuts], tuple[Tensor, Tensor]]
"""Cuts -> the index of the chosen one, and whether there is one."""


@dataclass(frozen=True)
class Sweep:
    """The different scores, descending, with their counts.

    Attributes:
        scores: (m,) different scores.
        hits: (m,) integers: positives scoring at least that.
        kept: (m,) integers: rows scoring at least that.
        positives: All positives.
        rows: All rows.
    """

    scores: Tensor
    hits: Tensor
    kept: Tensor
    positives: int
    rows: int

    @property
    def cuts(self) -> Cuts:
        """As the aims take them."""
        return Cuts(self.hits, self.kept, torch.tensor(self.positives), torch.tensor(self.rows))


def sweep(scores: Tensor, labels: Tensor, positives: int | None = None) -> Sweep:
    """Sort once, count along.

    Args:
        scores: (n,).
        labels: (n,) 0 and 1.
        positives: All there are, where some have no score; None counts the labels.
    """
    count = torch.int32 if len(scores) < 2**31 else torch.int64
    ranked, order = _descending(scores)
    positive = labels.bool()[order]  # a byte per row; `order` is eight
    del order
    hits = positive.cumsum(0, dtype=count)
    del positive
    last = torch.ones(len(ranked), dtype=torch.bool)  # of its run of equal scores
    last[:-1] = ranked[:-1] != ranked[1:]
    found = int(hits[-1]) if len(hits) else 0
    total = found if positives is None else positives
    if total < found:
        raise ValueError(f"num_positives is {total}, but {found} rows are labelled positive")
    hits, ranked, kept = hits[last], ranked[last], last.nonzero()[:, 0].to(count).add_(1)
    return Sweep(ranked, hits, kept, total, len(scores) + total - found)


def _descending(scores: Tensor) -> tuple[Tensor, Tensor]:
    """The scores, the highest first, and their places.

    Integers are sorted several times faster than floats. subtle: the bits of a float, with all but the sign turned over
    where it is negative, are an integer in its order; ~ turns that order round.
    """
    kind, bits = (torch.int32, 31) if scores.dtype == torch.float32 else (torch.int64, 63)

    def turned(x: Tensor) -> Tensor:  # and back
        return x.bitwise_xor_((x >> bits).bitwise_and_(2**bits - 1))

    keys, order = turned((scores + 0.0).view(kind)).bitwise_not_().sort()  # -0 becomes 0, to which it is equal
    return turned(keys.bitwise_not_()).view(scores.dtype), order


def resampled(whole: Sweep, aim: Aim, *, times: int, level: float, generator: torch.Generator) -> tuple[Tensor, float]:
    """Percentile interval of the chosen cut (2,), and the share of resamples in which there was none.

    Rows are drawn independently: the counts of each cut are Poisson.
    """
    scores, steps = _cells(whole)
    missing = whole.positives - int(whole.hits[-1])
    drawn = torch.poisson(steps.expand(times, -1, -1), generator=generator)
    unseen = torch.poisson(torch.full((times, 1), float(missing), dtype=torch.float64), generator=generator)
    return _chosen(scores, drawn, unseen, aim, level)


def resampled_groups(
    scores: Tensor,
    labels: Tensor,
    groups: Tensor,
    whole: Sweep,
    aim: Aim,
    *,
    times: int,
    level: float,
    generator: torch.Generator,
) -> tuple[Tensor, float]:
    """`resampled`, drawing whole groups of rows together; positives without a score count as rows of their own."""
    cut_scores, _ = _cells(whole)
    ascending = cut_scores.flip(0).contiguous()
    cell = len(ascending) - torch.searchsorted(ascending, scores.contiguous(), right=True)
    cell = cell.clamp(0, len(ascending) - 1)
    _, of = groups.unique(return_inverse=True)
    missing = float(whole.positives - int(whole.hits[-1]))
    drawn = torch.zeros(times, len(cut_scores), 2, dtype=torch.float64)
    number = int(of.max()) + 1
    for t in range(times):
        weight = torch.bincount(torch.randint(number, (number,), generator=generator), minlength=number).double()[of]
        drawn[t].view(-1).index_add_(0, 2 * cell + labels.long(), weight)
    unseen = torch.poisson(torch.full((times, 1), missing, dtype=torch.float64), generator=generator)
    return _chosen(cut_scores, drawn, unseen, aim, level)


def _cells(whole: Sweep) -> tuple[Tensor, Tensor]:
    """At most CELLS cuts (m,), and the negatives and positives from each to the next higher one (m, 2)."""
    m = len(whole.scores)
    at = torch.arange(m) if m <= CELLS else torch.linspace(0, m - 1, CELLS, dtype=torch.float64).round().long()
    hits, kept = whole.hits[at].double(), whole.kept[at].double()
    both = torch.stack([kept - hits, hits], 1)
    return whole.scores[at], both.diff(dim=0, prepend=torch.zeros(1, 2, dtype=torch.float64))


def _chosen(scores: Tensor, drawn: Tensor, unseen: Tensor, aim: Aim, level: float) -> tuple[Tensor, float]:
    totals = drawn.cumsum(1)
    hits = totals[..., 1]
    kept = totals[..., 0] + hits  # a sum over an axis of two takes ten times as long
    index, there = aim(Cuts(hits, kept, hits[:, -1:] + unseen, kept[:, -1:] + unseen))
    values = torch.where(there, scores.double()[index.clamp(max=len(scores) - 1)], torch.nan)
    tails = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    return torch.nanquantile(values, tails), float(values.isnan().double().mean())


def precision_at_least(target: float) -> Aim:
    """The most positives among cuts of at least that precision."""

    def aim(cuts: Cuts) -> tuple[Tensor, Tensor]:
        enough = cuts.hits >= cuts.kept.to(torch.float64, copy=True).mul_(target * (1 - 1e-12))
        enough &= cuts.hits > 0
        return cuts.hits.masked_fill(~enough, 0).argmax(-1), enough.any(-1)

    return aim


def recall_at_least(target: float) -> Aim:
    """The highest cut of at least that recall."""

    def aim(cuts: Cuts) -> tuple[Tensor, Tensor]:
        enough = (cuts.hits >= cuts.positives.double() * (target * (1 - 1e-12))) & (cuts.hits > 0)
        return enough.to(torch.int8).argmax(-1), enough.any(-1)

    return aim


def best_f(beta: float) -> Aim:
    """The largest F-beta."""

    def aim(cuts: Cuts) -> tuple[Tensor, Tensor]:
        square = beta * beta
        f = cuts.hits / (square * cuts.positives.double() + cuts.kept)  # but for a factor
        return f.argmax(-1), (cuts.hits > 0).any(-1)

    return aim


def least_cost(costs: Tensor) -> Aim:
    """The least total cost, costs[truth, decision]; the index after the last stands for keeping no row."""

    def aim(cuts: Cuts) -> tuple[Tensor, Tensor]:
        # against keeping nothing, a kept row changes the cost of its truth's two decisions
        change = cuts.hits * (costs[1, 1] - costs[1, 0]) + (cuts.kept - cuts.hits) * (costs[0, 1] - costs[0, 0])
        index = change.argmin(-1)
        least = change.gather(-1, index[..., None])[..., 0]
        nothing = torch.full_like(index, change.shape[-1])
        return torch.where(least < 0, index, nothing), torch.ones_like(least, dtype=torch.bool)

    return aim
