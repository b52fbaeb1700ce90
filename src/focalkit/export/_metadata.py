"""What an exported file says about itself: all that is needed to go from an image to named boxes.

Kept under the key "focalkit" of the file's own metadata, as JSON. `numpy_postprocess` documents it by use.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from focalkit.detection import AnchorGrid, DeltaXYWH, DensePostprocess, Detector
from focalkit.errors import InputError

KEY = "focalkit"
SCHEMA = 1
LEVELS = ("p3", "p4", "p5", "p6", "p7")
OUTPUTS = (*(f"logits_{level}" for level in LEVELS), *(f"deltas_{level}" for level in LEVELS))
NMS_OUTPUTS = ("boxes", "scores", "labels", "counts")
FIELDS = {
    AnchorGrid: ("sizes", "scales", "ratios", "strides", "offset", "rounded", "stride_from"),
    DeltaXYWH: ("weights", "bound_shrink"),
    DensePostprocess: ("score_threshold", "iou_threshold", "max_detections", "top_k", "clip", "keep_empty"),
}
"""What the graph and the numpy module know to reproduce; a part that needs more cannot be exported."""


def describe(detector: Detector, *, nms: bool, int8: bool, display_threshold: float | None) -> dict[str, Any]:
    """The metadata of a detector.

    Raises:
        InputError: It has a part or a setting that an exported file cannot reproduce.
    """
    from importlib.metadata import version

    model, post = detector.model, detector.postprocess
    priors = getattr(model, "priors", None)
    for part, kind in ((priors, AnchorGrid), (post, DensePostprocess), (post.coder, DeltaXYWH)):
        _check(part, kind)
    names = detector.names or tuple(f"class {k}" for k in range(model.num_classes))  # pyright: ignore[reportArgumentType]
    return {
        "schema": SCHEMA,
        "version": version("focalkit"),
        "names": list(names),
        "category_ids": list(detector.category_ids or range(len(names))),
        "min_size": detector.min_size,
        "max_size": detector.max_size,
        "pixel_mean": model.pixel_mean.flatten().tolist(),  # pyright: ignore[reportCallIssue]
        "resize": detector.resize,
        "display_threshold": display_threshold,
        **{name: getattr(post, name) for name in FIELDS[DensePostprocess]},
        "anchors": {name: getattr(priors, name) for name in FIELDS[AnchorGrid]},
        "coder": {name: getattr(post.coder, name) for name in FIELDS[DeltaXYWH]},
        "nms": nms,
        "int8": int8,
    }


def parse(text: str | None, path: Path) -> dict[str, Any]:
    """The metadata of a file.

    Raises:
        InputError: It has none, or that of a newer focalkit.
    """
    if not text:
        raise InputError(f"{path}: has no metadata of focalkit; expected a file that `focalkit export` wrote")
    info = json.loads(text)
    if info.get("schema") != SCHEMA:
        raise InputError(f"{path}: schema {info.get('schema')!r}, this focalkit reads {SCHEMA}; export the run again")
    return info


def _check(part: object, kind: type) -> None:
    if type(part) is not kind:
        raise InputError(
            f"only detectors with {kind.__name__} can be exported, this one has {type(part).__name__}; "
            "`focalkit predict` runs it from its run directory"
        )
    for field in dataclasses.fields(part):  # pyright: ignore[reportArgumentType]
        value = getattr(part, field.name)
        if field.name not in (*FIELDS[kind], "coder") and value != field.default:
            raise InputError(
                f"{kind.__name__}({field.name}={value!r}) cannot be exported, only its default {field.default!r}; "
                "`focalkit predict` runs this model from its run directory"
            )
