"""What an exported file says about itself: all that is needed to go from an image to named boxes.

Kept under the key "focalkit" of the file's own metadata, as JSON. `numpy_postprocess` documents it by use.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from focalkit.detection import (
    AnchorGrid,
    CenterSizeCoder,
    DeltaXYWH,
    DensePostprocess,
    Detector,
    DistanceCoder,
    DistributionCoder,
    PlainDistanceCoder,
    PointGrid,
    WholeImage,
    square_grid,
)
from focalkit.detection.boxes.pixels import PixelCoder
from focalkit.detection.types import BoxCoder
from focalkit.errors import InputError

KEY = "focalkit"
SCHEMA = 2
LOGITS, DELTAS, QUALITY, BOXES = "logits", "deltas", "quality", "pred_boxes"
NMS_OUTPUTS = ("boxes", "scores", "labels", "counts")
CODERS: dict[str, type] = {
    "deltas": DeltaXYWH,
    "distances": DistanceCoder,
    "plain_distances": PlainDistanceCoder,
    "distributions": DistributionCoder,
    "center_size": CenterSizeCoder,
    "pixels": PixelCoder,
}
"""What box outputs mean -> the coder that reads them."""
FIELDS: dict[type, tuple[str, ...]] = {
    AnchorGrid: ("sizes", "scales", "ratios", "strides", "offset", "rounded", "stride_from"),
    DeltaXYWH: ("weights", "clamp_dwdh_min"),
    DistanceCoder: ("unit",),
    PlainDistanceCoder: ("unit",),
    DistributionCoder: ("bins", "unit"),
    CenterSizeCoder: ("weights",),
    PixelCoder: (),
    DensePostprocess: (
        "score_threshold",
        "iou_threshold",
        "max_detections",
        "top_k",
        "peak_window",
        "clip",
        "keep_empty",
    ),
}
"""What the graph and the numpy module know to reproduce; a part that needs more cannot be exported."""


def describe(detector: Detector, *, nms: bool, int8: bool, display_threshold: float | None) -> dict[str, Any]:
    """The metadata of a detector.

    Raises:
        InputError: It has a part or a setting that an exported file cannot reproduce.
    """
    from importlib.metadata import version

    model, post = detector.model, postprocess_of(detector)
    priors = anchors_of(model)
    for part, kinds in ((priors, (AnchorGrid,)), (post, (DensePostprocess,)), (post.coder, tuple(CODERS.values()))):
        _check(part, kinds)
    names = detector.names or tuple(f"class {k}" for k in range(detector.num_classes))
    return {
        "schema": SCHEMA,
        "version": version("focalkit"),
        "names": list(names),
        "category_ids": list(detector.category_ids or range(len(names))),
        "min_size": detector.min_size,
        "max_size": detector.max_size,
        "pixel_mean": detector.fill,
        "resize": detector.resize,
        "display_threshold": display_threshold,
        "calibration": None if detector.calibration is None else detector.calibration.to_dict(),
        "calibrated_inside": nms and detector.calibration is not None,
        **{name: getattr(post, name) for name in FIELDS[DensePostprocess]},
        "anchors": {name: getattr(priors, name) for name in FIELDS[AnchorGrid]},
        "coder": _coder_info(post.coder),
        "quality": has_quality(detector),
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


def anchors_of(model: Any) -> Any:
    """The priors of a model; points are given as the squares that they stand for.

    The network of a set predictor decodes its boxes itself: of its queries, each stands in a cell of its own.
    """
    priors = getattr(model, "priors", None)
    if type(priors) is WholeImage:
        return square_grid((1.0,), (1,))
    return square_grid(priors.strides, priors.strides) if type(priors) is PointGrid else priors


def is_set(detector: Detector) -> bool:
    """Whether the model predicts a set, each member with the whole image as its prior."""
    return type(getattr(detector.model, "priors", None)) is WholeImage


def postprocess_of(detector: Detector) -> Any:
    """The rules for what the exported network gives: a set predictor's boxes are in pixels already."""
    post = detector.postprocess
    return dataclasses.replace(post, coder=PixelCoder()) if is_set(detector) else post


def has_quality(detector: Detector) -> bool:
    """Whether the head says how good its boxes are, as FCOS's does."""
    return getattr(detector.model.head, "quality_output", None) is not None


def levels_of(detector: Detector) -> list[str]:
    """Names of the feature maps: a cell of P3 is 2 to the 3 pixels wide."""
    return [f"p{stride.bit_length() - 1}" for stride in anchors_of(detector.model).strides]


def outputs_of(detector: Detector) -> list[str]:
    """Names of the network's outputs, in their order."""
    if is_set(detector):
        return [LOGITS, BOXES]
    kinds = (LOGITS, DELTAS, QUALITY) if has_quality(detector) else (LOGITS, DELTAS)
    return [f"{kind}_{level}" for kind in kinds for level in levels_of(detector)]


def coder_from(info: Mapping[str, Any]) -> BoxCoder:
    """The coder that "coder" of the metadata describes."""
    values = tuples(info)
    if "bound_shrink" in values:  # files of earlier versions
        values["clamp_dwdh_min"] = values.pop("bound_shrink")
    return CODERS[values.pop("kind")](**values)


def tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON's lists as tuples."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


def _coder_info(coder: BoxCoder) -> dict[str, Any]:
    kind = next(name for name, one in CODERS.items() if type(coder) is one)
    return {"kind": kind, **{name: getattr(coder, name) for name in FIELDS[type(coder)]}}


def _check(part: Any, kinds: tuple[type, ...]) -> None:
    if type(part) not in kinds:
        raise InputError(
            f"only detectors with {' or '.join(kind.__name__ for kind in kinds)} can be exported, this one has "
            f"{type(part).__name__}; `focalkit predict` runs it from its run directory"
        )
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if field.name not in (*FIELDS[type(part)], "coder") and value != field.default:
            raise InputError(
                f"{type(part).__name__}({field.name}={value!r}) cannot be exported, only its default {field.default!r};"
                " `focalkit predict` runs this model from its run directory"
            )
