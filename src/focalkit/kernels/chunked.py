"""The eager definition and its gradient on chunks of the logits: what lies between fits a cache. Needs no compiler."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F

from .._numerics import computed_in, finite, largest, upcast
from .call import Call, SigmoidCall
from .operands import Focal, Number, Operands, Result

SIZE = 65_536
"""Elements of a chunk for each thread: fewer, and what the calls cost shows; more, and it leaves the cache"""
FLAT = 2 * SIZE
"""Where background alone is computed, which keeps no intermediate results for autograd"""
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
        # subtle: hooks of the caller, such as save_on_cpu, shall not meet what lies between
        with _quiet(x.device.type), torch.set_grad_enabled(want):
            found = _background(call, laid_out, operands, scale, result) or _chunks(
                call, laid_out, operands, scale, result
            )
        total, count = total + found[0], count + found[1]
        gradients.append(None if result is None else layout.restore(result).reshape(x.shape))
    return Result(total, count, gradients)


def _chunks(call: Call, x: Tensor, operands: Operands, scale: Number, result: Tensor | None) -> tuple[float, float]:
    """The sum and how many elements are valid; writes the gradient times scale."""
    total, count = 0.0, 0.0
    for rows, places in _parts(x.shape):
        part = (rows, slice(None), places)
        loss, valid, gradient = _chunk(
            call, x[part], operands.map(lambda t, part=part: _cut(t, part)), result is not None
        )
        total, count = total + loss, count + valid
        _write(result, part, gradient, scale)
    return total, count


def _write(result: Tensor | None, part: Any, gradient: Tensor | None, scale: Number) -> None:
    if result is not None and gradient is not None:
        if gradient.dtype == result.dtype:
            torch.mul(gradient, scale, out=result[part])
        else:
            result[part].copy_(gradient * scale)


@contextlib.contextmanager
def _quiet(kind: str) -> Iterator[None]:
    with saved_tensors_hooks(_same, _same), torch.autocast(kind, enabled=False):
        yield


def _same(t: Tensor) -> Tensor:
    return t


def _parts(shape: torch.Size) -> Iterator[tuple[slice, slice]]:
    """Of (outer, classes, inner): whole slices where they are small, else parts of one. Classes stay together."""
    outer, classes, inner = shape
    size = max(SIZE * torch.get_num_threads() // max(classes, 1), 1)
    many, part = (max(size // max(inner, 1), 1), max(inner, 1)) if inner <= size else (1, size)
    for row in range(0, outer, many):
        for place in range(0, inner, part):
            yield slice(row, row + many), slice(place, place + part)


def _cut(t: Tensor, part: tuple[slice, ...]) -> Tensor:
    return t[tuple(part if size > 1 else slice(None) for part, size in zip(part, t.shape, strict=True))]


def _chunk(call: Call, x: Tensor, operands: Operands, want: bool) -> tuple[float, float, Tensor | None]:
    """The sum, how many elements are valid, and the gradient."""
    x = upcast(x).detach().requires_grad_(want)
    total, count = call.sums(x, operands, 1)
    return float(total.detach()), float(count), torch.autograd.grad(total, x)[0] if want else None


def _background(
    call: Call, x: Tensor, operands: Operands, scale: Number, result: Tensor | None
) -> tuple[float, float] | None:
    """The same where nearly all is background: that everywhere, and the few others put in their places."""
    if not isinstance(call, SigmoidCall) or call.negative is None or not _simple(call, operands):
        return None
    if call.dense and int(operands.targets.count_nonzero()) * FEW > x.numel():  # before a list of them takes memory
        return None
    at, targets = _dense_others(operands.targets) if call.dense else _labelled(call, x, operands.targets)
    if at.numel() * FEW > x.numel():
        return None
    total, flat, size = 0.0, x.view(-1), FLAT * torch.get_num_threads()
    written = None if result is None else result.view(-1)
    buffers = flat.new_empty((3, min(size, flat.numel())), dtype=computed_in(x))
    starts = list(range(0, flat.numel(), size))
    edges = [*torch.searchsorted(at, torch.tensor(starts, device=x.device)).tolist(), at.numel()]
    for i, start in enumerate(starts):
        part = slice(start, start + size)
        losses, gradient = _negatives(call, upcast(flat[part]).detach(), operands, buffers, result is not None)
        total += float(losses.index_fill_(0, at[edges[i] : edges[i + 1]] - start, 0.0).sum())
        _write(written, part, gradient, scale)
    call = call if call.dense else replace(call, dense=True)
    rest = Operands(targets.view(-1, 1, 1), None, None, operands.params)
    loss, valid, gradient = _chunk(call, flat[at].view(-1, 1, 1), rest, result is not None)
    if written is not None and gradient is not None:
        written[at] = (gradient.view(-1) * scale).to(x.dtype)
    return total + loss, valid + x.numel() - at.numel()


def _negatives(
    call: SigmoidCall, x: Tensor, operands: Operands, buffers: Tensor, want: bool
) -> tuple[Tensor, Tensor | None]:
    """The losses of background, and the gradient."""
    if call.focal is not None and not call.focal.by_class and _bounded(x):
        return _focal_background(x, call.focal, buffers[:, : x.numel()])
    assert call.negative is not None
    losses = call.negative(finite(x.requires_grad_(want)), **_flat(operands.params))
    return losses.detach(), torch.autograd.grad(losses, x, torch.ones_like(losses))[0] if want else None


def _flat(params: Mapping[str, Number]) -> dict[str, Number]:
    return {key: value.reshape(()) if isinstance(value, Tensor) else value for key, value in params.items()}


def _simple(call: SigmoidCall, operands: Operands) -> bool:
    """Whether a target of 0 is background and the operands are numbers."""
    unweighted = operands.weight is None and operands.class_weight is None and not call.label_smoothing
    numbers = all(not isinstance(v, Tensor) or v.numel() == 1 for v in operands.params.values())
    # labels: -1 is background unless it is ignored, and a dense 1 shall not mean that it is
    ignored = (0,) if call.dense else (-1, 0, 1)
    return unweighted and numbers and (operands.targets.dtype == torch.bool or call.ignore_index not in ignored)


def _dense_others(targets: Tensor) -> tuple[Tensor, Tensor]:
    """Where targets are not 0, in order, and what they are."""
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
        return (first + labels * inner).sort().values, torch.ones_like(labels)
    ignored = (first[~valid].unsqueeze(1) + torch.arange(classes, device=x.device) * inner).view(-1)
    at, order = torch.cat((first[valid] + labels[valid] * inner, ignored)).sort()
    targets = torch.full_like(at, 1 if call.ignore_index is None else call.ignore_index)
    targets[: at.numel() - ignored.numel()] = 1
    return at, targets[order]


def _bounded(x: Tensor) -> bool:
    """Whether `finite` changes nothing."""
    low, high = torch.aminmax(x)
    return -largest(x.dtype) < low.item() and high.item() < largest(x.dtype)  # not where there is a NaN


def _focal_background(x: Tensor, focal: Focal, buffers: Tensor) -> tuple[Tensor, Tensor]:
    """Focal loss of background and its derivative, q^gamma nll and q^gamma (gamma p nll + q), where q = 1 - p_t.

    In memory that every chunk uses again: fresh memory costs more than the arithmetic.
    """
    q, nll, gradient = buffers
    with torch.no_grad():
        torch.sigmoid(x, out=q)
        F.softplus(x, 1.0, 40.0, out=nll)  # pyright: ignore[reportCallIssue]
        torch.neg(x, out=gradient).sigmoid_().mul_(nll)  # p nll
        torch.add(q, gradient, alpha=focal.gamma_neg, out=gradient)
        q.pow_(focal.gamma_neg).mul_(focal.neg_weight)
        return nll.mul_(q), gradient.mul_(q)
