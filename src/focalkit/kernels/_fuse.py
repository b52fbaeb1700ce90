"""`fuse` turns a user's elementwise maths into a loss whose value and gradient are computed together, in chunks.

Nothing is traced and kept: every call runs the function itself, or code of `torch.compile`, whose guards look at the
closures, globals and attributes that the function reads.
"""

import functools
import inspect
import types
from collections.abc import Callable, Hashable, Mapping, Sequence

import torch
from torch import Tensor

from .._numerics import computed_in, upcast
from .._reduce import finish
from ._autograd import Found, Sum, apply
from ._choice import Progress, decide, explaining, is_small, obstacle, refuse, settle
from ._chunks import GRAIN, cuts
from ._divisor import Divisor


class Fused:
    """A loss made by `fuse`."""

    def __init__(self, maths: Callable[..., Tensor]) -> None:
        functools.update_wrapper(self, maths)
        self.maths = maths
        self.__name__ = getattr(maths, "__name__", type(maths).__name__)
        self._obstacles: dict[Hashable, str | None] = {}
        self._progress = Progress()
        self._code: dict[bool, Callable[..., tuple[Tensor, Tensor | None]]] = {}

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

        key = (tuple(tensors), tuple(numbers))
        for name, value in numbers.items():
            if not isinstance(value, bool | int | float):
                raise TypeError(f"{self.__name__}: parameters must be numbers or tensors, got {name}={value!r}")  # pyright: ignore
        broadcast = (targets, *tensors.values())

        def maths(x: Tensor, *rest: Tensor) -> Tensor:
            return self.maths(x, rest[0], **dict(zip(tensors, rest[1:], strict=True)), **numbers)

        if explaining.get() is None:
            if key not in self._obstacles:
                self._obstacles[key] = _obstacle(maths, logits, broadcast)
            why = self._obstacles[key] or _captured(maths, logits, broadcast)
            if why is not None:
                refuse(why, backend)
                return plain(logits)
        choice = settle(decide(logits.device, logits.numel(), lambda: self._progress, backend, triton=False))
        self._progress.work += logits.numel()
        if choice.backend == "eager":
            return plain(logits)
        divisor = Divisor(logits.numel() if reduction == "mean" and normalizer is None else normalizer)

        def compute(logits: tuple[Tensor, ...], wanted: tuple[bool, ...], factor: Tensor | None) -> Found:
            x, scale = logits[0].detach(), divisor.scale_like(logits[0], factor)
            aligned = [t.detach().reshape((1,) * (x.ndim - t.ndim) + tuple(t.shape)) for t in broadcast]
            if choice.backend == "compiled":
                total, gradient = self._compiled(tuple(tensors), x, aligned, scale, wanted[0], numbers)
            else:
                total, gradient = _in_chunks(maths, x, aligned, scale, wanted[0])
            value, residual = divisor.finish(total, total, scale.dtype)
            return value, [gradient], residual

        return apply(Sum(compute, plain, others), (logits,))

    def _compiled(
        self,
        names: tuple[str, ...],
        x: Tensor,
        others: Sequence[Tensor],
        scale: Tensor,
        gradient: bool,
        numbers: Mapping[str, float],
    ) -> tuple[Tensor, Tensor | None]:
        if gradient not in self._code:
            # a code object of its own: torch.compile counts recompilations by it
            joint = types.FunctionType(_joint.__code__.replace(), globals(), "joint", _joint.__defaults__)
            self._code[gradient] = torch.compile(joint, dynamic=True, fullgraph=True)
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            out = self._code[gradient](
                self.maths, x.data, names, tuple(t.data for t in others), numbers, scale, gradient
            )
        self._progress.compiled = True
        return out


def _joint(
    maths: Callable[..., Tensor],
    x: Tensor,
    names: tuple[str, ...],
    others: tuple[Tensor, ...],
    numbers: Mapping[str, float],
    scale: Tensor,
    gradient: bool,
) -> tuple[Tensor, Tensor | None]:
    """Sum in float64, and the gradient times scale."""

    def total(raised: Tensor) -> Tensor:
        loss = maths(raised, others[0], **dict(zip(names, others[1:], strict=True)), **numbers)
        return loss.sum(dtype=torch.float64)

    if not gradient:
        return total(upcast(x)), None
    slope, value = torch.func.grad_and_value(total)(upcast(x))
    return value, (slope * scale).to(x.dtype)


def _in_chunks(
    maths: Callable[..., Tensor], x: Tensor, others: Sequence[Tensor], scale: Tensor, gradient: bool
) -> tuple[Tensor, Tensor | None]:
    """Sum in float64, and the gradient times scale, computed by autograd on chunks of the logits."""
    total = torch.zeros((), dtype=torch.float64, device=x.device)
    result = torch.empty_like(x) if gradient else None
    size = GRAIN // 2 if x.device.type == "cpu" else x.numel()
    for box in cuts(x.shape, size, rows=False):
        chunk = upcast(x[box]).detach().requires_grad_(gradient)
        rest = [t[tuple(b if n > 1 else slice(None) for b, n in zip(box, t.shape, strict=True))] for t in others]
        with torch.set_grad_enabled(gradient), torch.autocast(x.device.type, enabled=False):
            loss = maths(chunk, *rest).sum()
        total += loss.detach()
        if result is not None:
            (slope,) = torch.autograd.grad(loss, chunk)
            result[box] = slope.mul_(scale)
    return total, result


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


def _few(x: Tensor, others: tuple[Tensor, ...]) -> tuple[Tensor, list[Tensor]]:
    """Some numbers in the place of logits and of what goes with them."""
    few = torch.linspace(-2, 2, 7, dtype=computed_in(x), device=x.device).flip(0)
    return few, [t.detach().reshape(()) if t.numel() == 1 else few.sigmoid().to(t.dtype) for t in others]


def _obstacle(maths: Callable[..., Tensor], x: Tensor, others: tuple[Tensor, ...]) -> str | None:
    """Why maths cannot be run in chunks, found out on a few numbers; None where it can."""
    few, beside = _few(x, others)
    with torch.no_grad():
        try:
            together = maths(few, *beside)
            alone = [maths(few[i : i + 1], *(t[i : i + 1] if t.ndim else t for t in beside)) for i in range(len(few))]
            same = torch.allclose(together, torch.cat(alone), equal_nan=True)
        except Exception as failure:
            return f"its maths cannot be taken apart: {type(failure).__name__}: {str(failure).splitlines()[0]}"
    return None if same else "its maths looks at more than one element at a time, or is random"


def _captured(maths: Callable[..., Tensor], x: Tensor, others: tuple[Tensor, ...]) -> str | None:
    """Looked at in every call: what a function has captured may have changed."""
    few, beside = _few(x, others)
    with torch.enable_grad():
        if maths(few, *beside).requires_grad:
            return "its maths holds a tensor that requires a gradient, which only autograd gives"
    return None
