"""Kernels written by hand in Triton, for CUDA devices: sigmoid focal (labels or dense targets) and softmax focal.

One program reads a block of logits and writes its gradient and one partial sum; the partial sums are added in a fixed
order, so results repeat bit for bit. No `libdevice`: everything runs under Triton's interpreter too
(TRITON_INTERPRET=1, `scripts/triton`). Computed in float32; float64 is left to Inductor.
"""

# Triton's language is not Python:
# pyright: reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024
_BOUND = torch.finfo(torch.float32).max / 1024


@triton.jit
def log1p_unit(e):
    """log(1 + e) for e in [0, 1]: log(w) e / (w - 1) with w = 1 + e, in which the rounding of w cancels."""
    w = 1.0 + e
    d = w - 1.0
    return tl.where(d == 0.0, e, tl.log(w) * (e / tl.where(d == 0.0, 1.0, d)))


@triton.jit
def focal_at(u, gamma, SQUARE: tl.constexpr):
    """The focal term at the signed logit u and its derivative, as `_numerics._focal_and_slope`."""
    e = tl.exp(-tl.abs(u))
    large = 1.0 / (1.0 + e)
    small = e * large
    wrong = tl.where(u >= 0, small, large)
    right = tl.where(u >= 0, large, small)
    bend = log1p_unit(e)
    surprise = tl.maximum(-u, 0.0) + bend
    factor = wrong * wrong if SQUARE else tl.exp(-gamma * (tl.maximum(u, 0.0) + bend))
    return factor * surprise, -factor * (gamma * right * surprise + wrong)


@triton.jit
def _sigmoid_focal(
    logits, targets, gradient, sums, counts, scale, n, classes, inner, on, off, gamma, gamma_neg, ignore_index, bound,
    DENSE: tl.constexpr, BOOL: tl.constexpr, GRADIENT: tl.constexpr, SQUARE: tl.constexpr, WIDE: tl.constexpr,
    SIZE: tl.constexpr,
):  # fmt: skip
    block = tl.program_id(0)
    at = (block.to(tl.int64) if WIDE else block) * SIZE + tl.arange(0, SIZE)
    there = at < n
    x = tl.load(logits + at, mask=there, other=0.0).to(tl.float32)
    if DENSE:
        t = tl.load(targets + at, mask=there, other=0.0).to(tl.float32)
        counted = there if BOOL else there & (t != ignore_index)
        t = tl.where(counted, t, 0.0)
    else:
        row = at // classes
        own = at - row * classes
        if inner > 1:  # (outer, classes, inner): the position in the row is (class, inner)
            plane = at // inner
            outer = plane // classes
            own = plane - outer * classes
            row = outer * inner + (at - plane * inner)
        label = tl.load(targets + row, mask=there, other=0).to(tl.int32)
        counted = there & (label != ignore_index)
        t = tl.where(label == own, 1.0, 0.0)
    x = tl.where(counted, x, 0.0)
    inside = (x > -bound) & (x < bound)
    x = tl.minimum(tl.maximum(x, -bound), bound)
    if DENSE:
        plus, rise = focal_at(x, gamma, SQUARE)
        minus, fall = focal_at(-x, gamma_neg, SQUARE)
        loss = t * on * plus + (1.0 - t) * off * minus
        slope = t * on * rise - (1.0 - t) * off * fall
    else:
        hot = t > 0.5
        value, slope = focal_at(tl.where(hot, x, -x), tl.where(hot, gamma, gamma_neg), SQUARE)
        loss = tl.where(hot, on, off) * value
        slope = tl.where(hot, on * slope, -off * slope)
    tl.store(sums + block, tl.sum(tl.where(counted, loss, 0.0), 0))
    tl.store(counts + block, tl.sum(tl.where(counted, 1.0, 0.0), 0))
    if GRADIENT:
        slope = tl.where(counted & inside, slope * tl.load(scale), 0.0)
        tl.store(gradient + at, slope.to(gradient.dtype.element_ty), mask=there)


@triton.jit
def _softmax_focal(
    logits, labels, gradient, sums, scale, rows, classes, inner, gamma, ignore_index, bound, lowest,
    GRADIENT: tl.constexpr, SQUARE: tl.constexpr, ROWS: tl.constexpr, CLASSES: tl.constexpr,
):  # fmt: skip
    block = tl.program_id(0)
    row = block.to(tl.int64) * ROWS + tl.arange(0, ROWS)
    outer = row // inner
    first = outer * classes * inner + (row - outer * inner)
    label = tl.load(labels + row, mask=row < rows, other=ignore_index).to(tl.int32)
    counted = (row < rows) & (label != ignore_index)
    own = tl.arange(0, CLASSES)
    at = first[:, None] + own[None, :] * inner
    there = counted[:, None] & (own < classes)[None, :]
    x = tl.load(logits + at, mask=there, other=0.0).to(tl.float32)
    hot = own[None, :] == label[:, None]
    mine = tl.sum(tl.where(hot, x, 0.0), 1)
    inside = (x > -bound) & (x < bound)
    x = tl.minimum(tl.maximum(x, -bound), bound)
    others = tl.where(hot | ~(own < classes)[None, :], lowest, x)
    top = tl.max(others, 1)
    rest = top + tl.log(tl.sum(tl.exp(others - top[:, None]), 1))
    u = mine - rest
    certain = (u > -bound) & (u < bound)
    value, slope = focal_at(tl.minimum(tl.maximum(u, -bound), bound), gamma, SQUARE)
    tl.store(sums + block, tl.sum(tl.where(counted, value, 0.0), 0))
    if GRADIENT:
        slope = tl.where(counted & certain, slope * tl.load(scale), 0.0)
        share = tl.where(hot, 1.0, tl.where(inside, -tl.exp(others - rest[:, None]), 0.0))
        written = (row < rows)[:, None] & (own < classes)[None, :]
        tl.store(gradient + at, (slope[:, None] * share).to(gradient.dtype.element_ty), mask=written)


@triton.jit
def _scale(values, factor, n, SIZE: tl.constexpr):
    by = tl.load(factor)
    if by != 1.0:
        at = tl.program_id(0).to(tl.int64) * SIZE + tl.arange(0, SIZE)
        v = tl.load(values + at, mask=at < n)
        tl.store(values + at, (v.to(by.dtype) * by).to(v.dtype), mask=at < n)


def sigmoid_focal(
    x: Tensor,
    targets: Tensor,
    scale: Tensor,
    *,
    on: float,
    off: float,
    gamma: float,
    gamma_neg: float,
    ignore_index: int,
    dense: bool,
    gradient: bool,
) -> tuple[Tensor, ...]:
    """(sum, count) or (sum, count, gradient times scale), as `_engine.Kernel.run`.

    Args:
        x: Contiguous; (outer, classes, inner) with labels, any shape with dense targets.
        targets: Labels (outer, 1, inner), or as `x`; contiguous.
    """
    n = x.numel()
    blocks = triton.cdiv(n, BLOCK)
    sums, counts = x.new_empty(2, blocks, dtype=torch.float32)
    slope = torch.empty_like(x) if gradient else x
    classes, inner = (x.shape[1], x.shape[2]) if x.ndim == 3 else (1, 1)
    boolean = targets.dtype == torch.bool
    _sigmoid_focal[blocks,](
        x, targets.view(torch.uint8) if boolean else targets, slope, sums, counts, scale,
        n, classes, inner, float(on), float(off), float(gamma), float(gamma_neg), ignore_index, _BOUND,
        DENSE=dense, BOOL=boolean, GRADIENT=gradient, SQUARE=gamma == 2 and gamma_neg == 2, WIDE=n + BLOCK >= 2**31,
        SIZE=BLOCK,
    )  # fmt: skip
    totals = (sums.double().sum(), counts.double().sum())
    return (*totals, slope) if gradient else totals


def softmax_focal(
    x: Tensor, labels: Tensor, scale: Tensor, *, gamma: float, ignore_index: int, gradient: bool
) -> tuple[Tensor, ...]:
    """As `sigmoid_focal`, for `x` (outer, classes, inner) and labels (outer, 1, inner); the count is not taken (0)."""
    outer, classes, inner = x.shape
    rows, width = outer * inner, triton.next_power_of_2(classes)
    tall = max(1, 2048 // width)
    blocks = triton.cdiv(rows, tall)
    sums = x.new_empty(blocks, dtype=torch.float32)
    slope = torch.empty_like(x) if gradient else x
    _softmax_focal[blocks,](
        x, labels, slope, sums, scale, rows, classes, inner, float(gamma), ignore_index, _BOUND,
        torch.finfo(torch.float32).min / 2, GRADIENT=gradient, SQUARE=gamma == 2, ROWS=tall, CLASSES=width,
    )  # fmt: skip
    total = sums.double().sum()
    return (total, torch.zeros_like(total), slope) if gradient else (total, torch.zeros_like(total))


def scale_unless_one(values: Tensor, factor: Tensor) -> None:
    """values *= factor (0-d, on the same device), in place; where it is 1 no memory is touched and nothing waits."""
    flat = values.as_strided((values.numel(),), (1,))  # gradients lie dense: `_layout.Layout.restore`
    _scale[triton.cdiv(flat.numel(), BLOCK),](flat, factor, flat.numel(), SIZE=BLOCK)
