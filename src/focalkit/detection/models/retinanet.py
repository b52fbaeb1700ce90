"""RetinaNet (Lin et al., 2017, "Focal Loss for Dense Object Detection") put together from its parts."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from focalkit._types import to_memory_format
from focalkit.detection.inference.postprocess import DensePostprocess
from focalkit.detection.models.card import ModelCard
from focalkit.detection.types import DenseOutputs, PriorGrid

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class RetinaNet(nn.Module):
    """A backbone, a pyramid, a head and the priors that the head's outputs refer to.

    The weights and the input are put in the channels_last memory format, which is faster on CPUs and on tensor cores,
    and makes `flatten_level` of the outputs a view.

    Args:
        backbone: Returns C3, C4, C5 (strides 8, 16, 32) and has their `channels`. Its `pixel_mean` and `pixel_std`
            (3 numbers each, for inputs in [0, 1]) are used where present, ImageNet's otherwise.
        neck: C3 .. C5 to P3 .. P7.
        head: Pyramid to per-level logits and deltas; has `num_classes`.
        priors: Feature-map sizes to per-level boxes.
        postprocess: How its outputs become detections unless the caller says otherwise; None takes the paper's rules.
        card: What it takes to build the model again and to feed it; None where that is not known.
        pixel_mean, pixel_std: In the place of the backbone's.

    Attributes:
        num_classes: K.
        pixel_mean, pixel_std: Buffers (3,), not in the state dict. Pad images with `pixel_mean`.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        neck: nn.Module,
        head: nn.Module,
        priors: PriorGrid,
        postprocess: DensePostprocess | None = None,
        card: ModelCard | None = None,
        pixel_mean: Sequence[float] | None = None,
        pixel_std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = neck
        self.head = head
        self.priors = priors
        self.postprocess = DensePostprocess() if postprocess is None else postprocess
        self.card = card
        self.num_classes = int(getattr(head, "num_classes"))  # noqa: B009
        mean = getattr(backbone, "pixel_mean", IMAGENET_MEAN) if pixel_mean is None else pixel_mean
        std = getattr(backbone, "pixel_std", IMAGENET_STD) if pixel_std is None else pixel_std
        self.register_buffer("pixel_mean", torch.tensor(tuple(mean)), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(tuple(std)), persistent=False)
        to_memory_format(self, torch.channels_last)

    def forward(self, images: Tensor) -> DenseOutputs:
        """Predict; the same in training and evaluation.

        Args:
            images: Floating (b, 3, H, W) in [0, 1]. H and W may be anything; multiples of 32 waste nothing.
        """
        x = normalised(images, self.pixel_mean, self.pixel_std)
        logits, deltas, *quality = self.head(self.neck(self.backbone(x)))
        shapes = [(level.shape[-2], level.shape[-1]) for level in logits]
        priors = self.priors(shapes, images.device, (images.shape[-2], images.shape[-1]))
        return DenseOutputs(
            tuple(logits), tuple(deltas), priors, self.num_classes, tuple(quality[0]) if quality else None
        )


def normalised(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Images (b, 3, h, w) less the mean colour, divided by its deviation (3,), in channels_last.

    Raises:
        ValueError: They are no images.
    """
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise ValueError(
            f"expected float images (b, 3, h, w) in [0, 1], got {images.dtype} {tuple(images.shape)};"
            " see focalkit.detection.pad_batch"
        )
    return ((images - mean.view(3, 1, 1)) / std.view(3, 1, 1)).contiguous(memory_format=torch.channels_last)
