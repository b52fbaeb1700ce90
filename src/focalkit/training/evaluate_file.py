"""The numbers of a weights file, of another library's or ours, on a data set."""

from pathlib import Path
from typing import Any

import torch

from focalkit.config import TrainConfig
from focalkit.data import Category, open_detection_data
from focalkit.detection.inference.detector import Detector
from focalkit.detection.models.card import ModelCard
from focalkit.detection.weights import LayoutName
from focalkit.errors import ConfigError
from focalkit.training.evaluate import align_categories, evaluate_into


def evaluate_file(
    path: Path,
    data_path: Path | None,
    split: str = "val",
    *,
    out: Path | None = None,
    device: torch.device | str | None = None,
    score_threshold: float = 0.05,
    pictures: int = 6,
    layout: LayoutName = "auto",
    coco80: bool = False,
    trust: bool = False,
) -> dict[str, Any]:
    """Evaluate the model in a weights file and write what `evaluate_run` writes.

    Classes are found by name where the file or its library says how they are called (COCO's 80, torchvision's 91);
    otherwise the data has to have as many, and they are taken in its order.

    Args:
        path: What `focalkit.detection.load_weights` reads.
        data_path: A data set.
        split: "train", "val", "test" or "all".
        out: Where to write; None is a folder beside the file, with its name and "-evaluation".
        device: None takes a GPU where there is one.
        score_threshold: Detections that score no more than this do not count.
        pictures: Number of best and worst images and of mistakes in the gallery.
        layout, coco80, trust: See `load_weights`.

    Returns:
        The contents of evaluation.json, and under "written" the folder.

    Raises:
        ConfigError: No data set, or one with other classes.
        InputError: The file or the data cannot be read.
    """
    if data_path is None:
        raise ConfigError(f"{path}: a weights file does not know its data set: give one with --data DATA")
    detector = Detector.open(path, device, score_threshold=score_threshold, layout=layout, coco80=coco80, trust=trust)
    data = open_detection_data(data_path, split)
    card: ModelCard = detector.model.card  # pyright: ignore[reportAssignmentType]
    if card.categories is not None:
        data = align_categories(data, [Category(i, name) for i, name in card.categories])
    elif data.num_classes != detector.model.num_classes:
        raise ConfigError(
            f"{path}: has {detector.model.num_classes} classes and does not say which, the data has {data.num_classes}:"
            f" {', '.join(data.names[:10])}"
        )
    config = TrainConfig(min_size=card.min_size, max_size=card.max_size, batch_size=8, model=card.config)
    folder = out or path.with_name(f"{path.stem}-evaluation")
    return {**evaluate_into(folder, detector, data, config, pictures=pictures), "written": str(folder)}
