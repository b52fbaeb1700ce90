"""Feature pyramid P3-P7 (Lin et al., 2017, "Feature Pyramid Networks"; RetinaNet paper, sec. 4, footnote 2)."""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from focalkit.detection.models.fast_conv import FastConv2d


class FPN(nn.Module):
    """Top-down pyramid on C3-C5 with two coarser levels: P6 from C5, P7 from ReLU(P6), unless told otherwise.

    Initialisation is Caffe2's XavierFill (uniform, variance 1 / fan-in), as in detectron2 and torchvision; biases 0.
    The paper's N(0, 0.01) is kept for the head.

    Args:
        in_channels: Channels of C3, C4, C5.
        out_channels: Channels of every output.
        p6_from: "c5" as in the paper, or "p5" as in torchvision's first RetinaNet.
        p7_relu: Whether P7 sees ReLU(P6) or, as in mmdetection, P6.

    Example:
        >>> maps = [torch.zeros(1, c, s, s) for c, s in ((8, 16), (16, 8), (32, 4))]
        >>> [p.shape[-1] for p in FPN((8, 16, 32), out_channels=8)(maps)]
        [16, 8, 4, 2, 1]
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: int = 256,
        *,
        p6_from: Literal["c5", "p5"] = "c5",
        p7_relu: bool = True,
    ) -> None:
        super().__init__()
        if len(in_channels) != 3:
            raise ValueError(f"expected the channels of C3, C4, C5, got {tuple(in_channels)}")
        if p6_from not in ("c5", "p5"):
            raise ValueError(f'p6_from must be "c5" or "p5", got {p6_from!r}')
        self.p6_from, self.p7_relu = p6_from, p7_relu
        self.out_channels = out_channels
        self.lateral = nn.ModuleList(nn.Conv2d(c, out_channels, 1) for c in in_channels)
        self.output = nn.ModuleList(FastConv2d(out_channels, out_channels, 3, padding=1) for _ in in_channels)
        self.p6 = nn.Conv2d(in_channels[-1] if p6_from == "c5" else out_channels, out_channels, 3, stride=2, padding=1)
        self.p7 = nn.Conv2d(out_channels, out_channels, 3, stride=2, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.kaiming_uniform_(module.weight, a=1)
                nn.init.zeros_(module.bias)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """C3, C4, C5 of strides 8, 16, 32 -> P3 .. P7, each (b, out_channels, h, w)."""
        laterals = [conv(x) for conv, x in zip(self.lateral, features, strict=True)]
        for i in (1, 0):
            # to the lateral's exact size: an odd map is not half of the one below it
            up = F.interpolate(laterals[i + 1], size=laterals[i].shape[-2:], mode="nearest")
            laterals[i] = laterals[i] + up
        outputs = [conv(x) for conv, x in zip(self.output, laterals, strict=True)]
        p6 = self.p6(features[-1] if self.p6_from == "c5" else outputs[-1])
        return (*outputs, p6, self.p7(F.relu(p6) if self.p7_relu else p6))
