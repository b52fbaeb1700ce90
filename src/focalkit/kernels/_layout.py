"""Seeing a tensor as it lies in memory: flat, or as (outer, classes, inner). Nothing is copied where it lies dense."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """How a tensor lies in memory.

    Attributes:
        shape: The shape it stands for.
        order: Its axes from the slowest to the fastest.
        dim: The class axis.
    """

    shape: torch.Size
    order: tuple[int, ...]
    dim: int

    @staticmethod
    def of(x: Tensor, dim: int) -> "tuple[Layout, Tensor]":
        """The layout, and `x` with its axes in memory order: contiguous, and a view where `x` lies dense."""
        order = tuple(sorted(range(x.ndim), key=lambda d: (-x.stride(d), d)))
        ordered = x.permute(order)
        if not ordered.is_contiguous():
            order, ordered = tuple(range(x.ndim)), x.contiguous()
        return Layout(x.shape, order, dim), ordered

    def full(self, t: Tensor) -> Tensor:
        """A tensor of the whole shape, in this memory order."""
        return t.permute(self.order).contiguous()

    def by_class(self, ordered: Tensor) -> Tensor:
        """(outer, classes, inner) of a tensor in memory order."""
        at = self.order.index(self.dim) if self.order else 0
        sizes = ordered.shape
        return ordered.reshape(sizes[:at].numel(), self.shape[self.dim], sizes[at + 1 :].numel())

    def rows(self, t: Tensor) -> Tensor:
        """A tensor without the class axis, as (outer, 1, inner)."""
        order = [d - (d > self.dim) for d in self.order if d != self.dim]
        at = self.order.index(self.dim)
        ordered = t.permute(order)
        outer, inner = ordered.shape[:at].numel(), ordered.shape[at:].numel()
        return ordered.reshape(outer, 1, inner).contiguous()

    def restore(self, t: Tensor) -> Tensor:
        """A flat or (outer, classes, inner) result in the shape, and the strides, of the tensor it belongs to."""
        inverse = sorted(range(len(self.order)), key=self.order.__getitem__)
        return t.view([self.shape[d] for d in self.order]).permute(inverse)


class Unplaceable(Exception):
    """A tensor would have to be copied to the size of the logits."""


def placed(t: Tensor, layout: Layout, *, flat: bool) -> Tensor | None:
    """`t`, which broadcasts against the shape of `layout`, in its form; None where that would take a copy of its size.

    Numbers stay 0-d; vectors over the classes become (1, classes, 1), tensors without classes (outer, 1, inner).
    """
    shape, dim = layout.shape, layout.dim
    if t.numel() == 1:
        return t.reshape(())
    if t.ndim > len(shape):
        return None
    t = t.reshape((1,) * (len(shape) - t.ndim) + tuple(t.shape))
    if t.shape == shape:
        return layout.full(t).reshape(-1) if flat else layout.by_class(layout.full(t))
    if flat:
        return None
    if t.numel() == t.shape[dim] == shape[dim]:
        return t.reshape(1, -1, 1)
    if t.shape[dim] == 1 and t.numel() * shape[dim] == shape.numel():
        return layout.rows(t.squeeze(dim))
    return None


def is_flat(layout: Layout, *tensors: Tensor) -> bool:
    """Whether every tensor is a number or has the whole shape, so that the axes do not matter."""
    return all(t.numel() == 1 or t.shape == layout.shape for t in tensors)
