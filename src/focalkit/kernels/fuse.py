"""`fuse` turns a user's elementwise maths into a loss whose value and gradient are computed together.

Nothing is traced and kept: every call runs the function itself on chunks, or code of `torch.compile`, whose guards look
at the closures, globals and attributes that the function reads.
"""

import functools
import inspect
import sys
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .._numerics import computed_in
from .._reduce import REDUCTIONS, fit_weight
from .autograd import evaluate
from .call import SigmoidCall
from .dispatch import BACKENDS, Choice, Explain, demanded
from .operands import Number, Term

RESERVED = ("reduction", "normalizer", "backend", "weight", "ignore_index", "class_dim")


class Fused:
    """A loss made by `fuse`. It can be pickled where its function can."""

    single_pass = True

    def __init__(self, maths: Callable[..., Tensor]) -> None:
        functools.update_wrapper(self, maths)
        self.maths = maths
        self.__name__ = getattr(maths, "__name__", type(maths).__name__)
        self._losses = _losses_of(maths, self.__name__)
        self._obstacles: dict[Hashable, str | None] = {}

    def __reduce__(self) -> str | tuple[Any, ...]:
        module, name = getattr(self.maths, "__module__", None), getattr(self.maths, "__qualname__", "")
        if getattr(sys.modules.get(module or ""), name, None) is self:  # made by @fuse
            return name
        return fuse, (self.maths,)

    def __call__(
        self,
        logits: Tensor,
        targets: Tensor,
        *,
        weight: Tensor | None = None,
        ignore_index: int | None = None,
        class_dim: int = 1,
        reduction: str = "sum",
        normalizer: float | Tensor | None = None,
        backend: str = "auto",
        **params: float | Tensor,
    ) -> Tensor:
        """The loss, reduced.

        Args:
            logits: Any shape; float16 and bfloat16 reach the maths as float32.
            targets: Whatever the maths compares the logits with, broadcasting against them. Integers that lack the
                class axis are class indices, which reach the maths as 0 and 1 for every class; -1 is background.
            weight: Multiplies; a tensor that broadcasts against the logits. An element of weight 0 is not valid.
            ignore_index: The target of elements that are not valid; None for none.
            class_dim: The class axis of `logits`, for class indices.
            reduction: "sum", "mean" over the valid elements, or "none".
            normalizer: Number or 0-d tensor that divides the sum instead.
            backend: "auto", "eager", "compiled".
            params: Further arguments of the maths: numbers, and tensors that broadcast against the logits.

        Raises:
            TypeError, ValueError: Arguments that cannot be meant.
            BackendError: The backend asked for cannot run.
        """
        self._check(logits, targets, reduction, normalizer, backend, params)
        dim = 0 if logits.ndim == 1 else class_dim
        dense = not self._is_labels(logits, targets, dim)
        if not dense:
            dim = dim % logits.ndim
        elif torch.broadcast_shapes(logits.shape, targets.shape) != logits.shape:
            raise ValueError(f"targets {tuple(targets.shape)} do not broadcast against logits {tuple(logits.shape)}")
        shaped = {key: _broadcast(value, logits) for key, value in params.items()}
        call = SigmoidCall(
            targets=(_axes(targets, logits) if dense else targets,),
            dims=(dim if not dense else 0,),
            positive=None,
            negative=None,
            mixed=self._losses,
            dense=dense,
            params=shaped,
            weight=None if weight is None else fit_weight(weight, logits.shape, logits.device),
            ignore_index=ignore_index,
            reduction=reduction,
            normalizer=normalizer,
            check=(lambda: None) if dense else partial(self._check_labels, targets, logits.shape[dim], ignore_index),
        )
        if isinstance(backend, Explain) or backend == "eager" or logits.numel() == 0 or reduction == "none":
            return evaluate(call, (logits,), backend)
        why = self._obstacle(logits, call)
        if why is not None:
            demanded(Choice("eager", why), backend)
            backend = "eager"
        return evaluate(call, (logits,), backend)

    def _check(
        self, logits: Any, targets: Any, reduction: str, normalizer: Any, backend: Any, params: dict[str, Any]
    ) -> None:
        for name, given in (("logits", logits), ("targets", targets)):
            if not isinstance(given, Tensor):
                raise TypeError(f"{self.__name__}: {name} must be a tensor, got {type(given).__name__}")  # pyright: ignore
        if not logits.is_floating_point():
            raise TypeError(f"{self.__name__}: logits must be floating point, got {logits.dtype}")  # pyright: ignore
        if not isinstance(backend, Explain) and (backend not in BACKENDS or backend == "triton"):
            raise ValueError(f'backend must be "auto", "eager" or "compiled", got {backend!r}')
        if reduction not in REDUCTIONS:
            raise ValueError(f'reduction must be "none", "sum" or "mean", got {reduction!r}')
        if reduction == "none" and normalizer is not None:
            raise ValueError('normalizer divides the sum, so it does not go with reduction="none"')
        for name, value in params.items():
            if not isinstance(value, bool | int | float | Tensor):
                raise TypeError(f"{self.__name__}: parameters must be numbers or tensors, got {name}={value!r}")  # pyright: ignore

    def _is_labels(self, logits: Tensor, targets: Tensor, dim: int) -> bool:
        if targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool or not logits.ndim:
            return False
        if not -logits.ndim <= dim < logits.ndim:
            return False
        dim = dim % logits.ndim
        return tuple(targets.shape) == tuple(logits.shape[:dim] + logits.shape[dim + 1 :])

    def _check_labels(self, labels: Tensor, classes: int, ignore_index: int | None) -> None:
        if not labels.is_cpu or torch.compiler.is_compiling():
            return
        labels = labels.long()
        bad = (labels < -1) | (labels >= classes)
        bad = bad if ignore_index is None else bad & (labels != ignore_index)
        if bool(bad.any()):
            raise ValueError(
                f"{self.__name__}: labels must be 0..{classes - 1}, -1 for background, or ignore_index "  # pyright: ignore
                f"{ignore_index}, got {int(labels[bad][0])}"
            )

    def _obstacle(self, logits: Tensor, call: SigmoidCall) -> str | None:
        """Why maths cannot be run in chunks, found out on a few numbers; None where it can.

        What it captured is looked at in every call, because it may have changed.
        """
        if torch.compiler.is_compiling():
            return None
        sample = torch.linspace(-2, 2, 7, dtype=computed_in(logits), device=logits.device).flip(0)
        targets = call.targets[0] if call.dense else sample
        others = {key: _sample(value, sample) for key, value in call.params.items()}
        t = _sample(targets, sample).to(sample.dtype)
        key = tuple(others)
        try:
            with torch.enable_grad():
                together = self.maths(sample, t, **others)
            if key not in self._obstacles:
                self._obstacles[key] = self._together(together.detach(), sample, t, others)
        except Exception as failure:
            said = (str(failure).splitlines() or ["no message"])[0]
            return f"its maths cannot be taken apart: {type(failure).__name__}: {said}"
        if together.requires_grad:
            return "its maths holds a tensor that requires a gradient, which only autograd gives"
        return self._obstacles[key]

    def _together(self, together: Tensor, sample: Tensor, t: Tensor, others: dict[str, Any]) -> str | None:
        def one(value: Any, i: int) -> Any:
            return value[i : i + 1] if isinstance(value, Tensor) and value.ndim else value

        with torch.no_grad():
            alone = [
                self.maths(one(sample, i), one(t, i), **{key: one(value, i) for key, value in others.items()})
                for i in range(len(sample))
            ]
        if torch.allclose(together, torch.cat(alone), equal_nan=True):
            return None
        return "its maths looks at more than one element at a time, or is random"


def _losses_of(maths: Callable[..., Tensor], name: str) -> Term:
    """The maths as a term of a call."""

    @functools.wraps(maths, assigned=(), updated=())  # which tells it from the terms of other losses
    def losses(t: Tensor, x: Tensor, **params: Number) -> Tensor:
        loss = maths(x, t, **params)
        if loss.shape != x.shape:
            rows = "; maths of whole rows, such as a softmax, cannot be taken apart: call it without fuse"
            raise ValueError(
                f"{name} must give one loss per logit, {tuple(x.shape)}, and gave {tuple(loss.shape)}"
                + (rows if loss.ndim < x.ndim else "")
            )
        return loss

    return losses


def _broadcast(value: Any, logits: Tensor) -> Any:
    """A tensor with as many axes as the logits; numbers, and tensors of one number, as they are."""
    return _axes(value, logits) if isinstance(value, Tensor) and value.ndim else value


def _axes(t: Tensor, logits: Tensor) -> Tensor:
    return t.reshape((1,) * (logits.ndim - t.ndim) + tuple(t.shape))


def _sample(value: Any, sample: Tensor) -> Any:
    if not isinstance(value, Tensor):
        return value
    return value.detach().reshape(()) if value.numel() == 1 else sample.sigmoid().to(value.dtype)


def fuse(maths: Callable[..., Tensor]) -> Fused:
    """Makes a loss of one pass out of elementwise maths: its gradient is derived, and computed with its value.

    Args:
        maths: `maths(logits, targets, **params)` -> one loss per logit, of PyTorch operations that look at one element
            at a time and do not decide by values. Autograd must be able to differentiate it. One loss per row is
            no such maths; where rows of elementwise losses are wanted, add them: `loss(..., reduction="none").sum(1)`.

    Example:
        >>> @fuse
        ... def squared_hinge(logits, targets, margin=1.0):
        ...     return (margin - (2 * targets - 1) * logits).clamp(min=0) ** 2
        >>> squared_hinge(torch.zeros(2), torch.ones(2), reduction="mean")
        tensor(1.)
    """
    if not callable(maths):
        raise TypeError(f"fuse takes a function of logits and targets, got {type(maths).__name__}")
    taken = set(RESERVED) & set(inspect.signature(maths).parameters)
    if taken:
        raise ValueError(f"the maths has a parameter {taken.pop()!r}, which is an argument of every loss; rename it")
    return Fused(maths)
