"""What each kernel of `_triton.py` is launched with: how many programs, which tile, which form.

The tile and the number of warps have not been tuned on a GPU. `new_empty` and `sum` aside, a call is one launch.
"""

# what Triton calls a constexpr is a number here:
# pyright: reportArgumentType=false, reportCallIssue=false

import math
from collections.abc import Sequence

import torch
import triton
from torch import Tensor

from . import _triton
from ._cpp import Weights
from ._divisor import Scale

TILE = 2048
# of the classes that share a label, at most
TALL = 8
_RANGE = torch.finfo(torch.float32).max


def _levels(blocks: Sequence[int], *sizes: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Where the blocks of each level start, and sizes, as the kernels take them."""
    starts = (sum(blocks[:i]) for i in range(len(blocks)))
    return tuple(tuple(16 * n for n in numbers) for numbers in (starts, *sizes))


def _numbers(weights: Weights, scale: float, ignore_index: float) -> tuple[float, ...]:
    # subtle: Triton does not round numbers beyond float32's range, it fails
    scale = scale if abs(scale) <= _RANGE else math.copysign(math.inf, scale)
    return scale, float(weights.on), float(weights.off), float(weights.gamma), float(weights.gamma_neg), ignore_index


def sigmoid_labels(
    x: Sequence[Tensor], labels: Sequence[Tensor], weights: Weights, scale: Scale, *, ignore_index: int, gradient: bool
) -> tuple[Tensor, list[Tensor]]:
    """The sum of all levels in float64, and the gradients times scale.

    Args:
        x: Contiguous, (outer, classes, inner) each, none empty, all of one dtype and number of classes.
        labels: Contiguous, (outer, 1, inner) each, all of one dtype.
    """
    classes, inners, count = x[0].shape[1], [t.shape[2] for t in x], len(x)
    slopes = [torch.empty_like(t) for t in x] if gradient else list(x)
    tall = min(TALL, triton.next_power_of_2(classes))
    long = TILE // tall
    planes = [t.shape[0] * triton.cdiv(classes, tall) * triton.cdiv(n, long) for t, n in zip(x, inners, strict=True)]
    wide = sum(planes) * TILE <= 2 * sum(t.numel() for t in x) and max(inners) < 2**27
    blocks = planes if wide else [triton.cdiv(t.numel(), TILE) for t in x]
    starts, inners, sizes = _levels(blocks, inners, [t.numel() for t in x])
    sums = x[0].new_empty(sum(blocks), dtype=torch.float32)
    numbers = _numbers(weights, scale[0], ignore_index)
    flags = {
        "LEVELS": count,
        "CLASSES": classes,
        "GRADIENT": gradient,
        "SQUARE": weights.squared,
    }
    pointers = (tuple(x), tuple(labels), tuple(slopes), sums, scale[1])
    with torch.cuda.device_of(sums):
        if wide:
            _triton._planes[sum(blocks),](*pointers, starts, inners, *numbers, TALL=tall, LONG=long, **flags)
        else:
            _triton._flat[sum(blocks),](*pointers, starts, inners, sizes, *numbers, SIZE=TILE, **flags)
    return sums.sum(dtype=torch.float64), slopes


def sigmoid_dense(
    x: Tensor, targets: Tensor, weights: Weights, scale: Scale, *, ignore_index: float, gradient: bool, count: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The sum in float64, how many elements count (where wanted), and the gradient times scale.

    Args:
        x: Contiguous.
        targets: As `x`.
    """
    blocks, boolean = triton.cdiv(x.numel(), TILE), targets.dtype == torch.bool
    sums = x.new_empty(1 + count, blocks, dtype=torch.float32)
    slope = torch.empty_like(x) if gradient else x
    with torch.cuda.device_of(x):
        _triton._dense[blocks,](
            x, targets.view(torch.uint8) if boolean else targets, slope, sums[0], sums[-1], scale[1], x.numel(),
            *_numbers(weights, scale[0], ignore_index),
            BOOL=boolean, COUNT=count, SIZE=TILE, GRADIENT=gradient, SQUARE=weights.squared,
        )  # fmt: skip
    totals = sums.sum(1, dtype=torch.float64)
    return totals[0], totals[-1], slope


def softmax(
    x: Tensor, labels: Tensor, gamma: float, scale: Scale, *, ignore_index: int, gradient: bool
) -> tuple[Tensor, Tensor]:
    """As `sigmoid_labels`, for one `x` and labels."""
    outer, classes, inner = x.shape
    width = triton.next_power_of_2(classes)
    tall = max(1, TILE // width)
    planes = inner >= tall
    blocks = outer * triton.cdiv(inner, tall) if planes else triton.cdiv(outer * inner, tall)
    sums = x.new_empty(blocks, dtype=torch.float32)
    slope = torch.empty_like(x) if gradient else x
    number, _, _, exponent, _, _ = _numbers(Weights(gamma=gamma), scale[0], ignore_index)
    with torch.cuda.device_of(x):
        _triton._softmax[blocks,](
            x, labels, slope, sums, scale[1], outer * inner, inner, number, exponent, ignore_index,
            PLANES=planes, CLASSES=classes, TALL=tall, WIDE=width, GRADIENT=gradient, SQUARE=gamma == 2,
            num_warps=max(4, width // 512),
        )  # fmt: skip
    return sums.sum(dtype=torch.float64), slope


def scale_unless_one(values: Sequence[Tensor], factor: Tensor) -> None:
    """values *= factor (0-d, on the same device), in place; where it is 1 no memory is touched and nothing waits."""
    # gradients lie dense: `_layout.Layout.restore`
    flat = tuple(v.as_strided((v.numel(),), (1,)) for v in values if v.numel())
    if not flat:
        return
    blocks = [triton.cdiv(v.numel(), TILE) for v in flat]
    starts, sizes = _levels(blocks, [v.numel() for v in flat])
    with torch.cuda.device_of(factor):
        _triton._scale[sum(blocks),](flat, factor, starts, sizes, LEVELS=len(flat), SIZE=TILE)
