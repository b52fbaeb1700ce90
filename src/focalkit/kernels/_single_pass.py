"""From the arguments of a loss to its fused value: choose, run, finish, and hang it into autograd."""

import ctypes
import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from . import _choice, _cpp
from ._autograd import Found, Sum, apply
from ._choice import Choice, NoSinglePass, decide, explaining, machine, missing_compiler, refuse, settle
from ._divisor import Divisor
from ._launch import Launch
from ._traced import Traced, TracedPass

BY_HAND = "C++ written for this loss, which came compiled with focalkit"
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
        triton: The call by a kernel written by hand in Triton, where one fits.
        tensors: All that the value depends on beside the logits.
    """

    plain: Callable[..., Tensor]
    divisor: Callable[[tuple[Tensor, ...]], Divisor]
    traced: Callable[[tuple[Tensor, ...]], Traced]
    check: Callable[[], None] = lambda: None
    native: _cpp.Native | None = None
    triton: Launch | None = None
    tensors: tuple[Tensor, ...] = ()


def single_pass(plan: Plan, logits: tuple[Tensor, ...], backend: str) -> Tensor | None:
    """The value of the plan, or None where eager is the better or the only way.

    Raises:
        BackendError: The backend asked for cannot run.
    """
    try:
        run = _way(plan, logits, backend)
        return None if run is None else apply(Sum(run, plan.plain, plan.tensors), logits)
    except NoSinglePass as why:
        return refuse(str(why), backend)


def _way(plan: Plan, logits: tuple[Tensor, ...], backend: str) -> "NativePass | TritonPass | TracedPass | None":
    size = sum(x.numel() for x in logits)
    device = explaining.get() or logits[0].device
    if not size:
        settle(Choice("eager", "there are no elements"))
        return None
    if plan.native is not None and device.type == "cpu" and backend in ("auto", "compiled"):
        code = None if "c++" in machine.broken else _cpp.library(*plan.native.code)
        if code is not None:
            settle(Choice("compiled", BY_HAND))
            return NativePass(plan.native, code, plan)
    traced = functools.cache(lambda: plan.traced(logits))
    progress = functools.cache(lambda: traced().progress(logits))
    choice = decide(device, size, progress, backend, triton=plan.triton is not None)
    if choice.backend == "eager":
        settle(choice)
        # perhaps only until enough work has passed
        if size >= _choice.SMALL and not missing_compiler(device.type) and not _by_row(traced(), device):
            progress().work += size
        return None
    if choice.backend == "triton" and plan.triton is not None:
        settle(choice)
        return TritonPass(plan.triton, plan.divisor)
    by_row = backend == "auto" and _by_row(traced(), device)
    past = progress()
    settle(Choice("chunked", ROWS) if by_row else choice)
    return TracedPass(traced(), choice, plan.divisor, plan.check, past, by_row=by_row, strict=backend == "compiled")


def _by_row(traced: Traced, device: torch.device) -> bool:
    return device.type == "cpu" and traced.by_row is not None


@dataclass(frozen=True)
class NativePass:
    """Computes a loss call by its C++."""

    job: _cpp.Native
    code: ctypes.CDLL
    plan: Plan

    def __call__(self, logits: tuple[Tensor, ...], wanted: tuple[bool, ...], factor: Tensor | None) -> Found:
        divisor = self.plan.divisor(logits)
        done = self.job.run(self.code, logits, divisor.scale * (1.0 if factor is None else float(factor)), any(wanted))
        if done.odd:
            self.plan.check()
        total, count = (logits[0].new_full((), number, dtype=torch.float64) for number in (done.total, done.count))
        value, residual = divisor.finish(total, count, torch.float32)
        slopes = done.gradients or [None] * len(wanted)
        return value, [g if want else None for g, want in zip(slopes, wanted, strict=True)], residual


@dataclass(frozen=True)
class TritonPass:
    """Computes a loss call by its kernel in Triton."""

    launch: Launch
    divisor: Callable[[tuple[Tensor, ...]], Divisor]

    def __call__(self, logits: tuple[Tensor, ...], wanted: tuple[bool, ...], factor: Tensor | None) -> Found:
        logits = tuple(x.detach() for x in logits)
        divisor = self.divisor(logits)
        total, count, gradients = self.launch(logits, wanted, divisor.scale_on(logits[0].device, factor))
        value, residual = divisor.finish(total, count, torch.float32)
        return value, gradients, residual
