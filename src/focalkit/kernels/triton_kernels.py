"""Handwritten Triton kernels for CUDA devices: sigmoid focal (labels or dense targets) and softmax focal.

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
def shared(u):
    """sigmoid(-|u|), sigmoid(|u|) and log(1 + e^-|u|): the functions of which the focal term is made, at u and -u."""
    e = tl.exp(-tl.abs(u))
    large = 1.0 / (1.0 + e)
    return e * large, large, log1p_unit(e)


@triton.jit
def focal_at(u, small, large, log1p_exp, gamma, SQUARE: tl.constexpr):
    """The focal term at the signed logit u and its derivative, as `_numerics._focal_and_gradient`."""
    # 1. 1 - p_t = sigmoid(-u), p_t = sigmoid(u), nll = -log p_t = max(-u, 0) + log(1 + e^-|u|)
    one_minus_p = tl.where(u >= 0, small, large)
    p = tl.where(u >= 0, large, small)
    nll = tl.maximum(-u, 0.0) + log1p_exp
    # 2. the modulator (1 - p_t)^gamma, and the derivative's other factor, gamma p_t nll + (1 - p_t)
    if SQUARE:
        modulator = one_minus_p * one_minus_p
        rest = 2.0 * p * nll + one_minus_p
    else:
        modulator = tl.exp(-gamma * (tl.maximum(u, 0.0) + log1p_exp))
        rest = gamma * p * nll + one_minus_p
    return modulator * nll, -modulator * rest


@triton.jit
def finite(x):
    """x within the bound, and whether it was. NaN stays NaN: `tl.minimum` would lose it on a GPU."""
    inside = tl.abs(x) < _BOUND
    return tl.where(x >= _BOUND, _BOUND, tl.where(x <= -_BOUND, -_BOUND, x)), inside


@triton.jit
def scaled(scale, pointer):
    """What multiplies gradients: `scale`, or the float64 number on the device, rounded once."""
    if pointer is not None:
        scale = tl.load(pointer).to(tl.float32)
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
def weighted(v, t, focal, HARD: tl.constexpr, SQUARE: tl.constexpr):
    """The weighted focal loss at the logit v and its derivative, of targets t between 0 and 1; of bools where HARD.

    `focal` has the parameters of `call.Focal`, in their order. Nothing else here knows them.
    """
    pos_weight, neg_weight, gamma, gamma_neg = focal
    small, large, log1p_exp = shared(v)
    if HARD:
        weight = tl.where(t, pos_weight, neg_weight)
        exponent = gamma if SQUARE else tl.where(t, gamma, gamma_neg)
        value, gradient = focal_at(tl.where(t, v, -v), small, large, log1p_exp, exponent, SQUARE)
        value, gradient = weight * value, tl.where(t, weight, -weight) * gradient
    else:
        pos_value, pos_gradient = focal_at(v, small, large, log1p_exp, gamma, SQUARE)
        neg_value, neg_gradient = focal_at(-v, small, large, log1p_exp, gamma_neg, SQUARE)
        pos, neg = t * pos_weight, (1.0 - t) * neg_weight
        value, gradient = pos * pos_value + neg * neg_value, pos * pos_gradient - neg * neg_gradient
    return value, gradient


@triton.jit
def label_loss(x, g, there, valid, is_positive, scale, focal, GRADIENT: tl.constexpr, SQUARE: tl.constexpr):
    """The losses at `x`, where `is_positive` says which are; writes the gradient at `g`."""
    v, inside = finite(tl.where(valid, tl.load(x, mask=there, other=0.0).to(tl.float32), 0.0))
    value, gradient = weighted(v, is_positive, focal, True, SQUARE)
    if GRADIENT:
        gradient = tl.where(valid & inside, gradient * scale, 0.0)
        tl.store(g, gradient.to(g.dtype.element_ty), mask=there)
    return tl.where(valid, value, 0.0)


@triton.jit
def label_tiles(
    logits, labels, gradients, sums, scale_pointer, starts, inners, scale, focal, ignore_index,
    LEVELS: tl.constexpr, CLASSES: tl.constexpr, TALL: tl.constexpr, LONG: tl.constexpr,
    GRADIENT: tl.constexpr, SQUARE: tl.constexpr,
):  # fmt: skip
    """Levels (outer, CLASSES, inner): a tile of TALL classes x LONG places, so that a label is read once for TALL."""
    block = tl.program_id(0)
    level, here = level_of(block, starts, LEVELS)
    x, y = of_level(level, logits, LEVELS), of_level(level, labels, LEVELS)
    g = of_level(level, gradients, LEVELS) if GRADIENT else x
    inner = of_level(level, inners, LEVELS) // 16
    scale = scaled(scale, scale_pointer)
    # which places (start), which classes (first) and which outer index this program has
    rest = here // tl.cdiv(inner, LONG)
    start = (here - rest * tl.cdiv(inner, LONG)) * LONG
    outer = rest // tl.cdiv(CLASSES, TALL)
    first = (rest - outer * tl.cdiv(CLASSES, TALL)) * TALL
    outer = outer.to(tl.int64)
    if inner % VECTOR == 0:
        loss = _tile(
            x, y, g, outer, first, start, inner // VECTOR * VECTOR, scale, focal, ignore_index,
            CLASSES, TALL, LONG, GRADIENT, SQUARE, True,
        )  # fmt: skip
    else:
        loss = _tile(
            x, y, g, outer, first, start, inner, scale, focal, ignore_index,
            CLASSES, TALL, LONG, GRADIENT, SQUARE, False,
        )  # fmt: skip
    tl.store(sums + block, loss)


@triton.jit
def _tile(
    x, y, g, outer, first, start, inner, scale, focal, ignore_index,
    CLASSES: tl.constexpr, TALL: tl.constexpr, LONG: tl.constexpr, GRADIENT: tl.constexpr, SQUARE: tl.constexpr,
    ALIGNED: tl.constexpr,
):  # fmt: skip
    if ALIGNED:
        column, row = tl.arange(0, LONG)[None, :], tl.arange(0, TALL)[:, None]
    else:  # subtle: of another shape, or the compiler would distribute both over the threads as it does the aligned one
        column, row = tl.arange(0, TALL * LONG) % LONG, tl.arange(0, TALL * LONG) // LONG
    there, class_ = start + column < inner, first + row
    label = tl.load(y + outer * inner + start + column, mask=there, other=0).to(tl.int32)
    base = (outer * CLASSES + first) * inner + start
    at = row * inner + column
    valid, is_positive = there & (label != ignore_index), class_ == label
    if CLASSES % TALL:
        there, valid = there & (class_ < CLASSES), valid & (class_ < CLASSES)
    loss = label_loss(
        x + base + at, g + base + at, there, valid, is_positive, scale, focal, GRADIENT, SQUARE
    )  # fmt: skip
    return tl.sum(loss)


@triton.jit
def label_rows(
    logits, labels, gradients, sums, scale_pointer, starts, inners, sizes, scale, focal, ignore_index,
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
    scale = scaled(scale, scale_pointer)
    if left % VECTOR == 0:
        loss = _span(
            x, y, g, start, left // VECTOR * VECTOR, inner, scale, focal, ignore_index,
            CLASSES, SIZE, GRADIENT, SQUARE,
        )  # fmt: skip
    else:
        loss = _span(
            x, y, g, start, left, inner, scale, focal, ignore_index,
            CLASSES, SIZE, GRADIENT, SQUARE,
        )  # fmt: skip
    tl.store(sums + block, loss)


@triton.jit
def _span(
    x, y, g, start, left, inner, scale, focal, ignore_index,
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
    valid, is_positive = there & (label != ignore_index), planes - rows * CLASSES == label
    loss = label_loss(
        x + start + at, g + start + at, there, valid, is_positive, scale, focal, GRADIENT, SQUARE
    )  # fmt: skip
    return tl.sum(loss, 0)


@triton.jit(do_not_specialize=["n"])
def dense_targets(
    logits, targets, gradient, sums, counts, scale_pointer, n, scale, focal, ignore_index,
    BOOL: tl.constexpr, COUNT: tl.constexpr, SIZE: tl.constexpr, GRADIENT: tl.constexpr, SQUARE: tl.constexpr,
):  # fmt: skip
    block = tl.program_id(0)
    start = block.to(tl.int64) * SIZE
    left = tl.minimum(n - start, SIZE).to(tl.int32)
    scale = scaled(scale, scale_pointer)
    if left % VECTOR == 0:
        loss, count = _dense_span(
            logits + start, targets + start, gradient + start, left // VECTOR * VECTOR,
            scale, focal, ignore_index, BOOL, SIZE, GRADIENT, SQUARE,
        )  # fmt: skip
    else:
        loss, count = _dense_span(
            logits + start, targets + start, gradient + start, left,
            scale, focal, ignore_index, BOOL, SIZE, GRADIENT, SQUARE,
        )  # fmt: skip
    tl.store(sums + block, loss)
    if COUNT:
        tl.store(counts + block, count)


@triton.jit
def _dense_span(
    x, y, g, left, scale, focal, ignore_index,
    BOOL: tl.constexpr, SIZE: tl.constexpr, GRADIENT: tl.constexpr, SQUARE: tl.constexpr,
):  # fmt: skip
    at = tl.arange(0, SIZE)
    there = at < left
    t = tl.load(y + at, mask=there, other=0.0).to(tl.float32)
    valid = there if BOOL else there & (t != ignore_index)
    t = tl.where(valid, t, 0.0)
    v, inside = finite(tl.where(valid, tl.load(x + at, mask=there, other=0.0).to(tl.float32), 0.0))
    loss, gradient = weighted(v, t, focal, False, SQUARE)
    if GRADIENT:
        gradient = tl.where(valid & inside, gradient * scale, 0.0)
        tl.store(g + at, gradient.to(g.dtype.element_ty), mask=there)
    return tl.sum(tl.where(valid, loss, 0.0), 0), tl.sum(tl.where(valid, 1.0, 0.0), 0)


@triton.jit(do_not_specialize=["rows"])
def softmax_rows(
    logits, labels, gradients, sums, scale_pointer, rows, inner, scale, focal, ignore_index,
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
    # 1. load the rows, whether they are valid, and which element of each is the label's
    label = tl.load(labels + row, mask=known, other=0).to(tl.int32)
    valid = known & (label != ignore_index)
    column = tl.arange(0, WIDE)
    at = first[:, None] + column[None, :] * inner
    real = (column < CLASSES)[None, :]
    x = tl.load(logits + at, mask=valid[:, None] & real, other=0.0).to(tl.float32)
    is_label = column[None, :] == label[:, None]
    # 2. the signed logit u = x_y - logsumexp of the others: without the label, log(1 - p_y) stays exact
    label_logit = tl.sum(tl.where(is_label, x, 0.0), 1)
    x, inside = finite(x)
    others = tl.where(real & ~is_label, x, _LOWEST)
    top = tl.max(others, 1)
    logsumexp = top + tl.log(tl.sum(tl.exp(others - top[:, None]), 1))
    u, certain = finite(label_logit - logsumexp)
    # 3. the loss at u; one partial sum for the program
    value, gradient = weighted(u, u == u, focal, True, SQUARE)
    tl.store(sums + block, tl.sum(tl.where(valid, value, 0.0), 0))
    # 4. d loss / d x_y = s and d loss / d x_j = -s p_j / (1 - p_y), where s = d loss / d u
    if GRADIENT:
        gradient = tl.where(valid & certain, gradient * scaled(scale, scale_pointer), 0.0)
        share = tl.where(is_label, 1.0, tl.where(inside, -tl.exp(others - logsumexp[:, None]), 0.0))
        written = (gradient[:, None] * share).to(gradients.dtype.element_ty)
        tl.store(gradients + at, written, mask=known[:, None] & real)


@triton.jit
def scale_all(values, factor, starts, sizes, LEVELS: tl.constexpr, SIZE: tl.constexpr):
    by = tl.load(factor)
    if by != 1.0:
        level, here = level_of(tl.program_id(0), starts, LEVELS)
        v = of_level(level, values, LEVELS) + here.to(tl.int64) * SIZE
        left = tl.minimum(of_level(level, sizes, LEVELS) // 16 - here.to(tl.int64) * SIZE, SIZE).to(tl.int32)
        if left % VECTOR == 0:
            _scale_span(v, left // VECTOR * VECTOR, by, SIZE)
        else:
            _scale_span(v, left, by, SIZE)


@triton.jit
def _scale_span(v, left, by, SIZE: tl.constexpr):
    at = tl.arange(0, SIZE)
    old = tl.load(v + at, mask=at < left)
    tl.store(v + at, (old.to(by.dtype) * by).to(old.dtype), mask=at < left)
