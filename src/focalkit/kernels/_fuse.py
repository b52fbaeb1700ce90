"""The same door for everybody's loss: `fuse` turns elementwise maths into a loss of one pass."""

import functools
import inspect
from collections.abc import Callable, Hashable

import torch
from torch import Tensor

from .._numerics import computed_in, upcast
from .._reduce import finish
from ._choice import NoSinglePass, explaining, is_small, obstacle, refuse
from ._divisor import Divisor
from ._joint import trace
from ._layout import Layout, is_flat, placed
from ._single_pass import Plan, single_pass
from ._traced import Placed, Traced


class Fused:
    """A loss made by `fuse`."""

    def __init__(self, maths: Callable[..., Tensor]) -> None:
        functools.update_wrapper(self, maths)
        self.maths = maths
        self.__name__ = getattr(maths, "__name__", type(maths).__name__)
        self._obstacles: dict[Hashable, str | None] = {}

    def __call__(
        self,
        logits: Tensor,
        targets: Tensor,
        *,
        reduction: str = "sum",
        normalizer: float | Tensor | None = None,
        backend: str = "auto",
        **params: float | Tensor,
    ) -> Tensor:
        """The loss, reduced.

        Args:
            logits: Any shape; float16 and bfloat16 reach the maths as float32.
            targets: Whatever the maths compares the logits with; broadcasts against them.
            reduction: "sum", or "mean" over all elements.
            normalizer: Number or 0-d tensor that divides the sum instead.
            backend: "auto", "eager", "compiled".
            params: Further arguments of the maths: numbers, and tensors that broadcast against the logits.
        """
        for name, given in (("logits", logits), ("targets", targets)):
            if not isinstance(given, Tensor):
                raise TypeError(f"{self.__name__}: {name} must be a tensor, got {type(given).__name__}")  # pyright: ignore
        if not logits.is_floating_point():
            raise TypeError(f"{self.__name__}: logits must be floating point, got {logits.dtype}")  # pyright: ignore
        if backend not in ("auto", "eager", "compiled"):
            raise ValueError(f'backend must be "auto", "eager" or "compiled", got {backend!r}')
        if reduction not in ("sum", "mean"):
            raise ValueError(f'reduction must be "sum" or "mean", got {reduction!r}; the maths itself gives the rest')
        if torch.broadcast_shapes(logits.shape, targets.shape) != logits.shape:
            raise ValueError(f"targets {tuple(targets.shape)} do not broadcast against logits {tuple(logits.shape)}")
        tensors = {k: v for k, v in params.items() if isinstance(v, Tensor)}
        numbers = {k: v for k, v in params.items() if not isinstance(v, Tensor)}

        def plain(x: Tensor) -> Tensor:
            loss = self.maths(upcast(x), targets, **params)
            if loss.shape != x.shape:
                raise ValueError(
                    f"{self.__name__} must give one loss per logit, {tuple(x.shape)}, and gave {tuple(loss.shape)}"  # pyright: ignore
                )
            return finish(loss.sum(), loss.numel(), reduction=reduction, normalizer=normalizer)

        if backend == "eager" or not logits.ndim or is_small((logits,), backend):
            return plain(logits)
        others = (targets, *tensors.values(), *((normalizer,) if isinstance(normalizer, Tensor) else ()))
        why = obstacle((logits,), others)
        if why is not None:
            refuse(why, backend)
            return plain(logits)

        def maths(x: Tensor, t: Tensor, *rest: Tensor) -> Tensor:
            return self.maths(x, t, **dict(zip(tensors, rest, strict=True)), **numbers)

        try:
            hash(key := (id(self), self, tuple(tensors), tuple(sorted(numbers.items()))))
        except TypeError as error:
            raise TypeError(f"{self.__name__}: parameters must be numbers or tensors, got {numbers}") from error  # pyright: ignore
        if explaining.get() is None:
            if key not in self._obstacles:
                self._obstacles[key] = _obstacle(maths, logits, (targets, *tensors.values()))
            if self._obstacles[key] is not None:
                refuse(self._obstacles[key], backend)  # pyright: ignore[reportArgumentType]
                return plain(logits)

        def place(_: int, x: Tensor) -> Placed:
            flat = is_flat(Layout(x.shape, (), 0), targets, *tensors.values())
            for dim in range(1 if flat else x.ndim):
                layout, ordered = Layout.of(x, dim)
                others = [placed(t, layout, flat=flat) for t in (targets, *tensors.values())]
                if all(o is not None for o in others):
                    return Placed(
                        ordered.reshape(-1) if flat else layout.by_class(ordered),
                        tuple(others),  # pyright: ignore[reportArgumentType]
                        layout.restore,
                    )
            raise NoSinglePass("a tensor broadcasts against the logits along more than one axis")

        divisor = logits.numel() if reduction == "mean" and normalizer is None else normalizer
        plan = Plan(plain, lambda _: Divisor(divisor), lambda _: Traced(key, maths, place), tensors=others)
        value = single_pass(plan, (logits,), backend)
        return plain(logits) if value is None else value


def fuse(maths: Callable[..., Tensor]) -> Fused:
    """Makes a loss of one pass out of elementwise maths: its gradient is derived, compiled together with its value.

    Args:
        maths: `maths(logits, targets, **params)` -> one loss per logit, of PyTorch operations that look at one element
            at a time and do not decide by values. Autograd must be able to differentiate it.

    Example:
        >>> @fuse
        ... def squared_hinge(logits, targets, margin=1.0):
        ...     return (margin - (2 * targets - 1) * logits).clamp(min=0) ** 2
        >>> squared_hinge(torch.zeros(2), torch.ones(2), reduction="mean")
        tensor(1.)
    """
    if not callable(maths):
        raise TypeError(f"fuse takes a function of logits and targets, got {type(maths).__name__}")
    taken = {"reduction", "normalizer", "backend"} & set(inspect.signature(maths).parameters)
    if taken:
        raise ValueError(f"the maths has a parameter {taken.pop()!r}, which is an argument of every loss; rename it")
    return Fused(maths)


def _obstacle(maths: Callable[..., Tensor], x: Tensor, others: tuple[Tensor, ...]) -> str | None:
    """Why maths cannot be run piece by piece, found out on a few numbers; None where it can."""
    few = torch.linspace(-2, 2, 7, dtype=computed_in(x), device=x.device).flip(0)
    with torch.no_grad():
        beside = [t.reshape(()) if t.numel() == 1 else few.sigmoid().to(t.dtype) for t in others]
        try:
            together = maths(few, *beside)
            alone = [maths(few[i : i + 1], *(t[i : i + 1] if t.ndim else t for t in beside)) for i in range(len(few))]
            same = torch.allclose(together, torch.cat(alone), equal_nan=True)
            trace(maths, few, beside, gradient=True, compiler=False)
        except Exception as failure:
            return f"its maths cannot be taken apart: {type(failure).__name__}: {str(failure).splitlines()[0]}"
    return None if same else "its maths looks at more than one element at a time, or at chance"
