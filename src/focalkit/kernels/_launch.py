"""The focal losses on CUDA devices: their arguments as the kernels in Triton take them."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from ._calls import SigmoidLoss, SoftmaxLoss
from ._cpp import Weights
from ._divisor import Scale
from ._layout import Layout
from ._numbers import as_stored

Launched: TypeAlias = tuple[Tensor, Tensor, list[Tensor | None]]
"""The sum and the count in float64, and the gradients times scale where wanted"""
Launch: TypeAlias = Callable[[tuple[Tensor, ...], tuple[bool, ...], Scale], Launched]


def fits(logits: tuple[Tensor, ...], labels: tuple[Tensor, ...], ignore_index: int) -> bool:
    """Whether the kernels' integers, of 32 bits and sixteen times as large as sizes, hold all there is."""
    small = all(x.numel() < 2**31 for x in logits) and all(y.numel() < 2**27 for y in labels)
    return small and abs(ignore_index) < 2**31 - 1


def sigmoid_labels(
    loss: SigmoidLoss, weights: Weights, logits: tuple[Tensor, ...], wanted: tuple[bool, ...], scale: Scale
) -> Launched:
    """All levels in one launch."""
    from . import _grids

    levels = [i for i, x in enumerate(logits) if x.numel()]
    placed = [Layout.of(loss.folded(logits[i]), loss.dims[i]) for i in levels]
    labels = [layout.rows(loss.targets[i]) for i, (layout, _) in zip(levels, placed, strict=True)]
    if len({y.dtype for y in labels}) > 1:
        labels = [y.long() for y in labels]
    total, slopes = _grids.sigmoid_labels(
        [layout.by_class(x) for layout, x in placed],
        labels,
        weights,
        scale,
        ignore_index=loss.ignore_index,
        gradient=any(wanted),
    )
    gradients = [
        torch.zeros_like(x) if want and not x.numel() else None for x, want in zip(logits, wanted, strict=True)
    ]
    for i, (layout, _), slope in zip(levels, placed, slopes, strict=True):
        if wanted[i]:
            gradients[i] = layout.restore(slope).reshape(logits[i].shape)
    return total, total, gradients


def sigmoid_dense(
    loss: SigmoidLoss,
    weights: Weights,
    count: bool,
    logits: tuple[Tensor, ...],
    wanted: tuple[bool, ...],
    scale: Scale,
) -> Launched:
    """One tensor of logits with targets for each of them. `count`: the elements that count are counted."""
    from . import _grids

    layout, x = Layout.of(logits[0], loss.dims[0] if logits[0].ndim else 0)
    total, found, slope = _grids.sigmoid_dense(
        x,
        layout.full(loss.targets[0]),
        weights,
        scale,
        ignore_index=as_stored(loss.ignore_index, loss.targets[0].dtype),
        gradient=wanted[0],
        count=count,
    )
    return total, found, [layout.restore(slope) if wanted[0] else None]


def softmax(
    loss: SoftmaxLoss, gamma: float, logits: tuple[Tensor, ...], wanted: tuple[bool, ...], scale: Scale
) -> Launched:
    """One tensor of logits, classes on any axis."""
    from . import _grids

    layout, x = Layout.of(logits[0], loss.dim)
    total, slope = _grids.softmax(
        layout.by_class(x),
        layout.rows(loss.labels),
        gamma,
        scale,
        ignore_index=loss.ignore_index,
        gradient=wanted[0],
    )
    return total, total, [layout.restore(slope) if wanted[0] else None]
