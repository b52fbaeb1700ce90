"""CenterNet's neck (Zhou et al., 2019, arXiv 1904.07850): C3, C4, C5 to one map of stride 4.

Not here: poses, 3D boxes, the deformable convolutions and the hourglass of the authors' larger models.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from focalkit.detection.models.head import norms


class CenterNeck(nn.Module):
    """C3, C4, C5 to one map of stride 4: top-down with additions, as an FPN, and one step further up.

    The authors' ResNet model goes up from C5 alone, by transposed convolutions; here C4 and C3 are added on the way.

    Args:
        in_channels: Channels of C3, C4, C5.
        out_channels: Channels of the map.
    """

    def __init__(self, in_channels: Sequence[int], out_channels: int = 64) -> None:
        super().__init__()
        if len(in_channels) != 3:
            raise ValueError(f"expected the channels of C3, C4, C5, got {tuple(in_channels)}")
        self.out_channels = out_channels
        self.lateral = nn.ModuleList(nn.Conv2d(c, out_channels, 1) for c in in_channels)
        self.smooth = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
                *norms("group", out_channels, 1),
                nn.ReLU(inplace=True),
            )
            for _ in range(3)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """C3, C4, C5 of strides 8, 16, 32 -> one map (b, out_channels, h, w) of stride 4."""
        c3, c4, c5 = (conv(x) for conv, x in zip(self.lateral, features, strict=True))
        up4, up3, up2 = self.smooth
        x = up4(c4 + F.interpolate(c5, size=c4.shape[-2:], mode="nearest"))
        x = up3(c3 + F.interpolate(x, size=c3.shape[-2:], mode="nearest"))
        return (up2(F.interpolate(x, scale_factor=2, mode="nearest")),)
