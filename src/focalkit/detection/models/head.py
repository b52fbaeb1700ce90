"""The two subnets of RetinaNet (Lin et al., 2017, sec. 4), shared over the pyramid's levels."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from focalkit.detection.models.fast_conv import FastConv2d
from focalkit.losses import prior_bias

Norm = Literal["group", "batch"] | None


class RetinaNetHead(nn.Module):
    """Class and box towers of 3x3 convolutions; the weights are shared over levels, not between the towers.

    Weights begin as N(0, 0.01) (sec. 4.1) at the paper's 256 channels. The towers' standard deviation goes with
    1 / sqrt(channels), so that a narrower tower passes on as much of its input as the paper's does: at 64 channels and
    0.01, four layers would leave a thousandth of it.

    Args:
        in_channels: Channels of the pyramid.
        num_classes: K foreground classes.
        num_priors: Anchors per cell.
        channels: Width of the towers.
        depth: 3x3 convolutions in each tower, before the last one.
        norm: None, "group" (32 groups, fewer where `channels` does not divide or a group would have less than 4), or
            "batch": live BatchNorm with statistics of its own for each level, because the levels' features differ.
        prior_prob: Foreground probability at initialisation (sec. 4.1): the class bias is log(pi / (1 - pi)).
            None leaves it at 0, that is probability 1/2.
        num_levels: Levels of the pyramid; matters to "batch" only.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        num_priors: int = 9,
        *,
        channels: int = 256,
        depth: int = 4,
        norm: Norm = None,
        prior_prob: float | None = 0.01,
        num_levels: int = 5,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.num_priors = num_priors
        self.class_tower, self.box_tower, width = towers(in_channels, num_classes, channels, depth, norm, num_levels)
        self.class_output = FastConv2d(width, num_priors * num_classes, 3, padding=1)
        self.box_output = FastConv2d(width, num_priors * 4, 3, padding=1)
        initialise(self, self.class_output, self.box_output, prior_prob=prior_prob)

    def forward(self, features: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """P3 .. P7 -> logits, per level (b, a*K, h, w), and deltas, per level (b, a*4, h, w)."""
        logits = tuple(self.class_output(self.class_tower(x, level)) for level, x in enumerate(features))
        deltas = tuple(self.box_output(self.box_tower(x, level)) for level, x in enumerate(features))
        return logits, deltas


def initialise(head: nn.Module, class_output: nn.Conv2d, *other_outputs: nn.Conv2d, prior_prob: float | None) -> None:
    """Gaussian weights of std .01, biases 0, and the prior's bias for the classes (Lin et al., 2017, sec. 4.1).

    Convolutions before the outputs have .01 * sqrt(256 / channels): a narrow tower passes on as much as the paper's.
    """
    for module in head.modules():
        if isinstance(module, nn.Conv2d):
            output = module in (class_output, *other_outputs)
            nn.init.normal_(module.weight, std=0.01 if output else 0.01 * math.sqrt(256 / module.in_channels))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    if prior_prob is not None and class_output.bias is not None:
        nn.init.constant_(class_output.bias, prior_bias(prior_prob))


def towers(
    in_channels: int, num_classes: int, channels: int, depth: int, norm: Norm, num_levels: int
) -> tuple["Tower", "Tower", int]:
    """The class tower and the box tower of a dense head, and the channels that they give.

    Raises:
        ValueError: No class, or an unknown norm.
    """
    if num_classes < 1:
        raise ValueError(f"num_classes counts foreground classes and must be at least 1, got {num_classes}")
    if norm not in (None, "group", "batch"):
        raise ValueError(f'norm must be None, "group" or "batch", got {norm!r}')
    class_tower, box_tower = (Tower(in_channels, channels, depth, norm, num_levels) for _ in range(2))
    return class_tower, box_tower, channels if depth else in_channels


class Tower(nn.Module):
    def __init__(
        self,
        in_channels: int,
        channels: int,
        depth: int,
        norm: Norm,
        num_levels: int,
        act: Callable[..., nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        widths = [in_channels] + [channels] * depth
        self.convs = nn.ModuleList(FastConv2d(i, o, 3, padding=1, bias=norm is None) for i, o in pairwise(widths))
        # norms[layer][level]; a single entry serves all levels
        self.norms = nn.ModuleList(nn.ModuleList(norms(norm, channels, num_levels)) for _ in range(depth))
        self.act = act(inplace=True)

    def forward(self, x: Tensor, level: int) -> Tensor:
        for conv, norms in zip(self.convs, self.norms, strict=True):
            assert isinstance(norms, nn.ModuleList)
            x = self.act(norms[level if len(norms) > 1 else 0](conv(x)))
        return x


def norms(norm: Norm, channels: int, num_levels: int) -> list[nn.Module]:
    if norm == "batch":
        return [nn.BatchNorm2d(channels) for _ in range(num_levels)]
    if norm is None:
        return [nn.Identity()]
    groups = math.gcd(32, channels)
    while groups > 1 and channels // groups < 4:
        groups //= 2
    return [nn.GroupNorm(groups, channels)]
