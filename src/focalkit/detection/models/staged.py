"""Layers run in stages, of which the first may stay as they are: the form of every backbone with a name."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from focalkit.errors import ConfigError

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of red, green and blue in [0, 1]."""


class StagedBackbone(nn.Module):
    """Named layers run in stages; the last three stages give C3, C4, C5.

    The first `freeze_at` stages do not train: they run without recording a graph, so the backward pass neither visits
    nor stores them, their parameters ask for no gradient, and their BatchNorm keeps its statistics.

    Args:
        layers: Top-level layers by torchvision's name.
        stages: For each stage, the paths of its layers ("layer1", "features.0").
        channels: Of C3, C4, C5.
        normalisation: Mean and standard deviation that the weights expect, for inputs in [0, 1].
        freeze_at: Number of frozen stages.
    """

    def __init__(
        self,
        layers: dict[str, nn.Module],
        stages: Sequence[Sequence[str]],
        channels: Sequence[int],
        normalisation: tuple[Sequence[float], Sequence[float]] = IMAGENET,
        freeze_at: int = 0,
    ) -> None:
        super().__init__()
        if not 0 <= freeze_at <= len(stages):
            raise ConfigError(f"freeze_at counts frozen stages, 0 to {len(stages)}, got {freeze_at}")
        self.body = nn.ModuleDict(layers)
        self.stages = tuple(tuple(stage) for stage in stages)
        self.channels = tuple(channels)
        self.pixel_mean, self.pixel_std = normalisation
        self.freeze_at = freeze_at
        for layer in self._layers(0, freeze_at):
            layer.requires_grad_(False)

    def _layers(self, first: int, last: int) -> list[nn.Module]:
        return [self.body.get_submodule(path) for stage in self.stages[first:last] for path in stage]

    def train(self, mode: bool = True) -> "StagedBackbone":
        super().train(mode)
        for layer in self._layers(0, self.freeze_at):
            layer.eval()
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised images (b, 3, h, w) -> C3, C4, C5."""
        outputs = []
        for number in range(len(self.stages)):
            with torch.set_grad_enabled(torch.is_grad_enabled() and number >= self.freeze_at):
                for layer in self._layers(number, number + 1):
                    x = layer(x)
            outputs.append(x)
        c3, c4, c5 = outputs[-3:]
        return c3, c4, c5
