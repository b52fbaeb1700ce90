"""`focalkit compare`: which treatment of imbalance is best on these data."""

import json
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from focalkit._config_io import nearest
from focalkit._text import printable
from focalkit.cli._flags import Flag, Prefixless, SelectionFlags
from focalkit.errors import InputError

if TYPE_CHECKING:
    from focalkit.compare import Comparison
    from focalkit.compare.plan import Plan
    from focalkit.compare.presets import Preset
    from focalkit.compare.summary import Failure
    from focalkit.tasks import Inspection

SHOWN = 10
"""Failed cells that are named."""


@dataclass(frozen=True)
class Args:
    """Compare treatments of imbalance on your data: same model, splits, initial weights and budget for every method.

    Give it a table (csv, tsv, parquet, npz), or whatever else a task reads. Every fit is a folder under OUT; a
    comparison that was interrupted goes on with the same command, and finished fits are never repeated.
    """

    data: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]
    """A file or folder"""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")] = None
    """Directory of the comparison (default: runs/NAME, after the data)"""
    methods: Annotated[tuple[str, ...], tyro.conf.arg(metavar="METHOD...", help_behavior_hint="")] = ()
    """Methods by name, with arguments ("focal(gamma=1)"), losses of the catalog, Python files with methods of your own
    (default: those that the task recommends; --list shows all)"""
    preset: Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")] = None
    """quick, thorough, losses, sensitivity, sampling, peers, tables, cifar-lt, paper-tables-mini, detr-losses-mini:
    methods and seeds in one word; other flags still count"""
    task: Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")] = None
    """What kind of data these are (default: found by looking)"""
    detector: Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")] = None
    """Boxes: the detector that every method trains: retinanet, fcos, atss, gfl, vfnet, rtmdet, rtdetrv2, dfine,
    deim (default: retinanet, as the preset cpu-small builds it)"""
    seeds: Annotated[int | None, tyro.conf.arg(metavar="N", help_behavior_hint="")] = None
    """Seeds; where the data have no split of their own, every seed also splits them anew (default: 3)"""
    tune: Annotated[int | None, tyro.conf.arg(metavar="N", help_behavior_hint="")] = None
    """Trials per method and split, on validation only (default: 0, every method as it stands)"""
    jobs: Annotated[int, tyro.conf.arg(metavar="N")] = 1
    """Fits at the same time; they share the processors"""
    devices: Annotated[int, tyro.conf.arg(metavar="N")] = 1
    """Processes that share every fit of images of one class each, one a GPU where there are GPUs; under torchrun or
    Slurm their number on each machine"""
    engine: Annotated[str, tyro.conf.arg(metavar="NAME")] = "processes"
    """processes, serial or ray"""
    address: Annotated[str | None, tyro.conf.arg(metavar="HOST:PORT", help_behavior_hint="")] = None
    """With --engine ray: the cluster to use, "auto" for one that runs here (default: RAY_ADDRESS, else a local one)"""
    yardstick: Annotated[str, tyro.conf.arg(metavar="METHOD")] = "ce"
    """The method that the others are compared with"""
    metric: Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")] = None
    """What ranks the methods (default: the task's first; for tables average_precision)"""
    target: Annotated[str | None, tyro.conf.arg(metavar="COLUMN", help_behavior_hint="")] = None
    """Target column of a table (default: one named target, label, class or y, else the last)"""
    group: Annotated[str | None, tyro.conf.arg(metavar="COLUMN", help_behavior_hint="")] = None
    """Column whose equal values stay in one split, for example a patient"""
    leave_out: Annotated[tuple[str, ...], tyro.conf.arg(metavar="COLUMN...", help_behavior_hint="")] = ()
    """Columns of a table that no model sees, for example an identifier"""
    steps: Annotated[int | None, tyro.conf.arg(metavar="N", help_behavior_hint="")] = None
    """Most steps of a fit (default: the task's)"""
    rope: Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="")] = None
    """Smallest difference that matters"""
    strict: Flag = False
    """Refuse data with anything to remark, such as test rows that are training rows too"""
    dry_run: Flag = False
    """Say what would run, and run nothing"""
    list: Flag = False
    """The methods for these data"""
    json: Flag = False
    """Print one JSON object on stdout"""
    selection: Annotated[SelectionFlags, Prefixless] = field(default_factory=SelectionFlags)


def main(argv: list[str]) -> int:
    """Parse and run, in several processes where that is asked for."""
    args = tyro.cli(Args, args=argv, prog="focalkit compare")
    if args.devices < 1:
        raise InputError(f"--devices must be at least 1, got {args.devices}")
    from focalkit.training.launch import in_every_process, is_launched, started_together

    if args.list or args.dry_run or args.devices == started_together() == 1:
        return run(args)
    if is_launched():
        return in_group(args)
    _check_shared(args)
    from focalkit.compare import Comparison
    from focalkit.compare.summary import failures

    in_every_process(in_group, args, args.devices)
    return 1 if failures(Comparison(out_of(args))) else 0


def in_group(args: Args) -> int:
    """Run as one of several processes: the first makes the comparison, the others join in its fits."""
    from focalkit.compare.together import follow, leading
    from focalkit.training.group import process_group

    with process_group(args.devices) as rank:
        _check_shared(args)
        if rank == 0:
            with leading():
                return run(args)
        follow()
        return 0


def _check_shared(args: Args) -> None:
    from focalkit.compare.together import check_shared
    from focalkit.tasks import find_task

    check_shared(_detector_task(args) or args.task or find_task(args.data), args.engine, args.jobs)


def out_of(args: Args) -> Path:
    """The directory of the comparison: `runs/NAME` after the data, unless a training of that name is there."""
    if args.out is not None:
        return args.out
    place = Path("runs") / (args.data.resolve().name.partition(".")[0] or "comparison")
    return place.with_name(f"{place.name}-compare") if (place / "run.json").is_file() else place


def run(args: Args) -> int:
    """Plan, run, and say what came out."""
    from focalkit.compare.presets import PRESETS
    from focalkit.compare.run import check_workers, make_plan, run_plan
    from focalkit.compare.summary import failures
    from focalkit.tasks import Budget, find_task, open_task

    if args.list:
        print(method_table(_detector_task(args) or args.task or find_task(args.data)))
        return 0
    if args.preset is not None and args.preset not in PRESETS:
        raise InputError(f"there is no preset {args.preset!r}{nearest(args.preset, [*PRESETS])}")
    check_workers(args.engine, args.jobs)
    if args.steps is not None and args.steps < 1:
        raise InputError(f"--steps must be at least 1, got {args.steps}")
    if args.address is not None:
        if args.engine != "ray":
            raise InputError(f"--address names a Ray cluster and needs --engine ray, got --engine {args.engine}")
        os.environ["RAY_ADDRESS"] = args.address
    preset = PRESETS[args.preset or "default"]
    task = _task_of(args, preset)
    out = out_of(args)
    plan, splits, _ = make_plan(
        args.data,
        args.methods or preset.methods or None,
        task=task,
        seeds=args.seeds if args.seeds is not None else preset.seeds,
        tune=args.tune if args.tune is not None else preset.tune,
        yardstick=args.yardstick,
        metric=args.metric,
        rope=args.rope,
        target=args.target,
        group=args.group,
        leave_out=args.leave_out,
        budget=Budget(steps=args.steps or preset.steps),
        strict=args.strict,
        selection=args.selection.selection() if args.selection != SelectionFlags() else None,
    )
    say = (lambda text: print(text, file=sys.stderr)) if args.json else print
    the_task = open_task(plan.task)
    # tables are read fast; pictures would be decoded once more, so theirs come with the result
    inspection = the_task.inspect(plan.source, labels=False) if "rows" in the_task.kinds else None
    say(printable("\n".join([announcement(plan, splits), *data_lines(inspection)])))
    if args.dry_run:
        if args.json:
            from focalkit._runs import dump_json
            from focalkit.compare.plan import plan_to_dict

            print(dump_json(plan_to_dict(plan)))
        return 0
    from focalkit.cli._live import watching

    try:
        with watching(plan, out, args.jobs, quiet=args.json) as progress:
            comparison = run_plan(
                plan, splits, out, engine=args.engine, jobs=args.jobs, progress=progress, inspection=inspection
            )
    except KeyboardInterrupt:
        print(f"\nstopped; what is finished is kept, and the same command goes on:\n  {_again()}", file=sys.stderr)
        raise
    if args.json:
        print(json.dumps(result(comparison, out)))
    else:
        print(printable(ending(comparison, out)))
    failed = failures(comparison)
    if failed:
        print(failure_text(failed, len(comparison.cells)), file=sys.stderr)
    return 1 if failed else 0


def _task_of(args: Args, preset: "Preset") -> str:
    from focalkit.tasks import find_task, open_task

    given = _detector_task(args) or args.task
    task = given or find_task(args.data)
    if preset.tasks and not open_task(task).kinds & set(preset.tasks):
        raise InputError(f"the preset {args.preset!r} is for {', '.join(preset.tasks)}; these data are for {task}")
    if args.detector is not None and preset.task is not None:
        raise InputError(f"the preset {args.preset!r} has a detector of its own; leave out --detector {args.detector}")
    return given or preset.task or task


def _detector_task(args: Args) -> str | None:
    """The task that trains the detector asked for."""
    from focalkit.tasks import find_task
    from focalkit.tasks.detection import BY_DETECTOR, NOT_COMPARED

    if args.detector is None:
        return None
    if args.detector not in BY_DETECTOR:
        reason = NOT_COMPARED.get(args.detector)
        why = f": {reason}" if reason else nearest(args.detector, [*BY_DETECTOR])
        raise InputError(f"compare has no detector {args.detector!r}{why}; expected one of {', '.join(BY_DETECTOR)}")
    if args.task not in (None, "detection"):
        raise InputError(f"--detector is for boxes; the task is {args.task}")
    if args.task is None and (found := find_task(args.data)) != "detection":
        raise InputError(f"--detector is for boxes; these data are for {found}")
    return BY_DETECTOR[args.detector]


def method_table(task: str) -> str:
    """One line a method."""
    from focalkit.compare import METHODS

    rows = [(name, row.summary, row.paper) for name, row in METHODS.items() if row.fits(task)]
    wide = [max(len(row[i]) for row in rows) for i in range(2)]
    return "\n".join(f"{a:<{wide[0]}}  {b:<{wide[1]}}  {c}".rstrip() for a, b, c in rows)


def announcement(plan: "Plan", splits: Any) -> str:
    """What the data are and what will run."""
    counts = splits.class_counts
    of, counted = ("images", "boxes") if "boxes" in splits.facts else ("items", "classes")
    shares = ", ".join(f"{n} {c:,}" for n, c in list(zip(splits.classes, counts, strict=True))[:8])
    more = f", and {len(counts) - 8} more classes" if len(counts) > 8 else ""
    sizes = ", ".join(f"{part} {n:,}" for part, n in splits.sizes.items())
    target = f", target {splits.facts['target']!r}" if "target" in splits.facts else ""
    target += f", without {', '.join(map(repr, plan.source.leave_out))}" if plan.source.leave_out else ""
    target += f", long tail {splits.facts['profile']} of lt_counts.json" if "profile" in splits.facts else ""
    cells = len(plan.methods) * len(plan.seeds)
    trained = len({(plan.base_of(m) or m.name) for m in plan.methods}) * len(plan.seeds)
    fits = _count(cells, "cell") + (f", {trained} of them trained" if trained < cells else "")
    if plan.tune:
        fits += f", {plan.tune} trials for each" if plan.resplits else f", {plan.tune} trials per method"
    lines = [
        f"{plan.task}: {plan.source.path}{target}",
        f"  {of}: {sizes}{' (first seed)' if plan.resplits else ''}; {counted} in train: {shares}{more}",
        *(f"  note: {note}" for note in splits.notes),
        f"{_count(len(plan.methods), 'method')} x {_count(len(plan.seeds), 'seed')} = {fits}; ranked by {plan.metric}, "
        f"against {plan.yardstick}",
        "  " + ", ".join(method.name for method in plan.methods),
        "  the first fit tells how long all will take; Ctrl-C loses nothing that is finished",
    ]
    return "\n".join(lines)


def data_lines(inspection: "Inspection | None") -> list[str]:
    """What may be wrong with the data and what to do about it: errors and warnings, not notes."""
    found = [f for f in inspection.findings if f.check.level != "note"] if inspection is not None else []
    return [f"data: {f.code} {f.check.title}: {f.seen}. {f.check.action}" for f in found]


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number != 1 else ''}"


def result(comparison: "Comparison", out: Path) -> dict[str, Any]:
    """JSON-ready."""
    from focalkit._runs import dump_json
    from focalkit.compare.findings import findings
    from focalkit.compare.summary import failures, lines, sentence

    verdicts = {verdict.method: vars(verdict) for verdict in comparison.verdicts}
    rows = [{**vars(line), "verdict": verdicts.get(line.method)} for line in lines(comparison)]
    best = comparison.best
    value = {
        "out": str(out),
        "metric": comparison.plan.metric,
        "yardstick": comparison.plan.yardstick,
        "verdict": sentence(comparison),
        "methods": rows,
        "ranking": comparison.ranking,
        "report": str(comparison.report()),
        "best": None if best is None else str(best.folder),
        "findings": [finding.as_dict() for finding in findings(comparison)],
        "failed": [{**vars(failure), "file": str(failure.file)} for failure in failures(comparison)],
    }
    return json.loads(dump_json(value))


def ending(comparison: "Comparison", out: Path) -> str:
    """The sentence, the table, and what to do next."""
    from focalkit.cli._live import result_table
    from focalkit.compare.findings import findings
    from focalkit.compare.summary import data_findings, sentence

    text = ["", sentence(comparison), "", result_table(comparison), ""]
    text += [f"{f.code} {f.check.title}: {f.seen} (docs: {f.as_dict()['docs']})" for f in findings(comparison)]
    text += [f"data: {line}" for line in data_findings(comparison)]
    text.append(f"report   {comparison.report()}")
    text.append(f"results  {out / 'results.csv'}")
    if comparison.best is not None:
        text.append(f"best     {out / 'best'} ({comparison.best.folder.parent.name})")
        boxes = "boxes" in comparison.task.kinds
        new = "NEW_IMAGES --out predictions" if boxes else "NEW_DATA --out predictions.csv"
        text += ["next:", f"  focalkit predict {shlex.quote(str(out / 'best'))} {new}"]
    return "\n".join(text)


def failure_text(failed: "Sequence[Failure]", cells: int) -> str:
    """The failed cells by name, each with the file of its traceback."""
    shown = [f"  {f.method}, seed {f.seed}: {f.error}\n    {f.file}" for f in failed[:SHOWN]]
    more = [f"  and {len(failed) - SHOWN} more"] if len(failed) > SHOWN else []
    head = f"focalkit: {len(failed)} of {cells} cells failed; the same command tries them again"
    return printable("\n".join([head, *shown, *more]))


def _again() -> str:
    return shlex.join(["focalkit", *sys.argv[1:]]) if len(sys.argv) > 1 else "focalkit compare ..."
