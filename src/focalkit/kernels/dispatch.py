"""Which backend computes a loss, and why: one pure function, `choose`, which `explain` calls as the losses do.

    eager      the definition: PyTorch operations and autograd
    chunked    the definition and its gradient on chunks that fit a cache; needs no compiler
    compiled   value and gradient in one pass: C++ for focal losses on the CPU, which came compiled; else Inductor
    triton     handwritten kernels for focal losses on CUDA devices

`benchmarks/thresholds.py` measures the sizes.
"""

import functools
import importlib.util
import itertools
import logging
import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..errors import BackendError
from . import build, cpu
from .call import Call

BACKENDS = ("auto", "eager", "compiled", "triton")
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
SMALL = 2**14
"""Elements below which a single pass saves nothing, unless it is C++"""
CHUNKED = 2**18
"""Elements from which chunks are faster than eager on the CPU"""
LARGE = 2**20
"""Elements of a call that are worth a compilation by Inductor"""
SOFTMAX_TILE = 8192
"""Classes of the largest row that a tile of the Triton kernel holds"""

log = logging.getLogger("focalkit.kernels")

failed: dict[tuple[str, Hashable], str] = {}
"""Device type and code of a loss -> why compiling it failed in this process"""


@dataclass(frozen=True)
class Choice:
    """What would compute a loss.

    Attributes:
        backend: "eager", "chunked", "compiled" or "triton".
        reason: Why, in one sentence.
        module: The file of this package that does it: "call" (eager), "chunked", "cpu", "inductor" or "cuda".
    """

    backend: str
    reason: str
    module: str = "call"

    def __str__(self) -> str:
        return f"{self.backend}: {self.reason}"


@dataclass(frozen=True)
class Machine:
    """What there is here to compute with.

    Attributes:
        native: What there is C++ for: dtypes of logits, each with whether the exponents are 2.
        broken: Why Inductor cannot compile, by device type.
        triton: Whether Triton is installed.
        failed: Why compiling a loss failed in this process, by device type and code.
    """

    native: frozenset[tuple[torch.dtype, bool]]
    broken: dict[str, str] = field(default_factory=dict)
    triton: bool = False
    failed: Mapping[tuple[str, Hashable], str] = field(default_factory=lambda: failed)

    def obstacle(self, call: Call, kind: str) -> str | None:
        """Why Inductor cannot compile a call for devices of this type; None where it can."""
        return self.broken.get(kind) or (self.failed.get((kind, call.code)) if self.failed else None)


@dataclass(frozen=True)
class Explain:
    """Given to a loss as its `backend`: it returns the `Choice` for this device, and computes nothing."""

    device: torch.device | None
    asked: str = "auto"


def machine() -> Machine:
    """This one."""
    return _machine(os.environ.get("CXX"))


@functools.cache
def _machine(_: str | None) -> Machine:
    triton = importlib.util.find_spec("triton") is not None
    broken = {} if triton else {"cuda": "triton is not installed"}
    if build.compiler() is None:
        broken["cpu"] = f"no C++ compiler found ({os.environ.get('CXX', 'g++, clang++')}; CXX names one)"
    native = {key for key in itertools.product(cpu.LOGITS, (False, True)) if cpu.library(*key)}
    return Machine(frozenset(native), broken, triton)


def choose(
    call: Call,
    shapes: Sequence[torch.Size],
    device: torch.device,
    *,
    dtype: torch.dtype = torch.float32,
    backend: str = "auto",
    on: Machine | None = None,
) -> Choice:
    """What computes a call on logits of these shapes.

    Args:
        device: Of the logits; it need not be there.
        dtype: Of the logits.
        backend: What was asked for; the choice is "eager" where that cannot run.
        on: What there is to compute with; None is this machine.
    """
    if backend == "eager":  # subtle: before this machine is looked at, which torch.compile cannot trace
        return Choice("eager", "asked for")
    on = machine() if on is None else on
    size, kind = sum(shape.numel() for shape in shapes), device.type
    handwritten = call.handwritten(dtype)
    if call.reduction == "none":
        return Choice("eager", 'reduction="none" gives the unreduced loss, which a single pass has nothing to save on')
    if not size:
        return Choice("eager", "there are no elements")
    if kind not in ("cpu", "cuda"):
        return Choice("eager", f"no single pass for {kind} devices")
    if not all(map(len, shapes)):
        return Choice("eager", "a single number")
    if backend == "triton":
        return _triton(call, shapes, kind, dtype, on)
    if kind == "cpu" and handwritten and cpu.reads(call, dtype) and (dtype, handwritten.squared) in on.native:
        return Choice("compiled", "C++ written for this loss, which came compiled with focalkit", "cpu")
    if backend == "compiled":
        why = on.obstacle(call, kind)
        return Choice("eager", why) if why else Choice("compiled", "asked for", "inductor")
    if size < SMALL:
        return Choice("eager", f"{size:,} elements; below {SMALL:,} the single pass saves nothing")
    if kind == "cuda":
        triton = _triton(call, shapes, kind, dtype, on)
        if triton.backend == "triton":
            return triton
    why = on.obstacle(call, kind)
    if kind == "cpu" and not call.elementwise:
        why = "rows of a softmax: on the CPU nothing is compiled for them"
    if why is None and size >= LARGE:
        reason = f"{size:,} elements a call are worth a compilation (from {LARGE:,} on)"
        return Choice("compiled", reason, "inductor")
    why = why or f"{size:,} elements; from {LARGE:,} on a compilation is worth it"
    if kind == "cuda" or size < CHUNKED:
        return Choice("eager", why if kind == "cuda" else f"{why}; below {CHUNKED:,} elements chunks are no faster")
    return Choice("chunked", why, "chunked")


def _triton(call: Call, shapes: Sequence[torch.Size], kind: str, dtype: torch.dtype, on: Machine) -> Choice:
    focal = call.handwritten(dtype)
    if kind != "cuda":
        return Choice("eager", 'runs on CUDA devices, and the logits are on the CPU; use "compiled"')
    if not on.triton:
        return Choice("eager", "triton is not installed")
    fits = focal is not None and not focal.by_class and call.class_weight is None
    # the kernels' integers have 32 bits and are sixteen times as large as sizes
    fits = fits and all(shape.numel() < 2**31 for shape in shapes) and abs(call.ignore_index or 0) < 2**31 - 1
    fits = fits and (call.dense or all(t.numel() < 2**27 for t in call.targets))
    if fits and not call.elementwise:
        fits = not getattr(call, "changed", False) and shapes[0][call.dims[0]] <= SOFTMAX_TILE
    if not fits:
        return Choice("eager", "no handwritten kernel for this loss and these arguments")
    return Choice("triton", "a kernel written for this loss, which makes one pass over the memory", "cuda")


def watched() -> str | None:
    """Where we are, if somebody there wants to see PyTorch's own operations; None where nobody does."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():  # pyright: ignore[reportPrivateImportUsage]
        return "inside torch.compile or a trace, so that the outer compiler can fuse it,"
    if torch._C._functorch.peek_interpreter_stack() is not None:  # pyright: ignore[reportAttributeAccessIssue]
        return "inside vmap, grad and other function transforms"
    if torch._C._len_torch_dispatch_stack():
        return "under a dispatch mode, which is shown every operation,"
    if torch.autograd.forward_ad._current_level >= 0:
        return "in forward-mode differentiation"
    return None


def obstacle(call: Call, logits: tuple[Tensor, ...], *, explained: bool = False) -> str | None:
    """Why these tensors, or the moment, take the eager definition; None where nothing speaks against a single pass."""
    why = watched()
    if why is not None:
        return f"{why} the eager definition is used"
    if logits[0].dtype not in DTYPES or any(x.dtype != logits[0].dtype for x in logits):
        return f"{logits[0].dtype} logits: the single pass takes float16, bfloat16, float32 and float64"
    device = logits[0].device
    for t in (*logits, *call.tensors):
        if type(t) not in (Tensor, torch.nn.Parameter):
            return "a tensor subclass takes part, and only the eager definition knows what it does"
        if t.is_neg():
            return "a tensor is a view whose numbers are negated when they are read (imag of a conjugate)"
        if t.is_complex():
            return "a complex tensor takes part"
        if not explained and t.ndim and (t.device != device or device.type not in ("cpu", "cuda")):
            return f"tensors on {t.device} and {device}: the single pass runs on the CPU, or on one CUDA device"
    if any(t.requires_grad for t in call.tensors):
        return "an argument beside the logits requires a gradient, which only autograd gives"
    return None


def decide(call: Call, logits: tuple[Tensor, ...], backend: "str | Explain") -> Choice:
    """What computes this call now.

    Raises:
        BackendError: The backend asked for cannot run.
    """
    asked = backend.asked if isinstance(backend, Explain) else backend
    device = backend.device if isinstance(backend, Explain) and backend.device else logits[0].device
    why = None if asked == "eager" else obstacle(call, logits, explained=isinstance(backend, Explain))
    if why is None:
        choice = choose(call, [x.shape for x in logits], device, dtype=logits[0].dtype, backend=asked)
    else:
        choice = Choice("eager", why)
    return demanded(choice, asked)


def demanded(choice: Choice, backend: "str | Explain") -> Choice:
    """The choice; inside torch.compile the backend asked for is the outer compiler's.

    Raises:
        BackendError: A backend was asked for, and the choice is eager.
    """
    if backend in ("compiled", "triton") and choice.backend == "eager" and not torch.compiler.is_compiling():
        if choice.reason == "there are no elements":
            return choice
        raise BackendError(f'backend="{backend}": {choice.reason}; use backend="auto"')
    return choice


def single_pass(function: Callable[..., Any]) -> Callable[..., Any]:
    """Marks a loss that hands its `backend` on to `focalkit.kernels`."""
    function.single_pass = True  # pyright: ignore[reportFunctionMemberAccess]
    return function


def explain(
    loss: str | Callable[..., Tensor],
    logits: Tensor | Sequence[Tensor] | Sequence[int] | Sequence[Sequence[int]],
    targets: Tensor | Sequence[Tensor] | Sequence[int] | Sequence[Sequence[int]],
    *,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device | None = None,
    targets_dtype: torch.dtype = torch.int64,
    **arguments: Any,
) -> Choice:
    """Which backend a loss would take for these inputs, and why. Nothing is computed, and no state changes.

    Args:
        loss: A catalog name ("focal"), a loss function or module of focalkit, or a loss made by `fuse`.
        logits: A tensor, or a shape; of losses on levels, one for each level.
        targets: The same.
        dtype: Of the logits, where a shape is given.
        device: To explain for; None takes that of the logits (of a shape: the CPU). The device need not be there.
        targets_dtype: Of the targets, where a shape is given.
        arguments: What else the loss would be called with.

    Example:
        >>> from focalkit.losses import asymmetric_loss
        >>> print(explain(asymmetric_loss, (4, 3), (4, 3), targets_dtype=torch.float32))
        eager: 12 elements; below 16,384 the single pass saves nothing
    """
    from .. import build as loss_of_spec

    if isinstance(loss, str):
        loss = loss_of_spec(loss)
    function = getattr(type(loss), "function", loss)  # of a module
    if not getattr(function, "single_pass", False):
        return Choice("eager", "this loss has no single pass")
    where = torch.device(device) if device is not None else None
    x, t = _stand_in(logits, dtype), _stand_in(targets, targets_dtype)
    backend = Explain(where, arguments.pop("backend", "auto"))
    return loss(x, t, backend=backend, **arguments)  # pyright: ignore


def _stand_in(thing: Any, dtype: torch.dtype) -> Any:
    """A tensor of each shape that takes no memory."""
    if isinstance(thing, Tensor):
        return thing
    if all(isinstance(t, int) for t in thing):
        return torch.zeros((), dtype=dtype, device="cpu").expand(tuple(thing))
    return tuple(_stand_in(t, dtype) for t in thing)
