"""What `evaluate`, `predict` and `export` do with exported files: open them, and measure their AP."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from focalkit.errors import InputError

if TYPE_CHECKING:
    from focalkit.config import TrainConfig
    from focalkit.data import DetectionData
    from focalkit.detection import Detector


def open_exported(
    path: Path, device: str | None, score_threshold: float | None = None, *, trust: bool = False
) -> "Detector":
    """The detector in an exported file.

    Raises:
        InputError: It cannot be read, not without `trust`, or another device than the CPU is asked for.
    """
    from focalkit.export import load_exported

    if device not in (None, "cpu"):
        raise InputError(f"{path}: exported files run on the CPU here, got --device {device}; a run directory takes it")
    return load_exported(path, score_threshold=score_threshold, trust=trust)


def metadata(detector: "Detector") -> Mapping[str, Any]:
    """What the exported file says about itself."""
    return detector.model.info  # pyright: ignore[reportReturnType]


def open_data(config: "TrainConfig | None", path: Path | None, split: str) -> "DetectionData":
    """A split of a data set, or of the one that a run was trained on.

    Raises:
        InputError: Neither is given, or it cannot be read.
    """
    from focalkit.data import open_detection_data

    if path is not None:
        return open_detection_data(path, split, repair=config is not None and config.repair)
    if config is None:
        raise InputError("a file does not know its data set: give --data DATA")
    return open_detection_data(
        config.data,
        split,
        train_json=config.train_json,
        val_json=config.val_json,
        images=config.images,
        repair=config.repair,
    )


def measure(detector: "Detector", data: "DetectionData", what: str = "evaluating") -> dict[str, Any]:
    """COCO AP of any detector with names and category ids, over all classes and per class.

    Returns:
        As `evaluation.json`, without curves and gallery; and "predictions", COCO results.

    Raises:
        ConfigError: The data has a class that the detector does not know.
    """
    from focalkit._progress import track
    from focalkit.data import Category
    from focalkit.metrics import coco_ap
    from focalkit.training.evaluate import align_categories, coco_results

    categories = tuple(Category(i, n) for i, n in zip(detector.category_ids or (), detector.names or (), strict=True))
    data = align_categories(data, categories)
    start = time.perf_counter()
    stream = track(detector.stream(image.path for image in data.images), len(data), what)
    found = {image.id: one for image, one in zip(data.images, stream, strict=True)}
    seconds = time.perf_counter() - start
    predictions = coco_results(found, data.category_ids)
    coco = coco_ap(data.to_coco(), predictions)
    by_id = {row["id"]: row for row in coco.per_class.values()}
    rows = [
        {"name": c.name, "id": c.id, **{key: by_id[c.id][key] for key in ("count", "AP", "AP50", "AP75")}}
        for c in data.categories
    ]
    return {
        "split": data.split,
        "data": str(data.source),
        "num_images": len(data),
        "metrics": coco.metrics,
        "per_class": rows,
        "score_threshold": detector.postprocess.score_threshold,
        "speed": {"images_per_second": round(len(data) / max(seconds, 1e-9), 3), "device": "cpu"},
        "predictions": predictions,
    }
