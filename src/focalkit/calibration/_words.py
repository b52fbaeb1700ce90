"""What a study of a detector's calibration says: its recommendation and its notes."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from ..metrics import DetectionMatches

if TYPE_CHECKING:
    from ._study import DetectionStudy

SILENT = 0.2
"""Share of images without detections from which on a note says so."""


def undetected(matches: DetectionMatches) -> list[str]:
    """A note where many images with boxes have no detection at all: the results may be of other images."""
    boxes = torch.bincount(matches.truth_images, minlength=len(matches.image_ids)) > 0
    silent = boxes & (torch.bincount(matches.images, minlength=len(boxes)) == 0)
    if int(silent.sum()) <= SILENT * int(boxes.sum()):
        return []
    return [
        f"{int(silent.sum())} of {int(boxes.sum())} images with boxes have no detections, and all their boxes count as "
        "missed; are these the results of all images?"
    ]


def noted(precision: Sequence[str], localisation: Sequence[str]) -> tuple[str, ...]:
    """The notes of the two maps; what both say once."""
    both = [f"both maps: {note}" for note in precision if note in localisation]
    return (
        *both,
        *(f"map to precision: {note}" for note in precision if note not in localisation),
        *(f"map to precision times IoU: {note}" for note in localisation if note not in precision),
    )


def recommendation(study: "DetectionStudy", aim: str) -> str:
    measure = "D-ECE" if study.target == "precision" else "LaECE_0"
    before, after = study.table[measure]["before"], study.table[measure][study.target]
    images, method = len(study.split["judged"]), study.maps[study.target].method
    shown = measure != "D-ECE" or study.intervals["D-ECE fall"][0] > 0
    if method == "none" or not after < before or not shown:
        advice = f"Leave the scores as they are: on {images} held-out images no map is shown to be better"
    else:
        low, high = study.intervals["D-ECE fall"]
        sure = f" (by {low:.3f} to {high:.3f} with 95 % confidence)" if measure == "D-ECE" else ""
        falls = f"{measure} falls from {before:.3f} to {after:.3f}{sure} on {images} held-out images"
        advice = f"Take the {method} map: {falls}"
    found = study.operating["all"]

    def between(name: str) -> str:
        low, high = study.intervals[name]
        return f"{found[name]:.3f} ({low:.3f} to {high:.3f})"

    missing = sum(math.isnan(v) for v in study.thresholds.values.tolist())
    if missing and math.isnan(float(study.pooled.values)):
        return f"{advice}. No thresholds: {study.pooled.reason}."
    where = f"; {missing} of {len(study.names)} classes have no threshold of their own" if missing else ""
    return (
        f"{advice}. At the thresholds chosen for {aim} precision is {between('precision')} and recall "
        f"{between('recall')} there{where}."
    )


def aim_in_words(aims: Mapping[str, Any], confidence: float | None = None) -> str:
    """In words."""
    name, value = next((name, value) for name, value in aims.items() if value is not None)
    if name == "f_beta":
        return f"the best F{value:g}"
    sure = "" if confidence is None else f" with {confidence:.0%} confidence"
    return "the least cost" if name == "costs" else f"{name.removeprefix('target_')} {value:g}{sure}"
