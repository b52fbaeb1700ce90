"""A detector made ready for many images: norms taken into the convolutions for good, and the network compiled."""

import copy

import torch
from torch import nn

from focalkit._types import to_memory_format
from focalkit.detection.inference.detector import Detector
from focalkit.detection.models.ready import make_ready

PARTS = ("backbone", "neck", "head")


def folded(detector: Detector) -> Detector:
    """The same detector with its norms in the weights of the convolutions before them: faster, and not to be trained.

    RepVGG blocks (RT-DETR, D-FINE) become single convolutions. Outputs differ by rounding alone. `focalkit predict`
    does it.

    Args:
        detector: It stays as it is. Its model must be PyTorch's, not that of an exported file.

    Example:
        >>> detector = folded(Detector.from_run("runs/first"))            # doctest: +SKIP
    """
    model = copy.deepcopy(detector.model)
    make_ready(model)
    found = copy.copy(detector)
    found.model = to_memory_format(model, torch.channels_last)
    return found


def compiled(detector: Detector) -> Detector:
    """The same detector, compiled by torch for each size of batch that it meets.

    It is `folded` first; weights are stored in the order that the processor reads them in. Compiling takes half a
    minute or more for each new size of batch, so it pays for thousands of images of few sizes. On a CPU it needs a C++
    compiler; `focalkit doctor` says whether there is one.

    Args:
        detector: It stays as it is. Its model must be PyTorch's, not that of an exported file.
    """
    found = folded(detector)
    model = found.model
    options = {"freezing": True} if detector.device.type == "cpu" else None
    # not the whole of it: the priors are made once and kept, which a graph would do again
    parts = [part for name in PARTS if isinstance(part := getattr(model, name, None), nn.Module)]
    for part in parts or [model]:
        part.compile(dynamic=False, options=options)
    return found
