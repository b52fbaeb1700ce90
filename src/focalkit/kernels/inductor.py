"""Value and gradient in one pass by Inductor: `torch.compile` of the reference together with its derivative.

Its guards look at all that a loss reads, so a number that changes is never an old one.
"""

import logging
import threading
import types
from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor

from .._numerics import computed_in, upcast
from ..errors import BackendError
from . import chunked, dispatch
from .call import Call
from .operands import Number, Operands, Result

log = logging.getLogger("focalkit.kernels")
_lock = threading.RLock()  # torch compiles for one thread at a time
_code: dict[Hashable, Callable[..., tuple[Tensor, ...]]] = {}
_announced = False


def run(call: Call, logits: Sequence[Tensor], wanted: Sequence[bool], scale: Number, strict: bool) -> Result:
    """Value and gradients of all logits.

    Args:
        strict: A compilation that fails is an error; otherwise it is noted once, and chunks do the work.

    Raises:
        BackendError: The compilation failed.
    """
    kind = logits[0].device.type
    try:
        return _run(call, logits, wanted, scale)
    except Exception as failure:
        said = (str(failure).strip().splitlines() or ["no message"])[0]
        reason = f"compiling for the {kind} failed: {type(failure).__name__}: {said}"
        if strict:
            raise BackendError(f'backend="compiled": {reason}; use backend="auto" or "eager"') from failure
        dispatch.failed[kind, call.code] = reason
        log.warning('%s; focalkit goes on without (backend "chunked").', reason)
        return chunked.run(call, logits, wanted, scale)


def _run(call: Call, logits: Sequence[Tensor], wanted: Sequence[bool], scale: Number) -> Result:
    total = count = logits[0].new_zeros((), dtype=torch.float64)
    gradients: list[Tensor | None] = []
    factor = scale if isinstance(scale, Tensor) else logits[0].new_full((), scale, dtype=torch.float64)
    for i, (x, want) in enumerate(zip(logits, wanted, strict=True)):
        folded = call.folded(x.detach())
        operands = call.operands(i, folded)
        layout, laid_out = call.layout(i, folded, operands)
        operands = operands.map(lambda t, to=layout: to.aligned(t.detach()))
        if not call.dense:  # one compilation for labels of every width
            operands = operands._replace(targets=operands.targets.long())
        if not x.numel():
            gradients.append(torch.zeros_like(x) if want else None)
            continue
        more, valid, *gradient = _compiled(call, laid_out, operands, factor, want)
        total, count = total + more, count + valid
        gradients.append(layout.restore(gradient[0]).reshape(x.shape) if gradient else None)
    return Result(total, count, gradients)


def _compiled(call: Call, x: Tensor, operands: Operands, scale: Tensor, gradient: bool) -> tuple[Tensor, ...]:
    x, operands = _canonical(x), operands.map(_canonical)
    operands = operands._replace(params={k: _input(v, x) for k, v in operands.params.items()})
    forms = (t for t in (x, *operands[:3], *operands.params.values()) if isinstance(t, Tensor))
    # what torch.compile specialises: not sizes, but which of them are 1
    form = tuple((t.dtype, *(size == 1 for size in t.shape)) for t in forms)
    key = (call.code, call.dense, x.device, gradient, form)
    function = _code.get(key)
    if function is None:
        # a code object for each loss: torch.compile counts recompilations by them
        joint = types.FunctionType(_joint.__code__.replace(co_name="joint"), globals(), "joint")
        function = _code.setdefault(key, torch.compile(joint, dynamic=True, fullgraph=True))
        _announce(x.device.type)
    with _lock, torch.no_grad(), torch.autocast(x.device.type, enabled=False):
        return function(call, x, operands, scale.to(computed_in(x)), gradient)


def _canonical(t: Tensor) -> Tensor:
    """The same numbers, with nothing left for a guard to hold on to: no base of a view, no strides of size 1 but 1."""
    t = t.data
    return t.as_strided(t.shape, (t.shape[1] * t.shape[2], t.shape[2], 1)) if t.is_contiguous() else t


def _input(value: Number, x: Tensor) -> Number:
    """Halves up to 8 become part of the code: an exponent of 2 is a multiplication. Others do not compile again."""
    if isinstance(value, Tensor) or (0 <= value <= 8 and float(value * 2).is_integer()):
        return value
    return torch.full((), value, dtype=computed_in(x), device=x.device)


def _joint(call: Call, x: Tensor, operands: Operands, scale: Tensor, gradient: bool) -> tuple[Tensor, ...]:
    """(sum, count) or (sum, count, gradient times scale), the sums in float64."""

    def sums(raised: Tensor) -> tuple[Tensor, Tensor]:
        total, count = call.sums(raised, operands, 1, wide=True)
        if not isinstance(count, Tensor):
            count = torch.full((), count, device=x.device)
        return total, count.double()

    if not gradient:
        return sums(upcast(x))
    by_x, (total, count) = torch.func.grad_and_value(sums, has_aux=True)(upcast(x))
    return total, count, (by_x * scale).to(x.dtype)


def _announce(kind: str) -> None:
    """Says, once in a process, that compiling takes a while."""
    global _announced
    if not _announced:
        _announced = True
        log.warning(
            "focalkit compiles its single-pass losses (%s): some seconds, once; the code is cached on disk. "
            'backend="eager" does without.',
            kind,
        )
