"""What calls and backends hand each other: the parameters of a focal loss, operands and results; small helpers."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

Term: TypeAlias = Callable[..., Tensor]
Number: TypeAlias = float | Tensor


@dataclass(frozen=True)
class Focal:
    """The parameters of a focal loss that handwritten kernels take.

    `Focal` in `native/weights.h` and `focal_at` in `triton_kernels.py` have the same ones, in this order.

    Attributes:
        pos_weight, neg_weight: Numbers, or vectors over the classes.
        gamma, gamma_neg: The exponents.
    """

    pos_weight: Number = 1.0
    neg_weight: Number = 1.0
    gamma: float = 2.0
    gamma_neg: float = 2.0

    @staticmethod
    def of(pos_weight: Number, neg_weight: Number, gamma: Number, gamma_neg: Number) -> "Focal | None":
        """None where the kernels do not take them: exponents are numbers, and no tensor is 0-d."""
        if isinstance(gamma, Tensor) or isinstance(gamma_neg, Tensor):
            return None
        if any(isinstance(t, Tensor) and not t.ndim for t in (pos_weight, neg_weight)):
            return None
        return Focal(pos_weight, neg_weight, gamma, gamma_neg)

    @property
    def by_class(self) -> bool:
        return isinstance(self.pos_weight, Tensor) or isinstance(self.neg_weight, Tensor)

    @property
    def squared(self) -> bool:
        """Whether kernels have been built for the exponents."""
        return self.gamma == self.gamma_neg == 2


CROSS_ENTROPY = Focal(gamma=0.0, gamma_neg=0.0)


class Result(NamedTuple):
    """What a backend found.

    Attributes:
        total: The sum: a number, or on a GPU 0-d in float64.
        num_valid: How many elements are valid, where the backend counts them; else 0.
        gradients: Times scale, for each of the logits where wanted.
        out_of_range: How many targets are; only from backends that look.
    """

    total: Number
    num_valid: Number
    gradients: list[Tensor | None]
    out_of_range: float = 0.0


class Operands(NamedTuple):
    """What goes with one tensor of logits. Tensors broadcast against it, or are 0-d or vectors over the classes.

    Attributes:
        targets: Dense, or labels with a class axis of size 1.
        weight, class_weight: Multiply the loss.
        params: The parameters of elementwise terms.
    """

    targets: Tensor
    weight: Tensor | None
    class_weight: Tensor | None
    params: Mapping[str, Number]

    def map(self, function: Callable[[Tensor], Tensor]) -> "Operands":
        """The function of every tensor with as many axes as the targets."""

        def each(t: "Tensor | float | None") -> "Tensor | float | None":
            return function(t) if isinstance(t, Tensor) and t.ndim == self.targets.ndim else t

        params = {key: each(value) for key, value in self.params.items()}
        return Operands(function(self.targets), each(self.weight), each(self.class_weight), params)  # pyright: ignore


def code_of(term: Term) -> Hashable:
    """What tells a term from others: its code, which functions made over again by every call share."""
    term = getattr(term, "__wrapped__", term)
    return getattr(term, "__code__", term)


def one_hot(labels: Tensor, x: Tensor, dim: int) -> Tensor:
    """Bool, shaped like `x`; `labels` have size 1 on the class axis. A label below 0 hits no class."""
    return labels == torch.arange(x.shape[dim], device=x.device).view([-1 if d == dim else 1 for d in range(x.ndim)])


def mixture(positive: Term, negative: Term, soft: Term | None) -> Term:
    """mixture(t, x, **params), the loss for targets between 0 and 1: their expectation, or the family's `soft`."""

    def mixed(t: Tensor, x: Tensor, **params: Number) -> Tensor:
        if soft is not None:
            return soft(x, t, **params)
        return t * positive(x, **params) + (1 - t) * negative(x, **params)

    return mixed


def sum_of(losses: Tensor, wide: bool) -> Tensor:
    return losses.sum(dtype=torch.float64) if wide else losses.sum()


def count_of(shape: torch.Size, factor: Tensor | None, valid: Tensor | None) -> Tensor | int:
    if factor is not None:
        valid = factor != 0 if valid is None else valid & (factor != 0)
    if valid is None:
        return shape.numel()
    return valid.sum() * (shape.numel() // max(valid.numel(), 1))
