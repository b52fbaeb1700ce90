"""Export a detector to an ONNX, OpenVINO or torch.export file, and check the file against the model."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from focalkit.detection import Detector, fit_size, pad_batch, resize
from focalkit.errors import InputError
from focalkit.export._check import compare_outputs
from focalkit.export._form import fill, form_of, sized
from focalkit.export._metadata import describe, is_set
from focalkit.images import as_image, each_image

FORMATS = {"onnx": ".onnx", "openvino": ".xml", "torch-export": ".pt2"}
"""Name of a format -> ending of its file."""
Format = Literal["onnx", "openvino", "torch-export"]


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
    half: bool = False,
    opset: int | None = None,
    image_size: int | None = None,
    batch: int | None = None,
    display_threshold: float | None = None,
) -> Exported:
    """Write a detector as a file that another runtime executes.

    The batch and the image size stay open unless they are fixed; height and width must be multiples of 32.

    Args:
        detector: RetinaNet or one of its relatives. Its thresholds and sizes go into the file.
        path: Where to write. It should end as `FORMATS` says; OpenVINO puts a .bin beside it.
        format: "onnx", "openvino" or "torch-export".
        with_nms: Put the post-processing into the graph: `images` and `sizes` (int64 (b, 2), height and width before
            padding) -> `boxes`, `scores`, `labels`, `counts`. Otherwise `images` -> the raw outputs of every level.
        calibrate_on: Images, as `Detector.predict` takes them, to measure the ranges of an int8 network on; some
            hundred of the training images. None leaves the network in float32.
        half: Write float16 weights, half the size; inputs and outputs stay float32. For GPUs and telephones: on CPUs it
            is no faster.
        opset: Of ONNX, 18 to 23; None is 20.
        image_size: Fix height and width to this side, a multiple of 32, for runtimes that want it: images are then
            resized no larger than that, and padded to the square.
        batch: With `image_size`: images per pass; None is 1.
        display_threshold: Recorded in the metadata: the score from which detections are worth showing.

    Raises:
        InputError: A wrong ending, a missing package, a part of the model that cannot be exported, something that the
            format does not have.
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
    form = form_of(format, opset, image_size, batch, half, int8)
    detector = sized(detector, form.shape)
    info = describe(detector, nms=with_nms, int8=int8, display_threshold=display_threshold)
    info |= {"shape": form.shape, "half": half}
    batches = None if calibrate_on is None else _batches(detector, calibrate_on, form.shape)
    if format == "torch-export":
        from focalkit.export import _torch

        files = _torch.save(_torch.program(detector, with_nms=with_nms, shape=form.shape), info, path)
    elif format == "onnx":
        from focalkit.export import _int8, _onnx

        model = _onnx.network(detector, form)
        model = model if batches is None else _int8.quantize_onnx(model, batches, is_set(detector))
        model = _onnx.halved(model) if half else model
        files = _onnx.save(_onnx.join(model, _onnx.postprocess(detector, form)) if with_nms else model, info, path)
    else:
        from focalkit.export import _int8, _onnx, _openvino

        model = _openvino.convert(_onnx.network(detector, form))
        model = model if batches is None else _int8.quantize_openvino(model, batches, is_set(detector))
        post = _openvino.convert(_onnx.postprocess(detector, form)) if with_nms else None
        files = _openvino.save(model if post is None else _openvino.join(model, post), info, path, half=half)
    return Exported(path, tuple(files), info, None if with_nms or int8 else compare_outputs(detector, path, form))


def _batches(detector: Detector, images: Sequence[Any], shape: tuple[int, int, int] | None) -> list[Any]:
    """Each image as it comes to the network in prediction, by itself; a fixed batch holds it several times."""
    found = []
    for image in map(as_image, each_image(images)):
        size = fit_size(image.shape[1], image.shape[2], detector.min_size, detector.max_size, detector.resize)
        batch = pad_batch([resize(image, size, detector.resize)], detector.fill).contiguous().numpy()
        if shape is not None:
            batch = fill(batch.repeat(shape[0], 0), shape, np.asarray(detector.fill, np.float32))
        found.append(batch)
    if not found:
        raise InputError("int8 needs images to measure the ranges of activations on, got none")
    return found
