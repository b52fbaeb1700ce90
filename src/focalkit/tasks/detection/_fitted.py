"""A fitted detector, and the same from its files; what it finds beside the ground truth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch

from focalkit._runs import write_json_atomic
from focalkit.data import DetectionData
from focalkit.detection import Detections, Detector, RetinaNet, save_weights
from focalkit.detection.analysis import LossConcentration, easy_shares
from focalkit.detection.criterion import Matcher
from focalkit.errors import DataError, InputError
from focalkit.evaluation.evaluate import ConcentrationObserver
from focalkit.evaluation.predict import predict_split

from .._task import Array, Outputs
from ._average_precision import best_threshold, judge

SCHEMA = 1
LEAST = 1e-6
"""The probability of a class of which nothing was found in an image."""


@dataclass(frozen=True)
class DetectionModel:
    """From images to boxes.

    Attributes:
        detector: Keeps what it finds whatever it scores, at most 100 boxes an image.
        threshold: From which score on something counts as found.
    """

    detector: Detector
    threshold: float = 0.5

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.detector.names or ()

    def predict(self, source: Any) -> Outputs:
        """What is found in images: a path, a folder, or what `Detector.predict` takes. Targets are -1.

        Raises:
            InputError: A file that is no image.
        """
        from focalkit.images import each_image

        given = list(each_image(source))
        found = self.detector.predict(given)
        ids = np.asarray([str(x) if isinstance(x, str | Path) else str(i) for i, x in enumerate(given)])
        targets = np.full((len(given), len(self.classes)), -1)
        return Outputs(ids, targets, _logits(found, len(self.classes)), link="sigmoid", parts=_detections(found))

    def find(self, source: Any) -> list[Detections]:
        """What is found in every image from the threshold on; `source` as in `predict`."""
        from focalkit.images import each_image

        return [one.above(self.threshold) for one in self.detector.predict(list(each_image(source)))]

    def save(self, folder: Path) -> None:
        """Write `model.safetensors`, which `Detector.open` reads, and `model.json`."""
        save_weights(cast(RetinaNet, self.detector.model), folder / "model.safetensors")
        write_json_atomic(folder / "model.json", {"schema": SCHEMA, "classes": list(self.classes)})

    @staticmethod
    def load(folder: Path) -> "DetectionModel":
        """What `save` wrote; beside the outputs of a cell, the threshold is that of the best F1 on validation.

        Raises:
            DataError: The file cannot be read.
        """
        val = folder / "val.npz"
        threshold = best_threshold(Outputs.read(val)) if val.is_file() else 0.5
        try:
            return DetectionModel(Detector.open(folder / "model.safetensors", score_threshold=0.0), threshold)
        except InputError as error:
            raise DataError(folder, [f"holds no detector that could be read ({error})"]) from error


@dataclass(frozen=True)
class DetectionFitted:
    """A detector with the parts that it was fitted on.

    Attributes:
        train_images: Per class, training images that show it.
        matcher: Tells the positives from the negatives among the priors.
        threads: CPU threads for prediction.
        facts: "loss_concentration" is added when the test part is looked at: see `focalkit.detection.analysis`.
    """

    model: DetectionModel
    parts: Mapping[str, DetectionData | None]
    train_images: Sequence[int]
    matcher: Matcher
    threads: int = 1
    facts: dict[str, Any] = field(default_factory=dict)

    def outputs(self, part: Literal["val", "test"]) -> Outputs:
        """What is found in every image of a part, judged, beside its boxes."""
        data = self.parts[part]
        assert data is not None
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        concentration = ConcentrationObserver(LossConcentration(self.matcher), len(data))
        observe = concentration if part == "test" else None
        try:
            by_image = predict_split(self.model.detector, data, observe=observe, label=f"detecting on {part}")
        finally:
            torch.set_num_threads(before)
        if part == "test":
            counted = concentration.collected
            shares = {"shares": easy_shares(counted.histogram)}
            self.facts["loss_concentration"] = _rounded({**counted.curves(), **shares})
        found = [by_image[image.id] for image in data.images]
        truth = _truth(data, self.train_images)
        detections = _detections(found)
        judged = [
            judge(
                *(one[f"detections.{name}"] for name in ("boxes", "scores", "labels")),
                *(true[f"truth.{name}"] for name in ("boxes", "labels", "crowd")),
            )
            for one, true in zip(_by_item(detections, len(data)), _by_item(truth, len(data)), strict=True)
        ]
        detections["detections.judged"] = np.concatenate(judged)
        targets = np.zeros((len(data), data.num_classes), dtype=np.int64)
        clear = ~truth["truth.crowd"]
        targets[truth["truth.item"][clear], truth["truth.labels"][clear]] = 1
        ids = np.asarray([image.file_name for image in data.images])
        logits = _logits(found, data.num_classes)
        return Outputs(ids, targets, logits, link="sigmoid", parts={**detections, **truth})

    def save(self, folder: Path) -> None:
        """Write the model."""
        self.model.save(folder)


def _rounded(value: Any) -> Any:
    """Five digits are enough for a picture."""
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return round(value, 5) if isinstance(value, float) else value


def _detections(found: Sequence[Detections]) -> dict[str, Array]:
    counts = [len(one.scores) for one in found]
    boxes = [one.boxes.cpu().numpy().reshape(-1, 4) for one in found]
    return {
        "detections.item": np.repeat(np.arange(len(found)), counts),
        "detections.boxes": np.concatenate([np.zeros((0, 4), np.float32), *boxes]).astype(np.float32),
        "detections.scores": _joined([one.scores.cpu().numpy() for one in found], np.float32),
        "detections.labels": _joined([one.labels.cpu().numpy() for one in found], np.int64),
    }


def _truth(data: DetectionData, train_images: Sequence[int]) -> dict[str, Array]:
    images = data.images
    labels = _joined([np.asarray(image.labels) for image in images], np.int64)
    boxes = [np.asarray(image.boxes, dtype=np.float64).reshape(-1, 4) for image in images]
    return {
        "truth.item": np.repeat(np.arange(len(images)), [len(image.labels) for image in images]),
        "truth.boxes": np.concatenate([np.zeros((0, 4)), *boxes]),
        "truth.labels": labels,
        "truth.crowd": _joined([np.asarray(image.crowd) for image in images], np.bool_),
        "truth.area": _joined([np.asarray(image.areas) for image in images], np.float64),
        "truth.train_images": np.asarray(train_images, dtype=np.int64)[labels],
    }


def _joined(arrays: Sequence[Array], kind: type) -> Array:
    return np.concatenate([np.zeros(0, kind), *arrays]).astype(kind)


def _by_item(part: Mapping[str, Array], items: int) -> list[dict[str, Array]]:
    """The rows of every item, which are in the order of the items."""
    item = next(values for name, values in part.items() if name.endswith(".item"))
    ends = np.searchsorted(item, np.arange(1, items))
    columns = {name: np.split(values, ends) for name, values in part.items()}
    return [{name: values[i] for name, values in columns.items()} for i in range(items)]


def _logits(found: Sequence[Detections], classes: int) -> Array:
    """(n, k): the logit of the highest score of each class in each image."""
    highest = np.full((len(found), classes), LEAST)
    for i, one in enumerate(found):
        np.maximum.at(highest[i], one.labels.cpu().numpy(), one.scores.cpu().numpy())
    p = highest.clip(LEAST, 1 - LEAST)
    return np.log(p / (1 - p)).astype(np.float32)
