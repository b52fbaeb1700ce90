"""Evaluate a training run, a weights file or any other detector on a data set, and keep what a report needs."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from focalkit._files import read_json, write_jsons_atomic
from focalkit._runs import RunDir
from focalkit.config import TrainConfig
from focalkit.data import Category, DetectionData, Selection, choose_classes, open_detection_data
from focalkit.detection import Detector
from focalkit.detection.build import assigner_of
from focalkit.detection.weights import LayoutName
from focalkit.errors import ConfigError, InputError
from focalkit.evaluation.evaluate import evaluate, evaluate_into, file_ending
from focalkit.evaluation.predict import align_categories
from focalkit.metrics import ApRule


def evaluate_run(
    run_dir: Path,
    data_path: Path | None = None,
    split: str = "val",
    *,
    out: Path | None = None,
    device: torch.device | str | None = None,
    score_threshold: float = 0.05,
    pictures: int = 6,
    rule: ApRule | None = None,
    lvis: bool = False,
    selection: Selection | None = None,
) -> dict[str, Any]:
    """Evaluate the best checkpoint of a run and write what a report needs.

    Writes predictions.json (COCO results with the data's own ids), evaluation.json and gallery/ into `out`; for another
    split than "val" the names end in its name ("evaluation-test.json"). The numbers also go into the run's result.json,
    whose other keys stay, when they are those of its own validation split. Those of another data set do not replace
    anything: they go into a folder of their own, "evaluations/NAME" in the run directory.

    Args:
        run_dir: What training wrote.
        data_path: A data set; None takes the run's own.
        split: "train", "val", "test" or "all".
        out: Where to write; None is the run directory, or for other data than the run's own a folder in it.
        device: None takes a GPU where there is one.
        score_threshold: Detections that score no more than this do not count.
        pictures: Number of best and worst images and of mistakes in the gallery; 0 leaves the gallery out.
        rule: Compute AP by this rule too; see `evaluate`.
        lvis: Compute LVIS's numbers too; see `evaluate`.
        selection: Other images or classes of the data than the run has; the results are then those of other data.

    Returns:
        The contents of evaluation.json; for other data than the run's own also "written", the folder.

    Raises:
        ConfigError: No run, no checkpoint, data with a class that the model does not know, or another data set of the
            same name whose results would be replaced.
        DataError, InputError: The data cannot be read.
    """
    run = RunDir(Path(run_dir))
    detector = Detector.from_run(run.path, device, score_threshold=score_threshold)
    config = run.read_config()
    categories = tuple(Category(c["id"], c["name"]) for c in run.read_categories())
    its_own = (config.data.path, config.data.val_json if split == "val" else None)
    own = data_path is None or Path(data_path).resolve() in [path.resolve() for path in its_own if path is not None]
    opened = open_split(config, None if own else data_path, split, run=run.path, selection=selection)
    data = align_categories(opened, categories)

    folder = Path(out or run.path)
    if selection is not None and selection != Selection():
        own, data_path = False, data_path or data.source
    if not own and out is None and data_path is not None:
        folder = run.path / "evaluations" / (Path(data_path).resolve().name + _chosen(selection, data))
        _refuse_others(folder, data)
    evaluation = evaluate_into(
        folder,
        detector,
        data,
        matcher=assigner_of(config),
        batch_size=max(1, config.batch_size // (config.accumulate * config.runtime.devices * config.runtime.num_nodes)),
        workers=config.runtime.workers,
        train_counts=_train_counts(config, categories, run.path),
        pictures=pictures,
        rule=rule,
        lvis=lvis,
    )
    if own and data.split == "val":
        run.write_result({"finished": False, **run.read_result(), "metrics": evaluation["metrics"]})
    return evaluation if own else {**evaluation, "written": str(folder)}


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
    rule: ApRule | None = None,
    lvis: bool = False,
    selection: Selection | None = None,
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
        rule, lvis: See `evaluate`.
        selection: Which images and classes of the data.

    Returns:
        The contents of evaluation.json, and under "written" the folder.

    Raises:
        ConfigError: No data set, one with other classes, or another than that whose results would be replaced.
        InputError: The file or the data cannot be read.
    """
    if data_path is None:
        raise ConfigError(f"{path}: a weights file does not know its data set: give one with --data DATA")
    detector = Detector.open(path, device, score_threshold=score_threshold, layout=layout, coco80=coco80, trust=trust)
    data = with_classes_of(detector, open_split(None, data_path, split, selection=selection), path)
    folder = out or path.with_name(f"{path.stem}-evaluation{_chosen(selection, data)}")
    if out is None:
        _refuse_others(folder, data)
    assert detector.card is not None  # `load_weights` gives one to every model
    config = TrainConfig(model=detector.card.config)
    found = evaluate_into(
        folder,
        detector,
        data,
        matcher=assigner_of(config),
        workers=config.runtime.workers,
        pictures=pictures,
        rule=rule,
        lvis=lvis,
    )
    return {**found, "written": str(folder)}


def evaluate_detector(
    detector: Detector,
    data: DetectionData,
    *,
    out: Path | None = None,
    label: str = "evaluating",
    rule: ApRule | None = None,
    lvis: bool = False,
) -> dict[str, Any]:
    """Evaluate any detector, such as that of an exported file; there is no gallery.

    Args:
        detector: With names and category ids.
        data: A split; its classes are found by name.
        out: Folder for predictions.json and evaluation.json, for another split than "val" with its name as those of
            `evaluate_run`; None writes nothing.
        label: Of the progress bar.
        rule, lvis: See `evaluate`.

    Returns:
        The contents of evaluation.json.

    Raises:
        ConfigError: The data has a class that the detector does not know.
    """
    found = evaluate(detector, with_classes_of(detector, data, "the detector"), label=label, rule=rule, lvis=lvis)
    summary = found.summary()
    if out is not None:
        ending = file_ending(data)
        files = {out / f"evaluation{ending}.json": summary, out / f"predictions{ending}.json": found.predictions}
        write_jsons_atomic(files)
    return summary


def evaluated_threshold(run: Path) -> float | None:
    """The score threshold with the best F1 on the validation images, from the run's evaluation.json.

    None without one: the run was not evaluated, or nothing that it detected is right.
    """
    try:
        found = read_json(run / "evaluation.json")
        # before schema 2 of run.json it was named after the gallery
        return float(found.get("best_f1_threshold", found.get("gallery_threshold")))
    except (OSError, ValueError, AttributeError, TypeError):
        return None


def open_split(
    config: TrainConfig | None,
    path: Path | None,
    split: str,
    *,
    check: bool = True,
    run: Path | None = None,
    selection: Selection | None = None,
) -> DetectionData:
    """A split of the data set at `path`, or of the one that a run was trained on.

    Classes are chosen as `selection` says, or else as the run's were. Of a split that training made, the images that it
    wrote down in the folder `run` are taken, unless `selection` names another file.

    Raises:
        InputError: Neither is given, or it cannot be read.
    """
    repair = config is not None and config.data.repair
    asked = selection or Selection()
    if config is None or path is not None:
        if path is None:
            raise InputError("a file does not know its data set: give --data DATA")
        data = open_detection_data(path, split, check=check, repair=repair, selection=asked)
        return (
            data if config is None or asked.chooses else choose_classes(data, Selection.of(config.data), strict=False)
        )
    own = Selection.of(config.data)
    if asked.divides:
        own = replace(asked, classes=own.classes, merge=own.merge, single_class=own.single_class)
    elif own.divides and run is not None and (run / "splits.json").is_file():
        own = replace(own, split=str(run / "splits.json"), group_by=None, fold=None)
    if asked.chooses:
        own = replace(own, classes=asked.classes, merge=asked.merge, single_class=asked.single_class)
    return open_detection_data(
        config.data.path,
        split,
        train_json=config.data.train_json,
        val_json=config.data.val_json,
        images=config.data.images,
        check=check,
        repair=repair,
        selection=own,
    )


def with_classes_of(detector: Detector, data: DetectionData, source: object) -> DetectionData:
    """The data with the detector's classes, found by name; without names, in the data's order.

    Raises:
        ConfigError: A class that the detector does not know, or another number of classes.
    """
    if detector.names is not None and detector.category_ids is not None:
        classes = zip(detector.category_ids, detector.names, strict=True)
        return align_categories(data, [Category(i, name) for i, name in classes])
    classes = detector.model.num_classes
    if data.num_classes != classes:
        raise ConfigError(
            f"{source}: has {classes} classes and does not say which, the data has {data.num_classes}:"
            f" {', '.join(data.names[:10])}"
        )
    return data


def _chosen(selection: Selection | None, data: DetectionData) -> str:
    """What the name of a folder says of chosen classes, and of images dealt out otherwise."""
    if selection is None:
        return ""
    words = [selection.classes or "", *selection.merge, "single-class" * selection.single_class]
    said = re.sub(r"[^\w.-]+", "+", "-".join(word for word in words if word))[:80]
    dealt = ""
    if selection.divides and data.division is not None:
        parts = json.dumps({part: sorted(names) for part, names in data.division.items()}, sort_keys=True)
        dealt = "split-" + hashlib.sha256(parts.encode()).hexdigest()[:8]
    return "".join(f"-{word}" for word in (said, dealt) if word)


def _refuse_others(folder: Path, data: DetectionData) -> None:
    """An error where the folder has results on another data set."""
    file = folder / f"evaluation{file_ending(data)}.json"
    try:
        stored = str(read_json(file)["data"])
    except (OSError, ValueError, LookupError, TypeError):
        return
    if Path(stored).resolve() != data.source.resolve():
        raise ConfigError(f"{file}: holds the results on {stored}, which would be replaced; choose a place with --out")


def _train_counts(config: TrainConfig, categories: Sequence[Category], run: Path) -> list[int] | None:
    """Boxes per class that the run was trained on; None where its data is no longer there."""
    try:
        return align_categories(open_split(config, None, "train", check=False, run=run), categories).class_counts()
    except InputError:
        return None
