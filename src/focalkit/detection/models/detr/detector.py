"""A set predictor put together from its parts: RT-DETRv2, D-FINE."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

import torch
from torch import Tensor, nn

from focalkit._types import to_memory_format
from focalkit.detection.inference.postprocess import DensePostprocess
from focalkit.detection.models.card import ModelCard
from focalkit.detection.models.detr.decoder import Layers, SetHead, as_level
from focalkit.detection.models.detr.fine_decoder import FineHead
from focalkit.detection.models.retinanet import IMAGENET_MEAN, IMAGENET_STD, RetinaNet, normalised
from focalkit.detection.types import Denoising, DenseOutputs, DetectionBatch, DetectionTarget, PriorGrid, Refinement


class SetDetector(nn.Module):
    """A backbone, an encoder and a decoder, whose outputs are those of a dense detector with one prior: the image.

    Args:
        backbone: As of `RetinaNet`.
        neck: C3, C4, C5 to the maps that the decoder looks at.
        head: Maps to the predictions of every layer.
        priors: `WholeImage()`.
        postprocess: With `CenterSizeCoder((1, 1, 1, 1))`.
        card, pixel_mean, pixel_std: As of `RetinaNet`.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        neck: nn.Module,
        head: SetHead | FineHead,
        priors: PriorGrid,
        postprocess: DensePostprocess,
        card: ModelCard | None = None,
        pixel_mean: Sequence[float] | None = None,
        pixel_std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = neck
        self.head = head
        self.priors = priors
        self.postprocess = postprocess
        self.card = card
        self.num_classes = head.num_classes
        mean = getattr(backbone, "pixel_mean", IMAGENET_MEAN) if pixel_mean is None else pixel_mean
        std = getattr(backbone, "pixel_std", IMAGENET_STD) if pixel_std is None else pixel_std
        self.register_buffer("pixel_mean", torch.tensor(tuple(mean)), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(tuple(std)), persistent=False)
        to_memory_format(self, torch.channels_last)

    def forward(self, images: Tensor, targets: Sequence[DetectionTarget] | None = None) -> DenseOutputs:
        """Predict; the same in training and evaluation.

        Args:
            images: Floating (b, 3, H, W) in [0, 1].
            targets: The ground truth, given in training: a decoder with denoising makes queries of it, and all groups
                of queries predict, not the first alone.
        """
        x = normalised(images, self.pixel_mean, self.pixel_std)
        size = images.shape[-2], images.shape[-1]
        noise = self.head.denoising
        noised = None if noise is None or targets is None else noise(targets, size, self.num_classes)
        groups = 1 if targets is None else 1 + len(self.head.further)
        found, mended = self.head.every_layer(self.neck(self.backbone(x)), noised, groups)
        every = self._outputs(found, size)
        denoising = None
        if noised is not None and mended is not None:
            denoising = Denoising(self._outputs(mended, size), noised.assignments)
        own, earlier = _part(every, slice(len(images))), _part(every, slice(len(images), None))
        return replace(own, earlier=earlier, denoising=denoising, groups=groups)

    def _outputs(self, layers: Layers, size: tuple[int, int]) -> DenseOutputs:
        """Layer after layer along the batch axis; the last layer first, so that those with distributions come first."""
        logits, boxes = (as_level(x.flip(0).flatten(0, 1)) for x in (layers.logits, layers.boxes))
        priors = self.priors([(logits.shape[2], 1)], logits.device, size)
        refinement = None
        if layers.scores is not None and layers.starts is not None:
            starts = layers.starts.expand(len(layers.scores), -1, -1, -1)
            refinement = Refinement(layers.scores.flip(0).flatten(0, 1), starts.flatten(0, 1), layers.logits.shape[1])
        return DenseOutputs((logits,), (boxes,), priors, self.num_classes, refinement=refinement)


def _part(outputs: DenseOutputs, rows: slice) -> DenseOutputs:
    """Some rows of the batch axis."""
    logits, deltas = (tuple(level[rows] for level in levels) for levels in (outputs.logits, outputs.deltas))
    if (refinement := outputs.refinement) is not None:
        refinement = replace(refinement, scores=refinement.scores[rows], starts=refinement.starts[rows])
    return replace(outputs, logits=logits, deltas=deltas, refinement=refinement)


def predict_to_learn(model: nn.Module, batch: DetectionBatch) -> DenseOutputs:
    """Outputs for a criterion: a set predictor is given the ground truth as well, of which it makes queries."""
    return model(batch.images, batch.targets) if isinstance(model, SetDetector) else model(batch.images)


AnyDetector: TypeAlias = RetinaNet | SetDetector
"""What the rest of the package trains, evaluates and exports."""
