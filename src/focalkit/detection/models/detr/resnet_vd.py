"""ResNet-vd (He et al., 2019, arXiv 1812.01187: ResNet-D): three 3x3 convolutions first, pooled shortcuts.

Names are those of the weights that RT-DETR's authors publish. What this file does not do: it loads nothing.
"""

from collections import OrderedDict
from collections.abc import Callable
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from focalkit.detection.models.detr.layers import ConvNorm

RESNETS_VD = {  # name -> blocks in each stage, whether they are bottlenecks
    "resnet18vd": ((2, 2, 2, 2), False),
    "resnet34vd": ((3, 4, 6, 3), False),
    "resnet50vd": ((3, 4, 6, 3), True),
}
Norm = Callable[[int], nn.Module]


class BlockVd(nn.Module):
    """A residual block: two 3x3 convolutions, or a bottleneck of three.

    Args:
        in_channels: Of the input.
        width: Of the 3x3 convolutions; a bottleneck gives four times as much.
        stride: 2 halves the map.
        bottleneck: Which of the two.
        project: The shortcut has a convolution, behind a 2x2 mean where the map is halved.
        norm: Channels -> the norm behind each convolution.
    """

    def __init__(self, in_channels: int, width: int, stride: int, bottleneck: bool, project: bool, norm: Norm) -> None:
        super().__init__()
        relu = nn.ReLU(inplace=True)
        out_channels = width * (4 if bottleneck else 1)
        if bottleneck:
            self.branch2a = ConvNorm(in_channels, width, 1, 1, relu, norm)
            self.branch2b = ConvNorm(width, width, 3, stride, relu, norm)
            self.branch2c = ConvNorm(width, out_channels, 1, norm=norm)
        else:
            self.branch2a = ConvNorm(in_channels, width, 3, stride, relu, norm)
            self.branch2b = ConvNorm(width, width, 3, norm=norm)
            self.branch2c = nn.Identity()
        self.short: nn.Module = nn.Identity()
        if project:
            self.short = ConvNorm(in_channels, out_channels, 1, norm=norm)
            if stride == 2:
                pool = nn.AvgPool2d(2, 2, ceil_mode=True)
                self.short = nn.Sequential(OrderedDict(pool=pool, conv=self.short))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.branch2c(self.branch2b(self.branch2a(x))) + self.short(x), inplace=True)


def resnet_vd(name: str, norm: Norm) -> tuple[dict[str, nn.Module], list[tuple[str, ...]], list[int]]:
    """Layers by name, the names of each stage's layers, and the channels of C3, C4, C5."""
    counts, bottleneck = RESNETS_VD[name]
    relu, widths, growth = nn.ReLU(inplace=True), (64, 128, 256, 512), 4 if bottleneck else 1
    stem = (3, 32, 32, 64)
    layers: dict[str, nn.Module] = {
        "conv1": nn.Sequential(
            OrderedDict(
                (f"conv1_{n}", ConvNorm(i, o, 3, 2 if n == 1 else 1, relu, norm))
                for n, (i, o) in enumerate(pairwise(stem), 1)
            )
        ),
        "pool": nn.MaxPool2d(3, 2, 1),
    }
    stages = nn.ModuleList()
    entering = (64, *(growth * width for width in widths))
    for number, (count, width) in enumerate(zip(counts, widths, strict=True)):
        blocks = nn.Sequential()
        for i in range(count):
            stride = 2 if i == 0 and number else 1
            channels = entering[number] if i == 0 else growth * width
            blocks.append(BlockVd(channels, width, stride, bottleneck, i == 0, norm))
        stages.append(nn.Sequential(OrderedDict(blocks=blocks)))
    for module in (*layers.values(), *stages):
        for conv in module.modules():
            if isinstance(conv, nn.Conv2d):
                nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    layers["res_layers"] = stages
    return layers, [("conv1", "pool"), *((f"res_layers.{i}",) for i in range(4))], [growth * w for w in widths[1:]]
