"""`focalkit calibrate`: make a detector's scores mean what they say, and choose its thresholds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from focalkit._text import printable
from focalkit.cli._coco_files import read_costs, read_results, read_truth, with_ids
from focalkit.cli._flags import Flag, Prefixless, WrittenFlags
from focalkit.errors import InputError

if TYPE_CHECKING:
    from focalkit.calibration import DetectionStudy

Method = Literal["auto", "none", "temperature", "platt", "beta", "isotonic", "histogram", "box"]
SHOWN = 20
"""Classes in the table; the page shows all."""


@dataclass(frozen=True)
class Args:
    """Calibrate a detector's scores and choose its thresholds: of a run, or from predictions of any detector.

    Half of the images, drawn with --seed, fit the maps and thresholds; the other half judges them. None of them may
    have trained the detector. Writes calibration.json (maps and thresholds), report.json (all numbers), report.html,
    and predictions.json (the results with calibrated scores). Of a run, calibration.json goes into the run directory,
    where `predict` and `export` apply it, and the rest into RUN/calibration.
    """

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN_OR_PREDICTIONS")]
    """Run directory, or COCO results: image_id, category_id, bbox and score of each detection"""
    truth: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = None
    """For predictions: COCO annotations of the images"""
    data: Annotated[Path | None, tyro.conf.arg(metavar="DATA", help_behavior_hint="")] = None
    """For a run: a data set (default: what it was trained on)"""
    split: str = "val"
    """For a run: val, test, or all; not what trained it"""
    device: Annotated[str | None, tyro.conf.arg(metavar="DEVICE", help_behavior_hint="")] = None
    """For a run: cpu, cuda, cuda:1, ... (default: a GPU where there is one)"""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")] = None
    """Where to write (default: calibration/ beside the predictions, or the run)"""
    method: Annotated[Method, tyro.conf.arg(metavar="NAME")] = "auto"
    """auto (cross-validated), none, temperature, platt, beta, isotonic, histogram, or box (sees position and size)"""
    target: Literal["precision", "localisation"] = "precision"
    """What a score should say: the precision of detections that score so, or precision times IoU"""
    target_precision: Annotated[float | None, tyro.conf.arg(metavar="P", help_behavior_hint="")] = None
    """Thresholds of the largest recall at this precision"""
    target_recall: Annotated[float | None, tyro.conf.arg(metavar="R", help_behavior_hint="")] = None
    """The highest thresholds of this recall"""
    f_beta: Annotated[float | None, tyro.conf.arg(metavar="BETA", help_behavior_hint="")] = None
    """Thresholds of the largest F-beta (default: F1)"""
    cost: Annotated[Path | None, tyro.conf.arg(metavar="CSV", help_behavior_hint="")] = None
    """Thresholds of the least cost: two by two numbers, what is there (nothing, object) by decision (drop, keep)"""
    confidence: Annotated[float | None, tyro.conf.arg(metavar="C", help_behavior_hint="")] = None
    """Guarantee the target precision or recall with this confidence, .95 for instance"""
    fraction: float = 0.5
    """Share of the images that the fit gets"""
    seed: int = 0
    """Of the split"""
    json: Flag = False
    """Print one JSON object on stdout"""
    selection: Annotated[WrittenFlags, Prefixless] = field(default_factory=WrittenFlags)


OUTPUTS = ("predictions.json", "report.json", "report.html", "calibration.json")


def main(argv: list[str]) -> int:
    """Parse and run."""
    return run(tyro.cli(Args, args=argv, prog="focalkit calibrate"))


def run(args: Args) -> int:
    """Calibrate, write, print."""
    if args.source.is_dir():
        if args.truth is not None:
            raise InputError("--truth is for a results file; a run takes --data DATA")
        truth, results, ids, names, seen = detect_with_run(args)
        out = args.out or args.source / "calibration"
        maps = (args.out or args.source) / "calibration.json"
    else:
        if args.data is not None:
            raise InputError("--data is for a run; a results file takes --truth FILE")
        if args.selection != WrittenFlags():
            raise InputError("--splits, --classes, --merge and --single-class are for a run, not for a results file")
        if args.truth is None:
            raise InputError(f"{args.source}: a results file needs its annotations: --truth FILE")
        truth, ids, names = read_truth(args.truth), None, None
        results, named = with_ids(read_results(args.source), truth)
        truth, results, seen = without_trained_names(args.source, truth, results)
        seen = [*named, *seen]
        out = args.out or args.source.parent / "calibration"
        maps = out / "calibration.json"
    for given in (args.source, args.truth):
        if given is not None and given.resolve() in {(out / name).resolve() for name in OUTPUTS}:
            raise InputError(f"{given}: would be overwritten by what is written to {out}; choose another --out")
    study = calibrate(args, truth, results)
    study = replace(study, notes=(*seen, *study.notes))
    if names is not None and study.names != names:
        study = replace(study, names=names)
    write(study, truth, results, out, maps, ids)
    if args.source.is_dir() and args.out is None:
        refresh_report(args.source)
    if args.json:
        numbers = {"recommendation": study.recommendation, "table": study.table, "operating": study.operating["all"]}
        print(as_json({"out": str(out), "calibration": str(maps), **numbers}))
    else:
        print(printable(as_text(study, out, maps)))
    return 0


def calibrate(args: Args, truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> "DetectionStudy":
    """The study that the flags ask for.

    Raises:
        InputError: Files that do not fit each other, or an option out of range.
    """
    from focalkit.calibration import calibrate_detections

    try:
        return calibrate_detections(
            truth,
            results,
            method=args.method,
            target=args.target,
            target_precision=args.target_precision,
            target_recall=args.target_recall,
            f_beta=args.f_beta,
            costs=None if args.cost is None else read_costs(args.cost),
            confidence=args.confidence,
            fraction=args.fraction,
            seed=args.seed,
        )
    except InputError as error:
        with_ = "" if args.truth is None else f" with {args.truth}"
        raise InputError(f"{args.source}{with_}: {error}") from error
    except ValueError as error:  # an option out of range
        raise InputError(str(error)) from error


def detect_with_run(args: Args) -> tuple[dict[str, Any], list[dict[str, Any]], list[int], tuple[str, ...], list[str]]:
    """Truth and results with the run's classes as categories 0..K-1, the ids that stand for them, their names, notes.

    Raises:
        InputError: No run there, data that cannot be read or that trained it.
    """
    from focalkit._runs import RunDir
    from focalkit.data import Category
    from focalkit.detection import Detector
    from focalkit.evaluation import coco_results, images_that_trained, predict_split
    from focalkit.evaluation.run import open_split, with_classes_of

    if args.split == "train":
        raise InputError(
            f"{args.source}: the images of the split train trained this detector: it is too sure on them, and a map "
            "fitted to them would learn that; give --split val, or other data with --data"
        )
    config = RunDir(args.source).read_config()
    detector = Detector.from_run(args.source, args.device, calibrated=False)
    chosen = args.selection.selection()
    opened = open_split(config, args.data, args.split, run=args.source, selection=chosen)
    data = with_classes_of(detector, opened, args.source)
    trained = set(images_that_trained(config, data, args.source))
    names = [image.file_name or str(image.path) for image in data.images if image.id in trained]
    notes = left_out(args.source, names, len(data.images))
    data = replace(data, images=tuple(image for image in data.images if image.id not in trained))
    found = predict_split(
        detector, data, batch_size=config.batch_size, workers=config.runtime.workers, label="detecting"
    )
    numbered = replace(data, categories=tuple(Category(k, name) for k, name in enumerate(data.names)))
    ids = list(detector.category_ids or range(len(data.names)))
    return numbered.to_coco(), coco_results(found, range(len(data.names))), ids, data.names, notes


def without_trained_names(
    source: Path, truth: dict[str, Any], results: list[dict[str, Any]]
) -> tuple[dict[str, Any], list[dict[str, Any]], list[str]]:
    """Of results that lie in a run directory: without images of the names and sizes of those that trained the run."""
    from focalkit._runs import RunDir
    from focalkit.data.copies import copies
    from focalkit.evaluation.run import open_split
    from focalkit.metrics import select_images

    if not (source.parent / "run.json").is_file():
        return truth, results, []
    config = RunDir(source.parent).read_config()
    try:
        train, val = (open_split(config, None, s, check=False, run=source.parent) for s in ("train", "val"))
    except InputError:  # its data is no longer there
        return truth, results, []
    held_out = {(image.path.name, image.width, image.height): image.path for image in val.images}
    known = {
        key
        for image in train.images
        # a name that both splits have means the same picture only where it is
        if (other := held_out.get(key := (image.path.name, image.width, image.height))) is None
        or not (other.is_file() and image.path.is_file())
        or copies([other, image.path])
    }
    names = {image["id"]: Path(str(image.get("file_name"))).name for image in truth["images"]}
    seen = {i["id"] for i in truth["images"] if (names[i["id"]], i.get("width"), i.get("height")) in known}
    notes = left_out(source.parent, [names[key] for key in seen], len(names))
    kept = [row for row in results if row.get("image_id") not in seen]
    return select_images(truth, [key for key in names if key not in seen]), kept, notes


def left_out(run: Path, names: Sequence[str], total: int) -> list[str]:
    """A note on images that trained the run.

    Raises:
        InputError: They are too many to go on without them.
    """
    if not names:
        return []
    shown = ", ".join(sorted(names)[:3]) + (", ..." if len(names) > 3 else "")
    said = f"FK204: {len(names)} of {total} images trained this detector"
    if total - len(names) < 4:
        raise InputError(
            f"{run}: {said} ({shown}): it is too sure on them, and a map fitted to them would learn that; give others "
            "with --data or --split"
        )
    return [f"{said} and are left out: {shown}"]


def write(
    study: "DetectionStudy",
    truth: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    out: Path,
    maps: Path,
    ids: Sequence[int] | None = None,
) -> None:
    """The four files; the maps last, when the others are there."""
    from focalkit._files import write_jsons_atomic
    from focalkit.calibration import DETECTION_MEASURES, calibrate_results
    from focalkit.report import write_calibration_page

    sizes = {i["id"]: (i.get("width"), i.get("height")) for i in truth["images"]}
    calibrated = calibrate_results(results, study.maps[study.target], study.category_ids, sizes)
    if ids is not None:
        study = replace(study, category_ids=tuple(ids))
        calibrated = [{**row, "category_id": ids[row["category_id"]]} for row in calibrated]
    report = study.report_dict()
    write_calibration_page(report, DETECTION_MEASURES, out / "report.html")
    files = {maps: study.calibration_dict(), out / "report.json": report, out / "predictions.json": calibrated}
    write_jsons_atomic(files)


def refresh_report(run: Path) -> None:
    """Write the run's report.html again, with the calibration in it, where there is one."""
    from focalkit.report import write_report

    if (run / "report.html").is_file():
        write_report([run], run / "report.html")


def as_json(value: Mapping[str, Any]) -> str:
    """Strict JSON: what is undefined is null."""
    from focalkit._files import dump_json

    return dump_json(value)


def as_text(study: "DetectionStudy", out: Path, maps: Path) -> str:
    """The recommendation, two tables, and where the rest lies."""
    from focalkit.calibration import DETECTION_MEASURES

    split = study.split
    ending = [f"applied  {maps}"] if maps.parent != out else []
    lines = [
        study.recommendation,
        "",
        f"{len(split['fit'])} images fitted, {len(split['judged'])} judged (seed {split['seed']})",
        f"{'':<10}  {'before':>7}  {'precision':>9}  {'localisation':>12}",
    ]
    for name, meaning in DETECTION_MEASURES.items():
        before, precision, localisation = (study.table[name][c] for c in ("before", "precision", "localisation"))
        lines.append(f"{name:<10}  {before:>7.4f}  {precision:>9.4f}  {localisation:>12.4f}  {meaning}")
    width = max([5, *(len(n) for n in study.names[:SHOWN])])
    columns = f"{'threshold':>9}  {'uncalibrated':>12}  {'precision':>9}  {'recall':>6}  {'boxes':>5}"
    lines += ["", f"{'class':<{width}}  {columns}"]
    cuts = zip(study.thresholds.values.tolist(), study.uncalibrated.tolist(), study.thresholds.reason, strict=True)
    rows = list(zip(study.operating["classes"], cuts, strict=True))
    pooled = float(study.pooled.values)
    rows.sort(key=lambda pair: -(pair[0]["true_positives"] + pair[0]["missed"]))
    shown = []
    for row, (threshold, uncalibrated, reason) in rows[:SHOWN]:
        boxes = row["true_positives"] + row["missed"]
        reached = f"{number(row['precision']):>9}  {number(row['recall']):>6}  {boxes:>5}"
        shown.append(cut_text(threshold, reason, pooled))
        lines.append(f"{row['name']:<{width}}  {shown[-1]:>9}  {number(uncalibrated):>12}  {reached}")
    if any(cut.endswith("*") for cut in shown):
        why = "a class has too few true positives for one, or does not reach the target"
        lines.append(f"* no threshold of its own: that of all classes together; {why}")
    if len(rows) > SHOWN:
        lines.append(f"... and {len(rows) - SHOWN} more classes, in report.html")
    lines += ["", *(f"note     {note}" for note in study.notes), f"written  {out}", *ending]
    return "\n".join(lines)


def cut_text(threshold: float, reason: str, pooled: float) -> str:
    """The threshold that a class gets; a star marks that of all classes together."""
    shared = threshold != threshold or reason.endswith("of all classes pooled")
    return f"{number(pooled)}*" if shared and pooled == pooled else number(threshold)


def number(value: float) -> str:
    """Three decimals; a dash for what is undefined."""
    return "-" if value != value else f"{value:.3f}"
