"""RTMDet's head (Lyu et al., 2022, sec. 3.2): convolutions shared over levels, norms of each level's own."""

from collections.abc import Sequence

from torch import Tensor, nn

from focalkit.detection.models.head import Tower
from focalkit.losses import prior_bias


class RTMDetHead(nn.Module):
    """Class and box towers with one prior per cell; norms and last 1x1 convolutions belong to each level.

    Weights begin as N(0, 0.01), as in the authors' code.

    Args:
        in_channels: Channels of the pyramid.
        num_classes: K foreground classes.
        channels: Width of the towers.
        depth: 3x3 convolutions in each tower.
        prior_prob: Foreground probability at initialisation; None leaves the class bias at 0.
        num_levels: Levels of the pyramid.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        channels: int = 96,
        depth: int = 2,
        prior_prob: float | None = 0.01,
        num_levels: int = 3,
    ) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes counts foreground classes and must be at least 1, got {num_classes}")
        self.num_classes = num_classes
        width = channels if depth else in_channels
        self.class_tower = Tower(in_channels, channels, depth, "batch", num_levels, nn.SiLU)
        self.box_tower = Tower(in_channels, channels, depth, "batch", num_levels, nn.SiLU)
        self.class_output = nn.ModuleList(nn.Conv2d(width, num_classes, 1) for _ in range(num_levels))
        self.box_output = nn.ModuleList(nn.Conv2d(width, 4, 1) for _ in range(num_levels))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for output in self.class_output:
            if prior_prob is not None and isinstance(output, nn.Conv2d) and output.bias is not None:
                nn.init.constant_(output.bias, prior_bias(prior_prob))

    def forward(self, features: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """P3 .. P5 -> per level logits (b, K, h, w) and distances (b, 4, h, w)."""
        logits = tuple(
            out(self.class_tower(x, i)) for i, (x, out) in enumerate(zip(features, self.class_output, strict=True))
        )
        boxes = tuple(
            out(self.box_tower(x, i)) for i, (x, out) in enumerate(zip(features, self.box_output, strict=True))
        )
        return logits, boxes
