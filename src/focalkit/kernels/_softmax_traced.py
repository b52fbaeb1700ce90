"""The losses on a softmax as maths that can be traced, and their tensors as a kernel takes them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from .._numerics import computed_in, finite
from .._reduce import not_ignored, reduce
from ._calls import SoftmaxLoss
from ._choice import Choice, NoSinglePass
from ._engine import fingerprint, kernel, pattern
from ._layout import Layout
from ._numbers import split
from ._rows import Box, rows_pass
from ._sigmoid_traced import CONVERT
from ._traced import Placed, Traced


@dataclass(frozen=True)
class Row:
    """The loss at the signed logits: maths(u, counted, *rest).

    Attributes:
        names: Of the parameters in `rest`, which ends with them.
        baked: Numbers that are part of the code.
        scaled, weighted: Which factors come first in `rest`.
    """

    term: Callable[..., Tensor]
    names: tuple[str, ...]
    baked: tuple[tuple[str, float], ...]
    scaled: bool
    weighted: bool

    def __call__(self, u: Tensor, counted: Tensor, *rest: Tensor) -> Tensor:
        more = iter(rest)
        scale = next(more) if self.scaled else None
        weight = next(more) if self.weighted else None
        loss = self.term(finite(u), **dict(zip(self.names, more, strict=True)), **dict(self.baked))
        return reduce(loss if scale is None else loss * scale, reduction="none", weight=weight, counted=counted)

    def key(self) -> tuple[object, ...]:
        """Equal for equal operations; TypeError where that cannot be told."""
        return fingerprint(self.term), self.names, self.baked, self.scaled, self.weighted


@dataclass(frozen=True)
class Rows:
    """The loss of whole rows: maths(logits, labels, classes, *rest), where `rest` starts with the shift."""

    row: Row
    shifted: bool
    ignore_index: int

    def __call__(self, x: Tensor, labels: Tensor, classes: Tensor, *rest: Tensor) -> Tensor:
        labels = labels.to(x.dtype)
        counted, hot = labels != self.ignore_index, labels == classes
        x = torch.where(counted, x, 0.0)
        if self.shifted:
            x, rest = x + rest[0], rest[1:]
        # the signed logit, as `_numerics.label_logit`: the label leaves the sum
        own = torch.where(hot, x, 0.0).sum(1, keepdim=True)
        others = torch.where(hot, torch.finfo(x.dtype).min / 2, finite(x)).logsumexp(1, keepdim=True)
        return self.row(own - others, counted, *rest)


def trace_softmax(loss: SoftmaxLoss, logits: tuple[Tensor, ...]) -> Traced:
    """The loss by its maths; raises `NoSinglePass` where its term holds more than numbers."""
    vectors, loose, baked = split(loss.params)
    row = Row(loss.term, (*vectors, *loose), tuple(baked.items()), loss.factor is not None, loss.weight is not None)
    maths = Rows(row, loss.shift is not None, loss.ignore_index)
    try:
        key = ("softmax", *row.key(), maths.shifted, maths.ignore_index)
    except TypeError:
        raise NoSinglePass("its maths holds something other than numbers, so that it cannot be told apart") from None
    numbers = [torch.full((), v, dtype=computed_in(logits[0]), device=logits[0].device) for v in loose.values()]
    return Traced(
        key,
        maths,
        partial(_place, loss, list(vectors.values()), numbers),
        rows=True,
        by_row=partial(_by_row, loss, row, key, list(vectors.values()), numbers),
    )


def _weights(loss: SoftmaxLoss, layout: Layout, dtype: torch.dtype) -> Tensor | None:
    return None if loss.weight is None else layout.rows(loss.weight.to(dtype).expand(loss.labels.shape))


def _place(loss: SoftmaxLoss, vectors: list[Tensor], numbers: list[Tensor], _: int, x: Tensor) -> Placed:
    layout, ordered = Layout.of(x, loss.dim)
    k = x.shape[loss.dim]
    dtype, rows = computed_in(x), layout.rows(loss.labels)
    weights = _weights(loss, layout, dtype)
    by_label = [*vectors] if loss.factor is None else [loss.factor, *vectors]
    index = torch.where(not_ignored(rows, loss.ignore_index), rows.long(), 0) if by_label else None
    others = [rows.to(dtype) if k >= CONVERT else rows]
    others.append(torch.arange(k, dtype=dtype, device=x.device).view(1, k, 1))
    others += [] if loss.shift is None else [loss.shift.view(1, k, 1)]
    own = [v[index] for v in by_label]
    others += own[: len(own) - len(vectors)] + ([] if weights is None else [weights]) + own[len(own) - len(vectors) :]
    return Placed(layout.by_class(ordered), (*others, *numbers), layout.restore)


def _by_row(
    loss: SoftmaxLoss,
    maths: Row,
    key: tuple[object, ...],
    vectors: list[Tensor],
    numbers: list[Tensor],
    x: Tensor,
    gradient: bool,
    scale: Tensor,
) -> tuple[Tensor, Tensor | None]:
    layout, ordered = Layout.of(x, loss.dim)
    weights = _weights(loss, layout, computed_in(x))

    def run(u: Tensor, index: Tensor, counted: Tensor, box: Box) -> tuple[Tensor, ...]:
        others = [counted] if loss.factor is None else [counted, loss.factor[index]]
        others += [] if weights is None else [weights[box[0], :, box[2]].flatten()]
        others += [*(v[index] for v in vectors), *numbers]
        code = kernel((key, "row", pattern(u)), gradient=gradient, rows=False)
        return code.run(Choice("chunked", "one number a row"), maths, u, scale, others, strict=False)

    x, y = layout.by_class(ordered), layout.rows(loss.labels)
    total, slope = rows_pass(x, y, run, shift=loss.shift, ignore_index=loss.ignore_index, gradient=gradient)
    return total, None if slope is None else layout.restore(slope)
