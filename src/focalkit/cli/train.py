"""`focalkit train`: a data folder in, a run directory out, with its evaluation and report."""

import argparse
import json
import re
import shlex
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import tyro

from focalkit._config_io import load_config, refuse_code, spell_none
from focalkit._files import read_json
from focalkit._runs import RunDir
from focalkit._text import printable
from focalkit.cli._debug import DEBUG
from focalkit.cli._flags import Flag
from focalkit.cli._format import number
from focalkit.cli._presets import PresetName, preset, preset_here
from focalkit.cli._train_defaults import out_for, with_split
from focalkit.config import PRESETS, DataConfig, DetectorName, RuntimeConfig, TrainConfig, with_detector

if TYPE_CHECKING:
    from focalkit.detection.models.detr.detector import AnyDetector

DETECTORS: tuple[DetectorName, ...] = get_args(DetectorName)
READ_FROM = ("init", "layout", "coco80")
"""Settings that say how the detector to start from is read."""


@dataclass(frozen=True)
class DataSettings(DataConfig):
    """`DataConfig` as flags: the path is `--data`."""

    path: Annotated[Path | None, tyro.conf.arg(name="data")] = None
    """A data set as the tools write it: COCO, Pascal VOC, YOLO, CVAT, Label Studio, csv and more"""


@dataclass(frozen=True)
class Settings(TrainConfig):
    """`TrainConfig` as flags: those of `data` and `runtime` have no prefix."""

    data: Annotated[DataSettings, tyro.conf.arg(name="")] = field(default_factory=DataSettings)
    runtime: Annotated[RuntimeConfig, tyro.conf.arg(name="")] = field(default_factory=RuntimeConfig)

    @classmethod
    def of(cls, config: TrainConfig) -> "Settings":
        return cls(**{**vars(config), "data": DataSettings(**vars(config.data))})

    def config(self) -> TrainConfig:
        return TrainConfig(**{**vars(self), "data": DataConfig(**vars(self.data))})


@dataclass(frozen=True)
class Args:
    """Train a detector, evaluate it, and write a report.

    Settings come from, in rising order: the preset, the --config file, the flags. The resolved ones go into
    OUT/run.json, which --config reads again. With `--preset NAME --help` the defaults shown are the preset's.
    """

    out: Path | None = None
    """The run directory (default: runs/NAME, after the data, or runs/NAME-2, .. where that is there)"""
    preset: PresetName | None = None
    """cpu-small: MobileNetV2, 64 channels, 416 px. paper: ResNet-50-FPN, 600 px, 90k steps of 16 images.
    rtdetrv2: as its authors on COCO, 640 px. rtdetrv2-small: MobileNetV2, 128 channels, 100 queries, 416 px.
    dfine-small: the same of D-FINE. rtmdet-small: MobileNetV2, 64 channels, 416 px.
    rtmdet-tiny: CSPNeXt, as its authors, 640 px. dfine-s, -m, -l: HGNetv2 of timm, as their authors, 640 px;
    deim-s: the first with MAL, mosaic and mixup.
    default: ResNet-50-FPN, 800 px, 12 epochs. Not given: cpu-small where there is no GPU, else default"""
    config: Path | None = None
    """TOML file, or the run.json of an earlier run"""
    resume: Flag = False
    """Continue the unfinished run in OUT, with its settings, or a finished one with more --epochs; start where there
    is none. --optim.lr may be changed, too"""
    force: Flag = False
    """Delete the run in OUT and start over"""
    trust: Flag = False
    """Read the file of --init even if that runs code from it, and take a --config, or a run with --resume, that names
    code to import; only for files whose origin you know"""
    json: Flag = False
    """Print one JSON object on stdout"""
    train: Annotated[Settings, tyro.conf.arg(name="")] = field(default_factory=Settings)


def main(argv: list[str]) -> int:
    if argv and not argv[0].startswith("-"):
        argv = ["--data", *argv]  # as `inspect` and `compare` take it
    argv = [re.sub(r"^--augment(?=$|=)", "--augment.pipeline", word) for word in spell_none(argv)]
    base = starting_point(argv)
    default = Args(train=Settings.of(base.config))
    args = tyro.cli(Args, args=argv, prog="focalkit train", default=default)
    if base.note:
        print(base.note, file=sys.stderr)
    from focalkit.training import DivergedError, train

    command, config = shlex.join(["focalkit", "train", *argv]), args.train.config()
    out = args.out or out_for(config.data, args.resume or args.force)
    run = RunDir(out)
    if not (args.resume and run.exists):
        config, note = with_split(config)
        if note:
            print(note, file=sys.stderr)
    before = run.read_result() if args.resume else {}
    init = base.init if all(getattr(config, n) == getattr(base.config, n) for n in READ_FROM) else None
    try:
        result = train(config, out, resume=args.resume, force=args.force, command=command, trust=args.trust, init=init)
    except DivergedError as error:
        where = out / ("autopsy.json" if report(out) else "report.html")
        raise DivergedError(f"{error}\n  what was seen: {where}") from error
    if not result:  # not the first process of a job that torchrun or Slurm started
        return 0
    was_finished = bool(before.get("finished")) and before.get("steps") == result.get("steps")
    # a run that was finished may have been killed between these
    unevaluated = [] if was_finished and _is_evaluated(run) else evaluate(out)
    unreported = [] if was_finished and (out / "report.html").is_file() else report(out)
    notes = unevaluated + unreported
    if args.json:
        print(json.dumps({"run": str(out), **run.read_result(), "notes": notes}))
    else:
        print(printable(_ending(out, notes)))
    return 1 if unevaluated else 0


NEXT_TO_NOTHING = 0.01
"""AP below which a training is not worth predicting with yet."""


@dataclass(frozen=True)
class Base:
    """What the flags are put over.

    Attributes:
        config: Preset and file, and the structure of the detector to start from.
        note: A line about a choice that nobody made.
        init: The detector to start from, as `config` says how to read it.
    """

    config: TrainConfig
    note: str = ""
    init: "AnyDetector | None" = None


def starting_point(argv: list[str]) -> Base:
    """Read what the settings are put over: the preset, the file, the detector to start from."""
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    early.add_argument("--preset", choices=["default", *PRESETS])
    early.add_argument("--config", type=Path)
    early.add_argument("--out", type=Path)
    early.add_argument("--init", type=Path)
    early.add_argument("--layout")
    early.add_argument("--coco80", action="store_true", default=None)
    early.add_argument("--model.detector", dest="detector")
    early.add_argument("--resume", action="store_true")
    early.add_argument("--trust", action="store_true")
    try:
        given, _ = early.parse_known_args(argv)
    except argparse.ArgumentError:  # tyro will say it better
        return Base(TrainConfig())
    if given.resume and given.out and RunDir(given.out).exists:
        stored = RunDir(given.out).read_config()
        if not given.trust:
            refuse_code(stored, given.out / "run.json")
        return Base(stored if given.config is None else load_config(given.config, stored, trust=given.trust))
    note = ""
    if given.preset is None and given.config is None and not {"-h", "--help"} & set(argv):
        given.preset, why = preset_here()
        note = f"note: preset {given.preset}, because {why} and neither --preset nor --config was given"
    base = preset(given.preset)

    def with_file() -> TrainConfig:
        return base if given.config is None else load_config(given.config, base, trust=given.trust)

    named = {name: getattr(given, name) for name in READ_FROM if getattr(given, name) is not None}
    asked, init = replace(with_file(), **named), None
    if asked.init is not None and str(asked.init).lower() != "none" and not {"-h", "--help"} & set(argv):
        from focalkit.detection import load_weights

        init = load_weights(asked.init, asked.layout, asked.coco80, given.trust)
        assert init.card is not None
        model = init.card.config  # the run's too, unless told otherwise
        base = replace(with_detector(base, model.detector), model=model)
    # a preset's losses are for its own detector
    base = with_detector(base, given.detector if given.detector in DETECTORS else with_file().model.detector)
    return Base(with_file() if init is None else replace(with_file(), **named), note, init)


def evaluate(out: Path) -> list[str]:
    """Evaluate the best checkpoint for predictions, per-class numbers and gallery; what went wrong, as notes."""
    from focalkit.evaluation import evaluate_run

    try:
        evaluate_run(out)
    except Exception as error:
        if DEBUG.get():
            raise
        return [f"the evaluation failed ({type(error).__name__}: {error}); the training is kept"]
    return []


def _is_evaluated(run: RunDir) -> bool:
    """Whether an evaluation came to its end: `result.json`, which it writes last, has its numbers."""
    try:
        evaluation = read_json(run.path / "evaluation.json")
        return evaluation["metrics"] == run.read_result()["metrics"]
    except (OSError, ValueError, LookupError, TypeError):
        return False


def report(out: Path) -> list[str]:
    """Write OUT/report.html; what went wrong, as notes."""
    try:
        from focalkit.report import write_report

        write_report([out], out / "report.html")
    except Exception as error:
        if DEBUG.get():
            raise
        return [f"the report failed ({type(error).__name__}: {error}); the training is kept"]
    return []


def _ending(out: Path, notes: list[str]) -> str:
    run, config = RunDir(out), RunDir(out).read_config()
    result: dict[str, Any] = run.read_result()
    m = result["metrics"]
    where, data = shlex.quote(str(out)), shlex.quote(str(config.data.path or config.data.val_json))
    numbers = "  ".join(f"{key} {number(m[key]).strip()}" for key in ("AP", "AP50", "AP75"))
    lines = [f"{numbers}  on the validation images"]
    for name, what in (("checkpoints/best.ckpt", "weights"), ("report.html", "report"), ("predictions.json", "boxes")):
        if (out / name).is_file():
            lines.append(f"{what:<8} {out / name}")
    if 0 <= m["AP"] < NEXT_TO_NOTHING:
        more = f"--epochs {2 * config.epochs}" if config.max_steps is None else f"--max-steps {10 * config.max_steps}"
        lines += [
            f"note: next to nothing is found after {result.get('steps', 0):,} steps; more steps, a look at the data:",
            f"  focalkit train --resume --out {where} {more}",
            f"  focalkit inspect {data}",
        ]
    lines += [f"note: {note}" for note in notes]
    lines += [
        "next:",
        f"  focalkit predict {where} IMAGE_OR_FOLDER --out predictions",
        f"  focalkit evaluate {where} --data {data}",
        f"  focalkit report {where} OTHER_RUN --out comparison.html",
    ]
    return "\n".join(lines)
