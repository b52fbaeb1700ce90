"""The form of an exported file: a fixed shape, half precision, the ONNX opset; and images fitted to a fixed shape."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from focalkit.detection import Detector
from focalkit.errors import InputError

OPSETS = range(18, 24)
USUAL_OPSET = 20
MULTIPLE = 32
Run = Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]


@dataclass(frozen=True)
class Form:
    """Attributes:
    opset: Of ONNX.
    shape: Batch, height and width; None leaves them open.
    half: Weights, and where the runtime can activations, in float16; inputs and outputs stay float32.
    """

    opset: int = USUAL_OPSET
    shape: tuple[int, int, int] | None = None
    half: bool = False


def form_of(format: str, opset: int | None, image_size: int | None, batch: int | None, half: bool, int8: bool) -> Form:
    """What was asked for.

    Raises:
        InputError: Values that cannot be, or that the format has not.
    """
    if opset is not None and format != "onnx":
        raise InputError(f"an opset belongs to onnx, not to {format}")
    if opset is not None and opset not in OPSETS:
        raise InputError(f"expected an opset from {OPSETS[0]} to {OPSETS[-1]}, got {opset}")
    if half and format == "torch-export":
        raise InputError("float16 is written as onnx or openvino, not as torch-export")
    if half and int8:
        raise InputError("either float16 or int8, not both")
    if batch is not None and image_size is None:
        raise InputError("a fixed batch needs a fixed image size")
    if image_size is not None and (image_size < MULTIPLE or image_size % MULTIPLE):
        raise InputError(f"a fixed image size is a multiple of {MULTIPLE}, got {image_size}")
    if batch is not None and batch < 1:
        raise InputError(f"a fixed batch holds at least 1 image, got {batch}")
    shape = None if image_size is None else (batch or 1, image_size, image_size)
    return Form(USUAL_OPSET if opset is None else opset, shape, half)


def sized(detector: Detector, shape: tuple[int, int, int] | None) -> Detector:
    """The detector, with images no larger than the shape takes; one that is resized to a square gets this square."""
    if shape is None:
        return detector
    detector, side = copy.copy(detector), shape[1]
    if detector.resize == "square":
        detector.min_size = side
    detector.min_size, detector.max_size = min(detector.min_size, side), min(detector.max_size, side)
    return detector


def fill(images: np.ndarray, shape: tuple[int, int, int], color: np.ndarray) -> np.ndarray:
    """Images (n, 3, h, w), each in the upper left corner of a batch of the shape, in which the rest is `color`."""
    b, height, width = shape
    whole = np.empty((b, 3, height, width), np.float32)
    whole[:] = color[:, None, None]
    whole[: len(images), :, : images.shape[2], : images.shape[3]] = images
    return whole


def fitted(run: Run, info: Mapping[str, Any], path: Path) -> Run:
    """A function that takes any batch and any size up to the file's fixed one."""
    shape = info.get("shape")  # files of earlier versions have none
    if shape is None:
        return run
    b, height, width = shape
    color = np.asarray(info["pixel_mean"], np.float32)

    def any_batch(inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        images = inputs["images"]
        if images.shape[2] > height or images.shape[3] > width:
            raise InputError(
                f"{path}: takes images of {width} x {height} px, got {images.shape[3]} x {images.shape[2]} after "
                "resizing; export it without a fixed size, or with a larger one"
            )
        parts = []
        for start in range(0, len(images), b):
            part = images[start : start + b]
            given = {"images": fill(part, shape, color)}
            if "sizes" in inputs:
                rows = inputs["sizes"][start : start + b]
                rest = np.full((b - len(rows), 2), MULTIPLE, rows.dtype)
                given["sizes"] = np.concatenate([rows, rest])
            parts.append([output[: len(part)] for output in run(given)])
        return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]

    return any_batch
