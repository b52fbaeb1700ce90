"""The calling convention of every loss on independent sigmoids, written once.

A family gives two elementwise functions of the logit: its loss where the target is 1 and where it is 0. What lies
between is their mean weighted by the target ("split"), unless the family brings its own rule for soft targets.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from .._numerics import computed_in, finite, upcast
from .._reduce import fit_weight
from .._types import PerClass, Vector
from ..kernels.autograd import evaluate
from ..kernels.call import SigmoidCall
from ..kernels.operands import Focal, Term, mixture, one_hot
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
    number,
    vector,
    warn_of_one_channel,
)


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
    focal: Callable[..., Focal | None] | None = None,
) -> Tensor:
    """Applies a sigmoid loss to dense targets or class indices.

    Args:
        name: For the messages.
        positive: `positive(x, **per_class)`, the loss of logits whose target is 1.
        negative: The same for 0; must be 0, with gradient 0, at -inf.
        soft: `soft(x, t, **per_class)` for float targets; None is t * positive + (1 - t) * negative.
        per_class: Parameters that may be a number or a vector over the classes; handed on, ready to broadcast.
        backend: What the caller was asked for, from losses whose terms are the same operations for every value.
        focal: focal(**per_class) -> the focal loss that the terms are, see `SigmoidCall`.
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
        weight = fit_weight(weight, logits.shape, logits.device)
    params = by_class(given, logits, logits.shape[dim] if logits.ndim else 1, name)
    columns = params.pop("class_weight", None)
    if dense:
        check = partial(check_dense, targets, ignore_index, name)
    else:
        check = partial(check_labels, targets, logits.shape[dim], ignore_index, -1, name)
    call = SigmoidCall(
        targets=(targets,),
        dims=(dim,),
        positive=positive,
        negative=negative,
        mixed=mixture(positive, negative, soft),
        dense=dense,
        params=params,
        label_smoothing=label_smoothing,
        weight=weight,
        class_weight=columns,  # pyright: ignore[reportArgumentType]
        ignore_index=ignore_index,
        reduction=reduction,
        normalizer=normalizer,
        check=check,
        focal=None if focal is None or soft is not None else focal(**params),
    )
    return evaluate(call, (logits,), backend)


def by_class(params: Mapping[str, PerClass], logits: Tensor, classes: int, name: str) -> dict[str, float | Tensor]:
    """Numbers as they are, all else as tensors that fit the logits: 0-d, or vectors over the classes."""

    def ready(key: str, value: PerClass) -> float | Tensor:
        if is_number(value):
            return number(value)
        if isinstance(value, Tensor) and value.ndim == 0:
            return value.to(logits.device, computed_in(logits))
        return vector(key, value, classes, logits, name)

    return {key: ready(key, value) for key, value in params.items()}


class Dense(NamedTuple):
    """What a loss that looks at whole rows works on.

    Attributes:
        x: The logits, finite, 0 where they do not count.
        t: The targets as floats, 0 where they do not count; class indices as a one-hot.
        valid: False where an element is ignored or has weight 0.
        weight: As given, fitted.
        dim: The class axis.
    """

    x: Tensor
    t: Tensor
    valid: Tensor
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
        valid, t = targets != ignore_index, targets.to(x.dtype)
    else:
        labels = targets.long()
        check_labels(labels, x.shape[dim], ignore_index, -1, name)
        if x.shape[dim] == 1:
            warn_of_one_channel(labels, ignore_index, name)
        labels = labels.unsqueeze(dim)
        t = one_hot(labels, x, dim).to(x.dtype)
        valid = (labels != ignore_index).expand_as(t)
    if weight is not None:
        weight = fit_weight(weight, x.shape, x.device)
        valid = valid & (weight != 0)
    return Dense(finite(torch.where(valid, x, 0.0)), torch.where(valid, t, 0.0), valid, weight, dim)
