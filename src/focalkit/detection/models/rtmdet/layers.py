"""The blocks that RTMDet's backbone and neck are made of (Lyu et al., 2022, sec. 3.2).

Modules are called as in MMDetection (`conv`, `bn`, `main_conv`, `depthwise_conv`, ...), so that its files need no table
of these names.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Norm = Callable[[int], nn.Module]


class ConvNorm(nn.Module):
    """Convolution, norm, SiLU; as much padding as keeps the size at stride 1."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        norm: Norm | None = None,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = (nn.BatchNorm2d if norm is None else norm)(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.bn(self.conv(x)), inplace=True)


class SeparableConv(nn.Module):
    """A depthwise convolution and a 1x1, each with norm and SiLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, norm: Norm | None = None) -> None:
        super().__init__()
        self.depthwise_conv = ConvNorm(in_channels, in_channels, kernel, groups=in_channels, norm=norm)
        self.pointwise_conv = ConvNorm(in_channels, out_channels, 1, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise_conv(self.depthwise_conv(x))


class LargeKernelBlock(nn.Module):
    """A 3x3 and a separable 5x5 convolution, beside the input where `shortcut` (fig. 3b)."""

    def __init__(self, channels: int, shortcut: bool, norm: Norm | None = None) -> None:
        super().__init__()
        self.conv1 = ConvNorm(channels, channels, 3, norm=norm)
        self.conv2 = SeparableConv(channels, channels, 5, norm)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(self.conv1(x))
        return y + x if self.shortcut else y


class ChannelAttention(nn.Module):
    """Each channel times a hard sigmoid of what a 1x1 convolution makes of the means of all (sec. 3.2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * F.hardsigmoid(self.fc(x.mean(dim=(2, 3), keepdim=True)))


class CSPLayer(nn.Module):
    """Blocks on one half of the channels, the other half past them, and a 1x1 over both (fig. 3a)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        blocks: int,
        *,
        shortcut: bool = True,
        attention: bool = False,
        norm: Norm | None = None,
    ) -> None:
        super().__init__()
        half = out_channels // 2
        self.main_conv = ConvNorm(in_channels, half, 1, norm=norm)
        self.short_conv = ConvNorm(in_channels, half, 1, norm=norm)
        self.final_conv = ConvNorm(2 * half, out_channels, 1, norm=norm)
        self.blocks = nn.Sequential(*(LargeKernelBlock(half, shortcut, norm) for _ in range(blocks)))
        self.attention = ChannelAttention(2 * half) if attention else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        both = torch.cat([self.blocks(self.main_conv(x)), self.short_conv(x)], dim=1)
        return self.final_conv(self.attention(both))


class PoolPyramid(nn.Module):
    """The map beside its maxima over 5x5, 9x9 and 13x13 windows (spatial pyramid pooling)."""

    def __init__(self, channels: int, norm: Norm | None = None) -> None:
        super().__init__()
        self.conv1 = ConvNorm(channels, channels // 2, 1, norm=norm)
        self.conv2 = ConvNorm(channels // 2 * 4, channels, 1, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        maxima = [F.max_pool2d(x, size, stride=1, padding=size // 2) for size in (5, 9, 13)]
        return self.conv2(torch.cat([x, *maxima], dim=1))
