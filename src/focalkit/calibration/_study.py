"""Calibrate a detector from COCO results and ground truth: fit on half of the images, judge on the other half."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from ..errors import InputError
from ..metrics import (
    DetectionMatches,
    box_features,
    coco_ap,
    confusion_matrix,
    match_coco,
    matches_calibration_error,
    matches_lrp,
    operating_point,
    over_thresholds,
    reliability_curve,
    select_images,
)
from ..metrics.coco_input import id_key
from ._detection import METHODS, DetectionCalibration, DetectionMethod
from ._intervals import study_intervals
from ._operating import before_map, cut_offs, detection_thresholds
from ._select import Selection, select_method, targets_of
from ._thresholds import Thresholds
from ._words import aim_in_words, noted, recommendation, undetected

TARGETS = ("precision", "localisation")
DETECTION_MEASURES = {
    "D-ECE": "score against precision, IoU .50, 25 bins, classes pooled",
    "LaECE_0": "score against precision times IoU, mean over classes, any overlap",
    "LaECE_0.1": "the same from IoU .10",
    "LaECE_0.5": "the same from IoU .50",
    "LaACE_0": "the same as LaECE_0, of single detections instead of bins",
    "Brier": "mean squared distance of score from being right",
    "oLRP": "optimal localisation-recall-precision error; changes only with the order of scores",
    "AP": "COCO average precision; changes only with the order of scores",
}
"""Rows of the table -> what they mean. All but AP are better when smaller."""


@dataclass(frozen=True)
class DetectionStudy:
    """What `calibrate_detections` found.

    Attributes:
        maps: "precision" and "localisation" -> the map fitted to it.
        target: Which of them is to be applied.
        selections: Target -> how its map was chosen; empty where the caller named one.
        thresholds: Per class, of the calibrated scores, chosen on the images of the fit.
        pooled: Of all classes together.
        uncalibrated: (k,) the same thresholds as scores before the map, for those who do not apply it, the pooled one
            where a class has none; NaN where the map sees more than the score.
        table: Measure -> {"before", "precision", "localisation"} on the other images; NaN where undefined.
        operating: What the detector does at the thresholds, on the other images.
        intervals: 95 % bootstrap intervals over those images: of the fall of D-ECE, of precision and of recall.
        curves: Reliability "before" and "after", and precision, recall and F1 over the threshold.
        confusion: (k + 1, k + 1), truth by prediction, background last, on the other images.
        names: Of the classes, in ascending category id.
        category_ids: Likewise.
        split: {"seed", "fraction", "fit", "judged"}: image ids of the two halves.
        notes: What the reader should know.
        recommendation: One sentence.
    """

    maps: dict[str, DetectionCalibration]
    target: str
    selections: dict[str, Selection]
    thresholds: Thresholds
    pooled: Thresholds
    uncalibrated: Tensor
    table: dict[str, dict[str, float]]
    operating: dict[str, Any]
    intervals: dict[str, list[float]]
    curves: dict[str, Any]
    confusion: Tensor
    names: tuple[str, ...]
    category_ids: tuple[Any, ...]
    split: dict[str, Any]
    notes: tuple[str, ...]
    recommendation: str

    def calibration_dict(self) -> dict[str, Any]:
        """What is needed to apply the result, for JSON: maps and thresholds by category."""
        maps = {target: m.state_dict() for target, m in self.maps.items()}
        classes = [{"id": i, "name": n} for i, n in zip(self.category_ids, self.names, strict=True)]
        return {
            "schema": 1,
            "target": self.target,
            "categories": classes,
            "maps": maps,
            "thresholds": self._thresholds(),
            "split": self.split,
        }

    def _thresholds(self) -> dict[str, Any]:
        uncalibrated = self.uncalibrated.tolist()
        return {**self.thresholds.to_dict(), "uncalibrated": uncalibrated, "pooled": self.pooled.to_dict()}

    def report_dict(self) -> dict[str, Any]:
        """Everything that was measured, for JSON."""
        return {
            "recommendation": self.recommendation,
            "notes": list(self.notes),
            "target": self.target,
            "split": {**self.split, "fit": len(self.split["fit"]), "judged": len(self.split["judged"])},
            "table": self.table,
            "selections": {t: {"method": s.method, "brier": s.scores} for t, s in self.selections.items()},
            "thresholds": self._thresholds(),
            "operating": self.operating,
            "intervals": self.intervals,
            "curves": self.curves,
            "confusion": self.confusion.tolist(),
        }


def calibrate_results(
    detections: Sequence[Mapping[str, Any]],
    calibration: DetectionCalibration,
    category_ids: Sequence[Any],
    image_sizes: Mapping[Any, tuple[float, float]] | None = None,
) -> list[dict[str, Any]]:
    """COCO results with calibrated scores.

    Args:
        detections: COCO results with scores in [0, 1].
        calibration: A fitted map.
        category_ids: In the order of the map's classes, ascending.
        image_sizes: Image id -> width and height, which the method "box" needs.

    Raises:
        InputError: A category that the map does not know, or an image of unknown size.
    """
    place = {id_key(key): c for c, key in enumerate(category_ids)}
    try:
        labels = torch.tensor([place[id_key(d["category_id"])] for d in detections], dtype=torch.int64)
    except KeyError as error:
        raise InputError(f"a detection has the category {error.args[0]!r}, unknown to the calibration") from error
    scores = torch.tensor([float(d["score"]) for d in detections], dtype=torch.float64)
    boxes = None
    if calibration.method == "box":
        if image_sizes is None:
            raise InputError('the method "box" needs the sizes of the images')
        sizes = {id_key(key): size for key, size in image_sizes.items()}
        rows = [(*d["bbox"], *sizes[id_key(d["image_id"])]) for d in detections]
        x, y, w, h, width, height = torch.tensor(rows, dtype=torch.float64).reshape(-1, 6).unbind(1)
        boxes = torch.stack([(x + w / 2) / width, (y + h / 2) / height, w / width, h / height], 1).clamp(0, 1)
    found = calibration.transform(scores, labels, boxes).tolist()
    return [{**d, "score": score} for d, score in zip(detections, found, strict=True)]


def calibrate_detections(
    ground_truth: Mapping[str, Any],
    detections: Sequence[Mapping[str, Any]],
    *,
    method: DetectionMethod | str = "auto",
    target: str = "precision",
    target_precision: float | None = None,
    target_recall: float | None = None,
    f_beta: float | None = None,
    costs: Sequence[Sequence[float]] | None = None,
    confidence: float | None = None,
    fraction: float = 0.5,
    seed: int = 0,
) -> DetectionStudy:
    """Fit maps and thresholds to a detector's results on half of the images and judge them on the other half.

    The images must not have trained the detector. Ties of what "auto" may take go to the simpler map.

    Args:
        ground_truth: As `coco_ap` takes it.
        detections: As `coco_ap` takes them, with scores in [0, 1].
        method: One of `DetectionCalibration`'s, or "auto": cross-validated on the images of the fit.
        target: What applied scores should say: "precision" (D-ECE), or "localisation", precision times IoU (LaECE).
        target_precision, target_recall, f_beta, costs, confidence: As in `choose_thresholds`; without any of them the
            best F1 is taken.
        fraction: Share of the images that the fit gets.
        seed: Of the split.

    Raises:
        InputError: As `match_coco`; too few images, no detections or no boxes in one of the halves.
        ValueError: An unknown method, target or aim.

    Example:
        >>> study = calibrate_detections(truth, results, target_precision=0.9)    # doctest: +SKIP
        >>> print(study.recommendation)                                           # doctest: +SKIP
    """
    if target not in TARGETS:
        raise ValueError(f'target must be "precision" or "localisation", got {target!r}')
    if method != "auto" and method not in METHODS:
        raise ValueError(f"method must be auto or one of {', '.join(METHODS)}, got {method!r}")
    at = {tau: match_coco(ground_truth, detections, iou_threshold=tau) for tau in (0.5, 0.1, 0.0)}
    fits, judged, split = _halves(at[0.5], fraction, seed)
    maps, selections, notes = {}, {}, []
    for name in TARGETS:
        rows = at[0.5 if name == "precision" else 0.0].in_images(fits).counted
        chosen = method
        if method == "auto":
            selections[name] = select_method(rows, name, seed=seed)
            chosen = selections[name].method
        fitted = DetectionCalibration(cast(DetectionMethod, chosen))
        boxes = box_features(rows) if chosen == "box" else None
        maps[name] = fitted.fit(rows.scores, rows.labels, targets_of(rows, name), boxes, names=rows.names)
        notes.append(fitted.notes)

    aims: dict[str, Any] = {
        "target_precision": target_precision,
        "target_recall": target_recall,
        "f_beta": f_beta,
        "costs": costs,
    }
    if all(value is None for value in aims.values()):
        aims["f_beta"] = 1.0
    calibrated = _scored(at[0.5], maps[target])
    thresholds, pooled = detection_thresholds(
        calibrated.in_images(fits),
        **aims,
        confidence=confidence,
        seed=seed,
    )
    cuts = cut_offs(thresholds.values, float(pooled.values))
    table = _table({tau: m.in_images(judged) for tau, m in at.items()}, maps, ground_truth)
    before, after = at[0.5].in_images(judged), calibrated.in_images(judged)
    operating = operating_point(after, cuts)
    study = DetectionStudy(
        maps=maps,
        target=target,
        selections=selections,
        thresholds=thresholds,
        pooled=pooled,
        uncalibrated=before_map(maps[target], torch.where(thresholds.values.isnan(), pooled.values, thresholds.values)),
        table=table,
        operating=operating,
        intervals=study_intervals(before, after, cuts, seed=seed),
        curves={
            "before": _curve(before, target),
            "after": _curve(after, target),
            "over_thresholds": over_thresholds(after),
        },
        confusion=confusion_matrix(after, cuts),
        names=at[0.5].names,
        category_ids=at[0.5].category_ids,
        split=split,
        notes=(*undetected(at[0.5]), *noted(*notes)),
        recommendation="",
    )
    return replace(study, recommendation=recommendation(study, aim_in_words(aims, confidence)))


def _halves(matches: DetectionMatches, fraction: float, seed: int) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Masks over images of the fit and of the judging."""
    n = len(matches.image_ids)
    if not 0 < fraction < 1:
        raise ValueError(f"fraction must lie between 0 and 1, got {fraction}")
    if n < 4:
        raise InputError(f"{n} images are too few to fit on some and judge on others; at least 4 are needed")
    size = min(n - 2, max(2, round(fraction * n)))
    fits = torch.zeros(n, dtype=torch.bool)
    fits[torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:size]] = True
    for name, half in (("fit", fits), ("judging", ~fits)):
        rows = matches.in_images(half)
        if not len(rows.truth_labels) or not bool(rows.correct.any()) or bool(rows.counted.correct.all()):
            raise InputError(
                f"the {int(half.sum())} images of the {name} have {len(rows.truth_labels)} boxes and "
                f"{int(rows.correct.sum())} right of {len(rows)} detections: calibration needs right and wrong ones; "
                "give more images, or train the detector longer; a file of results needs low scores too, and boxes in "
                "COCO's x, y, width, height"
            )
    ids = [[i for i, mine in zip(matches.image_ids, half.tolist(), strict=True) if mine] for half in (fits, ~fits)]
    return fits, ~fits, {"seed": seed, "fraction": fraction, "fit": ids[0], "judged": ids[1]}


def _scored(matches: DetectionMatches, fitted: DetectionCalibration) -> DetectionMatches:
    boxes = box_features(matches) if fitted.method == "box" else None
    return replace(matches, scores=fitted.transform(matches.scores, matches.labels, boxes))


def _table(
    at: Mapping[float, DetectionMatches], maps: Mapping[str, DetectionCalibration], ground_truth: Mapping[str, Any]
) -> dict[str, dict[str, float]]:
    columns: dict[str, dict[str, float]] = {}
    for name in ("before", *TARGETS):
        rows = dict(at) if name == "before" else {tau: _scored(m, maps[name]) for tau, m in at.items()}
        counted = rows[0.5].counted
        columns[name] = {
            "D-ECE": matches_calibration_error(rows[0.5]),
            **{f"LaECE_{tau:g}": matches_calibration_error(rows[tau], kind="laece") for tau in (0.0, 0.1, 0.5)},
            "LaACE_0": matches_calibration_error(rows[0.0], kind="laace"),
            "Brier": float((counted.scores - counted.correct.double()).square().mean()),
            "oLRP": matches_lrp(rows[0.5]).error,
            "AP": _ap(rows[0.5], ground_truth),
        }
    return {measure: {name: columns[name][measure] for name in columns} for measure in DETECTION_MEASURES}


def _ap(rows: DetectionMatches, ground_truth: Mapping[str, Any]) -> float:
    kept = select_images(ground_truth, rows.image_ids)
    return coco_ap(kept, rows.to_coco(), per_class=False).metrics["AP"]


def _curve(rows: DetectionMatches, target: str) -> dict[str, Any]:
    counted = rows.counted
    return reliability_curve(counted.scores, targets_of(counted, target), groups=counted.images).to_dict()
