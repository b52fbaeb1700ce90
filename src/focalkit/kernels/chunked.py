"""The eager definition and its gradient on chunks of the logits: what lies between fits a cache. Needs no compiler."""

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from .._numerics import upcast
from .call import Call, SigmoidCall
from .operands import Number, Operands, Result

SIZE = 65_536
"""Elements of a chunk for each thread: fewer, and what the calls cost shows; more, and it leaves the cache"""
FEW = 16
"""Dense targets of which at most one in this many is not 0 are background except a few"""


def run(call: Call, logits: Sequence[Tensor], wanted: Sequence[bool], scale: Number) -> Result:
    """Value and gradients of all logits, by autograd on chunks."""
    total, count, gradients = 0.0, 0.0, []
    for i, (x, gradient) in enumerate(zip(logits, wanted, strict=True)):
        folded = call.folded(x.detach())
        operands = call.operands(i, folded)
        layout, laid_out = call.layout(i, folded, operands)
        operands = operands.map(lambda t, to=layout: to.aligned(t.detach()))
        result = torch.empty_like(laid_out) if gradient else None
        for rows, places in _chunks(laid_out.shape):
            box = (rows, slice(None), places)
            rest = operands.map(lambda t, box=box: _cut(t, box))
            chunk = upcast(laid_out[box]).detach().requires_grad_(gradient)
            # subtle: hooks of the caller, such as save_on_cpu, shall not meet what lies between
            with _quiet(x.device.type), torch.set_grad_enabled(gradient):
                loss, valid = _sums(call, chunk, rest)
            total, count = total + float(loss), count + float(valid)
            if result is not None:
                (slope,) = torch.autograd.grad(loss, chunk)
                result[box] = slope.mul_(scale)
        gradients.append(None if result is None else layout.restore(result).reshape(x.shape))
    return Result(total, count, gradients)


@contextlib.contextmanager
def _quiet(kind: str) -> Iterator[None]:
    with saved_tensors_hooks(_same, _same), torch.autocast(kind, enabled=False):
        yield


def _same(t: Tensor) -> Tensor:
    return t


def _chunks(shape: torch.Size) -> Iterator[tuple[slice, slice]]:
    """Of (outer, classes, inner): whole slices where they are small, else parts of one. Classes stay together."""
    outer, classes, inner = shape
    size = max(SIZE * torch.get_num_threads() // max(classes, 1), 1)
    many, part = (max(size // max(inner, 1), 1), max(inner, 1)) if inner <= size else (1, size)
    for row in range(0, outer, many):
        for place in range(0, inner, part):
            yield slice(row, row + many), slice(place, place + part)


def _cut(t: Tensor, box: tuple[slice, ...]) -> Tensor:
    return t[tuple(part if size > 1 else slice(None) for part, size in zip(box, t.shape, strict=True))]


def _sums(call: Call, x: Tensor, operands: Operands) -> tuple[Tensor, Tensor | int]:
    if isinstance(call, SigmoidCall) and call.negative is not None and _simple(call, operands):
        at = operands.targets.reshape(-1).nonzero().squeeze(1)
        if at.numel() * FEW <= x.numel():  # background, except a few
            flat = x.reshape(-1)
            background = flat.index_fill(0, at, -torch.inf).clamp(max=torch.finfo(x.dtype).max / 1024)
            few = Operands(operands.targets.reshape(-1)[at].view(-1, 1, 1), None, None, operands.params)
            total, count = call.sums(flat[at].view(-1, 1, 1), few, 1)
            return call.negative(background, **operands.params).sum() + total, count + x.numel() - at.numel()
    return call.sums(x, operands, 1)


def _simple(call: SigmoidCall, operands: Operands) -> bool:
    """Whether a dense target of 0 is background and the operands are numbers."""
    plain = operands.weight is None and operands.class_weight is None and not call.label_smoothing
    numbers = all(not isinstance(v, Tensor) or v.numel() == 1 for v in operands.params.values())
    return call.dense and plain and numbers and (operands.targets.dtype == torch.bool or call.ignore_index != 0)
