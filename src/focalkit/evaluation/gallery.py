"""Pictures of what a detector does on a split: its best images, its worst, and its mistakes of every kind.

Images are ranked by their F1 at IoU 0.5, at the score threshold with the best F1 over the whole split; mistakes are of
the kinds of `mistakes.py`. Detections are drawn solid, the ground truth dashed. Which picture, and what its caption
says, is decided here; the drawing is `focalkit.images.draw`'s.
"""

import hashlib
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from focalkit._files import write_bytes_atomic
from focalkit.data import ImageRecord
from focalkit.evaluation.matched import MatchedImage, MatchedSplit
from focalkit.images.draw import draw_detections, to_pil
from focalkit.metrics import ERROR_KINDS, iou_matrix

if TYPE_CHECKING:
    from PIL import Image

SIDES = (640, 960)
"""Long side of a picture: smaller images are enlarged, larger ones reduced."""
CROP = 480
"""Long side of the picture of a mistake."""
PER_IMAGE = 2
"""Mistakes shown of one image, so that one bad image does not fill the gallery."""


@dataclass(frozen=True)
class Shown:
    """A picture with its caption.

    Attributes:
        kind: "best", "worst", or a key of `ERROR_KINDS`.
        record: The image.
        caption: A sentence.
        score: The image's F1, or the score of the detection; 0 of a box that none has found.
        picture: RGB.
    """

    kind: str
    record: ImageRecord
    caption: str
    score: float
    picture: "Image.Image"


def pictures(split: MatchedSplit, each: int, mistakes: int) -> Iterator[Shown]:
    """At most `each` best and worst images, and at most `mistakes` of every kind."""
    names = split.names
    best, worst = rank(split.images, each)
    for kind, images in (("best", best), ("worst", worst)):
        for image in images:
            yield Shown(kind, image.record, _summary(image, split.threshold), image.matches.f1, _whole(image, names))
    for kind in list(ERROR_KINDS)[:-1]:
        for image, row in surest(split.images, kind, mistakes):
            score = float(image.found.scores[row])
            yield Shown(kind, image.record, describe(image, row, names), score, _detail(image, row, names))
    for image, row in largest_missed(split.images, mistakes):
        caption = f"{names[int(image.labels[row])]}: found by no box of score {split.threshold:.2f} or more"
        yield Shown("missed", image.record, caption, 0.0, _around_missed(image, row, names))


def write_gallery(split: MatchedSplit, folder: Path, name: str = "gallery", *, each: int = 6) -> list[dict[str, Any]]:
    """Write `folder/name/*.jpg`. Pictures of an earlier gallery stay until `tidy_gallery` removes them.

    Args:
        split: What `match_split` returns.
        folder: Where the run's files lie.
        name: Subfolder.
        each: At most this many of the best and of the worst images, and half as many of every kind of mistake.

    Returns:
        Entries {"kind": "best" | "worst" | a key of `ERROR_KINDS`, "file", "image_id", "file_name", "caption",
        "score"} with the file relative to `folder`. The score is the image's F1, or the detection's.
    """
    entries: list[dict[str, Any]] = []
    numbers: Counter[str] = Counter()
    for one in pictures(split, each, (each + 1) // 2):
        numbers[one.kind] += 1
        file = f"{name}/{_save(one.picture, folder / name, f'{one.kind}-{numbers[one.kind]}')}"
        shown = one.record.file_name or one.record.path.name
        entry = {"kind": one.kind, "file": file, "image_id": one.record.id, "file_name": shown}
        entries.append({**entry, "caption": one.caption, "score": round(one.score, 4)})
    return entries


def tidy_gallery(entries: Sequence[Mapping[str, Any]], folder: Path, name: str = "gallery") -> None:
    """Remove the pictures in `folder/name` that `entries` do not name, once nothing names them any more."""
    named = {entry["file"] for entry in entries}
    for old in [*(folder / name).glob("*.jpg"), *(folder / name).glob(".*.tmp")]:
        if f"{name}/{old.name}" not in named:
            old.unlink(missing_ok=True)


def rank(matched: Sequence[MatchedImage], each: int) -> tuple[list[MatchedImage], list[MatchedImage]]:
    """The best and the worst images, none in both. Of equal F1, those with more boxes come first."""
    by_boxes = sorted(matched, key=lambda j: -len(j.boxes))
    best = [j for j in sorted(by_boxes, key=lambda j: -j.matches.f1) if j.matches.f1 > 0 and len(j.boxes)][:each]
    taken = {j.record.id for j in best}
    rest = [j for j in by_boxes if j.record.id not in taken and j.matches.f1 < 1]
    return best, sorted(rest, key=lambda j: j.matches.f1)[:each]


def surest(matched: Sequence[MatchedImage], kind: str, each: int) -> list[tuple[MatchedImage, int]]:
    """(image, row of its detections) of the mistakes of a kind with the highest scores."""
    found, place = [], list(ERROR_KINDS).index(kind)
    for image in matched:
        rows = (image.kinds == place).nonzero().flatten().tolist()
        found += [(image, row) for row in sorted(rows, key=lambda r: -float(image.found.scores[r]))[:PER_IMAGE]]
    return sorted(found, key=lambda f: -float(f[0].found.scores[f[1]]))[:each]


def largest_missed(matched: Sequence[MatchedImage], each: int) -> list[tuple[MatchedImage, int]]:
    """(image, row of its boxes) of the largest boxes that were missed."""
    found = []
    for image in matched:
        rows = image.missed.nonzero().flatten().tolist()
        found += [(image, row) for row in sorted(rows, key=lambda r: -_area(image.boxes[r]))[:PER_IMAGE]]
    return sorted(found, key=lambda f: -_area(f[0].boxes[f[1]]))[:each]


def describe(image: MatchedImage, row: int, names: Sequence[str]) -> str:
    """What a detection is mistaken about."""
    label = int(image.found.labels[row])
    said = f"{names[label]} at score {float(image.found.scores[row]):.2f}"
    if not len(image.boxes):
        return f"{said}: this image has no annotated object"
    kind = list(ERROR_KINDS)[int(image.kinds[row])]
    if kind == "background":
        return f"{said}: no annotated object here"
    if kind == "duplicate":
        return f"{said}: a second box on an object that one of higher score has found"
    own = (image.labels == label) == (kind == "localisation")
    overlaps = iou_matrix(image.found.boxes[row : row + 1], image.boxes)[0].masked_fill(~own, 0)
    true, overlap = names[int(image.labels[overlaps.argmax()])], float(overlaps.max())
    if kind == "classification":
        return f"{said}: the ground truth is {true}"
    if kind == "localisation":
        return f"{said}: badly placed, IoU {overlap:.2f} with the ground truth"
    return f"{said}: badly placed, IoU {overlap:.2f}, and the ground truth is {true}"


def _summary(image: MatchedImage, threshold: float) -> str:
    matches = image.matches
    total, true_positives = len(image.boxes), int(matches.found.sum())
    false_positives = int((~matches.correct & ~matches.ignored).sum())
    found = f"{true_positives} of {total} object{'s' * (total != 1)} found" if total else "no objects"
    others = f"{false_positives or 'no'} false positive{'s' * (false_positives != 1)}"
    return f"{found}, {others} at scores from {threshold:.2f} (F1 {image.matches.f1:.2f})"


# --- pictures ---------------------------------------------------------------------------------------------------------


def _whole(image: MatchedImage, names: Sequence[str]) -> "Image.Image":
    canvas = to_pil(image.record.path)
    long = max(canvas.size)
    zoom = min(max(long, SIDES[0]), SIDES[1]) / long
    canvas = canvas.resize((max(1, round(canvas.width * zoom)), max(1, round(canvas.height * zoom))))
    d = image.found
    return draw_detections(canvas, d.boxes * zoom, d.labels, d.scores, names, truth=(image.boxes * zoom, image.labels))


def _detail(image: MatchedImage, row: int, names: Sequence[str]) -> "Image.Image":
    """The false positive and the ground truth around it, enlarged."""
    return _enlarged(image, image.found.boxes[row], [row], names)


def _around_missed(image: MatchedImage, row: int, names: Sequence[str]) -> "Image.Image":
    """The box that was missed and what was found around it, enlarged."""
    window = _around(image.boxes[row].tolist(), to_pil(image.record.path).size)
    return _enlarged(image, image.boxes[row], _inside(image.found.boxes, window), names)


def _enlarged(image: MatchedImage, box: Tensor, rows: Sequence[int], names: Sequence[str]) -> "Image.Image":
    """What is around `box`, with these rows of the detections and the ground truth."""
    canvas = to_pil(image.record.path)
    left, top, right, bottom = window = _around(box.tolist(), canvas.size)
    zoom = CROP / max(right - left, bottom - top)
    size = (max(1, round((right - left) * zoom)), max(1, round((bottom - top) * zoom)))
    canvas = canvas.crop(window).resize(size)
    shift = torch.tensor([left, top, left, top], dtype=torch.float32)
    near = _inside(image.boxes, window)
    truth = ((image.boxes[near] - shift) * zoom, image.labels[near])
    d, here = image.found, list(rows)
    return draw_detections(canvas, (d.boxes[here] - shift) * zoom, d.labels[here], d.scores[here], names, truth=truth)


def _inside(boxes: Tensor, window: tuple[int, int, int, int]) -> list[int]:
    """Rows of the boxes that reach into a window."""
    left, top, right, bottom = window
    return [i for i, b in enumerate(boxes.tolist()) if b[0] < right and b[2] > left and b[1] < bottom and b[3] > top]


def _area(box: Tensor) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))


def _around(box: Sequence[float], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """A window of 2.5 times the box and at least a quarter of the picture, moved inside the picture."""
    spans = []
    side = max(2.5 * max(box[2] - box[0], box[3] - box[1]), min(size) / 4, 32)
    for low, high, whole in ((box[0], box[2], size[0]), (box[1], box[3], size[1])):
        width = min(round(side), whole)
        start = min(max(round((low + high) / 2 - width / 2), 0), whole - width)
        spans.append((start, start + width))
    (left, right), (top, bottom) = spans
    return left, top, right, bottom


def _save(picture: "Image.Image", folder: Path, stem: str) -> str:
    """Write a JPEG whose name tells its content; the name."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    content = buffer.getvalue()
    name = f"{stem}-{hashlib.sha256(content).hexdigest()[:8]}.jpg"
    if not (folder / name).is_file():
        write_bytes_atomic(folder / name, content)
    return name
