"""Residual networks for small images (He et al., 2016, arXiv 1512.03385, sec. 4.2), and a lighter one for laptops."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.nn import functional as F


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut without parameters: strided, with zeros for new channels (option A)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.stride, self.wider = stride, outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        """(b, inputs, h, w) -> (b, outputs, h / stride, w / stride)."""
        out = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        short = x[:, :, :: self.stride, :: self.stride]
        return F.relu(out + F.pad(short, (0, 0, 0, 0, 0, self.wider)))


class ResidualNetwork(nn.Module):
    """Logits (b, k) of images (b, 3, h, w) in 0..1.

    Args:
        classes: k.
        widths: Channels of each stage; the first keeps the resolution of the stem, each other halves it.
        blocks: Blocks of each stage.
        stem_stride: Of the first convolution.
    """

    def __init__(self, classes: int, widths: Sequence[int], blocks: int, stem_stride: int = 1) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, widths[0], 3, stem_stride, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(widths[0])
        stages: list[nn.Module] = []
        inputs = widths[0]
        for stage, width in enumerate(widths):
            for block in range(blocks):
                stages.append(Block(inputs, width, 2 if stage and not block else 1))
                inputs = width
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
        self.reset_head()

    def reset_head(self) -> None:
        """Draw the classifier anew."""
        nn.init.kaiming_normal_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Images in 0..1 -> logits."""
        return self.head(self.features(images))

    def features(self, images: Tensor) -> Tensor:
        """Images in 0..1 -> (b, d), what the classifier `head` sees."""
        x = F.relu(self.norm(self.stem((images - 0.5) * 4)))
        return self.stages(x).mean(dim=(2, 3))


NAMES = ("small", "resnet32")
Network = str | Callable[[int, int], nn.Module]
"""A name that `build_network` knows, or a function of yours: (classes, size in pixels) -> a module that takes images
(b, 3, size, size) in 0..1 and returns logits (b, classes)."""


def name_of(network: Network) -> str:
    """How a network is called in files."""
    return network if isinstance(network, str) else f"{network.__module__}:{network.__qualname__}"


def build_network(network: Network, classes: int, size: int) -> nn.Module:
    """A network for images of `size` pixels, with random weights.

    "small": one block each of 32, 64 and 128 channels behind a strided stem. "resnet32": five blocks each of 16, 32
    and 64 channels, as the literature on CIFAR-LT uses. Larger images get further stages.
    """
    if not isinstance(network, str):
        return network(classes, size)
    if network == "resnet32":
        return ResidualNetwork(classes, (16, 32, 64, *([64] * (size > 48))), 5)
    return ResidualNetwork(classes, (32, 64, 128, *([128] * (size > 48))), 1, stem_stride=2)
