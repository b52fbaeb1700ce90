"""The calling convention of every loss on independent sigmoids, written once.

A family gives two elementwise functions of the logit: its loss where the truth is 1 and where it is 0. What lies
between is their mean weighted by the target ("split"), unless the family brings its own rule for soft targets.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from .._numerics import finite, upcast
from .._reduce import finish, fit_weight, reduce
from .._types import PerClass, Vector
from ..kernels._calls import SigmoidLoss, Weights
from ..kernels._sigmoid import sigmoid_sum
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
    vector,
    warn_of_one_channel,
)

Term: TypeAlias = Callable[..., Tensor]
"""term(x, **per_class) -> the elementwise loss"""


def sigmoid_loss(
    name: str,
    logits: Tensor,
    targets: Tensor,
    positive: Term,
    negative: Term,
    *,
    soft: Callable[..., Tensor] | None = None,
    per_class: Mapping[str, PerClass] | None = None,
    label_smoothing: float = 0.0,
    class_weight: Vector | None = None,
    weight: Tensor | None = None,
    ignore_index: int | None = -100,
    class_dim: int = 1,
    reduction: str = "mean",
    normalizer: float | Tensor | None = None,
    backend: str = "eager",
    focal: Callable[..., Weights | None] | None = None,
) -> Tensor:
    """Applies a sigmoid loss to dense targets or class indices.

    Args:
        name: For the messages.
        positive: `positive(x, **per_class)`, the loss of logits whose truth is 1.
        negative: The same for 0; must be 0, with gradient 0, at -inf.
        soft: `soft(x, t, **per_class)` for float targets; None is t * positive + (1 - t) * negative.
        per_class: Parameters that may be a number or a vector over the classes; handed on, ready to broadcast.
        backend: What the caller was asked for, from losses whose terms are the same operations for every value.
        focal: focal(**per_class) -> the weights of the focal loss that the terms are, see `SigmoidLoss`.
    """
    check_logits(logits, name)
    check_reduction(reduction, normalizer)
    check_smoothing(label_smoothing)
    ignore_index = ignored_value(ignore_index)
    dense = is_dense(logits, targets, class_dim, name)
    given: dict[str, PerClass] = dict(per_class or {})
    if class_weight is not None:
        given["class_weight"] = class_weight
    if not dense or any(not is_number(v) for v in given.values()):
        dim = class_axis(logits, class_dim, name)
    else:  # the axis does not matter, and may be missing
        dim = class_dim % logits.ndim if -logits.ndim <= class_dim < logits.ndim else 0
    if not dense and logits.shape[dim] == 1:
        warn_of_one_channel(targets, ignore_index, name)
    if weight is not None:
        weight = fit_weight(weight, logits.shape)
    params = by_class(given, logits, logits.shape[dim] if logits.ndim else 1, name)
    columns = params.pop("class_weight", None)
    if dense:
        check = partial(check_dense, targets, ignore_index, name)
    else:
        check = partial(check_labels, targets, logits.shape[dim], ignore_index, -1, name)
    loss = SigmoidLoss(
        (targets,),
        (positive, negative, mixture(positive, negative, soft)),
        dense=dense,
        dims=(dim,),
        params=params,
        label_smoothing=label_smoothing,
        weight=weight,
        class_weight=columns,  # pyright: ignore[reportArgumentType]
        ignore_index=ignore_index,
        focal=None if focal is None or soft is not None else focal(**params),
    )
    plain = partial(by_definition, loss, reduction=reduction, normalizer=normalizer)
    if backend != "eager":
        fused = sigmoid_sum(
            loss, (logits,), reduction=reduction, normalizer=normalizer, backend=backend, plain=plain, check=check
        )
        if fused is not None:
            return fused
    check()
    return plain(logits)


def by_class(params: Mapping[str, PerClass], logits: Tensor, classes: int, name: str) -> dict[str, float | Tensor]:
    """Numbers as they are, all else as tensors that fit the logits: 0-d, or vectors over the classes."""

    def ready(key: str, value: PerClass) -> float | Tensor:
        if is_number(value):
            return value if isinstance(value, int | float) else float(value)
        like = upcast(logits.new_empty(()))
        if isinstance(value, Tensor) and value.ndim == 0:
            return value.to(like)
        return vector(key, value, classes, like, name)

    return {key: ready(key, value) for key, value in params.items()}


def by_definition(
    loss: SigmoidLoss, logits: Tensor, *, reduction: str, normalizer: float | Tensor | None = None
) -> Tensor:
    """The loss of one tensor of logits by PyTorch operations and autograd."""
    x, targets, dim = upcast(logits), loss.targets[0], loss.dims[0]
    positive, negative, mix = loss.terms
    params = {key: loss.columns(v, x.ndim) if isinstance(v, Tensor) else v for key, v in loss.params.items()}
    weight = loss.factor(x.ndim)
    finished = partial(reduce, reduction=reduction, normalizer=normalizer, weight=weight)
    if loss.dense:
        if loss.boolean and not loss.label_smoothing:
            return finished(torch.where(targets, positive(finite(x), **params), negative(finite(x), **params)))
        counted = None if loss.boolean else targets != loss.ignore_index
        t = targets.to(x.dtype)
        if counted is not None:
            t, x = torch.where(counted, t, 0.0), torch.where(counted, x, 0.0)
        return finished(mix(smooth(t, loss.label_smoothing), finite(x), **params), counted=counted)
    labels = targets.long().unsqueeze(dim)  # subtle: .long() before any comparison: uint8 takes -100 for 156
    counted = labels != loss.ignore_index
    if reduction == "none" or loss.label_smoothing:
        hot = one_hot(labels, x, dim)
        x = finite(torch.where(counted, x, 0.0))
        if loss.label_smoothing:
            return finished(mix(smooth(hot.to(x.dtype), loss.label_smoothing), x, **params), counted=counted)
        return finished(torch.where(hot, positive(x, **params), negative(x, **params)), counted=counted)
    return _from_labels(x, labels, counted, positive, negative, params, weight, dim, reduction, normalizer)


def mixture(positive: Term, negative: Term, soft: Callable[..., Tensor] | None) -> Term:
    """mixture(t, x, **per_class), the loss for targets between 0 and 1."""

    def mixed(t: Tensor, x: Tensor, **params: float | Tensor) -> Tensor:
        if soft is not None:
            return soft(x, t, **params)
        return t * positive(x, **params) + (1 - t) * negative(x, **params)

    return mixed


class Dense(NamedTuple):
    """What a loss that looks at whole rows works on.

    Attributes:
        x: The logits, finite, 0 where they do not count.
        t: The targets as floats, 0 where they do not count; class indices as a one-hot.
        counted: False where an element is ignored or has weight 0.
        weight: As given, fitted.
        dim: The class axis.
    """

    x: Tensor
    t: Tensor
    counted: Tensor
    weight: Tensor | None
    dim: int

    def columns(self, vector: Tensor) -> Tensor:
        """A vector over the classes as it broadcasts against `x`."""
        return vector.view([-1 if d == self.dim else 1 for d in range(self.x.ndim)])

    def per_class(self, values: Tensor) -> Tensor:
        """Sums over all axes but the classes."""
        return values.sum([d for d in range(self.x.ndim) if d != self.dim])


def dense_targets(
    name: str,
    logits: Tensor,
    targets: Tensor,
    *,
    ignore_index: int | None,
    class_dim: int,
    weight: Tensor | None = None,
) -> Dense:
    """Checks the arguments of a loss that looks at whole rows, and makes its targets dense."""
    check_logits(logits, name)
    ignore_index = ignored_value(ignore_index)
    dim = class_axis(logits, class_dim, name)
    x = upcast(logits)
    if is_dense(logits, targets, class_dim, name):
        check_dense(targets, ignore_index, name)
        counted, t = targets != ignore_index, targets.to(x.dtype)
    else:
        labels = targets.long()
        check_labels(labels, x.shape[dim], ignore_index, -1, name)
        if x.shape[dim] == 1:
            warn_of_one_channel(labels, ignore_index, name)
        labels = labels.unsqueeze(dim)
        t = one_hot(labels, x, dim).to(x.dtype)
        counted = (labels != ignore_index).expand_as(t)
    if weight is not None:
        weight = fit_weight(weight, x.shape)
        counted = counted & (weight != 0)
    return Dense(finite(torch.where(counted, x, 0.0)), torch.where(counted, t, 0.0), counted, weight, dim)


def one_hot(labels: Tensor, x: Tensor, dim: int) -> Tensor:
    """Bool, shaped like `x`; `labels` have size 1 on the class axis. A label below 0 hits no class."""
    return labels == torch.arange(x.shape[dim], device=x.device).view([-1 if d == dim else 1 for d in range(x.ndim)])


def smooth(t: Tensor, label_smoothing: float) -> Tensor:
    """Two classes per element: 1 becomes 1 - s/2 and 0 becomes s/2."""
    return t * (1 - label_smoothing) + label_smoothing / 2 if label_smoothing else t


def _from_labels(
    x: Tensor,
    labels: Tensor,
    counted: Tensor,
    positive: Term,
    negative: Term,
    params: Mapping[str, float | Tensor],
    weight: Tensor | None,
    dim: int,
    reduction: str,
    normalizer: float | Tensor | None,
) -> Tensor:
    """The sum without a one-hot: the background loss everywhere else, and the positive loss at the labels only.

    In detection nearly every row is background, so the second part is a few numbers.
    """
    if weight is not None:
        x = torch.where(weight != 0, x, 0.0)  # absent: a NaN there is no part of the sum
    hit = counted & (labels != -1)
    # subtle: a label that is neither a class, -1 nor ignored stays negative here, and gather refuses it.
    index = torch.where(hit, labels, 0)
    own = x.gather(dim, index)
    # subtle: -inf stands for "not here": its background loss is exactly 0, with gradient 0.
    nowhere = float("-inf")
    others = torch.where(counted, x, nowhere).scatter(dim, index, torch.where(hit | ~counted, nowhere, own))
    others = others.clamp(max=torch.finfo(x.dtype).max / 1024)  # as `finite`, but absence stays absence
    own = finite(torch.where(hit, own, 0.0))

    def at_label(value: float | Tensor) -> float | Tensor:
        if isinstance(value, Tensor) and value.ndim:
            return value.expand_as(x).gather(dim, index)
        return value

    background = negative(others, **params)
    foreground = torch.where(hit, positive(own, **{key: at_label(value) for key, value in params.items()}), 0.0)
    if weight is None:
        count = counted.sum() * x.shape[dim]
    else:
        weight = weight.to(x.dtype)
        background, foreground = background * weight, foreground * at_label(weight.expand_as(x))
        count = ((weight != 0) & counted).expand_as(x).sum() if reduction == "mean" and normalizer is None else 0
    return finish(background.sum() + foreground.sum(), count, reduction=reduction, normalizer=normalizer)
