"""The part of a detector that becomes a graph: images in, raw outputs of every level out.

Normalisation is inside. The anchors are not: they follow from the metadata and the size of the images. Norms with fixed
statistics become part of the convolution before them, so the file holds one tensor where the model computes a product
in every pass. TensorFlow's padding becomes a padding at the end, which runtimes take into the convolution.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from focalkit._types import to_memory_format
from focalkit.detection import Detector
from focalkit.detection.models.frozen_norm import SameConv2d, like
from focalkit.detection.models.ready import make_ready
from focalkit.export._metadata import is_set


class RawNetwork(nn.Module):
    """float (b, 3, H, W) in [0, 1], H and W multiples of 32 -> logits of all levels, deltas, and quality if there is.

    Args:
        model: A `RetinaNet` or whatever else has its `backbone`, `neck`, `head`, `pixel_mean` and `pixel_std`. It is
            copied, so that it stays as it is.
    """

    mean: Tensor
    std: Tensor
    backbone: nn.Module
    neck: nn.Module
    head: nn.Module

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        model = copy.deepcopy(model).cpu()
        make_ready(model)
        pad_at_the_end(model)
        # the memory format is the runtime's business
        to_memory_format(model, torch.contiguous_format)
        for part in ("backbone", "neck", "head"):
            setattr(self, part, getattr(model, part))
        for name, buffer in (("mean", "pixel_mean"), ("std", "pixel_std")):
            self.register_buffer(name, model.get_buffer(buffer).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        kinds = self.head(self.neck(self.backbone((images - self.mean) / self.std)))
        return tuple(level for kind in kinds for level in kind)


class SetNetwork(nn.Module):
    """As `RawNetwork`, of a set predictor: logits (b, K, q, 1) and boxes (b, 4, q, 1), xyxy in pixels of the images."""

    def __init__(self, network: RawNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        logits, shares = self.network(images)
        height, width = images.shape[-2:]
        x, y, w, h = shares.unbind(1)
        sides = ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height)
        return logits, torch.stack(sides, dim=1)


def network_of(detector: Detector) -> RawNetwork | SetNetwork:
    """What becomes the graph of a detector, in evaluation mode."""
    raw = RawNetwork(detector.model)
    return (SetNetwork(raw) if is_set(detector) else raw).eval()


class EndPaddedConv2d(nn.Conv2d):
    """`SameConv2d` for even sides; there are no others in an image whose sides are multiples of 32."""

    def forward(self, input: Tensor) -> Tensor:
        return F.conv2d(F.pad(input, (0, 1, 0, 1)), self.weight, self.bias, self.stride, groups=self.groups)


def pad_at_the_end(net: nn.Module) -> None:
    """Make every `SameConv2d` an `EndPaddedConv2d`, in place.

    The former cuts off the first row and column of its output. An activation that works in place on the rest is traced
    as a write into the whole (ScatterND in ONNX), which takes runtimes longer than the convolution.
    """
    for parent in list(net.modules()):
        for key, conv in list(parent.named_children()):
            if isinstance(conv, SameConv2d):
                padded = like(conv, EndPaddedConv2d, bias=True)
                padded.load_state_dict(conv.state_dict())
                setattr(parent, key, padded.requires_grad_(False))
