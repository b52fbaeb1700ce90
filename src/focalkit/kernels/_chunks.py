"""Running a graph chunk by chunk: the single pass where no compiler is. The results in between fit a cache."""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

# ATen splits its loops over threads in grains of 32,768 elements.
GRAIN = 32_768


def run_chunks(
    graph: Callable[..., tuple[Tensor, ...]], x: Tensor, scale: Tensor, others: Sequence[Tensor], *, rows: bool
) -> tuple[Tensor, ...]:
    """What `graph(x, scale, *others)` gives, with temporaries of the size of a chunk.

    Args:
        graph: From `_joint.trace`.
        x: (n,) or (outer, classes, inner).
        others: Broadcast against `x`.
        rows: The class axis must stay whole.
    """
    total = torch.zeros((), dtype=torch.float64, device=x.device)
    count, gradient = total.clone(), None
    for box in cuts(x.shape, GRAIN * (torch.get_num_threads() if x.device.type == "cpu" else 256), rows):
        parts = graph(x[box], scale, *(_cut(t, box) for t in others))
        total, count = total + parts[0], count + parts[1]
        if len(parts) == 3:
            gradient = torch.empty_like(x) if gradient is None else gradient
            gradient[box] = parts[2]
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


def _cut(t: Tensor, box: tuple[slice, ...]) -> Tensor:
    return t[tuple(b if size > 1 else slice(None) for b, size in zip(box, t.shape, strict=True))] if t.ndim else t
