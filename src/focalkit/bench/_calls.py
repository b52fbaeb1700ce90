"""Calls that several rows of the suite `loss` are made of, and what their inputs share."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ._model import Call

CLASSES = 80
PRIOR_LOGIT, SPREAD = -4.6, 1.5
POSITIVE = 5e-4
"""Of the anchors, about what an image of COCO has."""
PEAK = "the logits' bytes at the peak, the gradient included"


def value_and_gradient(loss: Callable[[], Tensor], leaves: Sequence[Tensor]) -> Call:
    """The call that is timed: (loss, gradient of each leaf)."""

    def call() -> tuple[Tensor, ...]:
        value = loss()
        return (value.detach(), *torch.autograd.grad(value, leaves))

    return call


def copy(leaves: Sequence[Tensor]) -> Call:
    """Each tensor once into memory that is there already: the floor of anything that reads and writes them once."""
    buffers = [torch.empty_like(x) for x in leaves]

    def call() -> None:
        for buffer, x in zip(buffers, leaves, strict=True):
            buffer.copy_(x)

    return call
