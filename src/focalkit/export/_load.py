"""Exported files as detectors: what `Detector.predict` takes and gives, computed by the file's runtime."""

import importlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from focalkit._files import special
from focalkit.calibration import AppliedCalibration, DetectionCalibration
from focalkit.detection import AnchorGrid, DenseOutputs, DensePostprocess, Detections, Detector
from focalkit.errors import InputError
from focalkit.export._form import Run, fitted
from focalkit.export._metadata import FIELDS, coder_from, tuples

READERS = {".onnx": "_onnx", ".xml": "_openvino", ".pt2": "_torch"}


def is_exported(path: str | os.PathLike[str]) -> bool:
    """Whether a path has the name of an exported file: .onnx, .xml or .pt2."""
    return Path(path).suffix.lower() in READERS


def load_exported(
    path: str | os.PathLike[str], *, score_threshold: float | None = None, trust: bool = False
) -> Detector:
    """The detector in a file that `focalkit export` wrote; it computes on the CPU.

    Args:
        path: .onnx (ONNX Runtime), .xml with its .bin (OpenVINO), or .pt2 (torch).
        score_threshold: Instead of the file's own. Post-processing inside the graph has dropped what is below its own,
            so there it can only be raised.
        trust: Open a .pt2 file. Torch runs code from such a file while it reads it: only for files whose origin you
            know. The other two formats hold data alone.

    Raises:
        InputError: No such file, none that `focalkit export` wrote, a missing package, a threshold below the graph's,
            a .pt2 file without `trust`.

    Example:
        >>> detector = load_exported("model.onnx")                 # doctest: +SKIP
        >>> detector.predict("photo.jpg")[0].boxes                 # doctest: +SKIP
    """
    path = Path(path)
    if not is_exported(path):
        raise InputError(f"{path}: expected an exported file: {', '.join(READERS)}")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    for file in (path, path.with_suffix(".bin")):
        if file.exists() and (kind := special(file)):
            raise InputError(f"{file}: is {kind}, expected an exported detector")
    if path.suffix.lower() == ".pt2" and not trust:
        raise InputError(
            f"{path}: was not opened, because torch runs code from a .pt2 file while it reads it (it unpickles weights"
            " and evaluates expressions). Formats of data alone are ONNX, OpenVINO and weights: `focalkit export RUN"
            " --format onnx`. If you know where the file comes from, allow it with trust=True, or --trust on the"
            " command line"
        )
    reader = importlib.import_module(f"focalkit.export.{READERS[path.suffix.lower()]}")
    try:
        info, run = reader.load(path)
    except (InputError, ImportError):
        raise
    except Exception as error:  # every runtime has its own
        reason = str(error).strip().split("\n")[0]
        raise InputError(f"{path}: cannot be read as an exported detector ({reason})") from error
    try:
        return as_detector(info, fitted(run, info, path), score_threshold)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{path}: its metadata is damaged ({reason}); export the run again") from error


def as_detector(info: Mapping[str, Any], run: Run, score_threshold: float | None = None) -> Detector:
    """The detector of a file's metadata and the function that runs it."""
    kind = _Whole if info["nms"] else _Raw
    inside = bool(info.get("calibrated_inside"))
    post: Any = (
        _Filter(info["score_threshold"], run, info["max_detections"], info["max_detections"], inside)
        if info["nms"]
        else _postprocess(info)
    )
    detector = Detector(
        kind(info, run),
        score_threshold=info["score_threshold"] if score_threshold is None else score_threshold,
        names=info["names"],
        min_size=info["min_size"],
        max_size=info["max_size"],
        category_ids=info["category_ids"],
        postprocess=cast(DensePostprocess, post),
    )
    detector.resize = info["resize"]
    detector.calibration = _calibration(info)
    return detector


def _calibration(info: Mapping[str, Any]) -> AppliedCalibration | None:
    """What is left to do: where the graph maps the scores, the thresholds alone."""
    stored = info.get("calibration")  # files of earlier versions have none
    if stored is None:
        return None
    found = AppliedCalibration.from_dict(stored)
    if info.get("calibrated_inside"):
        return AppliedCalibration(DetectionCalibration("none"), found.thresholds)
    return found


def _postprocess(info: Mapping[str, Any]) -> DensePostprocess:
    return DensePostprocess(coder=coder_from(info["coder"]), **{name: info[name] for name in FIELDS[DensePostprocess]})


class _Raw(nn.Module):
    """A file with the network alone: the priors are computed here."""

    pixel_mean: Tensor

    def __init__(self, info: Mapping[str, Any], run: Run) -> None:
        super().__init__()
        self.info, self.run = info, run
        self.num_classes = len(info["names"])
        self.priors = AnchorGrid(**tuples(info["anchors"]))
        self.register_buffer("pixel_mean", torch.tensor(info["pixel_mean"]), persistent=False)
        self.nothing = nn.Parameter(torch.zeros(0), requires_grad=False)  # says that it lives on the CPU

    def forward(self, images: Tensor) -> Any:
        outputs = [torch.from_numpy(o) for o in self.run({"images": images.contiguous().numpy()})]
        levels = len(self.priors.strides)
        logits, deltas, quality = (tuple(outputs[i * levels : (i + 1) * levels]) for i in range(3))
        shapes = [(level.shape[-2], level.shape[-1]) for level in logits]
        shape = self.info.get("shape")
        priors = self.priors(shapes, image_size=images.shape[-2:] if shape is None else tuple(shape[1:]))
        return DenseOutputs(logits, deltas, priors, self.num_classes, quality or None)


class _Whole(_Raw):
    """A file with post-processing inside, which needs the images' sizes too: `_Filter` gets them and runs it."""

    def forward(self, images: Tensor) -> Any:
        return images


@dataclass(frozen=True)
class _Filter:
    """In the place of a `DensePostprocess`: runs the file, and takes off the padding and what scores too low."""

    least: float
    run: Run
    most: int
    max_detections: int
    calibrated: bool = False
    score_threshold: float = 0.05

    def __post_init__(self) -> None:
        if self.score_threshold < self.least:
            raise InputError(
                f"this file has dropped what scores no more than {self.least:g} and cannot go down to "
                f"{self.score_threshold:g}; export without --with-nms, or with a lower --score-threshold"
            )
        if self.max_detections > self.most:
            raise InputError(
                f"this file keeps at most {self.most} detections of an image, not {self.max_detections}; export "
                "without --with-nms"
            )

    def __call__(self, images: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        inputs = {"images": images.contiguous().numpy(), "sizes": np.asarray(sizes, np.int64)}
        boxes, scores, labels, counts = (torch.from_numpy(output) for output in self.run(inputs))
        found = []
        for i, count in enumerate(counts.tolist()):
            # the threshold is of scores before calibration: the graph has applied it
            keep = scores[i, :count] > (-1.0 if self.calibrated else self.score_threshold)
            found.append(Detections(boxes[i, :count][keep], scores[i, :count][keep], labels[i, :count][keep].long()))
        return found
