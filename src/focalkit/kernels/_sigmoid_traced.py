"""The losses on independent sigmoids as maths that can be traced, and their tensors as a kernel takes them."""

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from .._numerics import computed_in, finite
from .._reduce import reduce
from ._calls import SigmoidLoss, Term
from ._choice import NoSinglePass
from ._engine import fingerprint
from ._find import FEW, find_few, find_nonzero
from ._joint import Guarded
from ._layout import Layout, is_flat, placed
from ._numbers import split
from ._sparse import Background, Few
from ._tidy import ORDINARY
from ._traced import Placed, Traced

# from this many classes on, labels are converted once (a copy of 1/32 of the logits) and not for every class
CONVERT = 32


@dataclass(frozen=True)
class Side:
    """The loss of logits whose truth is known.

    Attributes:
        names: Of the tensors that follow the logits.
        baked: Numbers that are part of the code.
        ordinary: No logit is large.
    """

    term: Term
    names: tuple[str, ...]
    baked: tuple[tuple[str, float], ...]
    ordinary: bool = False

    def __call__(self, x: Tensor, *rest: Tensor) -> Tensor:
        return self.term(
            x if self.ordinary else finite(x), **dict(zip(self.names, rest, strict=True)), **dict(self.baked)
        )


@dataclass(frozen=True)
class Elementwise:
    """maths(logits, targets, *rest), or with the classes after the labels.

    Attributes:
        names, baked: As in `Side`.
        boolean: Dense targets are bool.
        counts: The maths says which elements count.
        ordinary: No logit is large and no target absent.
    """

    terms: tuple[Term, Term, Term]
    names: tuple[str, ...]
    baked: tuple[tuple[str, float], ...]
    dense: bool
    boolean: bool
    counts: bool
    label_smoothing: float
    ignore_index: int
    ordinary: bool = False

    def __call__(self, x: Tensor, t: Tensor, *rest: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        hot = t if self.boolean else None
        if not self.dense:
            classes, *rest = rest  # pyright: ignore[reportAssignmentType]
            t = t.to(x.dtype)
            hot = t == classes
        counted = None if self.boolean or self.ordinary else t != self.ignore_index
        values = dict(zip(self.names, rest, strict=True))
        weight, columns = values.pop("weight ", None), values.pop("class_weight ", None)
        factor = columns if weight is None else weight if columns is None else weight * columns
        x = x if counted is None else torch.where(counted, x, 0.0)
        x = x if self.ordinary else finite(x)
        loss = self._loss(x, t, hot, counted, {**values, **dict(self.baked)})
        loss = reduce(loss, reduction="none", weight=factor, counted=counted)
        return (loss, self._present(loss, factor, counted)) if self.counts else loss

    def _loss(
        self, x: Tensor, t: Tensor, hot: Tensor | None, counted: Tensor | None, values: dict[str, float | Tensor]
    ) -> Tensor:
        positive, negative, mixed = self.terms
        if hot is not None and not self.label_smoothing:
            return torch.where(hot, positive(x, **values), negative(x, **values))
        t = (t if hot is None else hot).to(x.dtype)
        t = t if counted is None else torch.where(counted, t, 0.0)
        t = t * (1 - self.label_smoothing) + self.label_smoothing / 2 if self.label_smoothing else t
        return mixed(t, x, **values)

    def _present(self, loss: Tensor, factor: Tensor | None, counted: Tensor | None) -> Tensor:
        if factor is not None:
            present = factor != 0 if counted is None else (factor != 0) & counted
            return present.expand_as(loss)
        if counted is None:
            return torch.full((), loss.numel(), dtype=torch.float64, device=loss.device)
        return counted.expand_as(loss)

    def key(self) -> tuple[object, ...]:
        """Equal for equal operations; TypeError where that cannot be told."""
        rest = (self.dense, self.boolean, self.counts, self.label_smoothing, self.ignore_index)
        return ("sigmoid", *map(fingerprint, self.terms), self.names, self.baked, *rest)


def trace_sigmoid(loss: SigmoidLoss, logits: tuple[Tensor, ...], *, counts: bool) -> Traced:
    """The loss by its maths; raises `NoSinglePass` where its terms hold more than numbers."""
    _, loose, baked = split(loss.params)
    dtype, device = computed_in(logits[0]), logits[0].device
    given = loss.tensors | {k: torch.full((), v, dtype=dtype, device=device) for k, v in loose.items()}
    code = tuple(given), tuple(baked.items())
    smoothing = loss.label_smoothing
    full = Elementwise(loss.terms, *code, loss.dense, loss.boolean, counts, smoothing, loss.ignore_index)
    try:
        key = full.key()
    except TypeError:
        raise NoSinglePass("its maths holds something other than numbers, so that it cannot be told apart") from None
    absent = None if loss.boolean else float(loss.ignore_index)
    maths = Guarded(full, replace(full, ordinary=True), absent=absent)

    def side(term: Term, low: float) -> Guarded:
        return Guarded(Side(term, *code), Side(term, *code, ordinary=True), low=low)

    sparse = None
    background = not loss.dense or loss.boolean or loss.ignore_index != 0  # a target of 0 stands for background
    simple = not loss.weighted and not smoothing and all(v.ndim == 0 for v in given.values())
    if background and simple and (device.type, dtype) == ("cpu", torch.float32):
        negative = side(loss.terms[1], float("-inf"))
        positive = maths if loss.dense else side(loss.terms[0], -ORDINARY)
        # of all levels together: a small level may hold nothing but exceptions
        find = partial(_find, loss, sum(x.numel() for x in logits) // FEW)
        sparse = Background(key, negative, positive, tuple(given.values()), find, loss.dense)
    return Traced(key, maths, partial(_place, loss, given), sparse=sparse)


def _place(loss: SigmoidLoss, given: dict[str, Tensor], i: int, logits: Tensor) -> Placed:
    x = loss.folded(logits)
    layout, ordered = Layout.of(x, loss.dims[i] if x.ndim else 0)
    flat = loss.dense and is_flat(layout, *given.values())
    form = partial(placed, layout=layout, flat=flat)
    others: list[Tensor | None] = []
    if loss.dense:
        others.append(form(loss.targets[i]) if x.ndim else loss.targets[i])
    else:
        labels, k = layout.rows(loss.targets[i]), x.shape[loss.dims[i]]
        others.append(labels.to(computed_in(x)) if k >= CONVERT else labels)
        others.append(torch.arange(k, dtype=computed_in(x), device=x.device).view(1, k, 1))
    for value in given.values():
        vector = not flat and value.ndim == 1 and value.shape[0] == x.shape[layout.dim]
        others.append(value.reshape(1, -1, 1) if vector and value is not loss.weight else form(value))
    if any(o is None for o in others):
        raise NoSinglePass("the weight's shape is neither that of the logits nor a vector over the classes or rows")
    return Placed(
        ordered.reshape(-1) if flat else layout.by_class(ordered),
        tuple(o for o in others if o is not None),
        lambda g: layout.restore(g).reshape(logits.shape),
    )


def _find(loss: SigmoidLoss, most: int, i: int, logits: Tensor) -> Few | None:
    layout, ordered = Layout.of(loss.folded(logits), loss.dims[i])
    flat = ordered.reshape(-1)

    def restore(g: Tensor) -> Tensor:
        return layout.restore(g).reshape(logits.shape)

    if loss.dense:
        t = layout.full(loss.targets[i]).reshape(-1)
        at = find_nonzero(t, most)
        return None if at is None else Few(flat, at, at[:0], restore, t[at], absent=loss.ignore_index)
    few = find_few(layout.by_class(ordered), layout.rows(loss.targets[i]), loss.ignore_index, most)
    return few and Few(flat, *few, restore)
