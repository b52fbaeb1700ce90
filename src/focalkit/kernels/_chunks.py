"""Running a graph chunk by chunk: the single pass where no compiler is. The results in between fit a cache."""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

# Elements per thread: a multiple of the 32,768 in which ATen splits its loops over threads. Fewer, and what the calls
# cost shows; more, and the results in between leave the cache.
GRAIN = 65_536

# two numbers whose product lies within may be multiplied first
SAFE = (1e-30, 1e30)


def run_chunks(
    run: Callable[[Tensor, Tensor, Sequence[Tensor]], tuple[Tensor, ...]],
    x: Tensor,
    scale: Tensor,
    others: Sequence[Tensor],
    *,
    rows: bool,
) -> tuple[Tensor, ...]:
    """(sum, count) or (sum, count, gradient times scale), with temporaries of the size of a chunk.

    Args:
        run: run(chunk of x, scale, chunks of others) -> what a graph of `_joint.trace` gives, not one for a compiler.
        x: (n,) or (outer, classes, inner).
        others: Broadcast against `x`.
        rows: The class axis must stay whole.
    """
    total = torch.zeros((), dtype=torch.float64, device=x.device)
    count, gradient = total.clone(), None
    for box in cuts(x.shape, GRAIN * (torch.get_num_threads() if x.device.type == "cpu" else 256), rows):
        parts = run(x[box], scale, [_cut(t, box) for t in others])
        total, count = total + parts[0], count + parts[1]
        if len(parts) > 2:
            gradient = torch.empty_like(x) if gradient is None else gradient
            slope, by = _together(*parts[2:], scale)
            torch.mul(slope, by, out=gradient[box])
    return (total, count) if gradient is None else (total, count, gradient)


def cuts(shape: torch.Size, size: int, rows: bool) -> Iterator[tuple[slice, ...]]:
    """Pieces of `size` elements: cuts along the first axis as long as whole slices fit, else goes inside."""
    order = [0, 2, 1] if len(shape) == 3 and rows else list(range(len(shape)))
    axis = 0
    inside = math.prod(shape) // max(shape[order[0]], 1)
    while axis + 1 < len(order) - (rows and len(shape) == 3) and inside > size:
        axis += 1
        inside //= max(shape[order[axis]], 1)
    step = max(size // max(inside, 1), 1)
    outer = [range(shape[d]) for d in order[:axis]]

    def boxes(prefix: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
        if len(prefix) < len(outer):
            for i in outer[len(prefix)]:
                yield from boxes((*prefix, i))
            return
        for start in range(0, shape[order[axis]], step):
            box = [slice(None)] * len(shape)
            for d, i in zip(order, prefix, strict=False):
                box[d] = slice(i, i + 1)
            box[order[axis]] = slice(start, start + step)
            yield tuple(box)

    yield from boxes(())


def _together(slope: Tensor, *numbers: Tensor) -> tuple[Tensor, Tensor | float]:
    """The slope, and one number that multiplies it for all."""
    *first, scale = numbers
    if first and slope.device.type == "cpu" and SAFE[0] < abs(both := float(first[0]) * float(scale)) < SAFE[1]:
        return slope, both
    return (slope * first[0] if first else slope), scale


def _cut(t: Tensor, box: tuple[slice, ...]) -> Tensor:
    return t[tuple(b if size > 1 else slice(None) for b, size in zip(box, t.shape, strict=True))] if t.ndim else t
