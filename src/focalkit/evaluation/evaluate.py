"""The numbers and pictures of a detector on a split: COCO AP, decisions, predictions, gallery, concentration of loss.

Free of Lightning. What it does not do: other metrics than average precision, several devices.
"""

import copy
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from focalkit._files import make_folder, write_jsons_atomic
from focalkit._html import table
from focalkit.data import DetectionData
from focalkit.data.lvis import lvis_truth
from focalkit.detection import DenseOutputs, Detections, DetectionTarget, Detector
from focalkit.detection.analysis import LossConcentration
from focalkit.detection.criterion import Matcher
from focalkit.detection.inference.predict import Observer
from focalkit.evaluation.decisions import decisions
from focalkit.evaluation.gallery import tidy_gallery, write_gallery
from focalkit.evaluation.matched import MatchedSplit, match_split
from focalkit.evaluation.predict import coco_results, predict_split
from focalkit.metrics import ApRule, CocoResult, ap_by_rule, coco_ap, lvis_ap

MAX_NEGATIVES = 1e8
"""Logits that the concentration of the loss counts at most, spread over the split (the paper sampled 1e7)."""

LVIS_DETECTIONS = 300
"""Per image, by LVIS's rule (Gupta et al., 2019)."""


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found.

    Attributes:
        data: The split.
        coco: The 12 numbers, the classes, the precision-recall curves.
        detections: Per image id, in pixels of the file, on the CPU.
        score_threshold: Detections that score no more than this were not counted.
        images_per_second: Reading, resizing, the model and its post-processing; not the computation of the AP.
        device: Where the model was.
        predictions: The detections as COCO results, with the data's own ids.
        by_rule: AP by a rule other than COCO's, where one was given.
        lvis: LVIS's numbers, where they were asked for, and under "max_detections" how many of an image they look at.
    """

    data: DetectionData
    coco: CocoResult
    detections: dict[int, Detections]
    score_threshold: float
    images_per_second: float
    device: str
    predictions: list[dict[str, Any]]
    by_rule: dict[str, Any] | None = None
    lvis: dict[str, float] | None = None

    @cached_property
    def matched(self) -> MatchedSplit:
        """The detections beside the ground truth, matched once for all that looks at them."""
        most = 100 if self.by_rule is None else self.by_rule["max_detections"]
        return match_split(self.data, self.predictions, max_detections=most)

    def _repr_html_(self) -> str:
        """In a notebook: COCO's numbers and the classes."""
        ordered = sorted(self.coco.per_class.items(), key=lambda named: -named[1]["count"])
        rows = [(name, *(row[key] for key in ("count", "AP", "AP50", "AP75"))) for name, row in ordered]
        numbers = table(list(self.coco.metrics), [list(self.coco.metrics.values())])
        return numbers + table(["class", "boxes", "AP", "AP50", "AP75"], rows)

    def summary(self, train_counts: Sequence[int] | None = None) -> dict[str, Any]:
        """What evaluation.json holds, without the gallery and the concentration of the loss.

        Args:
            train_counts: Boxes per class that the model was trained on, where known.
        """
        return {
            "split": self.data.split,
            "data": str(self.data.source),
            "num_images": len(self.data),
            "metrics": self.coco.metrics,
            "by_rule": self.by_rule,
            "lvis": self.lvis,
            **_class_tables(self.data, self.coco, train_counts),
            "pr": self.coco.curves,
            "decisions": decisions(self.data.to_coco(), self.predictions, self.matched.matches),
            "score_threshold": self.score_threshold,
            "speed": {"images_per_second": round(self.images_per_second, 3), "device": self.device},
        }


def evaluate(
    detector: Detector,
    data: DetectionData,
    *,
    batch_size: int = 8,
    workers: int = 0,
    observe: Observer | None = None,
    label: str = "evaluating",
    rule: ApRule | None = None,
    lvis: bool = False,
) -> Evaluation:
    """Detect on every image of a split and compute COCO AP.

    Args:
        detector: A trained model with the thresholds to use, from a run, a weights file or an exported file.
        data: The split; its label k is the model's class k (see `align_categories`).
        batch_size: Images per pass.
        workers: Processes that read images; 0 reads in this one.
        observe: Called with the raw outputs and the targets of each batch; its time is not counted.
        label: Of the progress bar.
        rule: Compute AP by this rule too. Its limit on detections is the detector's where that is lower; COCO's
            numbers are of those that the detector gives by its own limit, with or without a rule.
        lvis: Compute LVIS's numbers too, of the COCO file that the split is from and up to 300 detections per image.
            Nothing else changes with them.

    Raises:
        InputError: The data has another number of classes than the model, an image cannot be read, the file of an
            exported detector keeps fewer detections than the rule asks for, or nothing says how frequent classes are.

    Example:
        >>> evaluate(Detector.from_run("runs/first"), data).coco.metrics["AP"]      # doctest: +SKIP
        0.41
    """
    observing = 0.0
    federated = lvis_truth(data) if lvis else None  # what it lacks is known before the work

    def timed(outputs: DenseOutputs, targets: Sequence[DetectionTarget]) -> None:
        nonlocal observing
        if observe is not None:
            before = time.perf_counter()
            observe(outputs, targets)
            observing += time.perf_counter() - before

    usual = detector.postprocess.max_detections
    most = usual if rule is None else max(usual, rule.max_detections)
    kept = getattr(detector.postprocess, "most", LVIS_DETECTIONS)  # an exported file has no more than it keeps
    seen = max(most, min(LVIS_DETECTIONS, kept) if lvis else 0)
    if seen > usual:
        detector = copy.copy(detector)
        detector.postprocess = replace(detector.postprocess, max_detections=seen)
    start = time.perf_counter()
    detections = predict_split(detector, data, batch_size=batch_size, workers=workers, observe=timed, label=label)
    seconds = time.perf_counter() - start - observing
    truth = data.to_coco()
    results = coco_results(_best(detections, most), data.category_ids)
    best = results if rule is None else coco_results(_best(detections, usual), data.category_ids)
    coco = coco_ap(truth, best, curves=True)
    own = None if rule is None else ap_by_rule(truth, results, rule)
    speed = len(data) / max(seconds, 1e-9)
    threshold, device = detector.postprocess.score_threshold, str(detector.device)
    of_lvis = None
    if federated is not None:
        judged = {
            category["id"] for category in federated["categories"]
        }  # of these alone says it how frequent they are
        rows = [row for row in coco_results(detections, data.category_ids) if row["category_id"] in judged]
        of_lvis = {**lvis_ap(federated, rows).metrics, "max_detections": min(seen, LVIS_DETECTIONS)}
        detections = _best(detections, most)
    return Evaluation(data, coco, detections, threshold, speed, device, results, own, of_lvis)


def _best(detections: Mapping[int, Detections], most: int) -> dict[int, Detections]:
    return {image_id: found.first(most) for image_id, found in detections.items()}


def evaluate_into(
    folder: Path,
    detector: Detector,
    data: DetectionData,
    *,
    matcher: Matcher | None = None,
    batch_size: int = 8,
    workers: int = 0,
    train_counts: Sequence[int] | None = None,
    pictures: int = 6,
    rule: ApRule | None = None,
    lvis: bool = False,
) -> dict[str, Any]:
    """Evaluate a detector and write predictions.json, evaluation.json and gallery/ into a folder.

    Args:
        folder: Where to write; made where it is not there.
        detector, data, batch_size, workers, rule, lvis: See `evaluate`.
        matcher: Tells positives from negatives for the concentration of the loss; None leaves it out.
        train_counts: Boxes per class that the model was trained on, where known.
        pictures: See `evaluate_run`.

    Returns:
        The contents of evaluation.json.
    """
    ending = file_ending(data)
    make_folder(folder)  # a place that cannot be written to is known before the work
    concentration = None if matcher is None else ConcentrationObserver(LossConcentration(matcher), len(data))
    found = evaluate(
        detector, data, batch_size=batch_size, workers=workers, observe=concentration, rule=rule, lvis=lvis
    )
    shown = write_gallery(found.matched, folder, f"gallery{ending}", each=pictures)
    evaluation = {
        **found.summary(train_counts),
        "gallery": shown,
        "best_f1_threshold": round(found.matched.threshold, 4) if found.matched.anything_right else None,
        "loss_concentration": None if concentration is None else concentration.curves(),
    }
    # the evaluation names the pictures, so it comes last, and those of the earlier one go when nothing names them
    names = (f"evaluation{ending}.json", f"predictions{ending}.json")
    write_jsons_atomic({folder / names[0]: evaluation, folder / names[1]: found.predictions})
    tidy_gallery(shown, folder, f"gallery{ending}")
    return evaluation


def file_ending(data: DetectionData) -> str:
    """What follows the name of a file of results: nothing for the split val, "-test" for test."""
    return "" if data.split == "val" else f"-{data.split}"


class ConcentrationObserver:
    """Counts every n-th batch, so that about MAX_NEGATIVES logits are counted, from all over the split."""

    def __init__(self, collected: LossConcentration, images: int) -> None:
        self.collected, self.images = collected, images
        self.every = self.seen = 0

    def __call__(self, outputs: DenseOutputs, targets: Sequence[DetectionTarget]) -> None:
        if not self.every:
            per_image = sum(level[0].numel() for level in outputs.logits)
            self.every = max(1, math.ceil(per_image * self.images / MAX_NEGATIVES))
        if self.seen % self.every == 0:
            self.collected.add(outputs, targets)
        self.seen += 1

    def curves(self) -> dict[str, Any] | None:
        """None where there were no positives or no negatives."""
        curves = self.collected.curves()
        return curves if curves["num_positives"] and curves["num_negatives"] else None


def _class_tables(data: DetectionData, coco: CocoResult, train: Sequence[int] | None) -> dict[str, Any]:
    by_id = {row["id"]: row for row in coco.per_class.values()}
    rows = []
    for k, category in enumerate(data.categories):
        found = by_id[category.id]
        numbers = {key: found[key] for key in ("count", "AP", "AP50", "AP75")}
        rows.append({"name": category.name, "id": category.id, "train_count": train[k] if train else None, **numbers})
    histogram = {"names": list(data.names), "train": list(train or ()), "val": data.class_counts()}
    return {"per_class": rows, "class_histogram": histogram}
