"""The calling convention of every loss on a softmax, written once.

A family gives one elementwise function of the signed logit u (`_numerics.one_vs_rest`): its loss for the true class.
Dense targets q weight it over the classes (the expectation over hard labels), unless the family brings its own rule.
"""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from .._numerics import finite, one_vs_rest, upcast
from .._reduce import fit_weight, not_ignored, reduce
from .._types import PerClass, Vector
from ..kernels.autograd import evaluate
from ..kernels.call import SoftmaxCall
from ..kernels.dispatch import Choice, Explain, demanded
from ..kernels.operands import Focal
from ._checks import (
    check_dense,
    check_labels,
    check_logits,
    check_reduction,
    check_smoothing,
    class_axis,
    ignored_value,
    is_dense,
    is_number,
    labels_shape,
    number,
    vector,
)


def softmax_loss(
    name: str,
    logits: Tensor,
    targets: Tensor,
    term: Callable[..., Tensor] | None,
    *,
    soft: Callable[..., Tensor] | None = None,
    per_class: Mapping[str, PerClass] | None = None,
    shift: Tensor | None = None,
    alpha: Vector | None = None,
    label_smoothing: float = 0.0,
    class_weight: Vector | None = None,
    weight: Tensor | None = None,
    ignore_index: int | None = -100,
    class_dim: int = 1,
    reduction: str = "mean",
    normalizer: float | Tensor | None = None,
    backend: str = "eager",
    focal: Focal | None = None,
) -> Tensor:
    """Applies a softmax loss to class indices or to dense targets (rows over `class_dim`).

    Args:
        name: For the messages.
        term: `term(u, **per_class)`, the loss at the signed logit u of the true class; None where the loss needs every
            class of a row, and `soft` gives it.
        soft: `soft(u, q, dim, **per_class)` -> rows, for dense targets; None is the sum of q * term.
        per_class: Parameters that may be a number or a vector over the classes.
        shift: Added to the logits: a vector over the classes, -inf for a class that takes no part.
        alpha: A factor per class, inside the loss: with an alpha of 0 a row is still valid.
        backend: What the caller was asked for, from losses whose term is the same operations for every value.
        focal: The focal loss that the term is, see `SoftmaxCall`.
    """
    check_logits(logits, name)
    check_reduction(reduction, normalizer)
    check_smoothing(label_smoothing)
    ignore_index = ignored_value(ignore_index)
    dim = class_axis(logits, class_dim, name)
    dense = is_dense(logits, targets, class_dim, name)
    if weight is not None:
        weight = fit_weight(weight, labels_shape(logits, dim), logits.device, dim)
    classes = logits.shape[dim]
    vectors = {key: _per_class(key, value, classes, logits, name) for key, value in (per_class or {}).items()}
    scale = None if alpha is None else vector("alpha", alpha, classes, logits, name)
    by_class = None if class_weight is None else vector("class_weight", class_weight, classes, logits, name)

    def columns(value: float | Tensor) -> float | Tensor:
        return value.view([-1 if d == dim else 1 for d in range(logits.ndim)]) if isinstance(value, Tensor) else value

    if term is not None and not (dense or label_smoothing):
        call = SoftmaxCall(
            targets=(targets,),
            dims=(dim,),
            term=term,
            params=vectors,
            shift=shift,
            factor=scale,
            weight=weight,
            class_weight=by_class,
            ignore_index=ignore_index,
            reduction=reduction,
            normalizer=normalizer,
            check=partial(check_labels, targets, classes, ignore_index, 0, name),
            focal=focal,
        )
        return evaluate(call, (logits,), backend)
    choice = demanded(Choice("eager", "dense rows and smoothed labels have no single pass"), backend)
    if isinstance(backend, Explain):
        return choice  # pyright: ignore[reportReturnType]
    if dense:
        check_dense(targets, ignore_index, name)
    else:
        check_labels(targets, classes, ignore_index, 0, name)
    x = upcast(logits) if shift is None else upcast(logits) + columns(shift)

    if dense:
        valid = (targets != ignore_index).all(dim) if targets.dtype != torch.bool else None
        q = targets.to(x.dtype)
    else:
        valid = not_ignored(targets, ignore_index)
        index = torch.where(valid, targets.long(), 0)
        q = torch.zeros_like(x).scatter(dim, index.unsqueeze(dim), 1.0)
    if valid is not None:
        q, x = torch.where(valid.unsqueeze(dim), q, 0.0), torch.where(valid.unsqueeze(dim), x, 0.0)
    q = q * (1 - label_smoothing) + label_smoothing / classes if label_smoothing else q
    factors = None
    for factor in (scale, by_class):
        if factor is not None:
            factors = columns(factor) if factors is None else factors * columns(factor)
    if by_class is not None:
        weighted = ((q != 0) & (columns(by_class) != 0)).any(dim)  # pyright: ignore[reportOptionalOperand]
        valid = weighted if valid is None else valid & weighted
    u = one_vs_rest(x, dim)
    params = {key: columns(value) for key, value in vectors.items()}
    if soft is None and term is not None:
        terms = q * term(u, **params)
        loss = (terms if factors is None else terms * factors).sum(dim)
    else:
        assert soft is not None
        loss = soft(u, q, dim, **params)
        loss = loss if factors is None else loss * (q * factors).sum(dim)
    return reduce(loss, reduction=reduction, normalizer=normalizer, weight=weight, valid=valid)


def _per_class(key: str, value: PerClass, classes: int, logits: Tensor, name: str) -> float | Tensor:
    """A number, or a vector over the classes; a 0-d tensor becomes one."""
    if is_number(value):
        return number(value)
    if isinstance(value, Tensor) and value.ndim == 0:
        value = value.expand(classes)
    return vector(key, value, classes, logits, name)


def label_loss(
    name: str,
    logits: Tensor,
    labels: Tensor,
    rows: Callable[[Tensor, Tensor, Tensor, int], Tensor],
    *,
    class_weight: Vector | None = None,
    weight: Tensor | None = None,
    ignore_index: int | None = -100,
    class_dim: int = 1,
    reduction: str = "mean",
    normalizer: float | Tensor | None = None,
) -> Tensor:
    """Applies a loss whose logits change with the label of the row, so that it has no dense form.

    Args:
        rows: `rows(x, index, valid, dim)` -> the loss of each row; `index` is 0 where a row is ignored or has
            weight 0.
    """
    check_logits(logits, name)
    check_reduction(reduction, normalizer)
    ignore_index = ignored_value(ignore_index)
    dim = class_axis(logits, class_dim, name)
    if is_dense(logits, labels, class_dim, name):
        raise TypeError(
            f"{name} takes class indices without the class axis, got {labels.dtype} targets shaped like the logits"
        )
    x = upcast(logits)
    check_labels(labels, x.shape[dim], ignore_index, 0, name)
    valid = not_ignored(labels, ignore_index)
    if weight is not None:
        weight = fit_weight(weight, labels.shape, labels.device, dim)
        valid = valid & (weight != 0)
    index = torch.where(valid, labels.long(), 0)
    loss = rows(torch.where(valid.unsqueeze(dim), x, 0.0), index, valid, dim)
    if class_weight is not None:
        by_label = vector("class_weight", class_weight, x.shape[dim], x, name)[index]
        weight = by_label if weight is None else weight * by_label
    return reduce(loss, reduction=reduction, normalizer=normalizer, weight=weight, valid=valid)


def row_cross_entropy(u: Tensor, q: Tensor, dim: int) -> Tensor:
    """-sum_c q_c log p_c from the signed logits."""
    return (q * -torch.nn.functional.logsigmoid(finite(u))).sum(dim)
