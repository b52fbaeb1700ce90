"""Focal losses on CUDA devices by the handwritten kernels of `triton_kernels.py`: what each is launched with.

The tile and the number of warps have not been tuned on a GPU. `new_empty` and `sum` aside, a call is one launch.
"""

# what Triton calls a constexpr is a number here:
# pyright: reportArgumentType=false, reportCallIssue=false

import math
from collections.abc import Sequence

import torch
import triton
from torch import Tensor

from . import triton_kernels
from .call import Call, SoftmaxCall
from .cpu import as_stored
from .layout import Layout
from .operands import Focal, Number, Result

TILE = 2048
# of the classes that share a label, at most
TALL = 8
_RANGE = torch.finfo(torch.float32).max


def run(call: Call, logits: Sequence[Tensor], wanted: Sequence[bool], scale: Number) -> Result:
    """Value and gradients of all logits; the sums stay on the device."""
    logits = [x.detach() for x in logits]
    focal = call.handwritten(logits[0].dtype)
    assert focal is not None
    if isinstance(call, SoftmaxCall):
        layout, x = Layout.of(logits[0], call.dims[0])
        labels = _three(layout, layout.rows(call.targets[0]))
        total, gradient = softmax(x, labels, focal, scale, ignore_index=call.ignore_index or 0, gradient=wanted[0])
        return Result(total, 0.0, [layout.restore(gradient) if wanted[0] else None])
    if call.dense:
        layout, x = Layout.of(logits[0], None)
        targets = layout.full(call.targets[0]).view(x.shape)
        ignored = as_stored(call.ignore_index or 0, targets.dtype)
        given = {"ignore_index": ignored, "gradient": wanted[0], "count": call.mean}
        total, count, gradient = sigmoid_dense(x, targets, focal, scale, **given)
        return Result(total, count, [layout.restore(gradient) if wanted[0] else None])
    levels = [i for i, x in enumerate(logits) if x.numel()]
    placed = [Layout.of(call.folded(logits[i]), call.dims[i]) for i in levels]
    labels = [_three(layout, layout.rows(call.targets[i])) for i, (layout, _) in zip(levels, placed, strict=True)]
    if len({y.dtype for y in labels}) > 1:
        labels = [y.long() for y in labels]
    given = {"ignore_index": call.ignore_index or 0, "gradient": any(wanted)}
    total, found = sigmoid_labels([x for _, x in placed], labels, focal, scale, **given)
    gradients = [torch.zeros_like(x) if w and not x.numel() else None for x, w in zip(logits, wanted, strict=True)]
    for i, (layout, _), gradient in zip(levels, placed, found, strict=True):
        if wanted[i]:
            gradients[i] = layout.restore(gradient).reshape(logits[i].shape)
    return Result(total, 0.0, gradients)


def sigmoid_labels(
    x: Sequence[Tensor], labels: Sequence[Tensor], focal: Focal, scale: Number, *, ignore_index: int, gradient: bool
) -> tuple[Tensor, list[Tensor]]:
    """The sum of all levels in float64, and the gradients times scale.

    Args:
        x: Contiguous, (outer, classes, inner) each, none empty, all of one dtype and number of classes.
        labels: Contiguous, (outer, 1, inner) each, all of one dtype.
    """
    classes, inners, count = x[0].shape[1], [t.shape[2] for t in x], len(x)
    gradients = [torch.empty_like(t) for t in x] if gradient else list(x)
    tall = min(TALL, triton.next_power_of_2(classes))
    long = TILE // tall
    tiles = [t.shape[0] * triton.cdiv(classes, tall) * triton.cdiv(n, long) for t, n in zip(x, inners, strict=True)]
    tiled = sum(tiles) * TILE <= 2 * sum(t.numel() for t in x) and max(inners) < 2**27
    programs = tiles if tiled else [triton.cdiv(t.numel(), TILE) for t in x]
    starts, inners, sizes = _levels(programs, inners, [t.numel() for t in x])
    sums = x[0].new_empty(sum(programs), dtype=torch.float32)
    flags = {"LEVELS": count, "CLASSES": classes, "GRADIENT": gradient, "SQUARE": focal.squared}
    number, pointer = _scale(scale)
    pointers = (tuple(x), tuple(labels), tuple(gradients), sums, pointer)
    numbers = (number, _numbers(focal), ignore_index)
    with torch.cuda.device_of(sums):
        if tiled:
            kernel = triton_kernels.label_tiles[sum(programs),]
            kernel(*pointers, starts, inners, *numbers, TALL=tall, LONG=long, **flags)
        else:
            kernel = triton_kernels.label_rows[sum(programs),]
            kernel(*pointers, starts, inners, sizes, *numbers, SIZE=TILE, **flags)
    return sums.sum(dtype=torch.float64), gradients


def sigmoid_dense(
    x: Tensor, targets: Tensor, focal: Focal, scale: Number, *, ignore_index: float, gradient: bool, count: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The sum in float64, how many elements are valid (where wanted), and the gradient times scale.

    Args:
        x: Contiguous.
        targets: As `x`.
    """
    programs, boolean = triton.cdiv(x.numel(), TILE), targets.dtype == torch.bool
    sums = x.new_empty(1 + count, programs, dtype=torch.float32)
    result = torch.empty_like(x) if gradient else x
    number, pointer = _scale(scale)
    with torch.cuda.device_of(x):
        triton_kernels.dense_targets[programs,](
            x, targets.view(torch.uint8) if boolean else targets, result, sums[0], sums[-1], pointer, x.numel(),
            number, _numbers(focal), ignore_index,
            BOOL=boolean, COUNT=count, SIZE=TILE, GRADIENT=gradient, SQUARE=focal.squared,
        )  # fmt: skip
    totals = sums.sum(1, dtype=torch.float64)
    return totals[0], totals[-1], result


def softmax(
    x: Tensor, labels: Tensor, focal: Focal, scale: Number, *, ignore_index: int, gradient: bool
) -> tuple[Tensor, Tensor]:
    """As `sigmoid_labels`, for one `x` and labels."""
    outer, classes, inner = x.shape
    width = triton.next_power_of_2(classes)
    tall = max(1, TILE // width)
    planes = inner >= tall
    programs = outer * triton.cdiv(inner, tall) if planes else triton.cdiv(outer * inner, tall)
    sums = x.new_empty(programs, dtype=torch.float32)
    result = torch.empty_like(x) if gradient else x
    number, pointer = _scale(scale)
    with torch.cuda.device_of(x):
        triton_kernels.softmax_rows[programs,](
            x, labels, result, sums, pointer, outer * inner, inner, number, _numbers(focal), ignore_index,
            PLANES=planes, CLASSES=classes, TALL=tall, WIDE=width, GRADIENT=gradient, SQUARE=focal.squared,
            num_warps=max(4, width // 512),
        )  # fmt: skip
    return sums.sum(dtype=torch.float64), result


def scale_unless_one(values: Sequence[Tensor], factor: Tensor) -> None:
    """values *= factor (0-d, on the same device), in place; where it is 1 no memory is touched and nothing waits."""
    # gradients lie dense: `Layout.restore`
    flat = tuple(v.as_strided((v.numel(),), (1,)) for v in values if v.numel())
    if not flat:
        return
    programs = [triton.cdiv(v.numel(), TILE) for v in flat]
    starts, sizes = _levels(programs, [v.numel() for v in flat])
    with torch.cuda.device_of(factor):
        triton_kernels.scale_all[sum(programs),](flat, factor, starts, sizes, LEVELS=len(flat), SIZE=TILE)


def _three(layout: Layout, labels: Tensor) -> Tensor:
    outer, _, inner = layout.sizes
    return labels.view(outer, 1, inner)


def _levels(programs: Sequence[int], *sizes: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Where the programs of each level start, and sizes, as the kernels take them."""
    starts = (sum(programs[:i]) for i in range(len(programs)))
    return tuple(tuple(16 * n for n in numbers) for numbers in (starts, *sizes))


def _numbers(focal: Focal) -> tuple[float, ...]:
    return tuple(float(value) for value in vars(focal).values())


def _scale(scale: Number) -> tuple[float, Tensor | None]:
    """The number, and the 0-d tensor, of which the kernels multiply gradients with the product."""
    if isinstance(scale, Tensor):
        return 1.0, scale
    # subtle: Triton does not round numbers beyond float32's range, it fails
    return (scale if abs(scale) <= _RANGE else math.copysign(math.inf, scale)), None
