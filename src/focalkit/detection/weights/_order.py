"""Orders of channels that differ between libraries: anchors of a cell, colours, classes. Exact: nothing is computed."""

from collections.abc import Sequence

import torch
from torch import Tensor

OUTPUTS = ("head.class_output.", "head.box_output.")
STEM = "backbone.body.conv1.weight"


def reorder_anchors(tensor: Tensor, order: Sequence[int]) -> Tensor:
    """Channels a*w + i of a last convolution, weight or bias, with anchor `order[a]` in place of anchor a."""
    parts = tensor.reshape(len(order), -1, *tensor.shape[1:])
    return parts[list(order)].reshape(tensor.shape)


def inverse(order: Sequence[int]) -> list[int]:
    """The order that undoes this one."""
    return [order.index(i) for i in range(len(order))]


def swap_colours(weight: Tensor) -> Tensor:
    """The first convolution for red, green, blue instead of blue, green, red, and back."""
    return weight.flip(1)


def pick_classes(tensor: Tensor, num_classes: int, kept: Sequence[int], anchors: int = 9) -> Tensor:
    """Channels of the classes `kept`, of a class convolution's weight or bias."""
    parts = tensor.reshape(anchors, num_classes, *tensor.shape[1:])
    return parts[:, torch.tensor(kept)].reshape(anchors * len(kept), *tensor.shape[1:])
