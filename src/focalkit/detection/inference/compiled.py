"""A detector made ready for many images: norms taken into the convolutions for good, and the network compiled."""

import copy

from torch import nn

from focalkit.detection.inference.detector import Detector
from focalkit.detection.models.frozen_norm import fold

PARTS = ("backbone", "neck", "head")


def compiled(detector: Detector) -> Detector:
    """The same detector, compiled by torch for each size of batch that it meets.

    Frozen norms become part of the convolutions' weights, which are then stored in the order that the processor reads
    them in. Compiling takes half a minute or more for each new size of batch, so it pays for thousands of images of few
    sizes. On a CPU it needs a C++ compiler; `focalkit doctor` says whether there is one.

    Args:
        detector: It stays as it is. Its model must be PyTorch's, not that of an exported file.
    """
    model = copy.deepcopy(detector.model).eval().requires_grad_(False)
    fold(model)
    options = {"freezing": True} if detector.device.type == "cpu" else None
    # not the whole of it: the priors are made once and kept, which a graph would do again
    parts = [part for name in PARTS if isinstance(part := getattr(model, name, None), nn.Module)]
    for part in parts or [model]:
        part.compile(dynamic=False, options=options)
    found = copy.copy(detector)
    found.model = model
    return found
