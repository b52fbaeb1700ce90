"""`focalkit inspect DATA`: what is in a data set and what is wrong with it, before any training."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from focalkit.cli._flags import Prefixless, SelectionFlags
from focalkit.cli._presets import PresetName, preset, preset_here
from focalkit.config import DetectorName, TrainConfig
from focalkit.errors import InputError

if TYPE_CHECKING:
    from focalkit.data import DetectionData
    from focalkit.findings import Finding

_SHOWN = 50


@dataclass(frozen=True)
class Args:
    """Look at data before training: classes, copies, leaks, labels that look wrong; boxes against anchors."""

    data: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="DATA", help_behavior_hint="")] = None
    """Boxes: a folder as COCO, Pascal VOC, YOLO, CVAT, Label Studio, labelme or Open Images have it, or its JSON, XML,
    YAML or csv file. A table: csv, tsv, parquet, npz. Images: a folder of images for each class, or npz"""
    train_json: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = None
    """COCO file of the split train, instead of looking for one"""
    val_json: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = None
    """COCO file of the split val"""
    images: Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")] = None
    """With --train-json / --val-json: the folder that file names are relative to"""
    check: Annotated[bool, tyro.conf.arg(help_behavior_hint="")] = True
    """Do not look at the image files (where the annotations give their sizes)"""
    repair: bool = False
    """Leave out boxes without area and unreadable images, clip boxes that reach out, instead of reporting them"""
    preset: Annotated[PresetName | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")] = None
    """How the detector of this preset would match the boxes, at its size: --anchors, or --detector where it has none.
    For these two, not given: cpu-small where there is no GPU, else default, as for train"""
    anchors: bool = False
    """How anchors match the boxes, and better sizes where there are some"""
    detector: Annotated[DetectorName | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")] = None
    """How this detector would match the boxes: retinanet, fcos, atss, gfl, vfnet, centernet, rtmdet, rtdetrv2, dfine or
    deim"""
    anchor_sizes: Annotated[tuple[float, ...] | None, tyro.conf.arg(metavar="PX...", help_behavior_hint="")] = None
    """Side in pixels of the square anchor on P3 .. P7, instead of the preset's"""
    min_size: Annotated[int | None, tyro.conf.arg(metavar="PX", help_behavior_hint="")] = None
    """Short side in pixels that images are resized to before matching, instead of the preset's"""
    max_size: Annotated[int | None, tyro.conf.arg(metavar="PX", help_behavior_hint="")] = None
    """Upper bound of the long side, instead of the preset's"""
    target: Annotated[str | None, tyro.conf.arg(metavar="COLUMN", help_behavior_hint="")] = None
    """Target column of a table"""
    group: Annotated[str | None, tyro.conf.arg(metavar="COLUMN", help_behavior_hint="")] = None
    """Column of a table whose equal values belong together"""
    leave_out: Annotated[tuple[str, ...], tyro.conf.arg(metavar="COLUMN...", help_behavior_hint="")] = ()
    """Columns of a table that are passed over"""
    labels: Annotated[bool, tyro.conf.arg(help_behavior_hint="")] = True
    """Do not look for wrong labels, for which a small model is trained"""
    json: bool = False
    """Print one JSON object on stdout"""
    selection: Annotated[SelectionFlags, Prefixless] = field(default_factory=SelectionFlags)


def main(argv: list[str]) -> int:
    args = tyro.cli(Args, args=argv, prog="focalkit inspect", config=(tyro.conf.FlagCreatePairsOff,))
    task = _task_of(args)
    if args.leave_out and task != "tabular":
        raise InputError(
            f"{args.data}: only tables have columns to leave out; these data are for {task or 'detection'}"
        )
    if task is not None:
        if args.selection != SelectionFlags():
            raise InputError(f"{args.data}: divisions and chosen classes are for boxes; these data are for {task}")
        return inspect_items(args, task)
    found = inspect(args)
    if args.json:
        print(json.dumps(found, indent=2))
    else:
        from focalkit.cli._inspect_text import render

        render(found, _SHOWN)
    grave = any(finding["level"] == "error" for finding in found["findings"])
    return 2 if found["problems"] or grave else 0


def _task_of(args: Args) -> str | None:
    """The task of the workbench that reads these data; None: they are for a detector."""
    from focalkit.tasks import TASKS, open_task

    if args.data is None or args.train_json or args.val_json or not args.data.exists():
        return None
    tasks = ["detection", *(name for name in TASKS if name != "detection")]  # boxes first: their images lie in folders
    found = next((name for name in tasks if open_task(name).recognises(args.data)), None)
    if found == "tabular" and _pictures_beside_one_table(args.data):
        return None  # labels of pictures, in a form that is not known: say which are
    return None if found == "detection" else found


def _pictures_beside_one_table(folder: Path) -> bool:
    """Whether a folder has folders of pictures, and no table test.* that would make its train.* a table to learn."""
    from focalkit._pictures import is_picture

    if not folder.is_dir() or any(path.is_file() for path in folder.glob("test.*")):
        return False
    return any(is_picture(file) for place in folder.iterdir() if place.is_dir() for file in place.iterdir())


def inspect_items(args: Args, task: str) -> int:
    """Tables and images: classes and findings."""
    from focalkit._runs import dump_json
    from focalkit.tasks import Source, open_task

    assert args.data is not None
    source = Source(args.data, args.target, args.group, leave_out=args.leave_out)
    found = open_task(task).inspect(source, args.labels)
    if args.json:
        rows = [finding.as_dict() for finding in found.findings]
        about = {"task": task, "classes": found.classes, "facts": found.facts, "notes": found.notes}
        print(dump_json({**about, "findings": rows}))
    else:
        from focalkit.cli._inspect_text import render_items

        render_items(task, found, _SHOWN)
    return 2 if any(finding.check.level == "error" for finding in found.findings) else 0


def inspect(args: Args) -> dict[str, Any]:
    """Everything the command says about detection data, as plain values."""
    from focalkit.data.analyze import summarize
    from focalkit.data.find import Place, compare_splits, find_layout, find_others, open_all

    if args.data is None and args.train_json is None and args.val_json is None:
        raise InputError("nothing to look at: give the data folder, or --train-json / --val-json")
    asked = _asked(args) if args.anchors or args.detector or args.preset else None
    place = Place(args.data, args.train_json, args.val_json, args.images, args.check, args.repair)
    layout = find_layout(args.data) if args.data and not (args.train_json and args.val_json) else None
    opened, problems = open_all(place, args.selection.selection())
    found: dict[str, Any] = {"format": layout.format if layout else "COCO", "splits": {}, "problems": problems}
    found["others"] = find_others(args.data, opened.values()) if args.data and layout else {}
    found["warnings"] = []
    for split, data in opened.items():
        found["splits"][split] = summarize(data)
        if data.class_map:
            found["class_map"] = dict(data.class_map)
        if split != "train" and "train" in opened:
            more_problems, warnings = compare_splits(opened["train"], data)
            problems += more_problems
            found["warnings"] += warnings
    if len(opened) == 1 and not any(next(iter(opened.values())).class_counts()):
        found["warnings"].append("no image has a box: there is only background to learn from")
    findings: list[Finding] = []
    if asked and opened:
        data = opened.get("train") or next(iter(opened.values()))
        findings = _matching(args, asked, data, found)
    found["findings"] = [finding.as_dict() for finding in [*_of_classes(opened), *_of_copies(args, opened), *findings]]
    return found


def _of_classes(opened: "dict[str, DetectionData]") -> "list[Finding]":
    from focalkit.findings import check_classes

    data = opened.get("train") or next(iter(opened.values()), None)
    if data is None or sum(boxes > 0 for boxes in data.class_counts()) < 2:  # a detector of one class has background
        return []
    return check_classes(data.class_counts(), [c.name for c in data.categories])


def _of_copies(args: Args, opened: "dict[str, DetectionData]") -> "list[Finding]":
    """Pictures that lie in several files, in one split or across them."""
    import numpy as np

    from focalkit.data.together import content_ids
    from focalkit.findings import check_duplicates

    if not args.check or not opened:
        return []
    images = [image for data in opened.values() for image in data.images]
    ends = np.cumsum([len(data.images) for data in opened.values()])
    splits = {split: np.arange(end - len(opened[split].images), end) for split, end in zip(opened, ends, strict=True)}
    names = np.asarray([image.file_name for image in images])
    return check_duplicates(np.asarray(content_ids(images)), splits=splits, what="images", ids=names)


def _asked(args: Args) -> TrainConfig:
    """What `train` would make of the same flags, as far as matching needs it."""
    config = preset(args.preset or preset_here()[0])
    if args.anchors and config.model.detector != "retinanet":
        raise InputError(f"--anchors: {config.model.detector} of --preset {args.preset} has none; leave --anchors out")
    sizes = config.model.anchor_sizes if args.anchor_sizes is None else args.anchor_sizes
    low = config.min_size if args.min_size is None else args.min_size
    high = config.max_size if args.max_size is None else args.max_size
    model = replace(config.model, detector=args.detector or config.model.detector, anchor_sizes=sizes)
    config = replace(config, model=model, min_size=low, max_size=high)
    if len(sizes) != 5 or not all(0 < size < float("inf") for size in sizes):
        given = " ".join(f"{size:g}" for size in sizes)
        raise InputError(f"--anchor-sizes takes five positive numbers, for P3 .. P7, got {given}")
    if not 1 <= low <= high:
        raise InputError(
            f"--max-size bounds the long side, so it is at least --min-size, which is at least 1; got {high} and {low}"
        )
    return config


def _matching(args: Args, asked: TrainConfig, data: "DetectionData", found: dict[str, Any]) -> "list[Finding]":
    """Add how anchors, or a detector without them, meet the boxes; what is to be said of anchors."""
    from focalkit.data.analyze import match_anchors
    from focalkit.data.analyze_matching import match_detector
    from focalkit.detection import DETECTORS, AnchorGrid, MaxIoUAssigner
    from focalkit.findings import check_boxes

    about = {"split": data.split, "preset": args.preset or preset_here()[0]}
    findings = []
    if args.anchors or (args.detector is None and asked.model.detector == "retinanet"):
        grid = DETECTORS["retinanet"].priors(asked.model)
        matcher = DETECTORS["retinanet"].matcher(asked.model, asked.criterion)
        assert isinstance(grid, AnchorGrid)
        assert isinstance(matcher, MaxIoUAssigner)
        found["anchors"] = {**about, **match_anchors(data, grid, matcher, asked.min_size, asked.max_size)}
        findings = check_boxes(found["splits"][data.split], found["anchors"])
    if args.detector or asked.model.detector != "retinanet":
        matching = match_detector(data, asked.model.detector, asked.model, asked.min_size, asked.max_size)
        found["matching"] = {**about, **matching}
    return findings
