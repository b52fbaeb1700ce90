"""Objects as points (Zhou et al., 2019, arXiv 1904.07850): a heat map of centres, and at each its offset and size.

One level of stride 4. The model is a backbone, `CenterNeck` and `PointHead`; the loss `gaussian_focal_loss` on
`GaussianHeatMap` with L1 on `CenterSizeCoder`; detections are the peaks (`DensePostprocess(peak_window=3)`).
Not here: poses, 3D boxes, the deformable convolutions and the hourglass of the authors' larger models.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from focalkit.detection._crowds import BLOCK
from focalkit.detection._types import Assignment, DetectionTarget
from focalkit.detection.fcos import assign_smallest
from focalkit.detection.head import _norms


@dataclass(frozen=True)
class CenterAssigner:
    """The cell that a box's centre lies in is positive; of several boxes the smallest wins, then the first.

    Attributes:
        ignore_iof: Share of its cell from which a crowd region hides a point.
    """

    ignore_iof: float = 0.5

    @torch.no_grad()
    def __call__(self, priors: Sequence[Tensor], target: DetectionTarget) -> Assignment:
        """Match one image; `priors` are the cells of `PointGrid`, per level (n_l, 4)."""

        def wanted(level: int, boxes: Tensor) -> Tensor:
            cells, centre = priors[level], (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
            return ((cells[:, :2] <= centre) & (centre < cells[:, 2:])).all(dim=-1)

        return assign_smallest(priors, target, wanted, self.ignore_iof)


def gaussian_radius(height: Tensor, width: Tensor, min_overlap: float = 0.3) -> Tensor:
    """How far both corners of a box may be off while its IoU stays at least `min_overlap` (Law and Deng, 2018, 3.2).

    The corners may move the same way, both inwards or both outwards; each case gives a quadratic equation in the
    radius, and the smallest solution counts.

    Args:
        height, width: Of the boxes, any shape, positive.
        min_overlap: The IoU, in (0, 1); the paper's 0.3.

    Example:
        >>> gaussian_radius(torch.tensor(10.0), torch.tensor(10.0))
        tensor(2.2614)
    """
    around, area, o = height + width, height * width, min_overlap
    # shifted: (h - r)(w - r) = o (2hw - (h - r)(w - r))
    shifted = (around - (around**2 - 4 * area * (1 - o) / (1 + o)).sqrt()) / 2
    # inwards: (h - 2r)(w - 2r) = o h w
    inwards = (around - (around**2 - 4 * (1 - o) * area).sqrt()) / 4
    # outwards: h w = o (h + 2r)(w + 2r)
    outwards = (-around + (around**2 + 4 * (1 / o - 1) * area).sqrt()) / 4
    return torch.minimum(shifted, torch.minimum(inwards, outwards))


@dataclass(frozen=True)
class GaussianHeatMap:
    """Class targets that are 1 at the cells of centres and fall off around them (Zhou et al., 2019, sec. 3, eq. 1).

    The radius in cells is that of `gaussian_radius`, cut to whole numbers; the standard deviation a sixth of the
    diameter 2 r + 1; outside of the square of that radius the map is 0. Where objects of a class overlap, the larger
    value counts.

    Attributes:
        min_overlap: Of a box that is off by the radius.

    Example:
        >>> cells = [torch.tensor([[0.0, 0.0, 4.0, 4.0], [4.0, 0.0, 8.0, 4.0]])]
        >>> truth = DetectionTarget(torch.tensor([[3.0, 0.0, 7.0, 4.0]]), torch.tensor([1]))
        >>> GaussianHeatMap()(cells, truth, 2).tolist()
        [[0.0, 0.0], [0.0, 1.0]]
    """

    min_overlap: float = 0.3

    @torch.no_grad()
    def __call__(self, priors: Sequence[Tensor], target: DetectionTarget, num_classes: int) -> Tensor:
        """The map of one image, (n, k) over the concatenated cells."""
        maps = []
        for cells in priors:
            heat = cells.new_zeros(num_classes, len(cells))
            side = cells[:1, 2:] - cells[:1, :2]  # one row, so that no value is read; empty without cells
            place = cells[:, :2] / side
            step = max(1, BLOCK // max(1, len(cells)))
            for boxes, labels in zip(target.boxes.split(step), target.labels.split(step), strict=True):
                if not len(cells) or not len(boxes):
                    continue
                size = ((boxes[:, 2:] - boxes[:, :2]) / side).clamp(min=0)
                radius = gaussian_radius(size[:, 1], size[:, 0], self.min_overlap).floor().clamp(min=0)[:, None]
                centre = ((boxes[:, :2] + boxes[:, 2:]) / 2 / side).floor()
                off = place - centre[:, None]  # (g, n, 2)
                near = off.abs().amax(dim=-1) <= radius
                value = torch.where(near, torch.exp(-18 * off.square().sum(dim=-1) / (2 * radius + 1) ** 2), 0.0)
                heat = heat.scatter_reduce(0, labels[:, None].expand_as(value), value, "amax")
            maps.append(heat.t())
        return torch.cat(maps)


@dataclass(frozen=True)
class CenterSizeCoder:
    """A box as its centre's offset in the cell and its width and height, in cells (Zhou et al., 2019, sec. 4).

    Attributes:
        weights: Factors on (dx, dy, w, h) when encoding. With L1 they are the weights of the paper's two losses: 1 for
            the offset, 0.1 for the size.

    Example:
        >>> CenterSizeCoder().encode(torch.tensor([[1.0, 1.0, 5.0, 9.0]]), torch.tensor([[0.0, 4.0, 4.0, 8.0]]))
        tensor([[0.7500, 0.2500, 0.1000, 0.2000]])
    """

    weights: tuple[float, float, float, float] = (1.0, 1.0, 0.1, 0.1)

    def encode(self, boxes: Tensor, priors: Tensor) -> Tensor:
        """Offsets and sizes (..., 4)."""
        side = priors[..., 2:] - priors[..., :2]
        offset = ((boxes[..., :2] + boxes[..., 2:]) / 2 - priors[..., :2]) / side
        found = torch.cat([offset, (boxes[..., 2:] - boxes[..., :2]) / side], dim=-1)
        return torch.stack([column * w for column, w in zip(found.unbind(-1), self.weights, strict=True)], dim=-1)

    def decode(self, deltas: Tensor, priors: Tensor) -> Tensor:
        """Boxes (..., 4), xyxy; float32 at least. A negative size counts as 0."""
        deltas = deltas.to(torch.promote_types(deltas.dtype, torch.float32))
        found = torch.stack([column / w for column, w in zip(deltas.unbind(-1), self.weights, strict=True)], dim=-1)
        side = priors[..., 2:] - priors[..., :2]
        centre, half = priors[..., :2] + found[..., :2] * side, found[..., 2:].clamp(min=0) * side / 2
        return torch.cat([centre - half, centre + half], dim=-1)


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
                *_norms("group", out_channels, 1),
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
