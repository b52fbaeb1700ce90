"""Kernels written by hand in Triton, for CUDA devices: sigmoid focal (labels or dense targets) and softmax focal.

One launch serves all levels of a call. A program reads a tile of logits and writes its gradient and one partial sum;
the partial sums are added in a fixed order, so results repeat bit for bit. No `libdevice`: everything runs under
Triton's interpreter too (TRITON_INTERPRET=1, `scripts/triton`). Computed in float32; float64 is left to Inductor.

Sizes of levels come as tuples, and times 16: Triton builds other code for a number that is 1 or a multiple of 16, and
this way all are such multiples, so that new image sizes need no new code. Where a size turns out to be a multiple of
`VECTOR`, a branch says so to the compiler (`n // VECTOR * VECTOR`), and threads move 16 bytes at a time.
"""

# Triton's language is not Python:
# pyright: reportArgumentType=false, reportCallIssue=false, reportOperatorIssue=false, reportGeneralTypeIssues=false

import torch
import triton
import triton.language as tl

VECTOR = tl.constexpr(8)
_RANGE = torch.finfo(torch.float32).max
_BOUND = tl.constexpr(_RANGE / 1024)
_LOWEST = tl.constexpr(-_RANGE / 2)


@triton.jit
def log1p_unit(e):
    """log(1 + e) for e in [0, 1]: e + e^2 p(e), p a minimax fit whose relative error is below 4e-8."""
    p = 0.005364820727470474 * e - 0.03006577889459837
    p = p * e + 0.07920451547688054
    p = p * e - 0.13753800787281661
    p = p * e + 0.19153654283306257
    p = p * e - 0.24857163520177453
    p = p * e + 0.33321322602434533
    p = p * e - 0.4999964796292384
    return e + e * e * p


@triton.jit
def parts(u):
    """sigmoid(-|u|), sigmoid(|u|) and log(1 + e^-|u|): all that the focal term needs of functions, at u and at -u."""
    e = tl.exp(-tl.abs(u))
    large = 1.0 / (1.0 + e)
    return e * large, large, log1p_unit(e)


@triton.jit
def focal_at(u, small, large, bend, gamma, SQUARE: tl.constexpr):
    """The focal term at the signed logit u and its derivative, as `_numerics._focal_and_slope`."""
    wrong = tl.where(u >= 0, small, large)
    right = tl.where(u >= 0, large, small)
    cost = tl.maximum(-u, 0.0) + bend
    if SQUARE:
        factor = wrong * wrong
        steep = 2.0 * right * cost + wrong
    else:
        factor = tl.exp(-gamma * (tl.maximum(u, 0.0) + bend))
        steep = gamma * right * cost + wrong
    return factor * cost, -factor * steep


@triton.jit
def finite(x):
    """x within the bound, and whether it was. NaN stays NaN: `tl.minimum` would lose it on a GPU."""
    inside = tl.abs(x) < _BOUND
    return tl.where(x >= _BOUND, _BOUND, tl.where(x <= -_BOUND, -_BOUND, x)), inside


@triton.jit
def scaled(scale, divisor):
    """What multiplies gradients: `scale`, or 1 / the number at `divisor`, rounded once."""
    if divisor is not None:
        scale = (1.0 / tl.load(divisor).to(tl.float64)).to(tl.float32)
    return scale


@triton.jit
def level_of(block, starts, LEVELS: tl.constexpr):
    """The level that a block belongs to, and its place there."""
    level, start = 0, 0
    for i in tl.static_range(1, LEVELS):
        later = block >= starts[i] // 16
        level, start = tl.where(later, i, level), tl.where(later, starts[i] // 16, start)
    return level, block - start


@triton.jit
def of_level(level, things, LEVELS: tl.constexpr):
    """One of a tuple of pointers or sizes."""
    thing = things[0]
    for i in tl.static_range(1, LEVELS):
        thing = tl.where(level == i, things[i], thing)
    return thing


@triton.jit
def labelled(
    x, g, there, counted, hot, scale, on, off, gamma, gamma_neg, GRADIENT: tl.constexpr, SQUARE: tl.constexpr
):  # fmt: skip
    """The losses at `x`, whose truth is `hot`; writes the gradient at `g`."""
    v, inside = finite(tl.where(counted, tl.load(x, mask=there, other=0.0).to(tl.float32), 0.0))
    small, large, bend = parts(v)
    exponent = gamma if SQUARE else tl.where(hot, gamma, gamma_neg)
    value, slope = focal_at(tl.where(hot, v, -v), small, large, bend, exponent, SQUARE)
    if GRADIENT:
        slope = tl.where(counted & inside, tl.where(hot, on * scale, -off * scale) * slope, 0.0)
        tl.store(g, slope.to(g.dtype.element_ty), mask=there)
    return tl.where(counted, tl.where(hot, on, off) * value, 0.0)


@triton.jit
def _planes(
    logits, labels, gradients, sums, divisor, starts, inners, scale, on, off, gamma, gamma_neg, ignore_index,
    LEVELS: tl.constexpr, CLASSES: tl.constexpr, TALL: tl.constexpr, LONG: tl.constexpr,
    GRADIENT: tl.constexpr, SQUARE: tl.constexpr,
):  # fmt: skip
    """Levels (outer, CLASSES, inner): a tile of TALL classes x LONG places, so that a label is read once for TALL."""
    block = tl.program_id(0)
    level, here = level_of(block, starts, LEVELS)
    x, y = of_level(level, logits, LEVELS), of_level(level, labels, LEVELS)
    g = of_level(level, gradients, LEVELS) if GRADIENT else x
    inner = of_level(level, inners, LEVELS) // 16
    scale = scaled(scale, divisor)
    rest = here // tl.cdiv(inner, LONG)
    start = (here - rest * tl.cdiv(inner, LONG)) * LONG
    outer = rest // tl.cdiv(CLASSES, TALL)
    first = (rest - outer * tl.cdiv(CLASSES, TALL)) * TALL
    outer = outer.to(tl.int64)
    if inner % VECTOR == 0:
        loss = _plane(
            x, y, g, outer, first, start, inner // VECTOR * VECTOR, scale, on, off, gamma, gamma_neg, ignore_index,
            CLASSES, TALL, LONG, GRADIENT, SQUARE, True,
        )  # fmt: skip
    else:
        loss = _plane(
            x, y, g, outer, first, start, inner, scale, on, off, gamma, gamma_neg, ignore_index,
            CLASSES, TALL, LONG, GRADIENT, SQUARE, False,
        )  # fmt: skip
    tl.store(sums + block, loss)


@triton.jit
def _plane(
    x, y, g, outer, first, start, inner, scale, on, off, gamma, gamma_neg, ignore_index,
    CLASSES: tl.constexpr, TALL: tl.constexpr, LONG: tl.constexpr, GRADIENT: tl.constexpr, SQUARE: tl.constexpr,
    ALIGNED: tl.constexpr,
):  # fmt: skip
    if ALIGNED:
        column, row = tl.arange(0, LONG)[None, :], tl.arange(0, TALL)[:, None]
    else:  # subtle: of another shape, or the compiler would distribute both over the threads as it does the aligned one
        column, row = tl.arange(0, TALL * LONG) % LONG, tl.arange(0, TALL * LONG) // LONG
    there, own = start + column < inner, first + row
    label = tl.load(y + outer * inner + start + column, mask=there, other=0).to(tl.int32)
    base = (outer * CLASSES + first) * inner + start
    at = row * inner + column
    counted, hot = there & (label != ignore_index), own == label
    if CLASSES % TALL:
        there, counted = there & (own < CLASSES), counted & (own < CLASSES)
    loss = labelled(
        x + base + at, g + base + at, there, counted, hot, scale, on, off, gamma, gamma_neg, GRADIENT, SQUARE
    )  # fmt: skip
    return tl.sum(loss)


@triton.jit
def _flat(
    logits, labels, gradients, sums, divisor, starts, inners, sizes, scale, on, off, gamma, gamma_neg, ignore_index,
    LEVELS: tl.constexpr, CLASSES: tl.constexpr, SIZE: tl.constexpr, GRADIENT: tl.constexpr, SQUARE: tl.constexpr,
):  # fmt: skip
    """Levels (outer, CLASSES, inner) whose inner axis is short or 1: SIZE elements in a row."""
    block = tl.program_id(0)
    level, here = level_of(block, starts, LEVELS)
    x, y = of_level(level, logits, LEVELS), of_level(level, labels, LEVELS)
    g = of_level(level, gradients, LEVELS) if GRADIENT else x
    inner = of_level(level, inners, LEVELS) // 16
    start = here.to(tl.int64) * SIZE
    left = tl.minimum(of_level(level, sizes, LEVELS) // 16 - start, SIZE).to(tl.int32)
    scale = scaled(scale, divisor)
    if left % VECTOR == 0:
        loss = _strip(
            x, y, g, start, left // VECTOR * VECTOR, inner, scale, on, off, gamma, gamma_neg, ignore_index,
            CLASSES, SIZE, GRADIENT, SQUARE,
        )  # fmt: skip
    else:
        loss = _strip(
            x, y, g, start, left, inner, scale, on, off, gamma, gamma_neg, ignore_index,
            CLASSES, SIZE, GRADIENT, SQUARE,
        )  # fmt: skip
    tl.store(sums + block, loss)


@triton.jit
def _strip(
    x, y, g, start, left, inner, scale, on, off, gamma, gamma_neg, ignore_index,
    CLASSES: tl.constexpr, SIZE: tl.constexpr, GRADIENT: tl.constexpr, SQUARE: tl.constexpr,
):  # fmt: skip
    at = tl.arange(0, SIZE)
    # subtle: 64-bit division once a program; what is left for the elements is small, and mostly by a constant
    plane = start // inner
    outer = plane // CLASSES
    position = (start - plane * inner).to(tl.int32) + at
    planes, place = position, position * 0
    if inner > 1:
        planes = position // inner
        place = position - planes * inner
    planes += (plane - outer * CLASSES).to(tl.int32)
    rows = planes // CLASSES
    there = at < left
    label = tl.load(y + outer * inner + (rows * inner + place), mask=there, other=0).to(tl.int32)
    counted, hot = there & (label != ignore_index), planes - rows * CLASSES == label
    loss = labelled(
        x + start + at, g + start + at, there, counted, hot, scale, on, off, gamma, gamma_neg, GRADIENT, SQUARE
    )  # fmt: skip
    return tl.sum(loss, 0)


@triton.jit(do_not_specialize=["n"])
def _dense(
    logits, targets, gradient, sums, counts, divisor, n, scale, on, off, gamma, gamma_neg, ignore_index,
    BOOL: tl.constexpr, COUNT: tl.constexpr, SIZE: tl.constexpr, GRADIENT: tl.constexpr, SQUARE: tl.constexpr,
):  # fmt: skip
    block = tl.program_id(0)
    start = block.to(tl.int64) * SIZE
    left = tl.minimum(n - start, SIZE).to(tl.int32)
    scale = scaled(scale, divisor)
    if left % VECTOR == 0:
        loss, count = _between(
            logits + start, targets + start, gradient + start, left // VECTOR * VECTOR,
            scale, on, off, gamma, gamma_neg, ignore_index, BOOL, SIZE, GRADIENT, SQUARE,
        )  # fmt: skip
    else:
        loss, count = _between(
            logits + start, targets + start, gradient + start, left,
            scale, on, off, gamma, gamma_neg, ignore_index, BOOL, SIZE, GRADIENT, SQUARE,
        )  # fmt: skip
    tl.store(sums + block, loss)
    if COUNT:
        tl.store(counts + block, count)


@triton.jit
def _between(
    x, y, g, left, scale, on, off, gamma, gamma_neg, ignore_index,
    BOOL: tl.constexpr, SIZE: tl.constexpr, GRADIENT: tl.constexpr, SQUARE: tl.constexpr,
):  # fmt: skip
    at = tl.arange(0, SIZE)
    there = at < left
    t = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
    counted = there if BOOL else there & (t != ignore_index)
    t = tl.where(counted, t, 0.0)
    v, inside = finite(tl.where(counted, tl.load(x + at, mask=there, other=0.0).to(tl.float32), 0.0))
    small, large, bend = parts(v)
    plus, rise = focal_at(v, small, large, bend, gamma, SQUARE)
    minus, fall = focal_at(-v, small, large, bend, gamma_neg, SQUARE)
    if GRADIENT:
        slope = t * on * rise - (1.0 - t) * off * fall
        slope = tl.where(counted & inside, slope * scale, 0.0)
        tl.store(g + at, slope.to(g.dtype.element_ty), mask=there)
    loss = t * on * plus + (1.0 - t) * off * minus
    return tl.sum(tl.where(counted, loss, 0.0), 0), tl.sum(tl.where(counted, 1.0, 0.0), 0)


@triton.jit(do_not_specialize=["rows"])
def _softmax(
    logits, labels, gradient, sums, divisor, rows, inner, scale, gamma, ignore_index,
    PLANES: tl.constexpr, CLASSES: tl.constexpr, TALL: tl.constexpr, WIDE: tl.constexpr,
    GRADIENT: tl.constexpr, SQUARE: tl.constexpr,
):  # fmt: skip
    """(outer, CLASSES, inner): TALL rows of classes, padded to WIDE; with PLANES they are neighbours along inner."""
    block = tl.program_id(0)
    if PLANES:
        outer = block // tl.cdiv(inner, TALL)
        place = (block - outer * tl.cdiv(inner, TALL)) * TALL + tl.arange(0, TALL)
        known = place < inner
        row = outer.to(tl.int64) * inner + place
        first = outer.to(tl.int64) * CLASSES * inner + place
    else:
        row = block.to(tl.int64) * TALL + tl.arange(0, TALL)
        known = row < rows
        outer = row // inner
        first = outer * CLASSES * inner + (row - outer * inner)
    label = tl.load(labels + row, mask=known, other=0).to(tl.int32)
    counted = known & (label != ignore_index)
    own = tl.arange(0, WIDE)
    at = first[:, None] + own[None, :] * inner
    real = (own < CLASSES)[None, :]
    x = tl.load(logits + at, mask=counted[:, None] & real, other=0.0).to(tl.float32)
    hot = own[None, :] == label[:, None]
    mine = tl.sum(tl.where(hot, x, 0.0), 1)
    x, inside = finite(x)
    others = tl.where(real & ~hot, x, _LOWEST)
    top = tl.max(others, 1)
    rest = top + tl.log(tl.sum(tl.exp(others - top[:, None]), 1))
    u, certain = finite(mine - rest)
    small, large, bend = parts(u)
    value, slope = focal_at(u, small, large, bend, gamma, SQUARE)
    tl.store(sums + block, tl.sum(tl.where(counted, value, 0.0), 0))
    if GRADIENT:
        slope = tl.where(counted & certain, slope * scaled(scale, divisor), 0.0)
        share = tl.where(hot, 1.0, tl.where(inside, -tl.exp(others - rest[:, None]), 0.0))
        written = (slope[:, None] * share).to(gradient.dtype.element_ty)
        tl.store(gradient + at, written, mask=known[:, None] & real)


@triton.jit
def _scale(values, factor, starts, sizes, LEVELS: tl.constexpr, SIZE: tl.constexpr):
    by = tl.load(factor)
    if by != 1.0:
        level, here = level_of(tl.program_id(0), starts, LEVELS)
        v = of_level(level, values, LEVELS) + here.to(tl.int64) * SIZE
        left = tl.minimum(of_level(level, sizes, LEVELS) // 16 - here.to(tl.int64) * SIZE, SIZE).to(tl.int32)
        if left % VECTOR == 0:
            _times(v, left // VECTOR * VECTOR, by, SIZE)
        else:
            _times(v, left, by, SIZE)


@triton.jit
def _times(v, left, by, SIZE: tl.constexpr):
    at = tl.arange(0, SIZE)
    old = tl.load(v + at, mask=at < left)
    tl.store(v + at, (old.to(by.dtype) * by).to(old.dtype), mask=at < left)
