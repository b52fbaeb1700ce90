"""The single pass of the losses on independent sigmoids: dense targets and class indices, any memory layout."""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from .._numerics import finite, upcast
from .._reduce import reduce
from . import _cpp
from ._choice import obstacle, refuse
from ._engine import fingerprint
from ._joint import Guarded
from ._layout import Layout, Unplaceable, is_flat, placed
from ._single_pass import Placed, Plan, single_pass
from ._sparse import FEW, Background, Few, find_few, find_nonzero
from ._tidy import ORDINARY

Term = Callable[..., Tensor]

# from this many classes on, labels are converted once (a copy of 1/32 of the logits) and not for every class
CONVERT = 32


def sigmoid_sum(
    logits: tuple[Tensor, ...],
    targets: tuple[Tensor, ...],
    terms: tuple[Term, Term, Term],
    *,
    dense: bool,
    params: Mapping[str, float | Tensor],
    label_smoothing: float = 0.0,
    weight: Tensor | None = None,
    class_weight: Tensor | None = None,
    ignore_index: int = -100,
    dims: tuple[int, ...],
    classes: int | None = None,
    focal: bool = False,
    reduction: str,
    normalizer: float | Tensor | None = None,
    backend: str,
    plain: Callable[..., Tensor],
) -> Tensor | None:
    """The reduced loss, or None where the plain formula is the better or the only way.

    Args:
        logits: One tensor, or one per level.
        targets: For each: dense targets, or labels without the class axis.
        terms: positive(x, **params), negative(x, **params), and mixed(t, x, **params) for targets between 0 and 1.
        dense: What `targets` are.
        params: Numbers, 0-d tensors and vectors over the classes.
        dims: The class axis of each of the logits.
        classes: Axis 1 of the logits holds anchors times this many classes; None: classes have an axis of their own.
        focal: It is the focal loss with the parameters on, off, gamma and gamma_neg: Triton has a kernel for it.
        reduction: "mean" divides by the elements that count; `normalizer` takes its place.
        plain: plain(*logits), the same by the eager definition.

    Raises:
        BackendError: The backend asked for cannot run.
    """
    if reduction == "none":
        return refuse('reduction="none" gives the unreduced loss, which a single pass has nothing to save on', backend)
    mean = reduction == "mean" and normalizer is None
    given = {key: value for key, value in params.items() if isinstance(value, Tensor)}
    given |= {k: w for k, w in (("weight ", weight), ("class_weight ", class_weight)) if w is not None}
    extra = [normalizer] if isinstance(normalizer, Tensor) else []
    why = obstacle(logits, (*targets, *given.values(), *extra))
    if why is not None:
        return refuse(why, backend)

    baked = {k: float(v) for k, v in params.items() if not isinstance(v, Tensor) and is_plain_number(v)}
    dtype, device = upcast(logits[0][:0] if logits[0].ndim else logits[0]).dtype, logits[0].device
    loose = {
        k: torch.full((), v, dtype=dtype, device=device)
        for k, v in params.items()
        if not isinstance(v, Tensor) and k not in baked
    }
    given |= loose
    names = tuple(given)
    weighted = weight is not None or class_weight is not None
    boolean = dense and targets[0].dtype == torch.bool
    counts = mean and (weighted or (dense and not boolean))
    divisor = normalizer
    if counts and logits[0].dtype in (torch.float16, torch.bfloat16):
        # subtle: counted first, so that the gradient is rounded once; a factor after the pass would round it again
        factor = None if not weighted else _product(weight, class_weight, logits[0].ndim, dims[0])
        divisor = _count(logits, targets, factor, dense, ignore_index, dims)
        counts = False
    elif mean and not counts:
        divisor = _count(logits, targets, None, dense, ignore_index, dims)
    positive, negative, mixed = terms

    def maths(x: Tensor, t: Tensor, *rest: Tensor, ordinary: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        bounded = _same if ordinary else finite
        if not dense:
            classes, *rest = rest  # pyright: ignore[reportAssignmentType]
            labels = t.to(x.dtype)
            counted: Tensor | None = labels != ignore_index
            hot = labels == classes
        elif boolean:
            counted, hot = None, t
        else:
            counted, hot = t != ignore_index, None
        values = dict(zip(names, rest, strict=True))
        factors = [values.pop(key) for key in ("weight ", "class_weight ") if key in values]
        values |= baked
        if ordinary:
            counted = None
        if counted is not None:
            x = torch.where(counted, x, 0.0)
        if hot is not None and not label_smoothing:
            loss = torch.where(hot, positive(bounded(x), **values), negative(bounded(x), **values))
        else:
            t = (t if hot is None else hot).to(x.dtype)
            t = t if counted is None else torch.where(counted, t, 0.0)
            t = t * (1 - label_smoothing) + label_smoothing / 2 if label_smoothing else t
            loss = mixed(t, bounded(x), **values)
        factor = None
        for f in factors:
            factor = f if factor is None else factor * f
        loss = reduce(loss, reduction="none", weight=factor, counted=counted)
        if not counts:
            return loss
        if ordinary and factor is None:
            return loss, torch.full((), loss.numel(), dtype=torch.float64, device=loss.device)
        present = counted if factor is None else factor != 0 if counted is None else (factor != 0) & counted
        assert present is not None
        return loss, present.expand_as(loss)

    whole = Guarded(maths, partial(maths, ordinary=True), absent=None if boolean else float(ignore_index))
    try:
        key = (tuple(map(fingerprint, terms)), dense, boolean, counts, names, tuple(baked.items()), label_smoothing)
        key = ("sigmoid", *key, ignore_index)
    except TypeError:
        return refuse("its maths holds something other than numbers, so that it cannot be told apart", backend)

    def place(i: int, x: Tensor) -> Placed:
        shape = x.shape
        x = x if classes is None else x.unflatten(1, (-1, classes))
        layout, ordered = Layout.of(x, dims[i] if x.ndim else 0)
        flat = dense and is_flat(layout, *given.values())
        form = partial(placed, layout=layout, flat=flat)
        others: list[Tensor | None] = []
        if dense:
            others.append(form(targets[i]) if x.ndim else targets[i])
        else:
            labels = layout.rows(targets[i])
            k = x.shape[dims[i]]
            others.append(labels.to(dtype) if k >= CONVERT else labels)
            others.append(torch.arange(k, dtype=dtype, device=device).view(1, k, 1))
        for value in given.values():
            vector = not flat and value.ndim == 1 and value.shape[0] == x.shape[layout.dim]
            others.append(value.reshape(1, -1, 1) if vector and value is not weight else form(value))
        if any(o is None for o in others):
            raise Unplaceable
        return Placed(
            ordered.reshape(-1) if flat else layout.by_class(ordered),
            tuple(o for o in others if o is not None),
            lambda g: layout.restore(g).reshape(shape),
        )

    triton: Callable[[Placed, Tensor, bool], tuple[Tensor, ...]] | None = None
    simple = not weighted and not label_smoothing and dtype == torch.float32
    if focal and simple and all(isinstance(v, int | float) for v in params.values()):

        def kernel(p: Placed, scale: Tensor, gradient: bool) -> tuple[Tensor, ...]:
            from . import _triton

            numbers = {key: float(value) for key, value in params.items()}
            return _triton.sigmoid_focal(
                p.x, p.others[0], scale, ignore_index=ignore_index, dense=dense, gradient=gradient, **numbers
            )

        triton = kernel

    cpp: Callable[[tuple[Tensor, ...], bool, Tensor], _cpp.Done | None] | None = None
    if triton is not None and _cpp.fits(logits, targets, ignore_index, dense=dense):
        numbers = _cpp.Weights(**{key: float(value) for key, value in params.items()})

        def by_hand(logits: tuple[Tensor, ...], gradient: bool, scale: Tensor) -> _cpp.Done | None:
            folded = [x if classes is None else x.unflatten(1, (-1, classes)) for x in logits]
            layouts = [Layout.of(x, d if x.ndim else 0) for x, d in zip(folded, dims, strict=True)]
            if dense:
                ((layout, x),) = layouts
                t = layout.full(targets[0]).reshape(-1)
                done = _cpp.sigmoid_focal_dense(
                    x.reshape(-1), t, numbers, scale, ignore_index=ignore_index, gradient=gradient
                )
            else:
                xs = [layout.by_class(x) for layout, x in layouts]
                labels = [layout.rows(t) for (layout, _), t in zip(layouts, targets, strict=True)]
                done = _cpp.sigmoid_focal_labels(
                    xs, labels, numbers, scale, ignore_index=ignore_index, gradient=gradient
                )
            if done is None:
                return None
            slopes = [layout.restore(g) for g, (layout, _) in zip(done[2], layouts, strict=False)]
            return done[0], done[1], [g.reshape(x.shape) for g, x in zip(slopes, logits, strict=False)]

        cpp = by_hand

    sparse = None
    # of all levels together: a small level may hold nothing but exceptions
    most = sum(x.numel() for x in logits) // FEW
    scalars = all(v.ndim == 0 for v in given.values())
    background = not dense or boolean or ignore_index != 0  # a target of 0 stands for background
    if (
        background
        and scalars
        and not weighted
        and not label_smoothing
        and (device.type, dtype) == ("cpu", torch.float32)
    ):

        def side(term: Term) -> Guarded:
            def maths(x: Tensor, *rest: Tensor, bounded: Callable[[Tensor], Tensor]) -> Tensor:
                return term(bounded(x), **dict(zip(names, rest, strict=True)), **baked)

            full, short = partial(maths, bounded=finite), partial(maths, bounded=_same)
            return Guarded(full, short, low=float("-inf") if term is negative else -ORDINARY)

        def find(i: int, x: Tensor) -> Few | None:
            shape = x.shape
            x = x if classes is None else x.unflatten(1, (-1, classes))
            layout, ordered = Layout.of(x, dims[i])
            restore = lambda g: layout.restore(g).reshape(shape)  # noqa: E731
            flat = ordered.reshape(-1)
            if dense:
                t = layout.full(targets[i]).reshape(-1)
                at = find_nonzero(t, most)
                return None if at is None else Few(flat, at, at[:0], restore, t[at])
            few = find_few(layout.by_class(ordered), layout.rows(targets[i]), ignore_index, most)
            return few and Few(flat, *few, restore)

        sparse = Background(key, side(negative), whole if dense else side(positive), tuple(given.values()), find, dense)
    try:
        return single_pass(
            Plan(key, whole, place, plain, divisor, counts, triton=triton, cpp=cpp, sparse=sparse), logits, backend
        )
    except Unplaceable:
        return refuse("the weight's shape is neither that of the logits nor a vector over the classes or rows", backend)


def _same(x: Tensor) -> Tensor:
    return x


def _product(weight: Tensor | None, class_weight: Tensor | None, ndim: int, dim: int) -> Tensor | None:
    if class_weight is None:
        return weight
    columns = class_weight.view([-1 if d == dim else 1 for d in range(ndim)])
    return columns if weight is None else weight * columns


def _count(
    logits: tuple[Tensor, ...],
    targets: tuple[Tensor, ...],
    factor: Tensor | None,
    dense: bool,
    ignore_index: int,
    dims: tuple[int, ...],
) -> float | Tensor:
    """How many elements count, at least 1."""
    if factor is None and dense and targets[0].dtype == torch.bool:
        return float(sum(x.numel() for x in logits))
    total: Tensor | int = 0
    for x, t, dim in zip(logits, targets, dims, strict=True):
        # subtle: .long() before the comparison, in which uint8 takes -100 for 156
        counted = (t if dense else t.long().unsqueeze(dim)) != ignore_index
        counted = counted if factor is None else counted & (factor != 0)
        total = total + counted.sum() * (x.numel() // max(counted.numel(), 1))
    assert isinstance(total, Tensor)
    return total.clamp(min=1)


def is_plain_number(value: float) -> bool:
    """Halves up to 8 become part of the code: an exponent of 2 is a multiplication, a factor of 1 is nothing.

    Other numbers are inputs, so that a sweep over them compiles once.
    """
    return 0 <= value <= 8 and float(value * 2).is_integer()
