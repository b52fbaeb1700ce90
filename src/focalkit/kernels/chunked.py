"""The eager definition and its gradient on chunks of the logits: what lies between fits a cache. Needs no compiler."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F

from .._numerics import finite, largest, upcast
from .call import Call, SigmoidCall
from .operands import Focal, Number, Operands, Result

SIZE = 65_536
"""Elements of a chunk for each thread: fewer, and what the calls cost shows; more, and it leaves the cache"""
FEW = 16
"""Targets of which at most one in this many is not background are background except a few"""


def run(call: Call, logits: Sequence[Tensor], wanted: Sequence[bool], scale: Number) -> Result:
    """Value and gradients of all logits."""
    total, count, gradients = 0.0, 0.0, []
    for i, (x, want) in enumerate(zip(logits, wanted, strict=True)):
        folded = call.folded(x.detach())
        operands = call.operands(i, folded)
        layout, laid_out = call.layout(i, folded, operands)
        operands = operands.map(lambda t, to=layout: to.aligned(t.detach()))
        result = torch.empty_like(laid_out) if want else None
        buffers = _Buffers(upcast(x.new_empty(0)))
        for rows, places in _chunks(laid_out.shape):
            part = (rows, slice(None), places)
            rest = operands.map(lambda t, part=part: _cut(t, part))
            chunk = upcast(laid_out[part]).detach().requires_grad_(want)
            # subtle: hooks of the caller, such as save_on_cpu, shall not meet what lies between
            with _quiet(x.device.type), torch.set_grad_enabled(want):
                loss, valid, gradient = _background(call, chunk, rest, buffers) or _chunk(call, chunk, rest)
            total, count = total + float(loss), count + float(valid)
            if result is not None and gradient is not None:
                torch.mul(gradient, scale, out=result[part]) if gradient.dtype == x.dtype else result[part].copy_(
                    gradient * scale
                )
        gradients.append(None if result is None else layout.restore(result).reshape(x.shape))
    return Result(total, count, gradients)


class _Buffers:
    """Memory for three chunks, which every chunk uses again: fresh memory costs more than the arithmetic."""

    def __init__(self, like: Tensor) -> None:
        self.memory = like

    def shaped(self, shape: torch.Size) -> list[Tensor]:
        n = shape.numel()
        if self.memory.numel() < 3 * n:
            self.memory = self.memory.new_empty(3 * n)
        return [self.memory[i * n : i * n + n].view(shape) for i in range(3)]


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


def _cut(t: Tensor, part: tuple[slice, ...]) -> Tensor:
    return t[tuple(part if size > 1 else slice(None) for part, size in zip(part, t.shape, strict=True))]


def _chunk(call: Call, x: Tensor, operands: Operands) -> tuple[Tensor, Tensor | int, Tensor | None]:
    """The sum, how many elements are valid, and the gradient if `x` requires one."""
    total, count = call.sums(x, operands, 1)
    return total.detach(), count, torch.autograd.grad(total, x)[0] if x.requires_grad else None


def _background(
    call: Call, x: Tensor, operands: Operands, buffers: _Buffers
) -> tuple[Tensor, Tensor | int, Tensor | None] | None:
    """The same where nearly all is background: that everywhere, and the few others put in their places."""
    if not isinstance(call, SigmoidCall) or call.negative is None or not _simple(call, operands):
        return None
    at, targets = _dense_others(operands.targets) if call.dense else _labelled(call, x, operands.targets)
    if at.numel() * FEW > x.numel():
        return None
    if call.focal is not None and not call.focal.by_class and _bounded(x):
        losses, gradient = _focal_background(x.detach(), call.focal, buffers)
    else:
        losses = call.negative(finite(x), **operands.params)
        gradient = torch.autograd.grad(losses, x, torch.ones_like(losses))[0].contiguous() if x.requires_grad else None
        losses = losses.detach().contiguous()
    others = x.detach().reshape(-1)[at].view(-1, 1, 1).requires_grad_(x.requires_grad)
    rest = Operands(targets.to(x.dtype).view(-1, 1, 1), None, None, operands.params)
    total, count, their_gradient = _chunk(call if call.dense else replace(call, dense=True), others, rest)
    if gradient is not None and their_gradient is not None:
        gradient.view(-1)[at] = their_gradient.view(-1)
    background = losses.view(-1).index_fill_(0, at, 0.0)
    return background.sum() + total, count + x.numel() - at.numel(), gradient


def _simple(call: SigmoidCall, operands: Operands) -> bool:
    """Whether a target of 0 is background and the operands are numbers."""
    unweighted = operands.weight is None and operands.class_weight is None and not call.label_smoothing
    numbers = all(not isinstance(v, Tensor) or v.numel() == 1 for v in operands.params.values())
    # labels: a dense 1 shall not mean that it is ignored
    ignored = (0,) if call.dense else (0, 1)
    return unweighted and numbers and (operands.targets.dtype == torch.bool or call.ignore_index not in ignored)


def _dense_others(targets: Tensor) -> tuple[Tensor, Tensor]:
    """Where targets are not 0, and what they are."""
    targets = targets.reshape(-1)
    at = targets.nonzero().squeeze(1)
    return at, targets[at]


def _labelled(call: SigmoidCall, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """As `_dense_others`, from labels (outer, 1, inner) of logits (outer, classes, inner): the elements of positives,
    and all those of ignored rows."""
    _, classes, inner = x.shape
    labels = labels.reshape(-1).long()
    rows = (labels != -1).nonzero().squeeze(1)
    labels = labels[rows]
    first = rows.div(inner, rounding_mode="floor") * (classes * inner) + rows % inner
    valid = call.valid(labels)
    if valid is None:
        return first + labels * inner, torch.ones_like(labels)
    ignored = (first[~valid].unsqueeze(1) + torch.arange(classes, device=x.device) * inner).view(-1)
    at = torch.cat((first[valid] + labels[valid] * inner, ignored))
    targets = torch.full_like(at, 1 if call.ignore_index is None else call.ignore_index)
    targets[: at.numel() - ignored.numel()] = 1
    return at, targets


def _bounded(x: Tensor) -> bool:
    """Whether `finite` changes nothing."""
    low, high = torch.aminmax(x.detach())
    return -largest(x.dtype) < low.item() and high.item() < largest(x.dtype)  # not where there is a NaN


def _focal_background(x: Tensor, focal: Focal, buffers: _Buffers) -> tuple[Tensor, Tensor]:
    """Focal loss of background and its derivative, q^gamma nll and q^gamma (gamma p nll + q), where q = 1 - p_t."""
    q, nll, gradient = buffers.shaped(x.shape)
    with torch.no_grad():
        torch.sigmoid(x, out=q)
        F.softplus(x, 1.0, 40.0, out=nll)  # pyright: ignore[reportCallIssue]
        torch.neg(x, out=gradient).sigmoid_().mul_(nll)  # p nll
        torch.add(q, gradient, alpha=focal.gamma_neg, out=gradient)
        q.pow_(focal.gamma_neg).mul_(focal.neg_weight)
        return nll.mul_(q), gradient.mul_(q)
