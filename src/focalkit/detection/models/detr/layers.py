"""The small parts of RT-DETR and D-FINE: normalised convolutions, RepVGG, CSP and ELAN blocks, perceptrons."""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from focalkit.detection.models.fast_conv import FastConv2d
from focalkit.detection.models.frozen_norm import with_norm

EPS = 1e-5
"""Shares of the image are kept so far from 0 and 1 before their logit is taken."""


class ConvNorm(nn.Module):
    """A convolution without bias, BatchNorm, and what follows; the map keeps its size, or is halved at stride 2."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 1,
        stride: int = 1,
        activation: nn.Module | None = None,
        norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
        groups: int = 1,
    ) -> None:
        super().__init__()
        self.conv = FastConv2d(in_channels, out_channels, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)
        self.norm = norm(out_channels)
        self.activation = nn.Identity() if activation is None else activation

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.norm(self.conv(x)))


class RepVGG(nn.Module):
    """A 3x3 and a 1x1 convolution side by side (Ding et al., 2021, arXiv 2101.03697), without the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(channels, channels, 3)
        self.conv2 = ConvNorm(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.conv1(x) + self.conv2(x))

    @torch.no_grad()
    def merged(self) -> nn.Sequential:
        """One 3x3 convolution that gives what both give in evaluation (sec. 3.2 of the paper), and SiLU."""
        assert isinstance(self.conv1.norm, nn.BatchNorm2d)
        assert isinstance(self.conv2.norm, nn.BatchNorm2d)
        wide, narrow = with_norm(self.conv1.conv, self.conv1.norm), with_norm(self.conv2.conv, self.conv2.norm)
        assert wide.bias is not None
        assert narrow.bias is not None
        wide.weight += F.pad(narrow.weight, (1, 1, 1, 1))
        wide.bias += narrow.bias
        return nn.Sequential(wide, nn.SiLU(inplace=True))


class CSPBlock(nn.Module):
    """Two 1x1 convolutions of which one goes through RepVGG blocks, added (RT-DETR, fig. 4, "fusion block").

    Args:
        in_channels, out_channels: Of the maps.
        expansion: Width inside, as a share of `out_channels`.
        depth: Number of RepVGG blocks.
    """

    def __init__(self, in_channels: int, out_channels: int, expansion: float = 1.0, depth: int = 3) -> None:
        super().__init__()
        inside = int(out_channels * expansion)
        self.conv1 = ConvNorm(in_channels, inside, activation=nn.SiLU())
        self.conv2 = ConvNorm(in_channels, inside, activation=nn.SiLU())
        self.bottlenecks = nn.Sequential(*(RepVGG(inside) for _ in range(depth)))
        self.conv3 = ConvNorm(inside, out_channels, activation=nn.SiLU()) if inside != out_channels else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(self.bottlenecks(self.conv1(x)) + self.conv2(x))


class ELANBlock(nn.Module):
    """D-FINE's fusion block: a map in two halves, one of which goes through CSP blocks and convolutions in turn.

    All that comes about on the way is joined (GELAN: Wang et al., 2024, arXiv 2402.13616; D-FINE's code).

    Args:
        in_channels, out_channels: Of the maps.
        expansion: Width of the CSP blocks, as a share of half of `out_channels`.
        depth: RepVGG blocks in each of the two.
    """

    def __init__(self, in_channels: int, out_channels: int, expansion: float = 1.0, depth: int = 3) -> None:
        super().__init__()
        inside = round(expansion * out_channels // 2)
        self.conv1 = ConvNorm(in_channels, 2 * out_channels, activation=nn.SiLU())
        self.csp1 = CSPBlock(out_channels, inside, depth=depth)
        self.conv2 = ConvNorm(inside, inside, 3, activation=nn.SiLU())
        self.csp2 = CSPBlock(inside, inside, depth=depth)
        self.conv3 = ConvNorm(inside, inside, 3, activation=nn.SiLU())
        self.conv4 = ConvNorm(2 * (out_channels + inside), out_channels, activation=nn.SiLU())

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        half = x.chunk(2, dim=1)[1]
        first = self.conv2(self.csp1(half))
        return self.conv4(torch.cat([x, first, self.conv3(self.csp2(first))], dim=1))


class DepthwiseDown(nn.Sequential):
    """A 1x1 convolution, then one of each channel by itself that halves the map; no activation."""

    def __init__(self, channels: int) -> None:
        super().__init__(ConvNorm(channels, channels), ConvNorm(channels, channels, 3, 2, groups=channels))


Activation = Callable[[Tensor], Tensor]


class Perceptron(nn.Module):
    """Linear layers with an activation between them."""

    def __init__(
        self, in_channels: int, hidden: int, out_channels: int, depth: int, activation: Activation = F.relu
    ) -> None:
        super().__init__()
        self.activation = activation
        widths = [in_channels, *[hidden] * (depth - 1), out_channels]
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)


def inverse_sigmoid(share: Tensor) -> Tensor:
    """The logit of a share in [0, 1], finite: at most that of 1 - `EPS`."""
    # subtle: not of share.clamp(0, 1). Two clamps in a row become one in ONNX, and the converter loses its limits where
    # that happens to the same tensor twice, as it does to the boxes of every layer but the last
    return torch.log(share.clamp(EPS, 1.0) / (1 - share).clamp(EPS, 1.0))
