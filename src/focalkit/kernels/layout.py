"""View a tensor as it lies in memory, as (outer, classes, inner). Nothing is copied where it lies dense."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """How a tensor lies in memory.

    Attributes:
        shape: The shape it stands for.
        order: Its axes from the slowest to the fastest; None where it is contiguous.
        dim: The class axis; None where every axis is outer.
    """

    shape: torch.Size
    order: tuple[int, ...] | None
    dim: int | None

    @staticmethod
    def of(x: Tensor, dim: int | None) -> "tuple[Layout, Tensor]":
        """The layout, and `x` as (outer, classes, inner): contiguous, and a view where `x` lies dense."""
        order, ordered = None, x
        if not x.is_contiguous():
            strides = x.stride()
            order = tuple(sorted(range(x.ndim), key=lambda d: (-strides[d], d)))
            ordered = x.permute(order)
            if not ordered.is_contiguous():
                order, ordered = None, x.contiguous()
        layout = Layout(x.shape, order, dim)
        return layout, ordered.view(layout.sizes)

    @property
    def axes(self) -> tuple[int, ...]:
        return tuple(range(len(self.shape))) if self.order is None else self.order

    @property
    def sizes(self) -> tuple[int, int, int]:
        """(outer, classes, inner)."""
        if self.dim is None:
            return self.shape.numel(), 1, 1
        sizes = [self.shape[d] for d in self.axes]
        at = self.axes.index(self.dim)
        return math.prod(sizes[:at]), sizes[at], math.prod(sizes[at + 1 :])

    def rows(self, t: Tensor) -> Tensor:
        """A tensor that lacks the class axis, contiguous in this memory order."""
        if self.order is None or self.dim is None:
            return t.contiguous()
        return t.permute([d - (d > self.dim) for d in self.order if d != self.dim]).contiguous()

    def full(self, t: Tensor) -> Tensor:
        """A tensor of the whole shape, contiguous in this memory order."""
        return t.contiguous() if self.order is None else t.permute(self.order).contiguous()

    def aligned(self, t: Tensor) -> Tensor:
        """A tensor that broadcasts against the shape, as one that broadcasts against (outer, classes, inner)."""
        if t.numel() == 1:
            return t.reshape(1, 1, 1)
        t = t.reshape((1,) * (len(self.shape) - t.ndim) + tuple(t.shape))
        at = len(self.axes) if self.dim is None else self.axes.index(self.dim)
        groups = self.axes[:at], self.axes[at : at + 1], self.axes[at + 1 :]
        sizes = list(t.shape)
        for group in groups:
            if any(t.shape[d] != 1 for d in group):
                for d in group:
                    sizes[d] = self.shape[d]
        return t.expand(sizes).permute(self.axes).reshape([math.prod(sizes[d] for d in group) for group in groups])

    def restore(self, t: Tensor) -> Tensor:
        """An (outer, classes, inner) result in the shape, and the strides, of the tensor it belongs to."""
        if self.order is None:
            return t.view(self.shape)
        inverse = sorted(range(len(self.order)), key=self.order.__getitem__)
        return t.view([self.shape[d] for d in self.order]).permute(inverse)
