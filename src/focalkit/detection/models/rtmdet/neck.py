"""RTMDet's neck, CSPNeXt-PAFPN (Lyu et al., 2022, sec. 3.2): down the pyramid and up again, three maps."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from focalkit.detection.models.rtmdet.layers import ConvNorm, CSPLayer


class CSPNeXtPAFPN(nn.Module):
    """C3, C4, C5 to P3, P4, P5: coarse features go down to the fine maps, then fine ones up to the coarse maps.

    Args:
        in_channels: Channels of C3, C4, C5.
        out_channels: Channels of every output.
        depth: Blocks in each stage: 1 for RTMDet tiny and s, 2 for m.

    Example:
        >>> maps = [torch.zeros(1, c, s, s) for c, s in ((8, 16), (16, 8), (32, 4))]
        >>> [tuple(p.shape) for p in CSPNeXtPAFPN((8, 16, 32), 8).eval()(maps)]
        [(1, 8, 16, 16), (1, 8, 8, 8), (1, 8, 4, 4)]
    """

    def __init__(self, in_channels: Sequence[int], out_channels: int = 96, depth: int = 1) -> None:
        super().__init__()
        if len(in_channels) != 3:
            raise ValueError(f"expected the channels of C3, C4, C5, got {tuple(in_channels)}")
        if depth < 1:
            raise ValueError(f"depth counts blocks and must be at least 1, got {depth}")
        c3, c4, c5 = in_channels
        self.out_channels = out_channels
        # in the order in which they run: those of the coarser maps first on the way down
        self.reduce_layers = nn.ModuleList([ConvNorm(c5, c4, 1), ConvNorm(c4, c3, 1)])
        self.top_down_blocks = nn.ModuleList(
            [CSPLayer(2 * c4, c4, depth, shortcut=False), CSPLayer(2 * c3, c3, depth, shortcut=False)]
        )
        self.downsamples = nn.ModuleList([ConvNorm(c3, c3, 3, 2), ConvNorm(c4, c4, 3, 2)])
        self.bottom_up_blocks = nn.ModuleList(
            [CSPLayer(2 * c3, c4, depth, shortcut=False), CSPLayer(2 * c4, c5, depth, shortcut=False)]
        )
        self.out_convs = nn.ModuleList([ConvNorm(c, out_channels, 3) for c in in_channels])

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """C3, C4, C5 of strides 8, 16, 32 -> P3, P4, P5, each (b, out_channels, h, w)."""
        *finer, top = features
        reduced, down = [], top
        for reduce, block, below in zip(self.reduce_layers, self.top_down_blocks, reversed(finer), strict=True):
            reduced.append(reduce(down))
            # to the finer map's exact size: an odd map is not half of the one below it
            up = F.interpolate(reduced[-1], size=below.shape[-2:], mode="nearest")
            down = block(torch.cat([up, below], dim=1))
        outputs = [down]
        for shrink, block, above in zip(self.downsamples, self.bottom_up_blocks, reversed(reduced), strict=True):
            outputs.append(block(torch.cat([shrink(outputs[-1]), above], dim=1)))
        return tuple(conv(x) for conv, x in zip(self.out_convs, outputs, strict=True))
