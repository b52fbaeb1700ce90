"""`focalkit demo`: everything once on built-in data: scenes, two trainings, COCO AP, predictions, one report."""

import json
import shlex
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro

from focalkit.cli._flags import Flag
from focalkit.config import AugmentConfig, DataConfig, ModelConfig, OptimConfig, RuntimeConfig, TrainConfig
from focalkit.errors import InputError

METHODS = {"focal": "focal(gamma=1.0, alpha=0.5)", "cross-entropy": "bce"}
"""Run -> classification loss. Nothing else differs: the same scenes, seed, schedule and prior.

The paper's gamma 2 with alpha .25 is its best after 90k steps; in a thousand steps it teaches rare classes too slowly.
"""


@dataclass(frozen=True)
class Args:
    """Train a small RetinaNet twice on handwritten digits in clutter, with focal loss and with plain cross-entropy.

    Needs no data, no network and no GPU; a few minutes on two CPU cores. A demo that was
    interrupted continues where it was.
    """

    out: Path = Path("demo")
    """Where the scenes, the two runs and the report go"""
    quick: bool = False
    """Fewer scenes and epochs: the same steps in a fraction of the time, with worse numbers"""
    scenes_only: Flag = False
    """Write the scenes to OUT/data, train nothing: data for `focalkit compare`"""
    size: int = 256
    """Side of the scenes in pixels, with --scenes-only"""
    seed: int = 0
    """Of the scenes and of both trainings"""
    force: bool = False
    """Delete the runs of an earlier demo in the same place"""
    json: bool = False
    """Print one JSON object on stdout"""


def main(argv: list[str]) -> int:
    args = tyro.cli(Args, args=argv, prog="focalkit demo", config=(tyro.conf.FlagCreatePairsOff,))
    return run(args)


def config(data: Path, *, quick: bool = False, seed: int = 0) -> TrainConfig:
    """A detector that two CPU cores train in two minutes: images of 256 px, digits of 14 px and more."""
    return TrainConfig(
        data=DataConfig(data),
        epochs=8 if quick else 12,
        batch_size=8,
        min_size=256,
        max_size=256,
        evaluate_every=4,
        seed=seed,
        runtime=RuntimeConfig(logger="none"),
        model=ModelConfig(
            backbone="tiny",
            backbone_norm="batch",
            freeze_at=0,
            fpn_channels=48,
            head_channels=48,
            head_depth=2,
            anchor_sizes=(16.0, 32.0, 64.0, 128.0, 256.0),
        ),
        augment=AugmentConfig(flip=0.0, scale=(0.8, 1.25)),  # a mirrored digit is no digit
        optim=OptimConfig(optimizer="adamw", lr=2e-3, lr_batch=8, weight_decay=1e-3, schedule="onecycle"),
    )


def run(args: Args) -> int:
    """Everything, in the order that is printed."""
    from focalkit.data import write_demo_scenes
    from focalkit.evaluation import evaluate_run
    from focalkit.report import write_report
    from focalkit.training import train

    if args.size != 256 and not args.scenes_only:
        raise InputError("--size is for scenes alone: add --scenes-only")
    started = time.monotonic()
    runs = {name: args.out / name for name in METHODS}
    train_images, val_images = (240, 100) if args.quick else (600, 200)
    _say(f"writing {train_images} + {val_images} scenes of handwritten digits to {args.out / 'data'}")
    data = write_demo_scenes(
        args.out / "data", train=train_images, val=val_images, size=args.size, seed=args.seed, classes=5
    )
    if args.scenes_only:
        print(json.dumps({"data": str(data)}) if args.json else _next_for(data))
        return 0
    base = config(data, quick=args.quick, seed=args.seed)
    results: dict[str, dict[str, Any]] = {}
    for name, loss in METHODS.items():
        _say(f"\ntraining with {name}: {loss}")
        command = shlex.join(["focalkit", "demo", "--out", str(args.out)])
        train(
            replace(base, loss=loss),
            runs[name],
            resume=not args.force and runs[name].exists(),
            force=args.force,
            command=command,
        )
        results[name] = evaluate_run(runs[name], data, split="val")["metrics"]
    report = write_report(list(runs.values()), args.out / "report.html", title="focalkit demo: digits in clutter")
    if args.json:
        print(json.dumps({"report": str(report), "seconds": time.monotonic() - started, "metrics": results}))
    else:
        print(_ending(results, report, args.out, time.monotonic() - started))
    return 0


def _ending(results: dict[str, dict[str, float]], report: Path, out: Path, seconds: float) -> str:
    where = shlex.quote(str(out))
    table = [
        f"  {name:<15}AP {m['AP']:.3f}   AP50 {m['AP50']:.3f}   AP75 {m['AP75']:.3f}" for name, m in results.items()
    ]
    return "\n".join([
        f"\nCOCO AP on the validation scenes (one seed, {seconds:.0f} s in all):",
        *table,
        f"report: {report}",
        "next:",
        f"  focalkit predict {where}/focal {where}/data/images/val --out {where}/predictions",
        "  focalkit inspect YOUR_DATA",
        "  focalkit train --data YOUR_DATA --out runs/first",
    ])  # fmt: skip


def _next_for(data: Path) -> str:
    where = shlex.quote(str(data))
    return "\n".join([
        f"scenes: {data}",
        "next:",
        f"  focalkit inspect {where}",
        f"  focalkit compare {where} --preset paper-tables-mini --out runs/tables",
    ])  # fmt: skip


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
