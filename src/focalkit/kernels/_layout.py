"""Seeing a tensor as it lies in memory: flat, or as (outer, classes, inner). Nothing is copied where it lies dense."""

import math
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
        if x.is_contiguous():
            return Layout(x.shape, tuple(range(x.ndim)), dim), x
        strides = x.stride()
        order = tuple(sorted(range(x.ndim), key=lambda d: (-strides[d], d)))
        ordered = x.permute(order)
        if not ordered.is_contiguous():
            order, ordered = tuple(range(x.ndim)), x.contiguous()
        return Layout(x.shape, order, dim), ordered

    @property
    def sizes(self) -> tuple[int, int, int]:
        """(outer, classes, inner)."""
        sizes = [self.shape[d] for d in self.order]
        at = self.order.index(self.dim)
        return math.prod(sizes[:at]), sizes[at], math.prod(sizes[at + 1 :])

    def full(self, t: Tensor) -> Tensor:
        """A tensor of the whole shape, in this memory order."""
        return t.permute(self.order).contiguous()

    def by_class(self, ordered: Tensor) -> Tensor:
        """(outer, classes, inner) of a tensor in memory order."""
        return ordered.reshape(self.sizes)

    def without_classes(self, t: Tensor) -> Tensor:
        """A tensor that lacks the class axis, in this memory order."""
        order = [d - (d > self.dim) for d in self.order if d != self.dim]
        return (t if order == sorted(order) else t.permute(order)).contiguous()

    def rows(self, t: Tensor) -> Tensor:
        """A tensor that lacks the class axis, as (outer, 1, inner)."""
        outer, _, inner = self.sizes
        return self.without_classes(t).reshape(outer, 1, inner)

    def restore(self, t: Tensor) -> Tensor:
        """A flat or (outer, classes, inner) result in the shape, and the strides, of the tensor it belongs to."""
        inverse = sorted(range(len(self.order)), key=self.order.__getitem__)
        return t.view([self.shape[d] for d in self.order]).permute(inverse)


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
