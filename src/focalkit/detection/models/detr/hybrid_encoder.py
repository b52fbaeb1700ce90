"""The hybrid encoder of RT-DETR (Zhao et al., 2024, sec. 4.2): attention within C5, convolutions across the levels.

D-FINE's is the same with other fusion blocks (`layers.ELANBlock`).
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from focalkit.detection.models.detr.layers import ConvNorm, CSPBlock


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward network, each normalised after it is added (Vaswani et al., 2017)."""

    def __init__(self, channels: int, heads: int, feedforward: int) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(channels, heads, batch_first=True)
        self.linear1 = nn.Linear(channels, feedforward)
        self.linear2 = nn.Linear(feedforward, channels)
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        """(b, n, channels), and positions (n, channels) that queries and keys have added."""
        at = x + positions
        x = self.norm1(x + self.self_attn(at, at, x, need_weights=False)[0])
        return self.norm2(x + self.linear2(F.gelu(self.linear1(x))))


class HybridEncoder(nn.Module):
    """C3, C4, C5 to three maps of one width: AIFI on C5, then top-down and bottom-up fusion (CCFM).

    Args:
        in_channels: Channels of C3, C4, C5.
        channels: Of the maps; a multiple of 4 and of `heads`.
        heads, feedforward: Of the attention within C5.
        expansion: Width inside of the fusion blocks, as a share of `channels`.
        depth: RepVGG blocks in each of them.
        fusion: (channels of two maps, `channels`, `expansion`, `depth`) -> a fusion block.
        lateral, down: `channels` -> what a map goes through before it is joined with the one below, and above.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int = 256,
        *,
        heads: int = 8,
        feedforward: int = 1024,
        expansion: float = 1.0,
        depth: int = 3,
        fusion: Callable[[int, int, float, int], nn.Module] = CSPBlock,
        lateral: Callable[[int], nn.Module] = lambda c: ConvNorm(c, c, activation=nn.SiLU()),
        down: Callable[[int], nn.Module] = lambda c: ConvNorm(c, c, 3, 2, nn.SiLU()),
    ) -> None:
        super().__init__()
        if len(in_channels) != 3:
            raise ValueError(f"expected the channels of C3, C4, C5, got {tuple(in_channels)}")
        if channels % 4 or channels % heads:
            raise ValueError(f"expected a multiple of 4 and of the {heads} heads, got {channels} channels")
        self.out_channels = channels
        self.input_proj = nn.ModuleList(ConvNorm(c, channels) for c in in_channels)
        self.attention = EncoderLayer(channels, heads, feedforward)
        self.lateral = nn.ModuleList(lateral(channels) for _ in range(2))
        self.down = nn.ModuleList(down(channels) for _ in range(2))
        self.top_down = nn.ModuleList(fusion(2 * channels, channels, expansion, depth) for _ in range(2))
        self.bottom_up = nn.ModuleList(fusion(2 * channels, channels, expansion, depth) for _ in range(2))

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """C3, C4, C5 of strides 8, 16, 32 -> as many maps (b, channels, h, w) of the same sizes."""
        c3, c4, c5 = (conv(x) for conv, x in zip(self.input_proj, features, strict=True))
        p5 = self.lateral[0](self._attended(c5))
        p4 = self.lateral[1](self.top_down[0](torch.cat([_to_size_of(p5, c4), c4], dim=1)))
        n3 = self.top_down[1](torch.cat([_to_size_of(p4, c3), c3], dim=1))
        n4 = self.bottom_up[0](torch.cat([self.down[0](n3), p4], dim=1))
        n5 = self.bottom_up[1](torch.cat([self.down[1](n4), p5], dim=1))
        return n3, n4, n5

    def _attended(self, c5: Tensor) -> Tensor:
        height, width = c5.shape[-2:]
        positions = sine_positions(height, width, self.out_channels, c5.device).to(c5.dtype)
        x = self.attention(c5.flatten(2).transpose(1, 2), positions)
        return x.transpose(1, 2).unflatten(2, (height, width))


def _to_size_of(x: Tensor, other: Tensor) -> Tensor:
    """Each cell repeated, to the size of the map it is joined with: an odd map is not half of the one below it."""
    return F.interpolate(x, size=other.shape[-2:], mode="nearest")


def sine_positions(
    height: int, width: int, channels: int, device: torch.device | str = "cpu", temperature: float = 10_000.0
) -> Tensor:
    """Sines and cosines of a cell's row, then of its column, at channels / 4 wave lengths: (height * width, channels).

    Example:
        >>> sine_positions(1, 2, 4)[1]      # row 0, column 1
        tensor([0.0000, 1.0000, 0.8415, 0.5403])
    """
    waves = temperature ** -(torch.arange(channels // 4, dtype=torch.float32, device=device) / (channels // 4))
    rows, columns = (torch.arange(n, dtype=torch.float32, device=device)[:, None] * waves for n in (height, width))
    rows = torch.cat([rows.sin(), rows.cos()], dim=1)[:, None].expand(-1, width, -1)
    columns = torch.cat([columns.sin(), columns.cos()], dim=1)[None].expand(height, -1, -1)
    return torch.cat([rows, columns], dim=2).flatten(0, 1)
