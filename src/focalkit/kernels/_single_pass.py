"""From the arguments of a loss to its fused value: choose, run, finish, and hang it into autograd."""

import ctypes
import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from . import _choice, _cpp
from ._autograd import Found, Sum, apply
from ._choice import Choice, NoSinglePass, Progress, decide, explaining, machine, refuse, settle
from ._divisor import Divisor
from ._engine import kernel
from ._traced import Traced, TracedPass

ROWS = "rows of a softmax on the CPU: PyTorch's own kernel, in pieces that fit a cache"


@dataclass(frozen=True)
class Plan:
    """A loss call, ready to be fused. What only some ways need is made when needed, and nothing holds the logits.

    Attributes:
        plain: plain(*logits), the value by the eager definition.
        divisor: divisor(logits), what divides the sum.
        traced: traced(logits), the call by its maths; raises `NoSinglePass` where that cannot be.
        check: Raises where a target is out of range; for passes that do not see it for themselves.
        native: The call in C++ written by hand, where that fits.
        triton: Whether a kernel written by hand in Triton fits.
    """

    plain: Callable[..., Tensor]
    divisor: Callable[[tuple[Tensor, ...]], Divisor]
    traced: Callable[[tuple[Tensor, ...]], Traced]
    check: Callable[[], None] = lambda: None
    native: _cpp.Native | None = None
    triton: bool = False


def single_pass(plan: Plan, logits: tuple[Tensor, ...], backend: str) -> Tensor | None:
    """The value of the plan, or None where eager is the better or the only way.

    Raises:
        BackendError: The backend asked for cannot run.
    """
    try:
        run = _way(plan, logits, backend)
        return None if run is None else apply(Sum(run, plan.plain), logits)
    except NoSinglePass as why:
        return refuse(str(why), backend)


def _way(plan: Plan, logits: tuple[Tensor, ...], backend: str) -> "NativePass | TracedPass | None":
    size = sum(x.numel() for x in logits)
    device = explaining.get() or logits[0].device
    if not size:
        settle(Choice("eager", "there are no elements"))
        return None
    if plan.native is not None and device.type == "cpu" and "c++" not in machine.broken:
        return _way_by_hand(plan, plan.native, logits, size, backend)
    traced = functools.cache(lambda: plan.traced(logits))

    def progress() -> Progress:
        return traced().progress(logits)

    choice = decide(device, size, progress, backend, triton=plan.triton)
    if choice.backend == "eager":
        settle(choice)
        if device.type == "cuda" and size >= _choice.SMALL:  # perhaps only until enough work has passed
            progress().work += size
        return None
    by_row = device.type == "cpu" and backend == "auto" and traced().by_row is not None
    past = Progress() if choice.backend == "triton" else progress()
    settle(Choice("chunked", ROWS) if by_row else choice)
    return TracedPass(traced(), choice, plan.divisor, plan.check, past, by_row=by_row, strict=backend == "compiled")


def _way_by_hand(
    plan: Plan, native: _cpp.Native, logits: tuple[Tensor, ...], size: int, backend: str
) -> "NativePass | TracedPass | None":
    # the code is the same for many losses, and so is what it has been through
    progress = kernel(("by hand", native.code), gradient=True, rows=False).progress
    progress.compiled = progress.compiled or (size >= _choice.SMALL and _cpp.is_kept(*native.code))
    choice = decide(torch.device("cpu"), size, lambda: progress, backend, triton=False, cpp=True)
    if choice.backend == "compiled":
        settle(Choice("compiled", f"{choice.reason}; C++ written by hand"))
        code = _cpp.library(*native.code)
        if code is None:
            return _way(replace(plan, native=None), logits, backend)
        return NativePass(native, code, plan, progress)
    if choice.backend == "eager":
        settle(choice)
        progress.work += size if size >= _choice.SMALL else 0  # perhaps only until enough work has passed
        return None
    traced = plan.traced(logits)
    by_row = traced.by_row is not None
    settle(Choice("chunked", f"{choice.reason}; {ROWS}") if by_row else choice)
    return TracedPass(traced, choice, plan.divisor, plan.check, progress, by_row=by_row, strict=False)


@dataclass(frozen=True)
class NativePass:
    """Computes a loss call by its C++."""

    job: _cpp.Native
    code: ctypes.CDLL
    plan: Plan
    progress: Progress

    def __call__(self, logits: tuple[Tensor, ...], wanted: tuple[bool, ...]) -> Found:
        divisor = self.plan.divisor(logits)
        done = self.job.run(self.code, logits, divisor.scale, any(wanted))
        if done.odd:
            self.plan.check()
        self.progress.work, self.progress.compiled = self.progress.work + sum(x.numel() for x in logits), True
        total, count = (logits[0].new_full((), number, dtype=torch.float64) for number in (done.total, done.count))
        value, residual = divisor.finish(total, count, torch.float32)
        slopes = done.gradients or [None] * len(wanted)
        return value, [g if want else None for g, want in zip(slopes, wanted, strict=True)], residual
