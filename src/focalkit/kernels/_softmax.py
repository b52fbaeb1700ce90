"""The single pass of the losses on a softmax with class indices: each row is read, and its gradient written, once."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from .._numerics import finite, upcast
from .._reduce import reduce
from . import _cpp
from ._choice import Choice, obstacle, refuse
from ._engine import fingerprint, kernel, pattern
from ._layout import Layout
from ._rows import Box, rows_pass
from ._sigmoid import CONVERT, is_plain_number
from ._single_pass import Placed, Plan, single_pass

# the largest row of classes that a tile of the Triton kernel holds
TILE = 8192


def softmax_sum(
    logits: Tensor,
    labels: Tensor,
    term: Callable[..., Tensor],
    *,
    params: Mapping[str, float | Tensor],
    shift: Tensor | None = None,
    factor: Tensor | None = None,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    dim: int,
    focal: bool = False,
    reduction: str,
    normalizer: float | Tensor | None = None,
    backend: str,
    plain: Callable[..., Tensor],
) -> Tensor | None:
    """The reduced loss, or None where the plain formula is the better or the only way.

    Args:
        labels: Class indices, the shape of `logits` without `dim`.
        term: term(u, **params), the loss at the signed logit of the label.
        params: Numbers and vectors over the classes.
        shift: Vector over the classes, added to the logits.
        factor: Vector over the classes, multiplies the loss of rows of that class.
        weight: Broadcasts against `labels`; rows of weight 0 are absent.
        focal: It is the focal loss with the parameter gamma: Triton has a kernel for it.
        plain: plain(logits), the same by the eager definition.

    Raises:
        BackendError: The backend asked for cannot run.
    """
    if reduction == "none":
        return refuse('reduction="none" gives the unreduced loss, which a single pass has nothing to save on', backend)
    vectors = {key: value for key, value in params.items() if isinstance(value, Tensor)}
    tensors = [t for t in (*vectors.values(), shift, factor, weight, normalizer) if isinstance(t, Tensor)]
    why = obstacle((logits,), (labels, *tensors))
    if why is not None:
        return refuse(why, backend)
    dtype, device = upcast(logits.new_empty(())).dtype, logits.device
    baked = {k: float(v) for k, v in params.items() if not isinstance(v, Tensor) and is_plain_number(v)}
    loose = {k: v for k, v in params.items() if not isinstance(v, Tensor) and k not in baked}
    names = (*vectors, *loose)
    shifted, scaled, weighted = shift is not None, factor is not None, weight is not None

    def row_maths(u: Tensor, counted: Tensor, *rest: Tensor) -> Tensor:
        more = iter(rest)
        scale = next(more) if scaled else None
        weights = next(more) if weighted else None
        loss = term(finite(u), **dict(zip(names, more, strict=True)), **baked)
        loss = loss if scale is None else loss * scale
        return reduce(loss, reduction="none", weight=weights, counted=counted)

    def maths(x: Tensor, labels: Tensor, classes: Tensor, *rest: Tensor) -> Tensor:
        labels = labels.to(x.dtype)
        counted, hot = labels != ignore_index, labels == classes
        x = torch.where(counted, x, 0.0)
        if shifted:
            x, rest = x + rest[0], rest[1:]
        # the signed logit, as `_numerics.label_logit`: the label leaves the sum
        own = torch.where(hot, x, 0.0).sum(1, keepdim=True)
        others = torch.where(hot, torch.finfo(x.dtype).min / 2, finite(x)).logsumexp(1, keepdim=True)
        return row_maths(own - others, counted, *rest)

    try:
        key = ("softmax", fingerprint(term), names, tuple(baked.items()), shifted, scaled, weighted, ignore_index)
    except TypeError:
        return refuse("its maths holds something other than numbers, so that it cannot be told apart", backend)

    def place(_: int, x: Tensor) -> Placed:
        layout, ordered = Layout.of(x, dim)
        k = x.shape[dim]
        rows = layout.rows(labels)
        others = [rows.to(dtype) if k >= CONVERT else rows, torch.arange(k, dtype=dtype, device=device).view(1, k, 1)]
        index = None
        if vectors or scaled:
            index = torch.where(rows.long() != ignore_index, rows.long(), 0)
        if shift is not None:
            others.append(shift.view(1, k, 1))
        if factor is not None:
            others.append(factor[index])
        if weight is not None:
            others.append(layout.rows(weight.to(dtype).expand(labels.shape)))
        others += [v[index] for v in vectors.values()]
        others += [torch.full((), v, dtype=dtype, device=device) for v in loose.values()]
        return Placed(layout.by_class(ordered), tuple(others), layout.restore)

    def by_row(x: Tensor, gradient: bool, scale: Tensor) -> tuple[Tensor, Tensor | None]:
        layout, ordered = Layout.of(x, dim)
        weights = None if weight is None else layout.rows(weight.to(dtype).expand(labels.shape))
        numbers = [torch.full((), v, dtype=dtype) for v in loose.values()]

        def run(u: Tensor, index: Tensor, counted: Tensor, box: Box) -> tuple[Tensor, ...]:
            others = [counted] if factor is None else [counted, factor[index]]
            others += [] if weights is None else [weights[box[0], :, box[2]].flatten()]
            others += [*(v[index] for v in vectors.values()), *numbers]
            code = kernel((key, "row", pattern(u)), gradient=gradient, rows=False)
            return code.run(Choice("chunked", "one number a row"), row_maths, u, scale, others, strict=False)

        rows = layout.rows(labels)
        total, slope = rows_pass(
            layout.by_class(ordered), rows, run, shift=shift, ignore_index=ignore_index, gradient=gradient
        )
        return total, None if slope is None else layout.restore(slope)

    divisor = normalizer
    if reduction == "mean" and normalizer is None:
        counted = labels.long() != ignore_index  # subtle: .long() first, uint8 takes -100 for 156
        counted = counted if weight is None else counted & (weight != 0)
        divisor = counted.sum().clamp(min=1)
    triton: Callable[[Placed, Tensor, bool], tuple[Tensor, ...]] | None = None
    gamma = params.get("gamma")
    simple = not (shifted or scaled or weighted) and dtype == torch.float32
    if focal and simple and isinstance(gamma, int | float) and logits.shape[dim] <= TILE:

        def by_hand(p: Placed, scale: Tensor, gradient: bool) -> tuple[Tensor, ...]:
            from . import _triton

            return _triton.softmax_focal(
                p.x, p.others[0], scale, gamma=float(gamma), ignore_index=ignore_index, gradient=gradient
            )

        triton = by_hand

    cpp: Callable[[tuple[Tensor, ...], bool, Tensor], _cpp.Done | None] | None = None
    if (
        focal
        and simple
        and isinstance(gamma, int | float)
        and _cpp.fits((logits,), (labels,), ignore_index, dense=False)
    ):
        numbers = _cpp.Weights(gamma=float(gamma), gamma_neg=float(gamma))

        def in_cpp(logits: tuple[Tensor, ...], gradient: bool, scale: Tensor) -> _cpp.Done | None:
            layout, ordered = Layout.of(logits[0], dim)
            x, rows = layout.by_class(ordered), layout.rows(labels)
            done = _cpp.softmax_focal(x, rows, numbers, scale, ignore_index=ignore_index, gradient=gradient)
            return done and (done[0], done[1], [layout.restore(g) for g in done[2]])

        cpp = in_cpp

    return single_pass(
        Plan(key, maths, place, plain, divisor, rows=True, triton=triton, cpp=cpp, by_row=by_row), (logits,), backend
    )
