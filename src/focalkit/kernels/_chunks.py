"""Running a graph chunk by chunk: the single pass where no compiler is. The results in between fit a cache."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from .._numerics import computed_in
from ._find import BLOCK

# Elements per thread: a multiple of the 32,768 in which ATen splits its loops over threads. Fewer, and what the calls
# cost shows; more, and the results in between leave the cache.
GRAIN = 131_072
# The results in between take at most this share of the logits' memory, once there is enough for one thread.
SHARE = 6
# two numbers whose product lies within may be multiplied first
SAFE = (1e-30, 1e30)

Parts: TypeAlias = Sequence[Tensor | None]
"""loss, number, counted, gradient, number: what a graph of `_joint.trace` gives that is not for a compiler"""


def run_chunks(
    run: Callable[[Tensor, Sequence[Tensor]], Parts],
    x: Tensor,
    scale: Tensor,
    others: Sequence[Tensor],
    *,
    width: int,
    rows: bool = False,
    skip: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """(sum, count) or (sum, count, gradient times scale), with temporaries of the size of a chunk.

    Args:
        run: run(chunk of x, chunks of others); what it gives is done with before the next chunk.
        x: (n,) or (outer, classes, inner).
        others: Broadcast against `x`.
        width: How many results in between live at a time.
        rows: The class axis must stay whole.
        skip: Sorted positions in a flat `x` whose loss is not summed; their gradient is left to the caller.
    """
    total = torch.zeros((), dtype=torch.float64, device=x.device)
    count, gradient = total.clone(), None
    boxes = list(cuts(x.shape, _size(x, width), rows))
    left_out: Sequence[Tensor | None] = [None] * len(boxes)
    if skip is not None:
        later = torch.tensor([box[0].start for box in boxes[1:]], dtype=torch.long)
        left_out = skip.tensor_split(torch.searchsorted(skip, later))
    for box, few in zip(boxes, left_out, strict=True):
        loss, number, counted, slope, steepness = run(x[box], [_cut(t, box) for t in others])
        assert loss is not None
        if few is not None:
            assert loss.data_ptr() != x[box].data_ptr(), "the loss is written into, and the logits are not ours"
            loss.index_fill_(0, few - box[0].start, 0)
        part = _sum(loss)
        total = total + (part if number is None else part * number)
        if counted is not None:
            count = count + counted.double().sum()
        if slope is not None:
            gradient = torch.empty_like(x) if gradient is None else gradient
            slope, by = _together(slope, steepness, scale)
            torch.mul(slope, by, out=gradient[box])
    return (total, count) if gradient is None else (total, count, gradient)


def _size(x: Tensor, width: int) -> int:
    """Elements of a chunk."""
    if x.device.type != "cpu":
        return GRAIN * 128
    share = x.nbytes // (SHARE * max(width, 1) * computed_in(x).itemsize) // BLOCK * BLOCK
    return min(GRAIN * torch.get_num_threads(), max(share, GRAIN))


def _sum(t: Tensor) -> Tensor:
    """In float64; of blocks of float32 numbers in float32, as exact as summing them in one go."""
    if t.ndim > 1 or t.dtype != torch.float32:
        return t.double().sum()
    whole = t.numel() - t.numel() % BLOCK
    total = t[:whole].view(-1, BLOCK).sum(1).double().sum()
    return total if whole == t.numel() else total + t[whole:].double().sum()


def cuts(shape: torch.Size, size: int, rows: bool) -> Iterator[tuple[slice, ...]]:
    """Pieces of `size` elements: cuts along the first axis as long as whole slices fit, else goes inside."""
    order = [0, 2, 1] if len(shape) == 3 and rows else list(range(len(shape)))
    axis = 0
    inside = math.prod(shape) // max(shape[order[0]], 1)
    while axis + 1 < len(order) - (rows and len(shape) == 3) and inside > size:
        axis += 1
        inside //= max(shape[order[axis]], 1)
    step = max(size // max(inside, 1), 1)
    for prefix in itertools.product(*(range(shape[d]) for d in order[:axis])):
        for start in range(0, shape[order[axis]], step):
            box = [slice(None)] * len(shape)
            for d, i in zip(order, prefix, strict=False):
                box[d] = slice(i, i + 1)
            box[order[axis]] = slice(start, start + step)
            yield tuple(box)


def _together(slope: Tensor, number: Tensor | None, scale: Tensor) -> tuple[Tensor, Tensor | float]:
    """The slope, and one number that multiplies it for both."""
    if number is None:
        return slope, scale
    if slope.device.type == "cpu" and SAFE[0] < abs(both := float(number) * float(scale)) < SAFE[1]:
        return slope, both
    return slope * number, scale


def _cut(t: Tensor, box: tuple[slice, ...]) -> Tensor:
    return t[tuple(b if size > 1 else slice(None) for b, size in zip(box, t.shape, strict=True))] if t.ndim else t
