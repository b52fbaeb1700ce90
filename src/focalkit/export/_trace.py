"""The torch side of every format: a detector's network and its post-processing as `torch.export` programs.

Batch and sizes are left open; height and width are multiples of 32.
"""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from focalkit.detection import Detector
from focalkit.export._calibration import GraphCalibration
from focalkit.export._metadata import anchors_of, is_set, levels_of, postprocess_of
from focalkit.export._network import network_of
from focalkit.export._postprocess import GraphPostprocess, Suppress, suppress_in_torch

EXAMPLE = (2, 3, 320, 384)
"""Of the images to trace with; P7 is 3 x 3 on them."""
QUIET = ("torch.onnx", "torch.export", "torch._export", "onnxscript")
"""Loggers with nothing to say that a user could act on."""


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Without the warnings that torch and torchvision give about themselves while they trace."""
    loggers = [logging.getLogger(name) for name in QUIET]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


Shape = tuple[int, int, int] | None
"""Batch, height and width; None leaves them open."""


def example(shape: Shape) -> tuple[Tensor, Tensor]:
    """Images to trace with, and their sizes before padding."""
    b, h, w = (EXAMPLE[0], *EXAMPLE[2:]) if shape is None else shape
    return torch.full((b, 3, h, w), 0.5), torch.tensor([[h, w]] * b)


def trace_network(detector: Detector, shape: Shape) -> ExportedProgram:
    """`images` -> logits and deltas of every level, and quality if there is."""
    images, _ = example(shape)
    dims = (_image_dims(),) if shape is None else None
    return torch.export.export(network_of(detector), (images,), dynamic_shapes=dims)


def trace_postprocess(detector: Detector, suppress: Suppress, shape: Shape) -> ExportedProgram:
    """What `trace_network` gives, `sizes` -> boxes, scores, labels, counts."""
    images, sizes = example(shape)
    outputs = network_of(detector)(images)
    if shape is not None:
        return torch.export.export(_postprocess(detector, suppress), (outputs, sizes))
    names = levels_of(detector)
    sides = {} if is_set(detector) else {2: "height", 3: "width"}  # the number of queries is fixed
    levels = [{0: Dim("batch"), **{i: Dim(f"{side}_{name}") for i, side in sides.items()}} for name in names]
    dims = (tuple(levels) * (len(outputs) // len(names)), {0: Dim("batch")})
    return torch.export.export(_postprocess(detector, suppress), (outputs, sizes), dynamic_shapes=dims)


def trace_all(detector: Detector, shape: Shape) -> ExportedProgram:
    """`images`, `sizes` -> boxes, scores, labels, counts; torchvision's operator suppresses."""
    whole = _WithPostprocess(network_of(detector), _postprocess(detector, suppress_in_torch)).eval()
    dims = (_image_dims(), {0: Dim("batch")}) if shape is None else None
    return torch.export.export(whole, example(shape), dynamic_shapes=dims)


def _image_dims() -> dict[int, Any]:
    rows: Any = Dim("rows")
    columns: Any = Dim("columns")
    return {0: Dim("batch"), 2: 32 * rows, 3: 32 * columns}


def _postprocess(detector: Detector, suppress: Suppress) -> GraphPostprocess:
    classes = detector.num_classes
    calibration = None if detector.calibration is None else GraphCalibration(detector.calibration, classes)
    return GraphPostprocess(anchors_of(detector.model), postprocess_of(detector), classes, suppress, calibration).eval()


class _WithPostprocess(nn.Module):
    def __init__(self, network: nn.Module, postprocess: GraphPostprocess) -> None:
        super().__init__()
        self.network, self.postprocess = network, postprocess

    def forward(self, images: Tensor, sizes: Tensor) -> tuple[Tensor, ...]:
        return self.postprocess(self.network(images), sizes)
