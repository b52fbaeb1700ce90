"""A detector made ready for many images: norms taken into the convolutions for good, and the network compiled."""

import copy

import torch

from focalkit.detection.inference.detector import Detector
from focalkit.detection.models.frozen_norm import fold


def compiled(detector: Detector) -> Detector:
    """The same detector, compiled by `torch.compile` for each size of batch that it meets.

    Frozen norms become part of the convolutions' weights, which are then stored in the order that the processor reads
    them in. Compiling takes half a minute or more for each new size of batch, so it pays for thousands of images of few
    sizes. On a CPU it needs a C++ compiler; `focalkit doctor` says whether there is one.

    Args:
        detector: It stays as it is. Its model must be PyTorch's, not that of an exported file.
    """
    model = copy.deepcopy(detector.model).eval().requires_grad_(False)
    fold(model)
    found = copy.copy(detector)
    options = {"freezing": True} if detector.device.type == "cpu" else None
    found.model = torch.compile(model, dynamic=False, options=options)  # pyright: ignore[reportAttributeAccessIssue]
    return found
