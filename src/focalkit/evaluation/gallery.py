"""Pictures of what a detector does on a split: its best images, its worst, and its most confident mistakes.

Images are ranked by their F1 at IoU 0.5, at the score threshold with the best F1 over the whole split. Detections are
drawn solid, the ground truth dashed. Which picture, and what its caption says, is decided here; the drawing is
`focalkit.images.draw`'s.
"""

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from focalkit._files import write_bytes_atomic
from focalkit.data import DetectionData, ImageRecord
from focalkit.detection import Detections
from focalkit.images.draw import draw_detections, to_pil
from focalkit.metrics import Matches, best_f1_threshold, iou_matrix, match_detections

if TYPE_CHECKING:
    from PIL import Image

SIDES = (640, 960)
"""Long side of a picture: smaller images are enlarged, larger ones reduced."""
CROP = 480
"""Long side of the picture of a mistake."""
PER_IMAGE = 2
"""Mistakes shown of one image, so that one bad image does not fill the gallery."""


@dataclass(frozen=True)
class _Matched:
    """An image, its ground truth, and its detections from the threshold on with what they match."""

    record: ImageRecord
    boxes: Tensor
    labels: Tensor
    found: Detections
    matches: Matches


def write_gallery(
    data: DetectionData, detections: Mapping[int, Detections], folder: Path, name: str = "gallery", *, each: int = 6
) -> tuple[list[dict[str, Any]], float]:
    """Write `folder/name/*.jpg`. Pictures of an earlier gallery stay until `tidy_gallery` removes them.

    Args:
        data: The split.
        detections: Per image id, in pixels of the file.
        folder: Where the run's files lie.
        name: Subfolder.
        each: At most this many pictures of each kind.

    Returns:
        Entries {"kind": "best" | "worst" | "mistake", "file", "image_id", "file_name", "caption", "score"} with the
        file relative to `folder`, and the threshold. The score is the image's F1, or the false positive's score.
    """
    matched, threshold = _match_all(data, detections)
    entries: list[dict[str, Any]] = []

    def add(kind: str, number: int, record: ImageRecord, caption: str, score: float, picture: "Image.Image") -> None:
        file = f"{name}/{_save(picture, folder / name, f'{kind}-{number}')}"
        shown = record.file_name or record.path.name
        entry = {"kind": kind, "file": file, "image_id": record.id, "file_name": shown, "caption": caption}
        entries.append({**entry, "score": round(score, 4)})

    best, worst = rank(matched, each)
    for kind, images in (("best", best), ("worst", worst)):
        for number, image in enumerate(images, 1):
            add(kind, number, image.record, _summary(image, threshold), image.matches.f1, _whole(image, data.names))
    for number, (image, row) in enumerate(mistakes(matched, each), 1):
        score = float(image.found.scores[row])
        add("mistake", number, image.record, describe(image, row, data.names), score, _detail(image, row, data.names))
    return entries, round(threshold, 4)


def tidy_gallery(entries: Sequence[Mapping[str, Any]], folder: Path, name: str = "gallery") -> None:
    """Remove the pictures in `folder/name` that `entries` do not name, once nothing names them any more."""
    named = {entry["file"] for entry in entries}
    for old in [*(folder / name).glob("*.jpg"), *(folder / name).glob(".*.tmp")]:
        if f"{name}/{old.name}" not in named:
            old.unlink(missing_ok=True)


def _match_all(data: DetectionData, detections: Mapping[int, Detections]) -> tuple[list[_Matched], float]:
    truths = [_ground_truth(record) for record in data.images]
    everything = [detections[record.id] for record in data.images]
    threshold, best = best_f1_threshold(
        [d.scores for d in everything], [_match(d, t) for d, t in zip(everything, truths, strict=True)]
    )
    if best == 0:  # no true positive at any threshold: show the highest scores
        threshold = min(0.5, max((float(d.scores.max()) for d in everything if len(d)), default=0.5))
    matched = []
    for record, found, truth in zip(data.images, everything, truths, strict=True):
        found = found.above(threshold)
        matched.append(_Matched(record, truth[0], truth[1], found, _match(found, truth)))
    return matched, threshold


GroundTruth = tuple[Tensor, Tensor, Tensor, Tensor]
"""Boxes, labels, boxes of crowds, labels of crowds."""


def _ground_truth(record: ImageRecord) -> GroundTruth:
    boxes = torch.tensor(record.boxes, dtype=torch.float32).reshape(-1, 4)
    labels = torch.tensor(record.labels, dtype=torch.int64)
    crowd = torch.tensor(record.crowd, dtype=torch.bool)
    return boxes[~crowd], labels[~crowd], boxes[crowd], labels[crowd]


def _match(found: Detections, truth: GroundTruth) -> Matches:
    boxes, labels, crowd_boxes, crowd_labels = truth
    return match_detections(
        found.boxes, found.scores, found.labels, boxes, labels, crowd_boxes=crowd_boxes, crowd_labels=crowd_labels
    )


def rank(matched: Sequence[_Matched], each: int) -> tuple[list[_Matched], list[_Matched]]:
    """The best and the worst images, none in both. Of equal F1, those with more boxes come first."""
    by_boxes = sorted(matched, key=lambda j: -len(j.boxes))
    best = [j for j in sorted(by_boxes, key=lambda j: -j.matches.f1) if j.matches.f1 > 0 and len(j.boxes)][:each]
    taken = {j.record.id for j in best}
    rest = [j for j in by_boxes if j.record.id not in taken and j.matches.f1 < 1]
    return best, sorted(rest, key=lambda j: j.matches.f1)[:each]


def mistakes(matched: Sequence[_Matched], each: int) -> list[tuple[_Matched, int]]:
    """(image, row of its detections) of the false positives with the highest scores."""
    found = []
    for image in matched:
        rows = (~image.matches.correct & ~image.matches.ignored).nonzero().flatten().tolist()
        found += [(image, row) for row in sorted(rows, key=lambda r: -float(image.found.scores[r]))[:PER_IMAGE]]
    return sorted(found, key=lambda f: -float(f[0].found.scores[f[1]]))[:each]


def describe(image: _Matched, row: int, names: Sequence[str]) -> str:
    """Why a detection is a false positive: duplicate, class, place, or nothing there."""
    label = int(image.found.labels[row])
    said = f"{names[label]} at score {float(image.found.scores[row]):.2f}"
    if not len(image.boxes):
        return f"{said}: this image has no annotated object"
    overlap = iou_matrix(image.found.boxes[row : row + 1], image.boxes)[0]
    same = overlap.masked_fill(image.labels != label, 0)
    other = overlap.masked_fill(image.labels == label, 0)
    other_name = names[int(image.labels[int(other.argmax())])]
    if float(same.max()) >= 0.5:
        return f"{said}: a second box on an object that one of higher score has found"
    if float(other.max()) >= 0.5:
        return f"{said}: the ground truth is {other_name}"
    if float(same.max()) >= 0.1:
        return f"{said}: badly placed, IoU {float(same.max()):.2f} with the ground truth"
    if float(other.max()) >= 0.1:
        return f"{said}: badly placed, IoU {float(other.max()):.2f}, and the ground truth is {other_name}"
    return f"{said}: no annotated object here"


def _summary(image: _Matched, threshold: float) -> str:
    total, true_positives = len(image.boxes), int(image.matches.found.sum())
    false_positives = int((~image.matches.correct & ~image.matches.ignored).sum())
    found = f"{true_positives} of {total} object{'s' * (total != 1)} found" if total else "no objects"
    others = f"{false_positives or 'no'} false positive{'s' * (false_positives != 1)}"
    return f"{found}, {others} at scores from {threshold:.2f} (F1 {image.matches.f1:.2f})"


# --- pictures ---------------------------------------------------------------------------------------------------------


def _whole(image: _Matched, names: Sequence[str]) -> "Image.Image":
    canvas = to_pil(image.record.path)
    long = max(canvas.size)
    zoom = min(max(long, SIDES[0]), SIDES[1]) / long
    canvas = canvas.resize((max(1, round(canvas.width * zoom)), max(1, round(canvas.height * zoom))))
    d = image.found
    return draw_detections(canvas, d.boxes * zoom, d.labels, d.scores, names, truth=(image.boxes * zoom, image.labels))


def _detail(image: _Matched, row: int, names: Sequence[str]) -> "Image.Image":
    """The false positive and the ground truth around it, enlarged."""
    canvas = to_pil(image.record.path)
    box = image.found.boxes[row]
    left, top, right, bottom = _around(box.tolist(), canvas.size)
    zoom = CROP / max(right - left, bottom - top)
    size = (max(1, round((right - left) * zoom)), max(1, round((bottom - top) * zoom)))
    canvas = canvas.crop((left, top, right, bottom)).resize(size)
    shift = torch.tensor([left, top, left, top], dtype=torch.float32)
    near = [
        i for i, b in enumerate(image.boxes.tolist()) if b[0] < right and b[2] > left and b[1] < bottom and b[3] > top
    ]
    truth = ((image.boxes[near] - shift) * zoom, image.labels[near])
    d = image.found
    here = slice(row, row + 1)
    return draw_detections(canvas, (d.boxes[here] - shift) * zoom, d.labels[here], d.scores[here], names, truth=truth)


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
