"""Rows of the suite `inference`: our model in a file, run by other runtimes on the CPU."""

import tempfile
from pathlib import Path
from typing import Literal, TypeAlias

import torch

from ._model import Call

Format: TypeAlias = Literal["onnx", "openvino"]
CALIBRATION = 4
"""Images of noise: enough for int8's speed, not for its accuracy, which `focalkit export --int8` measures on data."""


def exported(model: torch.nn.Module, image: torch.Tensor, format: Format, int8: bool = False) -> Call:
    """The model's file in a runtime, and our post-processing behind it.

    Args:
        model: On the CPU.
        image: float (3, h, w) in [0, 1], sides multiples of 32.
        format: "onnx" or "openvino".
        int8: Quantised.

    Raises:
        ImportError: The runtime is not installed.
    """
    from focalkit.detection import Detector
    from focalkit.errors import InputError
    from focalkit.export import FORMATS, export_detector, load_exported

    height, width = image.shape[1:]
    detector = Detector(model, min_size=min(height, width), max_size=max(height, width))
    noise = [torch.rand(3, height, width, generator=torch.Generator().manual_seed(i)) for i in range(CALIBRATION)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"model{FORMATS[format]}"
        try:
            export_detector(detector, path, format=format, calibrate_on=noise if int8 else None)
            loaded = load_exported(path)
        except InputError as error:
            raise ImportError(str(error)) from error

    def call() -> object:
        with torch.inference_mode():
            return loaded.postprocess(loaded.model(image[None]), [(height, width)])

    return call
