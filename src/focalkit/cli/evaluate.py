"""`focalkit evaluate`: COCO AP of a trained run, over all classes and per class."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from focalkit._files import dump_json
from focalkit._text import printable
from focalkit.cli._exported import open_exported
from focalkit.cli._flags import Flag, Prefixless, WrittenFlags, require_threshold
from focalkit.cli._format import number
from focalkit.config import LayoutName

if TYPE_CHECKING:
    from focalkit.detection import Detector
    from focalkit.metrics import ApRule

MEANINGS = {
    "AP": "mean over IoU .50 to .95",
    "AP50": "at IoU .50",
    "AP75": "at IoU .75",
    "APs": "small objects, under 32 x 32 px",
    "APm": "medium objects",
    "APl": "large objects, over 96 x 96 px",
    "AR1": "recall with 1 detection per image",
    "AR10": "recall with 10",
    "AR100": "recall with 100",
    "ARs": "recall, small objects",
    "ARm": "recall, medium objects",
    "ARl": "recall, large objects",
}
COCO_RULE = "mean over IoU 0.5 to 0.95 unless a line says otherwise, up to 100 detections per image"
SHOWN_IOUS = 6
"""IoU thresholds that have a column each; with more, the mean alone is printed."""
SHOWN = 40
"""Classes in the table; a data set with more shows the most frequent."""


@dataclass(frozen=True)
class Args:
    """COCO AP of a trained run on a split of a data set.

    Writes predictions.json, evaluation.json and gallery/ into the run directory, from which `focalkit report RUN` makes
    a page; for another split than val with its name, evaluation-test.json, which the page does not show. The results
    on other data than the run's own go into a folder of their own, RUN/evaluations/NAME.
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run directory, as `focalkit train --out` wrote it, a file that `focalkit export` wrote, or a weights file of
    focalkit, torchvision, Detectron2 or MMDetection (files: with --data)"""
    data: Annotated[Path | None, tyro.conf.arg(metavar="DATA", help_behavior_hint="")] = None
    """A data set, as for `train` (default: what the run was trained on)"""
    split: str = "val"
    """train, val, test, or all"""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")] = None
    """Where to write instead of the run directory"""
    layout: Annotated[LayoutName, tyro.conf.arg(metavar="NAME")] = "auto"
    """For a weights file: whose it is: auto (looks at its names), focalkit, torchvision, detectron2, mmdet,
    rtdetr, dfine, deim or transformers"""
    coco80: Flag = False
    """For a weights file of torchvision with 91 class channels: keep the 80 classes of COCO"""
    trust: Flag = False
    """For a weights file or a .pt2: read it even if that runs code from it; only for files whose origin you know"""
    device: Annotated[str | None, tyro.conf.arg(metavar="DEVICE", help_behavior_hint="")] = None
    """cpu, cuda, cuda:1, ... (default: a GPU where there is one)"""
    score_threshold: float = 0.05
    """Detections that score no more than this do not count"""
    max_detections: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="")] = None
    """For crowded images: AP with so many detections per image, beside COCO's numbers with 100"""
    ious: Annotated[tuple[float, ...] | None, tyro.conf.arg(metavar="FLOAT...", help_behavior_hint="")] = None
    """AP at these overlaps, such as 0.3 0.5, beside COCO's numbers"""
    area_sides: Annotated[tuple[float, ...] | None, tyro.conf.arg(metavar="PIXELS...", help_behavior_hint="")] = None
    """AP of sizes divided at squares of these sides, such as 8 16 32, beside COCO's numbers"""
    lvis: Flag = False
    """LVIS's numbers too, with up to 300 detections per image: rare, common and frequent classes, of a COCO file that
    says how frequent each is"""
    json: Flag = False
    """Print one JSON object on stdout"""
    selection: Annotated[WrittenFlags, Prefixless] = field(default_factory=WrittenFlags)


def main(argv: list[str]) -> int:
    """Parse and run."""
    return run(tyro.cli(Args, args=argv, prog="focalkit evaluate"))


def run(args: Args) -> int:
    """Evaluate and print the tables."""
    from focalkit.errors import InputError
    from focalkit.evaluation import evaluate_detector, evaluate_file, evaluate_run
    from focalkit.evaluation.run import open_split
    from focalkit.export import is_exported

    require_threshold(args.score_threshold)
    rule = rule_of(args)
    if args.lvis and args.selection.selection().chooses:
        raise InputError(
            "--lvis judges the classes as their file has them: leave out --classes, --merge, --single-class"
        )
    detector = None
    if is_exported(args.run):
        detector = open_exported(args.run, args.device, args.score_threshold, trust=args.trust)
        data = open_split(None, args.data, args.split, selection=args.selection.selection())
        found = evaluate_detector(detector, data, out=args.out, rule=rule, lvis=args.lvis)
    elif args.run.is_file():
        found = evaluate_file(
            args.run,
            args.data,
            args.split,
            out=args.out,
            device=args.device,
            score_threshold=args.score_threshold,
            layout=args.layout,
            coco80=args.coco80,
            trust=args.trust,
            rule=rule,
            lvis=args.lvis,
            selection=args.selection.selection(),
        )
    else:
        found = evaluate_run(
            args.run,
            args.data,
            args.split,
            out=args.out,
            device=args.device,
            score_threshold=args.score_threshold,
            rule=rule,
            lvis=args.lvis,
            selection=args.selection.selection(),
        )
    found = {**found, "calibration": calibration_of(args.run, detector)}
    print(dump_json(as_json(args, found)) if args.json else as_text(args, found))
    return 0


def calibration_of(run: Path, exported: "Detector | None") -> str | None:
    """Whether the scores judged are calibrated: "inside" an exported file's graph, "left out", or None without one."""
    if exported is None:
        return "left out" if (run / "calibration.json").is_file() else None
    if getattr(exported.model, "info", {}).get("calibrated_inside"):
        return "inside"
    return "left out" if exported.calibration is not None else None


def rule_of(args: Args) -> "ApRule | None":
    """What the flags ask for beside COCO's numbers."""
    from focalkit.metrics import ApRule

    asked = {"max_detections": args.max_detections, "ious": args.ious, "sides": args.area_sides}
    given: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    return ApRule(**given) if given else None


def as_json(args: Args, found: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers without the curves and the gallery, which are in evaluation.json."""
    keys = (
        "split", "data", "num_images", "metrics", "by_rule", "lvis", "per_class", "score_threshold", "calibration",
        "speed",
    )  # fmt: skip
    shown = ("D-ECE", "LaECE_0", "thresholds", "operating", "confusion", "errors")
    decided = found["decisions"] and {key: found["decisions"][key] for key in shown}
    return {"run": str(args.run), **{key: found[key] for key in keys}, "decisions": decided}


def as_text(args: Args, found: Mapping[str, Any]) -> str:
    """Two tables and where the rest lies."""
    speed = found["speed"]
    lines = [
        f"{found['num_images']} images of {found['data']} ({found['split']}),"
        f" {speed['images_per_second']:.1f} images/s on {speed['device']}",
        "",
        f"COCO's rule: {COCO_RULE}",
        *(f"{name:<6} {number(found['metrics'][name])}  {what}" for name, what in MEANINGS.items()),
        "",
        *rule_lines(found["by_rule"]),
        *lvis_lines(found["lvis"]),
        *class_table(found["per_class"], found["decisions"]),
        "",
        *decision_lines(found),
    ]
    if found["calibration"] == "inside":
        lines += ["", f"all of this is of calibrated scores: the graph of {args.run} holds the calibration"]
    elif found["calibration"] == "left out":
        where = f"the calibration in {args.run}" if args.run.is_file() else args.run / "calibration.json"
        lines += ["", f"all of this is of uncalibrated scores; predict applies {where}"]
    elif args.run.is_file():
        lines += ["", f"{args.run} holds no calibration"]
    if written := found.get("written"):
        lines += ["", f"written  {written}"]
    elif args.out is not None or args.run.is_dir():
        lines += ["", f"written  {args.out or args.run}"]
    if args.run.is_dir() and not (args.out or written) and found["split"] == "val":  # elsewhere is no run directory
        lines.append(f"next     focalkit report {shlex.quote(str(args.run))}")
    return printable("\n".join(lines))


def lvis_lines(found: Mapping[str, float] | None) -> list[str]:
    """LVIS's numbers in a line."""
    if found is None:
        return []
    numbers = {name: value for name, value in found.items() if name != "max_detections"}
    rule = f"LVIS's rule: federated images, up to {found['max_detections']} detections per image"
    return [rule, "  ".join(f"{n} {number(v).strip()}" for n, v in numbers.items()), ""]


def rule_lines(found: Mapping[str, Any] | None) -> list[str]:
    """AP by the rule that was asked for, a line per range of sizes."""
    if found is None:
        return []
    ious = found["ious"] if len(found["ious"]) <= SHOWN_IOUS else []
    width = max(len(row["size"]) for row in found["sizes"])
    head = f"{'size':<{width}}  {'boxes':>7}  {'AP':>6}  {'AR':>6}" + "".join(f"  AP@{iou:<4g}" for iou in ious)
    rows = [
        f"{row['size']:<{width}}  {row['count']:>7}  {number(row['AP'])}  {number(row['AR'])}"
        + "".join(f"  {number(value):<7}" for value in row["AP_at"][: len(ious)])
        for row in found["sizes"]
    ]
    return [f"your rule: {found['rule']}", head, *(row.rstrip() for row in rows), ""]


def class_table(rows: Sequence[Mapping[str, Any]], decided: Mapping[str, Any] | None) -> list[str]:
    """Class, boxes, AP, and what the threshold of its largest F1 reaches, the most frequent first."""
    ordered = sorted(rows, key=lambda row: -row["count"])
    width = max([5, *(len(row["name"]) for row in ordered[:SHOWN])])
    head = f"{'class':<{width}}  {'boxes':>7}  {'AP':>6}  {'AP50':>6}  {'AP75':>6}"
    at = {}
    if decided is not None:
        head += f"  {'threshold':>9}  {'precision':>9}  {'recall':>6}"
        for cut, row in zip(decided["thresholds"]["values"], decided["operating"]["classes"], strict=True):
            at[row["name"]] = f"  {share(cut):>9}  {share(row['precision']):>9}  {share(row['recall']):>6}"
    lines = [head]
    for row in ordered[:SHOWN]:
        numbers = "  ".join(number(row[key]) for key in ("AP", "AP50", "AP75"))
        lines.append(f"{row['name']:<{width}}  {row['count']:>7}  {numbers}{at.get(row['name'], '')}")
    if len(ordered) > SHOWN:
        lines.append(f"... and {len(ordered) - SHOWN} more classes, in evaluation.json")
    return lines


def decision_lines(found: Mapping[str, Any]) -> list[str]:
    """The operating point, the kinds of errors there, and how far scores are from what they should say."""
    from focalkit.metrics import ERROR_KINDS

    decided = found["decisions"]
    if decided is None:
        boxes = sum(row["count"] for row in found["per_class"])
        return [f"{'nothing was detected' if boxes else 'no boxes to detect'}: no thresholds, no kinds of errors"]
    at = decided["operating"]["all"]
    most = 100 if found["by_rule"] is None else found["by_rule"]["max_detections"]
    rule = f"thresholds, errors and calibration: of up to {most} detections of a class per image, as your rule says"
    return [
        *([] if most == 100 else [rule]),
        f"at each class's threshold of the largest F1, chosen on these images: precision {share(at['precision'])}, "
        f"recall {share(at['recall'])}, F1 {share(at['f1'])}",
        "",
        f"{'error':<14}  {'there':>6}  {'AP50 it costs':>13}",
        *(
            f"{kind:<14}  {row['count']:>6}  {share(row['cost']):>13}  {ERROR_KINDS[kind]}"
            for kind, row in decided["errors"].items()
        ),
        "there: at those thresholds; costs: among detections of all scores, which may find a box that is missed there",
        "",
        f"scores are {share(decided['D-ECE'])} from the precision they should say (D-ECE), {share(decided['LaECE_0'])} "
        "from precision times IoU (LaECE_0)",
    ]


def share(value: float | None) -> str:
    """Three decimals; a dash for what is undefined."""
    return "-" if value is None or value != value else f"{value:.3f}"
