"""What a loss is called with beside its logits, and its eager definition, the reference of every backend.

A call describes itself for one tensor of logits, or for one per level of a detector:

    reference(call, *logits)           the reduced loss by PyTorch operations and autograd
    call.operands(i, x)                what goes with the i-th logits: tensors that broadcast against them
    call.sums(x, operands, dim)        the sum of these losses and how many of them are valid; also of a chunk

An element is valid unless it is ignored or has weight 0.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor

from .._numerics import finite, label_logit, upcast
from .._reduce import finish, not_ignored, reduce
from .layout import Layout
from .operands import Focal, Number, Operands, Term, code_of, count_of, one_hot, sum_of


@dataclass(frozen=True, kw_only=True)
class _Call:
    """What all calls have.

    Attributes:
        targets: For each of the logits: dense targets, or labels without the class axis.
        dims: The class axis of each of the logits.
        params: Of the terms: numbers, 0-d tensors and vectors over the classes.
        weight: Broadcasts against the unreduced loss.
        class_weight: Vector over the classes.
        ignore_index: The target that marks an element as not valid; None for no such target.
        reduction: "none", "sum" or "mean".
        normalizer: Divides the sum instead.
        check: Raises where a target is out of range.
    """

    targets: tuple[Tensor, ...]
    dims: tuple[int, ...]
    params: Mapping[str, Number] = field(default_factory=dict)
    weight: Tensor | None = None
    class_weight: Tensor | None = None
    ignore_index: int | None = -100
    reduction: str = "mean"
    normalizer: Number | None = None
    check: Callable[[], None] = lambda: None

    @property
    def mean(self) -> bool:
        """Whether the sum is divided by the number of valid elements."""
        return self.reduction == "mean" and self.normalizer is None

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All that the value depends on beside the logits."""
        given = (*self.targets, *self.params.values(), self.weight, self.class_weight, self.normalizer)
        return tuple(t for t in given if isinstance(t, Tensor))

    @property
    def terms(self) -> tuple[Term | None, ...]:
        """The functions that define the loss."""
        return ()

    @property
    def code(self) -> tuple[Hashable, ...]:
        """What tells the loss from others, whatever its parameters."""
        return tuple(None if term is None else code_of(term) for term in self.terms)

    def valid(self, targets: Tensor) -> Tensor | None:
        """Where elements are not ignored; None: everywhere."""
        if self.ignore_index is None or targets.dtype == torch.bool:
            return None
        if targets.is_floating_point():
            return targets != self.ignore_index
        return not_ignored(targets, self.ignore_index)


@dataclass(frozen=True, kw_only=True)
class SigmoidCall(_Call):
    """A loss on independent sigmoids.

    Attributes:
        positive, negative: positive(x, **params), the loss where the target is 1, and where it is 0. None: `mixed`
            alone defines the loss.
        mixed: mixed(t, x, **params), for targets between 0 and 1.
        dense: What `targets` are.
        classes: Axis 1 of the logits holds anchors times this many classes; None: classes have an axis of their own.
        label_smoothing: s turns targets 1 and 0 into 1 - s/2 and s/2.
        focal: The focal loss that it is, which handwritten kernels take. None: it is none that they take.
    """

    positive: Term | None
    negative: Term | None
    mixed: Term
    dense: bool
    classes: int | None = None
    label_smoothing: float = 0.0
    focal: Focal | None = None
    elementwise = True

    @property
    def terms(self) -> tuple[Term | None, ...]:
        return self.positive, self.negative, self.mixed

    def handwritten(self, dtype: torch.dtype) -> Focal | None:
        """What the handwritten kernels take for logits of this dtype; None where they do not fit."""
        if self.weight is not None or self.label_smoothing or dtype == torch.float64 or self.ignore_index is None:
            return None
        return self.focal

    def folded(self, x: Tensor) -> Tensor:
        """Logits with an axis of classes."""
        return x if self.classes is None else x.unflatten(1, (-1, self.classes))

    def operands(self, i: int, x: Tensor) -> Operands:
        dim = self.dims[i]

        def columns(v: Tensor | float | None) -> Tensor | float | None:
            if not isinstance(v, Tensor) or v.ndim != 1 or x.ndim == 1:
                return v
            return v.view([-1 if d == dim else 1 for d in range(x.ndim)])

        weight = self.weight
        if weight is not None and weight.ndim < x.ndim:
            weight = weight.reshape((1,) * (x.ndim - weight.ndim) + tuple(weight.shape))
        targets = self.targets[i] if self.dense else self.targets[i].unsqueeze(dim)
        params = {key: columns(value) for key, value in self.params.items()}
        return Operands(targets, weight, columns(self.class_weight), params)  # pyright: ignore

    def layout(self, i: int, x: Tensor, operands: Operands) -> tuple[Layout, Tensor]:
        """Of folded logits; where no axis matters, all of them are outer."""
        beside = (operands.weight, operands.class_weight, *operands.params.values())
        flat = self.dense and all(t.numel() == 1 or t.shape == x.shape for t in beside if isinstance(t, Tensor))
        return Layout.of(x, None if flat else self.dims[i])

    def elements(self, x: Tensor, operands: Operands, dim: int) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """The losses, what multiplies them, and where they are not ignored (None: everywhere)."""
        x, targets, params = upcast(x), operands.targets, operands.params
        valid = self.valid(targets)
        is_positive = None
        if not self.dense:
            is_positive = one_hot(targets.long(), x, dim)
        elif targets.dtype == torch.bool:
            is_positive = targets
        x = finite(x if valid is None else torch.where(valid, x, 0.0))
        if is_positive is not None and not self.label_smoothing and self.positive and self.negative:
            loss = torch.where(is_positive, self.positive(x, **params), self.negative(x, **params))
        else:
            t = (targets if is_positive is None else is_positive).to(x.dtype)
            t = t if valid is None else torch.where(valid, t, 0.0)
            t = t * (1 - self.label_smoothing) + self.label_smoothing / 2 if self.label_smoothing else t
            loss = self.mixed(t, x, **params)
        factor = operands.weight
        if operands.class_weight is not None:
            factor = operands.class_weight if factor is None else factor * operands.class_weight
        return loss, factor, valid

    def sums(
        self, x: Tensor, operands: Operands, dim: int, *, count: bool = True, wide: bool = False
    ) -> tuple[Tensor, Tensor | int]:
        """The sum (in float64 if `wide`), and how many elements are valid (0 where that is not asked for)."""
        if self.dense or self.label_smoothing or not (self.positive and self.negative):
            loss, factor, valid = self.elements(x, operands, dim)
            losses = reduce(loss, reduction="none", weight=factor, valid=valid)
            return sum_of(losses, wide), count_of(loss.shape, factor, valid) if count else 0
        parts, factor, valid = self._losses_of_labels(upcast(x), operands, dim, self.positive, self.negative)
        total = sum_of(parts[0], wide) + sum_of(parts[1], wide)
        return total, count_of(x.shape, factor, valid) if count else 0

    def _losses_of_labels(
        self, x: Tensor, operands: Operands, dim: int, positive: Term, negative: Term
    ) -> tuple[tuple[Tensor, Tensor], Tensor | None, Tensor]:
        """As `elements`, without a one-hot: the background loss everywhere else, the positive loss at labels alone.

        In detection nearly every row is background, so the second part is a few numbers.
        """
        labels = operands.targets.long()  # subtle: before any comparison: uint8 takes -100 for 156
        valid = self.valid(labels)
        valid = torch.ones_like(labels, dtype=torch.bool) if valid is None else valid
        weight = operands.weight
        if operands.class_weight is not None:
            weight = operands.class_weight if weight is None else weight * operands.class_weight
        if weight is not None:
            x = torch.where(weight != 0, x, 0.0)  # not valid: a NaN there is no part of the sum
        is_positive = valid & (labels != -1)
        # subtle: a label that is neither a class, -1 nor ignored stays negative here, and gather refuses it
        index = torch.where(is_positive, labels, 0)
        label_logits = x.gather(dim, index)
        # subtle: -inf stands for "not here": its background loss is exactly 0, with gradient 0
        nowhere = float("-inf")
        others = torch.where(valid, x, nowhere).scatter(
            dim, index, torch.where(is_positive | ~valid, nowhere, label_logits)
        )
        others = others.clamp(max=torch.finfo(x.dtype).max / 1024)  # as `finite`, but "not here" stays so
        label_logits = finite(torch.where(is_positive, label_logits, 0.0))

        def at_label(value: Number) -> Number:
            if isinstance(value, Tensor) and value.ndim:
                return value.expand_as(x).gather(dim, index)
            return value

        background = negative(others, **operands.params)
        at_labels = {key: at_label(value) for key, value in operands.params.items()}
        foreground = torch.where(is_positive, positive(label_logits, **at_labels), 0.0)
        if weight is not None:
            weight = weight.to(x.dtype)
            background, foreground = background * weight, foreground * at_label(weight.expand_as(x))
        return (background, foreground), weight, valid


@dataclass(frozen=True, kw_only=True)
class SoftmaxCall(_Call):
    """A loss on a softmax with class indices.

    Attributes:
        term: term(u, **params), the loss at the signed logit of the label.
        shift: Vector over the classes, added to the logits.
        factor: Vector over the classes, multiplies the loss of rows of that class.
        focal: The focal loss that it is, with gamma 0 cross-entropy; handwritten kernels take it. None: it is none.
    """

    term: Term
    shift: Tensor | None = None
    factor: Tensor | None = None
    focal: Focal | None = None
    dense = False
    elementwise = False

    @property
    def terms(self) -> tuple[Term | None, ...]:
        return (self.term,)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (*super().tensors, *(t for t in (self.shift, self.factor) if t is not None))

    @property
    def changed(self) -> bool:
        """Whether rows are shifted or weighted."""
        return any(t is not None for t in (self.shift, self.factor, self.weight, self.class_weight))

    def handwritten(self, dtype: torch.dtype) -> Focal | None:
        """What the handwritten kernels take for logits of this dtype; None where they do not fit."""
        return None if dtype == torch.float64 else self.focal

    def folded(self, x: Tensor) -> Tensor:
        return x

    def index(self, labels: Tensor, classes: int) -> Tensor:
        """Labels that can be indexed with, also where they are ignored or out of range."""
        return labels.long().clamp(0, classes - 1)

    def row_weight(self, classes: int) -> Tensor | None:
        """What multiplies each row, shaped like the labels or broadcasting against them."""
        if self.class_weight is None:
            return self.weight
        by_label = self.class_weight[self.index(self.targets[0], classes)]
        return by_label if self.weight is None else by_label * self.weight

    def operands(self, i: int, x: Tensor) -> Operands:
        dim = self.dims[0]
        weight = self.row_weight(x.shape[dim])
        if weight is not None:
            weight = weight.expand(self.targets[0].shape).unsqueeze(dim)
        return Operands(self.targets[0].unsqueeze(dim), weight, None, {})

    def layout(self, i: int, x: Tensor, operands: Operands) -> tuple[Layout, Tensor]:
        return Layout.of(x, self.dims[0])

    def elements(self, x: Tensor, operands: Operands, dim: int) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """The losses of the rows, what multiplies them, and where they are not ignored."""
        x, labels = upcast(x), operands.targets.squeeze(dim)
        if self.shift is not None:
            x = x + self.shift.view([-1 if d == dim else 1 for d in range(x.ndim)])
        valid = not_ignored(labels, -100 if self.ignore_index is None else self.ignore_index)
        index = torch.where(valid, labels.long(), 0)
        u = label_logit(torch.where(valid.unsqueeze(dim), x, 0.0), index, dim)
        params = {key: v[index] if isinstance(v, Tensor) and v.ndim else v for key, v in self.params.items()}
        loss = self.term(u, **params)
        loss = loss if self.factor is None else loss * self.factor[index]
        return loss, None if operands.weight is None else operands.weight.squeeze(dim), valid

    def sums(
        self, x: Tensor, operands: Operands, dim: int, *, count: bool = True, wide: bool = False
    ) -> tuple[Tensor, Tensor | int]:
        """The sum (in float64 if `wide`), and how many rows are valid (0 where that is not asked for)."""
        loss, weight, valid = self.elements(x, operands, dim)
        losses = reduce(loss, reduction="none", weight=weight, valid=valid)
        return sum_of(losses, wide), count_of(loss.shape, weight, valid) if count else 0


Call: TypeAlias = SigmoidCall | SoftmaxCall


def reference(call: Call, *logits: Tensor) -> Tensor:
    """The loss by its eager definition."""
    given = [call.folded(x) for x in logits]
    if call.reduction == "none":
        loss, factor, valid = call.elements(given[0], call.operands(0, given[0]), call.dims[0])
        return reduce(loss, reduction="none", weight=factor, valid=valid)
    sums = [
        call.sums(x, call.operands(i, x), dim, count=call.mean)
        for i, (x, dim) in enumerate(zip(given, call.dims, strict=True))
    ]
    total, count = sums[0]
    for more in sums[1:]:
        total, count = total + more[0], count + more[1]
    return finish(total, count, reduction=call.reduction, normalizer=call.normalizer)


def count_labels(call: Call, logits: Sequence[Tensor]) -> Tensor | int:
    """How many elements (rows of a softmax) are valid, at least 1, with temporaries of the size of the labels."""
    total: Tensor | int = 0
    for i, x in enumerate(map(call.folded, logits)):
        operands = call.operands(i, x)
        valid = call.valid(operands.targets)
        for factor in (operands.weight, operands.class_weight):
            if factor is not None:
                valid = factor != 0 if valid is None else valid & (factor != 0)
        size = x.numel() if call.elementwise else operands.targets.numel()
        # subtle: the sum of bools would make them int64 first
        more = size if valid is None else valid.count_nonzero() * (size // max(valid.numel(), 1))
        total = total + more
    return total.clamp(min=1) if isinstance(total, Tensor) else max(total, 1)
