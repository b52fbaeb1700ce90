"""The eager definition and its gradient on chunks of the logits: what lies between fits a cache. Needs no compiler."""

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from .._numerics import finite, upcast
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
                loss, valid, slope = _background(call, chunk, rest) or _chunk(call, chunk, rest)
            total, count = total + float(loss), count + float(valid)
            if result is not None and slope is not None:
                torch.mul(slope, scale, out=result[box]) if slope.dtype == x.dtype else result[box].copy_(slope * scale)
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


def _chunk(call: Call, x: Tensor, operands: Operands) -> tuple[Tensor, Tensor | int, Tensor | None]:
    """The sum, how many elements are valid, and the gradient if `x` requires one."""
    total, count = call.sums(x, operands, 1)
    return total.detach(), count, torch.autograd.grad(total, x)[0] if x.requires_grad else None


def _background(call: Call, x: Tensor, operands: Operands) -> tuple[Tensor, Tensor | int, Tensor | None] | None:
    """The same where nearly all dense targets are 0: background everywhere, and the few others put in their places."""
    if not isinstance(call, SigmoidCall) or call.negative is None or not _simple(call, operands):
        return None
    targets = operands.targets.reshape(-1)
    at = targets.nonzero().squeeze(1)
    if at.numel() * FEW > x.numel():
        return None
    losses = call.negative(finite(x), **operands.params)
    slope = torch.autograd.grad(losses, x, torch.ones_like(losses))[0] if x.requires_grad else None
    few = x.detach().reshape(-1)[at].view(-1, 1, 1).requires_grad_(x.requires_grad)
    rest = Operands(targets[at].view(-1, 1, 1), None, None, operands.params)
    total, count, slopes = _chunk(call, few, rest)
    if slope is not None and slopes is not None:
        slope = slope.contiguous()
        slope.view(-1)[at] = slopes.view(-1)
    background = losses.detach().contiguous().view(-1).index_fill_(0, at, 0.0)
    return background.sum() + total, count + x.numel() - at.numel(), slope


def _simple(call: SigmoidCall, operands: Operands) -> bool:
    """Whether a dense target of 0 is background and the operands are numbers."""
    plain = operands.weight is None and operands.class_weight is None and not call.label_smoothing
    numbers = all(not isinstance(v, Tensor) or v.numel() == 1 for v in operands.params.values())
    return call.dense and plain and numbers and (operands.targets.dtype == torch.bool or call.ignore_index != 0)
