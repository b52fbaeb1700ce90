"""Which way a loss is computed, and why.

    eager      the definition: PyTorch operations and autograd
    chunked    the single pass, run by PyTorch operations on pieces that fit a cache; needs no compiler
    compiled   the single pass, compiled: on the CPU the focal losses are C++ written by hand, which was compiled when
               focalkit was installed (`_cpp.py`); all else is Inductor's work (C++ on the CPU, Triton on a GPU)
    triton     a kernel written by hand

"auto" on the CPU: C++ written by hand where there is any; else eager below `SMALL` elements, where a single pass saves
little; compiled by Inductor from `LARGE` elements a call on, or as soon as this process has put `WORK` elements through
the loss, so that short jobs never wait for a compiler: renting until the rent adds up to the price costs at most twice
the best choice. `benchmarks/thresholds.py` measures these numbers. Until then, and where there is no C++ compiler,
chunked from `PIECES` elements on, and eager below. A softmax without a kernel written by hand is never compiled: in
chunks PyTorch's own kernel does the work (`_rows.py`). On a GPU: triton where a kernel exists, else compiled under the
same rule.
"""

import functools
import importlib.util
import logging
import os
import shutil
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..errors import BackendError

SMALL = 2**14
PIECES = 2**17
LARGE = 2**20
WORK = 2**30
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

log = logging.getLogger("focalkit.kernels")


@dataclass(frozen=True)
class Choice:
    """What would compute a loss.

    Attributes:
        backend: "eager", "chunked", "compiled" or "triton".
        reason: Why, in one sentence.
    """

    backend: str
    reason: str

    def __str__(self) -> str:
        return f"{self.backend}: {self.reason}"


@dataclass
class Progress:
    """What one piece of maths has been through in this process."""

    work: int = 0
    compiled: bool = False


@dataclass
class Machine:
    """What this process has learned about its compilers."""

    broken: dict[str, str] = field(default_factory=dict)  # device type, or "c++" by hand -> why it is left out
    announced: bool = False


machine = Machine()


class Explained(Exception):
    """Carries a choice out of a loss that was called only to see it (`explain`)."""

    def __init__(self, choice: Choice) -> None:
        super().__init__(str(choice))
        self.choice = choice


class NoSinglePass(Exception):
    """These arguments have no single pass; says why."""


# the device to explain for; None: losses compute
explaining: ContextVar[torch.device | None] = ContextVar("explaining", default=None)


def obstacle(logits: tuple[Tensor, ...], others: tuple[Tensor, ...]) -> str | None:
    """Why these tensors, or the moment, take the plain formula; None where nothing speaks against a single pass."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():  # pyright: ignore[reportPrivateImportUsage]
        return "inside torch.compile or a trace the plain formula is used, so that the outer compiler can fuse it"
    if torch._C._functorch.peek_interpreter_stack() is not None:  # pyright: ignore[reportAttributeAccessIssue]
        return "inside vmap, grad and other function transforms the plain formula is used"
    if torch._C._len_torch_dispatch_stack() or torch._C._len_torch_function_stack():
        return "a dispatch mode is active, and the plain formula shows it every operation"
    tensors = (*logits, *others)
    if explaining.get() is None:
        devices = {t.device for t in tensors if t.ndim} or {logits[0].device}
        if len(devices) > 1 or logits[0].device.type not in ("cpu", "cuda"):
            names = ", ".join(sorted(map(str, devices)))
            return f"tensors on {names}: the single pass runs on the CPU, or on one CUDA device"
        if any(type(t) not in (Tensor, torch.nn.Parameter) for t in tensors):
            return "a tensor subclass takes part, and only the plain formula knows what it does"
    if any(t.is_neg() for t in tensors):
        return "a tensor is a view whose numbers are negated when they are read (imag of a conjugate)"
    if len({x.dtype for x in logits}) > 1 or logits[0].dtype not in DTYPES:
        return f"{logits[0].dtype} logits: the single pass takes float16, bfloat16, float32 and float64"
    if any(t.requires_grad for t in others):
        return "an argument beside the logits requires a gradient, which only autograd gives"
    if any(t.is_complex() for t in others) or torch.autograd.forward_ad._current_level >= 0:
        return "forward-mode differentiation needs the plain formula"
    return None


def is_small(logits: tuple[Tensor, ...], backend: str) -> bool:
    """Whether "auto" takes the plain formula without a further look."""
    if backend != "auto" or torch.compiler.is_compiling() or explaining.get() is not None:
        return False
    return sum(x.numel() for x in logits) < SMALL


def decide(
    device: torch.device,
    size: int,
    progress: Callable[[], Progress],
    backend: str,
    *,
    triton: bool,
) -> Choice:
    """What computes `size` elements on `device` when `backend` was asked for.

    Args:
        progress: Of this piece of maths; asked for only where it matters.
        triton: Whether a kernel written by hand in Triton fits.

    Raises:
        BackendError: The backend asked for cannot run.
    """
    kind = device.type
    if backend == "eager":
        return Choice("eager", "asked for")
    if kind not in ("cpu", "cuda"):
        return _eager_or_error(backend, f"no single pass for {kind} devices")
    if backend == "triton":
        if kind != "cuda":
            raise BackendError('backend="triton" runs on CUDA devices, and the logits are on the CPU; use "compiled"')
        missing = missing_triton()
        if missing or not triton:
            raise BackendError(
                f'backend="triton": {missing or "no kernel written by hand for this loss and these arguments"}; '
                'use "auto" or "compiled"'
            )
        return Choice("triton", "asked for")
    missing = missing_compiler(kind)
    if backend == "compiled":
        if missing:
            raise BackendError(f'backend="compiled": {missing}; use backend="auto"')
        return Choice("compiled", "asked for")
    if size < SMALL:
        return Choice("eager", f"{size:,} elements; below {SMALL:,} the single pass saves nothing")
    if kind == "cuda" and triton and not missing_triton():
        return Choice("triton", "a kernel written for this loss, which makes one pass over the memory")
    if missing:
        return _rented(kind, size, missing)
    past = progress()
    if past.compiled:
        return Choice("compiled", "compiled already")
    if size >= LARGE:
        return Choice("compiled", f"{size:,} elements a call are worth a compilation (from {LARGE:,} on)")
    if past.work + size >= WORK:
        return Choice("compiled", f"this process has put {WORK:,} elements through this loss: worth a compilation")
    short = f"{past.work:,} of the {WORK:,} elements that are worth a compilation have passed in this process"
    return _rented(kind, size, short)


def _rented(kind: str, size: int, reason: str) -> Choice:
    """What does without a compiler."""
    if kind == "cpu" and size < PIECES:
        return Choice("eager", f"{reason}; below {PIECES:,} elements pieces are no faster")
    return Choice("chunked" if kind == "cpu" else "eager", reason)


def _eager_or_error(backend: str, reason: str) -> Choice:
    if backend in ("compiled", "triton"):
        raise BackendError(f'backend="{backend}": {reason}; use backend="auto"')
    return Choice("eager", reason)


def settle(choice: Choice) -> Choice:
    """The choice, unless somebody only wants to know it."""
    if explaining.get() is not None:
        raise Explained(choice)
    return choice


def refuse(reason: str, backend: str) -> None:
    """The plain formula, or an error where a fused backend was demanded."""
    if backend in ("compiled", "triton") and not torch.compiler.is_compiling():
        raise BackendError(f'backend="{backend}": {reason}; use backend="auto"')
    settle(Choice("eager", reason))


def announce(kind: str) -> None:
    """Says, once in a process, that compiling takes a while."""
    if not machine.announced:
        machine.announced = True
        log.warning(
            "focalkit compiles its single-pass losses (%s): some seconds, once; the code is cached on disk. "
            'backend="eager" does without.',
            kind,
        )


def cpp_compiler() -> str | None:
    """The C++ compiler on this machine; CXX names another."""
    return _cpp_compiler(os.environ.get("CXX"))


@functools.cache
def _cpp_compiler(cxx: str | None) -> str | None:
    return next((name for name in ([cxx] if cxx else ["g++", "clang++", "c++", "cl"]) if shutil.which(name)), None)


@functools.cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def missing_triton() -> str | None:
    return None if _has_triton() else "triton is not installed"


def missing_compiler(kind: str) -> str | None:
    """Why nothing can be compiled for this kind of device, or None."""
    if kind in machine.broken:
        return machine.broken[kind]
    if kind == "cuda":
        return missing_triton()
    named = os.environ.get("CXX", "g++, clang++")
    return None if cpp_compiler() else f"no C++ compiler found ({named}; CXX names one)"
