"""Whether a detector of today can learn a few demo scenes by heart, by the product's own training, with any loss.

A model that cannot is broken. Images are as they are, not augmented; evaluated are the images that were learned.

    python benchmarks/sets_by_heart.py --losses varifocal mal
    python benchmarks/sets_by_heart.py --detector dfine
    python benchmarks/sets_by_heart.py --detector deim --losses mal
    python benchmarks/sets_by_heart.py --detector rtmdet --losses qfl

Each finished run is added to the result file at once; runs that are there already are not repeated.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from focalkit._runs import write_json_atomic
from focalkit.cli.demo import config as demo_config
from focalkit.config import AugmentConfig, DecoderConfig, DetectorName, RuntimeConfig, TrainConfig, with_detector
from focalkit.data import write_demo_scenes
from focalkit.detection.options import without_unread
from focalkit.evaluation import evaluate_run
from focalkit.training import train

HERE = Path(__file__).parent
SCENES, SIDE = 8, 96


def config(data: Path, detector: DetectorName, loss: str, steps: int) -> TrainConfig:
    base = with_detector(demo_config(data), detector)
    decoder = DecoderConfig(layers=2, queries=30, expansion=0.5, points=3, feedforward=96, denoising=30)
    if detector == "rtdetrv2":
        decoder = replace(decoder, points=4)
    asked = replace(
        base,
        loss=loss,
        batch_size=SCENES,
        epochs=steps,
        evaluate_every=steps,
        min_size=SIDE,
        max_size=SIDE,
        model=replace(base.model, fpn_channels=48, decoder=decoder),
        augment=AugmentConfig(flip=0.0),
        optim=replace(base.optim, clip_norm=1.0, weight_decay=1e-4),
        runtime=RuntimeConfig(workers=0, logger="none", accelerator="cpu", log_every=50),
    )
    return without_unread(asked)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detector", default="rtdetrv2", choices=["rtdetrv2", "dfine", "deim", "rtmdet"])
    parser.add_argument("--losses", nargs="+", default=["varifocal"])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "sets_by_heart.json")
    args = parser.parse_args()
    result: dict[str, Any] = json.loads(args.out.read_text()) if args.out.is_file() else {"runs": []}
    with tempfile.TemporaryDirectory() as folder:
        data = write_demo_scenes(
            Path(folder) / "scenes", train=SCENES, val=2, size=SIDE, classes=3, imbalance=1, seed=1
        )
        for loss in args.losses:
            asked = (args.detector, loss, args.steps)
            if any((run["detector"], run["loss"], run["steps"]) == asked for run in result["runs"]):
                continue
            out, began = Path(folder) / "run", time.monotonic()
            train(config(data, args.detector, loss, args.steps), out, force=True)
            metrics = evaluate_run(out, split="train", pictures=0)["metrics"]
            result["runs"].append(
                {
                    "detector": args.detector,
                    "loss": loss,
                    "steps": args.steps,
                    "scenes": SCENES,
                    "side": SIDE,
                    "AP": metrics["AP"],
                    "AP50": metrics["AP50"],
                    "seconds": round(time.monotonic() - began, 1),
                    "torch": torch.__version__,
                    "command": f"python benchmarks/sets_by_heart.py --detector {args.detector} --losses {loss!r}"
                    f" --steps {args.steps}",
                }
            )
            write_json_atomic(args.out, result)
            print(json.dumps(result["runs"][-1]), file=sys.stderr)


if __name__ == "__main__":
    main()
