"""What kind of mistake every detection is, and what each kind costs: TIDE (Bolya et al., 2020, arXiv 2008.08115).

A detection that is not right is one of five kinds, by its overlap with boxes of its own and of other classes; a box
that no detection found, and that none of them is mistaken about in class or place, is missed (sec. 2.2). What a kind
costs is how much AP50 would rise if it alone were mended (sec. 2.3). Pure functions of boxes; nothing is read or drawn.

Not here: the joint costs of false positives and of false negatives (sec. 2.4), masks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from focalkit.metrics import Matches, iou_matrix, match_detections

MISTAKE_KINDS = {
    "classification": "on an object, under the wrong class",
    "localisation": "the right class, badly placed",
    "both": "badly placed and under the wrong class",
    "duplicate": "a second box on an object that one of higher score has found",
    "background": "where no object is",
    "missed": "an object without any box",
}
"""Kind -> what it is, in the paper's order."""
RIGHT, IGNORED = -1, -2
"""In the place of a kind: found its box; lies in a crowd region."""
_CLASSIFICATION, _LOCALISATION, _BOTH, _DUPLICATE, _BACKGROUND = range(5)
_RECALLS = 101


@dataclass(frozen=True)
class Mistakes:
    """The n detections of one image beside its m boxes, crowds not among them.

    Attributes:
        kind: int64 (n,): place in `MISTAKE_KINDS`, `RIGHT` or `IGNORED`.
        gt_index: int64 (n,): the box found, or the one that the detection is mistaken about; -1 for none.
        scores: (n,).
        labels: int64 (n,).
        gt_labels: int64 (m,).
    """

    kind: Tensor
    gt_index: Tensor
    scores: Tensor
    labels: Tensor
    gt_labels: Tensor

    @property
    def matches(self) -> Matches:
        """Which detections are right."""
        right = self.kind == RIGHT
        found = torch.zeros(len(self.gt_labels), dtype=torch.bool).index_fill(0, self.gt_index[right], True)
        return Matches(right, self.kind == IGNORED, torch.where(right, self.gt_index, -1), found)

    @property
    def missed(self) -> Tensor:
        """bool (m,): no detection found the box, and none is mistaken about it in class or place alone."""
        seen = (self.kind == RIGHT) | (self.kind == _CLASSIFICATION) | (self.kind == _LOCALISATION)
        return torch.ones(len(self.gt_labels), dtype=torch.bool).index_fill(0, self.gt_index[seen], False)

    @property
    def counts(self) -> dict[str, int]:
        """Kind -> how many."""
        found = torch.bincount(self.kind[self.kind >= 0], minlength=len(MISTAKE_KINDS)).tolist()
        return dict(zip(MISTAKE_KINDS, [*found[:-1], int(self.missed.sum())], strict=True))

    def above(self, threshold: float) -> "Mistakes":
        """Without detections that score less: the others are matched as before, for the best score comes first."""
        kept = self.scores >= threshold
        return replace(
            self, kind=self.kind[kept], gt_index=self.gt_index[kept], scores=self.scores[kept], labels=self.labels[kept]
        )


def find_mistakes(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    gt_boxes: Tensor,
    gt_labels: Tensor,
    *,
    crowd_boxes: Tensor | None = None,
    crowd_labels: Tensor | None = None,
    foreground: float = 0.5,
    background: float = 0.1,
) -> Mistakes:
    """Say of every detection of an image what it is.

    Where several kinds would do, the first of localisation, classification, duplicate, background, both is taken, as in
    the authors' code.

    Args:
        boxes: (n, 4) xyxy. All detections count: leave out those below your threshold.
        scores: (n,).
        labels: (n,) integer.
        gt_boxes: (m, 4) xyxy, crowds not among them.
        gt_labels: (m,) integer.
        crowd_boxes, crowd_labels: See `focalkit.metrics.match_detections`.
        foreground: From this overlap on a box is found (the paper's t_f).
        background: Up to this overlap there is nothing (t_b).

    Raises:
        ValueError: The overlaps are not in order.

    Example:
        >>> box = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
        >>> find_mistakes(box, torch.ones(1), torch.tensor([1]), box, torch.tensor([0])).counts["classification"]
        1
    """
    if not 0 <= background < foreground <= 1:
        raise ValueError(f"expected 0 <= background < foreground <= 1, got {background!r} and {foreground!r}")
    matches = match_detections(
        boxes, scores, labels, gt_boxes, gt_labels,
        crowd_boxes=crowd_boxes, crowd_labels=crowd_labels, iou_threshold=foreground,
    )  # fmt: skip
    n, m = len(boxes), len(gt_boxes)
    if not m:
        kind = torch.where(matches.ignored, IGNORED, torch.full((n,), _BACKGROUND))
        return Mistakes(kind, matches.gt_index, scores, labels, gt_labels)
    overlaps = iou_matrix(boxes, gt_boxes)
    own = labels[:, None] == gt_labels[None]
    same, same_at = overlaps.masked_fill(~own, -1).max(1)
    other, other_at = overlaps.masked_fill(own, -1).max(1)
    misplaced = (same >= background) & (same < foreground)
    misnamed = ~misplaced & (other >= foreground)
    duplicate = ~misplaced & ~misnamed & (same >= foreground)
    nothing = torch.maximum(same, other) < background
    kind = torch.full((n,), _BOTH)
    for place, here in (
        (_LOCALISATION, misplaced),
        (_CLASSIFICATION, misnamed),
        (_DUPLICATE, duplicate),
        (_BACKGROUND, nothing),
        (RIGHT, matches.correct),
        (IGNORED, matches.ignored),
    ):
        kind[here] = place
    about = torch.where(misplaced | duplicate, same_at, other_at).masked_fill(nothing | matches.ignored, -1)
    return Mistakes(kind, torch.where(matches.correct, matches.gt_index, about), scores, labels, gt_labels)


def mistake_costs(images: Sequence[Mistakes]) -> dict[str, float]:
    """By how much AP50 would rise if one kind of mistake were mended and the others left (sec. 2.3).

    Mended means: a wrong class or place is right if its box has not been found and no detection of higher score is
    mistaken about it, and is gone otherwise; a duplicate, one on background, or one of both is gone; a missed box need
    not be found.

    Args:
        images: Of all images, at the paper's overlaps, with every detection whatever its score.

    Returns:
        "AP50" as it is, then kind -> gain; NaN where there are no boxes.

    Example:
        >>> box, no = torch.tensor([[0.0, 0.0, 10.0, 10.0]]), torch.zeros(0)
        >>> image = find_mistakes(no.reshape(0, 4), no, no.long(), box, torch.tensor([0]))
        >>> mistake_costs([image])["missed"]
        0.0
    """
    scores = torch.cat([image.scores.double() for image in images])
    kind = torch.cat([image.kind for image in images])
    labels = torch.cat([image.labels for image in images])
    starts = [0]
    for image in images:
        starts.append(starts[-1] + len(image.gt_labels))
    pairs = list(zip(images, starts, strict=False))
    about = torch.cat([torch.where(image.gt_index < 0, -1, image.gt_index + start) for image, start in pairs])
    gt_labels = torch.cat([image.gt_labels for image in images])
    missed = torch.cat([image.missed for image in images])
    if not len(gt_labels):
        return dict.fromkeys(("AP50", *MISTAKE_KINDS), float("nan"))
    found = torch.zeros(len(gt_labels), dtype=torch.bool)
    found[about[kind == RIGHT]] = True
    counted, right = kind != IGNORED, kind == RIGHT
    classes = gt_labels.unique().tolist()
    now = _ap50(classes, scores[counted], labels[counted], right[counted], gt_labels)
    costs = {"AP50": now}
    # subtle: one box is mended once, by the surest of those mistaken about it in class or in place (the authors' code)
    mendable = (kind == _CLASSIFICATION) | (kind == _LOCALISATION)
    surest = _best_of_each(scores, about, mendable & ~found[about])
    for place, name in enumerate(MISTAKE_KINDS):
        kept, true, truth, says = counted & (kind != place), right.clone(), gt_labels, labels
        if name == "missed":
            kept, truth = counted, gt_labels[~missed]
        elif place in (_CLASSIFICATION, _LOCALISATION):
            mended = surest & (kind == place)
            kept, true = kept | mended, right | mended
            says = torch.where(mended, gt_labels[about], labels)
        costs[name] = _ap50(classes, scores[kept], says[kept], true[kept], truth) - now
    return costs


def _best_of_each(scores: Tensor, about: Tensor, among: Tensor) -> Tensor:
    """Of the detections marked, the one with the highest score for each box."""
    rows = among.nonzero().flatten()
    rows = rows[scores[rows].argsort(descending=True, stable=True)]
    rows = rows[about[rows].argsort(stable=True)]
    first = torch.ones(len(rows), dtype=torch.bool)
    first[1:] = about[rows][1:] != about[rows][:-1]
    return torch.zeros_like(among).index_fill(0, rows[first], True)


def _ap50(classes: Sequence[int], scores: Tensor, labels: Tensor, right: Tensor, gt_labels: Tensor) -> float:
    """Mean over classes of the precision at 101 recalls, as COCO has it; 0 for a class with nothing to find."""
    recalls, total_ap = torch.linspace(0, 1, _RECALLS, dtype=torch.float64), 0.0
    for c in classes:
        total = int((gt_labels == c).sum())
        own = labels == c
        if not total or not own.any():
            continue
        order = scores[own].argsort(descending=True, stable=True)
        hits = right[own][order].cumsum(0).double()
        precision = hits / torch.arange(1, len(hits) + 1)
        envelope = precision.flip(0).cummax(0).values.flip(0)
        place = torch.searchsorted(hits / total, recalls, side="left")
        total_ap += float(envelope[place[place < len(envelope)]].sum()) / _RECALLS
    return total_ap / len(classes)
