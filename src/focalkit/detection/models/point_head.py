"""The head of FCOS, ATSS, GFL and VarifocalNet: one prior per cell, a scale for each level, a quality of its own."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from focalkit.detection.models.fast_conv import FastConv2d
from focalkit.detection.models.head import Norm, initialise, towers


class PointHead(nn.Module):
    """Class and box towers shared over levels; the box outputs of each level have a trained factor.

    Args:
        in_channels: Channels of the pyramid.
        num_classes: K foreground classes.
        channels: Width of the towers.
        depth: 3x3 convolutions in each tower, before the last one.
        norm: In the towers: None, "group" or "batch", as in `RetinaNetHead`.
        box_channels: Outputs per prior: 4, or 4 * bins for a `DistributionCoder`.
        quality: Whether one more output, from the box tower, predicts a quality of the box (FCOS's centerness).
        prior_prob: Foreground probability at initialisation; None leaves the class bias at 0.
        num_levels: Levels of the pyramid.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        channels: int = 256,
        depth: int = 4,
        norm: Norm = "group",
        box_channels: int = 4,
        quality: bool = False,
        prior_prob: float | None = 0.01,
        num_levels: int = 5,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.class_tower, self.box_tower, width = towers(in_channels, num_classes, channels, depth, norm, num_levels)
        self.class_output = FastConv2d(width, num_classes, 3, padding=1)
        self.box_output = FastConv2d(width, box_channels, 3, padding=1)
        self.quality_output = nn.Conv2d(width, 1, 3, padding=1) if quality else None
        self.scales = nn.Parameter(torch.ones(num_levels))
        others = (self.box_output,) if self.quality_output is None else (self.box_output, self.quality_output)
        initialise(self, self.class_output, *others, prior_prob=prior_prob)

    def forward(self, features: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], ...]:
        """P3 .. P7 -> logits (b, K, h, w), deltas (b, box_channels, h, w), and quality (b, 1, h, w) where asked for."""
        logits, deltas, quality = [], [], []
        for level, x in enumerate(features):
            logits.append(self.class_output(self.class_tower(x, level)))
            boxes = self.box_tower(x, level)
            deltas.append(self.box_output(boxes) * self.scales[level])
            if self.quality_output is not None:
                quality.append(self.quality_output(boxes))
        return (tuple(logits), tuple(deltas), tuple(quality)) if quality else (tuple(logits), tuple(deltas))
