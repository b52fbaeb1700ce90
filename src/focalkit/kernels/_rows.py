"""Softmax losses on the CPU: ATen's softmax on pieces that fit a cache, and maths on one number a row.

With p the softmax of a row, y its label and q the sum of p over the other classes, the signed logit is u = log(p_y / q)
and

    d loss / d x_y = s        d loss / d x_j = -s p_j / q        where s = d loss / d u

so that the gradient takes the place of the softmax by one product, whatever the loss is. The label leaves the sum
before the sum is taken, which keeps q = 1 - p_y exact where p_y rounds to 1. In a short row e^(x_j - x_y) = p_j / p_y
takes the place of p_j. Rows whose odds q / p_y leave the range (infinities and NaN do) take the definition.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from .._numerics import computed_in, label_logit
from . import _chunks

# pieces of this many grains a thread: 2 MB of float32 stay in a cache and outweigh the calls of the row maths
GRAINS = 4
# up to this many classes PyTorch's softmax costs more than exponentials of the differences to the label
SHORT = 64

Box = tuple[slice, ...]


def rows_pass(
    x: Tensor,
    labels: Tensor,
    row: Callable[[Tensor, Tensor, Tensor, Box], tuple[Tensor, ...]],
    *,
    shift: Tensor | None,
    ignore_index: int,
    gradient: bool,
) -> tuple[Tensor, Tensor | None]:
    """The sum in float64, and the gradient in the dtype of `x` where it is wanted.

    Args:
        x: (outer, classes, inner), contiguous.
        labels: (outer, 1, inner), integers.
        row: row(u, index, counted, box) -> (sum, count) or (sum, count, slope) for the rows of `x[box]`, all 1-d.
        shift: Vector over the classes, added to the logits.
    """
    dtype = computed_in(x)
    tiny = torch.finfo(dtype).tiny
    result = torch.empty_like(x) if gradient else None
    scratch: dict[str, Tensor] = {}

    def room(name: str, shape: torch.Size) -> Tensor:
        if name not in scratch or scratch[name].numel() < shape.numel():
            scratch[name] = torch.empty(shape.numel(), dtype=dtype)
        return scratch[name][: shape.numel()].view(shape)

    total = torch.zeros((), dtype=torch.float64)
    grain = _chunks.GRAIN * torch.get_num_threads()
    # at most about a thirtieth of the logits, so that what a piece needs stays small beside them
    size = max(min(GRAINS * grain, x.numel() // 32), grain // 4)
    for box in _chunks.cuts(x.shape, size, rows=True):
        piece, own = x[box], labels[box[0], :, box[2]]
        target = None if result is None else result[box]
        if piece.shape[2] == 1:  # ATen is fastest where the classes come last
            piece, own, target = piece.squeeze(2), own.squeeze(2), None if target is None else target.squeeze(2)
        own = own.long()  # subtle: before the comparison, in which uint8 takes -100 for 156
        counted = own != ignore_index
        index = torch.where(counted, own, 0)
        if piece.dtype != dtype or shift is not None:
            piece = room("logits", piece.shape).copy_(piece)
            piece = piece if shift is None else piece.add_(shift.view([-1 if d == 1 else 1 for d in range(piece.ndim)]))
        direct = target is not None and target.dtype == dtype and target.is_contiguous()
        p = target if direct and target is not None else room("softmax", piece.shape)
        # both sums are without the label: of e^(x_j - x_y), with 1 for the label, or of p_j, with p_y
        if piece.shape[1] <= SHORT:
            mine, most = torch.ones((), dtype=dtype), torch.finfo(dtype).max ** 0.5
            torch.sub(piece, piece.gather(1, index), out=p).exp_()
        else:
            torch.ops.aten._softmax.out(piece, 1, False, out=p)
            mine, most = p.gather(1, index), 1 / tiny
        rest = p.scatter_(1, index, 0.0).sum(1, keepdim=True)
        odds = rest / mine if piece.shape[1] > 1 else torch.full_like(rest, torch.nan)  # one class: all are odd
        u = odds.log().neg_()
        usual = bool(odds.max() <= most)  # subtle: of NaN the maximum is NaN
        odd = None if usual else _Odd(piece, index, counted, ~(odds <= most), u)
        parts = row(u.flatten(), index.flatten(), counted.flatten(), box)
        total = total + parts[0]
        if target is None:
            continue
        slope = parts[2].view(u.shape)
        p.mul_(slope.neg().div_(rest.clamp_(min=tiny))).scatter_(1, index, slope)
        if odd is not None:
            odd.finish(p, slope)
        if not direct:
            target.copy_(p)
    return total, result


class _Odd:
    """Rows that need the definition: puts their signed logit where it belongs, and later their gradient."""

    def __init__(self, x: Tensor, index: Tensor, counted: Tensor, which: Tensor, u: Tensor) -> None:
        self.which = which.squeeze(1)
        with torch.enable_grad():
            self.x = x.movedim(1, -1)[self.which].detach().requires_grad_()
            # an ignored row may hold NaN
            used = torch.where(counted.squeeze(1)[self.which].unsqueeze(1), self.x, 0.0)
            self.u = label_logit(used, index.squeeze(1)[self.which], 1)
        u.squeeze(1)[self.which] = self.u.detach()

    def finish(self, gradient: Tensor, slope: Tensor) -> None:
        (own,) = torch.autograd.grad(self.u, self.x, slope.squeeze(1)[self.which])
        gradient.movedim(1, -1)[self.which] = own
