"""Batches of images to detections: the one loop behind `Detector`, evaluation and the validation step of training."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import nn

from focalkit.detection.inference.detections import Detections
from focalkit.detection.inference.postprocess import DensePostprocess
from focalkit.detection.types import DenseOutputs, DetectionBatch, DetectionTarget

Observer = Callable[[DenseOutputs, Sequence[DetectionTarget]], None]
"""Called with the raw outputs and the targets of each batch, before the next one is read."""


def detect(
    model: nn.Module,
    postprocess: DensePostprocess,
    batches: Iterable[DetectionBatch],
    *,
    observe: Observer | None = None,
) -> Iterator[tuple[int, Detections]]:
    """Detections on every image, batch by batch, without gradients.

    Args:
        model: Images (b, 3, H, W) in [0, 1] -> `DenseOutputs`. Put in evaluation mode for the time of each batch.
        postprocess: Outputs and sizes -> detections.
        batches: On any device; they are moved to the model's.
        observe: See `Observer`.

    Yields:
        `image_id` of the target, and the detections in pixels of the image before resizing, on the CPU.
    """
    device = next(iter(model.parameters())).device
    for batch in batches:
        batch = batch.to(device, non_blocking=True)
        sizes = [target.size for target in batch.targets]
        training = model.training
        if training:
            model.eval()
        try:
            with torch.no_grad():
                outputs = model(batch.images)
                found = postprocess(outputs, sizes)
                if observe is not None:
                    observe(outputs, batch.targets)
        finally:
            if training:
                model.train()
        for target, one in zip(batch.targets, found, strict=True):
            yield target.image_id, one.rescale(target.size, target.original_size).cpu()
