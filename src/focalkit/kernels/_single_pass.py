"""From the arguments of a loss to its fused value: choose, run, finish, and hang it into autograd."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from .._numerics import upcast
from . import _autograd
from ._choice import SMALL, Choice, Progress, decide, explaining, machine, settle
from ._cpp import Done
from ._engine import Kernel, kernel, number, pattern
from ._joint import Maths
from ._sparse import Background, sparse_pass


@dataclass(frozen=True)
class Placed:
    """Logits and what goes with them in the form a kernel takes, and the way back for their gradient."""

    x: Tensor
    others: tuple[Tensor, ...]
    restore: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Plan:
    """A loss call, ready to be fused.

    Attributes:
        key: Of the maths: equal keys, equal operations.
        maths: maths(x, *others) -> the unreduced loss, or (loss, counted) if `counts`.
        place: place(i, logits) -> the i-th logits in the form of the kernel.
        plain: The same by the eager definition, from the logits.
        divisor: Of the sum: a number or 0-d tensor; None leaves it.
        counts: The divisor is the number of elements that count, which only the pass itself finds out.
        rows: The maths needs whole rows of classes.
        triton: triton(placed, scale, gradient) -> as `Kernel.run`, where a kernel written by hand fits.
        cpp: cpp(logits, gradient, scale), all the logits at once by C++ written by hand, where that fits; None where
            this machine cannot compile it.
        sparse: The same by background and exceptions, where that fits.
        by_row: by_row(logits, gradient, scale) -> (sum, gradient times scale), the way of "auto" on the CPU.
    """

    key: Hashable
    maths: Maths
    place: Callable[[int, Tensor], Placed]
    plain: Callable[..., Tensor]
    divisor: float | Tensor | None = None
    counts: bool = False
    rows: bool = False
    triton: Callable[[Placed, Tensor, bool], tuple[Tensor, ...]] | None = None
    cpp: Callable[[tuple[Tensor, ...], bool, Tensor], Done | None] | None = None
    sparse: Background | None = None
    by_row: Callable[[Tensor, bool, Tensor], tuple[Tensor, Tensor | None]] | None = None


def single_pass(plan: Plan, logits: tuple[Tensor, ...], backend: str) -> Tensor | None:
    """The value of the plan, or None where eager is the better or the only way.

    Raises:
        BackendError: The backend asked for cannot run.
    """
    size = sum(x.numel() for x in logits)
    device = explaining.get() or logits[0].device
    if not size:
        settle(Choice("eager", "there are no elements"))
        return None
    cpp = plan.cpp if device.type == "cpu" and "c++" not in machine.broken else None
    first = decide(device, size, Progress(), backend, triton=plan.triton is not None, cpp=cpp is not None)
    if first.backend == "eager":
        settle(first)
        return None

    def finished(total: Tensor) -> Tensor:
        total = total if plan.divisor is None else total / plan.divisor
        return total.to(upcast(logits[0].new_empty(())).dtype)

    wanted = torch.is_grad_enabled() and any(x.requires_grad for x in logits)
    if cpp is not None:
        progress = kernel((plan.key, "by hand"), gradient=wanted, rows=False).progress
    else:
        largest = max(range(len(logits)), key=lambda i: logits[i].numel())
        progress = _kernel(plan, plan.place(largest, logits[largest].detach()), wanted).progress
    choice = decide(device, size, progress, backend, triton=plan.triton is not None, cpp=cpp is not None)
    by_row = plan.by_row if device.type == "cpu" and backend == "auto" else None
    if choice.backend == "compiled" and cpp is not None:
        choice = Choice("compiled", f"{choice.reason}; C++ written by hand")
    elif by_row is not None:
        reason = "rows of a softmax on the CPU: PyTorch's own kernel, in pieces that fit a cache"
        choice = Choice("chunked", f"{choice.reason}; {reason}" if cpp is not None else reason)
    settle(choice)
    if choice.backend == "eager":
        progress.work += size
        return None
    strict = backend == "compiled"

    def compute(
        logits: tuple[Tensor, ...], wanted: tuple[bool, ...]
    ) -> tuple[Tensor, list[Tensor | None], float | Tensor]:
        logits = tuple(x.detach() for x in logits)
        scale = number(size if plan.counts else plan.divisor, logits[0])

        def divided(
            total: Tensor, count: Tensor, gradients: list[Tensor | None]
        ) -> tuple[Tensor, list[Tensor | None], float | Tensor]:
            if not plan.counts:
                return finished(total), gradients, 1.0
            present = count.clamp(min=1)
            return (total / present).to(scale.dtype), gradients, (size / present).to(scale.dtype)

        if cpp is not None and choice.backend == "compiled":
            done = cpp(logits, any(wanted), scale)
            if done is not None:
                progress.work, progress.compiled = progress.work + size, True
                slopes = done[2] or [None] * len(wanted)
                return divided(done[0], done[1], [g if want else None for g, want in zip(slopes, wanted, strict=True)])
        if by_row is not None:
            progress.work += size
            total, gradient = by_row(logits[0], wanted[0], scale)
            return finished(total), [gradient], 1.0
        if plan.sparse is not None and (choice.backend == "chunked" or not plan.sparse.dense):
            done = sparse_pass(plan.sparse, logits, wanted, scale, choice, strict=strict)
            if done is not None:
                progress.work += size
                progress.compiled |= choice.backend == "compiled" and device.type not in machine.broken
                return divided(*done)
        total: Tensor | None = None
        count: Tensor | None = None
        gradients: list[Tensor | None] = []
        for i, (x, want) in enumerate(zip(logits, wanted, strict=True)):
            if not x.numel():
                gradients.append(torch.zeros_like(x) if want else None)
                continue
            placed = plan.place(i, x)
            if choice.backend == "triton":
                assert plan.triton is not None
                out = plan.triton(placed, scale, want)
            else:
                code = _kernel(plan, placed, want)
                small = x.numel() < SMALL and choice.backend == "compiled" and not code.progress.compiled and i
                way = Choice("chunked", "a small level of its own form") if small else choice
                out = code.run(way, plan.maths, placed.x, scale, placed.others, strict=strict)
            total = out[0] if total is None else total + out[0]
            count = out[1] if count is None else count + out[1]
            gradients.append(placed.restore(out[2]) if want else None)
        assert total is not None
        assert count is not None
        progress.work += size if cpp is not None else 0  # otherwise `Kernel.run` counts
        return divided(total, count, gradients)

    return _autograd.apply(_autograd.Sum(compute, plan.plain), logits)


def _kernel(plan: Plan, placed: Placed, gradient: bool) -> Kernel:
    form = (placed.x.device.type, placed.x.device.index, pattern(placed.x), *map(pattern, placed.others))
    return kernel((plan.key, form), gradient=gradient, rows=plan.rows)
