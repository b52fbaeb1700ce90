"""Detectors as files that other runtimes execute: ONNX, OpenVINO, torch.export; and such files as detectors again.

`numpy_postprocess` is the post-processing in numpy alone, for devices without torch. The runtimes are imported when a
file of their format is written or read, and only in this package: `pip install 'focalkit[export]'`.

Not here: TensorRT, Core ML, TFLite (they read ONNX); other devices than the CPU.
"""

from focalkit.export._check import Agreement as Agreement
from focalkit.export._check import compare_detections as compare_detections
from focalkit.export._export import FORMATS as FORMATS
from focalkit.export._export import Exported as Exported
from focalkit.export._export import export_detector as export_detector
from focalkit.export._load import is_exported as is_exported
from focalkit.export._load import load_exported as load_exported

__all__ = [
    "FORMATS",
    "Agreement",
    "Exported",
    "compare_detections",
    "export_detector",
    "is_exported",
    "load_exported",
]
