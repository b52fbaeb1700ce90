"""What a loss is called with beside its logits, which autograd alone shall keep alive."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import torch
from torch import Tensor

from ._cpp import Weights

Term: TypeAlias = Callable[..., Tensor]


def weights(
    on: float | Tensor, off: float | Tensor, gamma: float | Tensor, gamma_neg: float | Tensor
) -> Weights | None:
    """Of a focal loss, where the kernels written by hand take them: exponents are numbers, and no tensor is 0-d."""
    if isinstance(gamma, Tensor) or isinstance(gamma_neg, Tensor):
        return None
    return None if any(isinstance(t, Tensor) and not t.ndim for t in (on, off)) else Weights(on, off, gamma, gamma_neg)


@dataclass(frozen=True)
class SigmoidLoss:
    """A loss on independent sigmoids, and what it is called with, for one tensor of logits or one per level.

    Attributes:
        targets: For each of the logits: dense targets, or labels without the class axis.
        terms: positive(x, **params), negative(x, **params), and mixed(t, x, **params) for targets between 0 and 1.
        dense: What `targets` are.
        dims: The class axis of each of the logits.
        classes: Axis 1 of the logits holds anchors times this many classes; None: classes have an axis of their own.
        params: Numbers, 0-d tensors and vectors over the classes.
        weight: Broadcasts against the logits.
        class_weight: Vector over the classes.
        focal: The weights of the focal loss that it is: kernels are written for it. None: it is none that they take.
    """

    targets: tuple[Tensor, ...]
    terms: tuple[Term, Term, Term]
    dense: bool
    dims: tuple[int, ...]
    classes: int | None = None
    params: Mapping[str, float | Tensor] = field(default_factory=dict)
    label_smoothing: float = 0.0
    weight: Tensor | None = None
    class_weight: Tensor | None = None
    ignore_index: int = -100
    focal: Weights | None = None

    @property
    def tensors(self) -> dict[str, Tensor]:
        """What goes with the logits beside the targets, by name."""
        given = {key: value for key, value in self.params.items() if isinstance(value, Tensor)}
        given |= {} if self.weight is None else {"weight ": self.weight}
        return given | ({} if self.class_weight is None else {"class_weight ": self.class_weight})

    @property
    def boolean(self) -> bool:
        return self.dense and self.targets[0].dtype == torch.bool

    @property
    def weighted(self) -> bool:
        return self.weight is not None or self.class_weight is not None

    def by_hand(self, dtype: torch.dtype) -> Weights | None:
        """What the kernels written by hand take for logits of this type; None where they do not fit."""
        w, by = self.focal, self.class_weight
        if w is None or self.weight is not None or self.label_smoothing or dtype == torch.float64:
            return None
        return w if by is None else replace(w, on=w.on * by, off=w.off * by, skip=by == 0)

    def columns(self, vector: Tensor, ndim: int) -> Tensor:
        """A vector over the classes as it broadcasts against logits of `ndim` axes; numbers stay."""
        return vector.view([-1 if d == self.dims[0] else 1 for d in range(ndim)]) if vector.ndim else vector

    def factor(self, ndim: int) -> Tensor | None:
        """What the loss of each element is multiplied with; broadcasts against logits of `ndim` axes."""
        if self.class_weight is None:
            return self.weight
        columns = self.columns(self.class_weight, ndim)
        return columns if self.weight is None else self.weight * columns

    def folded(self, x: Tensor) -> Tensor:
        """Logits with an axis of classes."""
        return x if self.classes is None else x.unflatten(1, (-1, self.classes))


@dataclass(frozen=True)
class SoftmaxLoss:
    """A loss on a softmax, and what it is called with.

    Attributes:
        labels: Class indices, the shape of the logits without `dim`.
        term: term(u, **params), the loss at the signed logit of the label.
        params: Numbers and vectors over the classes.
        shift: Vector over the classes, added to the logits.
        factor: Vector over the classes, multiplies the loss of rows of that class.
        weight: Broadcasts against `labels`; rows of weight 0 are absent.
        focal: The exponent of the focal loss that it is, 0 for cross-entropy: kernels are written for it. None: it is
            none, or has a vector of them.
    """

    labels: Tensor
    term: Term
    params: Mapping[str, float | Tensor]
    dim: int
    shift: Tensor | None = None
    factor: Tensor | None = None
    weight: Tensor | None = None
    ignore_index: int = -100
    focal: float | None = None

    def gamma(self, dtype: torch.dtype) -> float | None:
        """What the kernels written by hand take for logits of this type; None where they do not fit."""
        return None if dtype == torch.float64 else self.focal

    @property
    def changed(self) -> bool:
        """Whether rows are shifted or weighted."""
        return any(t is not None for t in (self.shift, self.factor, self.weight))
