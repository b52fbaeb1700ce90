"""Which rows belong together, for all images of a split at once: pairs of equal keys, and who takes whom."""

import torch
from torch import Tensor


def pairs(keys: Tensor, other_keys: Tensor) -> tuple[Tensor, Tensor]:
    """Rows i and j of all pairs of equal keys, by i and then by j.

    Args:
        keys: int64 (n,).
        other_keys: int64 (m,).
    """
    ranked = other_keys.argsort(stable=True)
    ends = torch.searchsorted(other_keys[ranked], torch.stack([keys, keys + 1], 1))
    counts = ends[:, 1] - ends[:, 0]
    i = torch.arange(len(keys)).repeat_interleave(counts)
    return i, ranked[ends[i, 0] + places(counts)]


def places(counts: Tensor) -> Tensor:
    """0, 1, ..., count - 1 for each count, one behind the other."""
    return torch.arange(int(counts.sum())) - (counts.cumsum(0) - counts).repeat_interleave(counts)


def within_limit(scores: Tensor, keys: Tensor, most: int) -> Tensor:
    """bool (n,): among the best scored `most` of its key; of equal scores the first."""
    order = scores.argsort(descending=True, stable=True)
    order = order[keys[order].argsort(stable=True)]
    kept = torch.zeros(len(order), dtype=torch.bool)
    kept[order[places(keys[order].unique_consecutive(return_counts=True)[1]) < most]] = True
    return kept


def greedy(scores: Tensor, i: Tensor, j: Tensor, ious: Tensor, taken: Tensor, *, last: bool) -> tuple[Tensor, Tensor]:
    """Give each row, best score first, the free box that it overlaps most.

    Args:
        scores: (n,) of the rows.
        i, j, ious: (p,) row, box and overlap of the pairs that may come together.
        taken: bool (m,): boxes that are not free.
        last: Of boxes that a row overlaps equally, take the last instead of the first.

    Returns:
        int64 (n,): the box, -1 for none; and (n,): the overlap, 0 for none.
    """
    rank = torch.empty(len(scores), dtype=torch.int64)
    rank[scores.argsort(descending=True, stable=True)] = torch.arange(len(scores))
    order = torch.arange(len(i))
    for key in (-j if last else j, -ious, rank[i]):
        order = order[key[order].argsort(stable=True)]
    boxes, overlaps = [-1] * len(scores), [0.0] * len(scores)
    busy = bytearray(taken.tolist())
    for row, box, iou in zip(i[order].tolist(), j[order].tolist(), ious[order].tolist(), strict=True):
        if boxes[row] < 0 and not busy[box]:
            boxes[row], overlaps[row], busy[box] = box, iou, 1
    return torch.tensor(boxes, dtype=torch.int64), torch.tensor(overlaps, dtype=torch.float64)


def best_of(values: Tensor, i: Tensor, j: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The largest value above 0 of each of `count` rows, and its j, the first of equals; 0 and -1 for none.

    Args:
        values: (p,) of the pairs; what is not above 0 does not count.
        i, j: (p,) of the pairs, j ascending within i.
    """
    best = torch.zeros(count, dtype=values.dtype).scatter_reduce_(0, i, values, "amax")
    at = torch.full((count,), -1)
    chosen = ((values == best[i]) & (values > 0)).nonzero()[:, 0]
    rows, first = i[chosen], torch.empty(count, dtype=torch.int64)
    first.scatter_reduce_(0, rows, chosen, "amin", include_self=False)
    at[rows] = j[first[rows]]
    return best, at
