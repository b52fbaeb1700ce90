"""Export a detector to an ONNX, OpenVINO or torch.export file, and check the file against the model."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from focalkit.detection import Detector, fit_size, pad_batch, resize
from focalkit.errors import BackendError, InputError
from focalkit.export._load import load_exported
from focalkit.export._metadata import describe, is_set
from focalkit.export._network import network_of
from focalkit.images import as_image, each_image

FORMATS = {"onnx": ".onnx", "openvino": ".xml", "torch-export": ".pt2"}
"""Name of a format -> ending of its file."""
Format = Literal["onnx", "openvino", "torch-export"]

TOLERANCE = 1e-2
"""Largest difference of a float32 file's raw outputs from the model's; usually it is below 1e-4."""


@dataclass(frozen=True)
class Exported:
    """What `export_detector` wrote.

    Attributes:
        path: The file to open.
        files: All files, which belong together.
        info: The metadata inside.
        difference: Largest absolute difference of the raw outputs from the model's, on random images of two sizes;
            None for int8 and for files with post-processing inside.
    """

    path: Path
    files: tuple[Path, ...]
    info: dict[str, Any]
    difference: float | None


def export_detector(
    detector: Detector,
    path: str | os.PathLike[str],
    *,
    format: Format = "onnx",
    with_nms: bool = False,
    calibrate_on: Sequence[Any] | None = None,
    display_threshold: float | None = None,
) -> Exported:
    """Write a detector as a file that another runtime executes.

    The batch and the image size stay open; height and width must be multiples of 32.

    Args:
        detector: RetinaNet or one of its relatives. Its thresholds and sizes go into the file.
        path: Where to write. It should end as `FORMATS` says; OpenVINO puts a .bin beside it.
        format: "onnx", "openvino" or "torch-export".
        with_nms: Put the post-processing into the graph: `images` and `sizes` (int64 (b, 2), height and width before
            padding) -> `boxes`, `scores`, `labels`, `counts`. Otherwise `images` -> the raw outputs of every level.
        calibrate_on: Images, as `Detector.predict` takes them, to measure the ranges of an int8 network on; some
            hundred of the training images. None leaves the network in float32.
        display_threshold: Recorded in the metadata: the score from which detections are worth showing.

    Raises:
        InputError: A wrong ending, a missing package, a part of the model that cannot be exported, int8 for
            torch-export.
        BackendError: The file does not compute what the model computes.
    """
    path = Path(path)
    if format not in FORMATS:
        raise InputError(f"unknown format {format!r}, expected one of {', '.join(FORMATS)}")
    if path.suffix.lower() != FORMATS[format]:
        raise InputError(f"{path}: a file in the format {format} must end in {FORMATS[format]}")
    int8 = calibrate_on is not None
    if int8 and format == "torch-export":
        raise InputError("int8 is written as onnx or openvino, not as torch-export")
    if int8 and is_set(detector):
        raise InputError(
            "int8 is for detectors made of convolutions; a set predictor is written in float32: leave --int8 out"
        )
    info = describe(detector, nms=with_nms, int8=int8, display_threshold=display_threshold)
    batches = None if calibrate_on is None else _batches(detector, calibrate_on)
    if format == "torch-export":
        from focalkit.export import _torch

        files = _torch.save(_torch.program(detector, with_nms=with_nms), info, path)
    elif format == "onnx":
        from focalkit.export import _int8, _onnx

        model = _onnx.network(detector)
        model = model if batches is None else _int8.quantize_onnx(model, batches)
        files = _onnx.save(_onnx.join(model, _onnx.postprocess(detector)) if with_nms else model, info, path)
    else:
        from focalkit.export import _int8, _onnx, _openvino

        model = _openvino.convert(_onnx.network(detector))
        model = model if batches is None else _int8.quantize_openvino(model, batches)
        post = _openvino.convert(_onnx.postprocess(detector)) if with_nms else None
        files = _openvino.save(model if post is None else _openvino.join(model, post), info, path)
    return Exported(path, tuple(files), info, None if with_nms or int8 else _checked(detector, path))


def _batches(detector: Detector, images: Sequence[Any]) -> list[Any]:
    """Each image as it comes to the network in prediction, by itself."""
    found = []
    for image in map(as_image, each_image(images)):
        size = fit_size(image.shape[1], image.shape[2], detector.min_size, detector.max_size, detector.resize)
        found.append(pad_batch([resize(image, size, detector.resize)], detector.fill).contiguous().numpy())
    if not found:
        raise InputError("int8 needs images to measure the ranges of activations on, got none")
    return found


def _checked(detector: Detector, path: Path) -> float:
    """Compare the file with the model.

    Raises:
        BackendError: They differ.
    """
    generator = torch.Generator().manual_seed(0)
    network, loaded = network_of(detector), load_exported(path, trust=True).model
    worst = 0.0
    for shape in ((1, 3, 64, 96), (2, 3, 160, 128)):
        images = torch.rand(shape, generator=generator)
        with torch.no_grad():
            expected, found = network(images), loaded(images)
        for a, b in zip(expected, (*found.logits, *found.deltas, *(found.quality or ())), strict=True):
            if is_set(detector):  # queries of nearly the same score may change places
                a, b = a.sort(dim=2).values, b.sort(dim=2).values
            worst = max(worst, float((a - b).abs().max()) if a.shape == b.shape else math.inf)
    if not worst <= TOLERANCE:
        raise BackendError(
            f"{path}: its outputs differ from the model's by {worst:g} on random images, expected at most "
            f"{TOLERANCE:g}; the file is of no use. Another --format, or another version of its package, may do better"
        )
    return worst
