"""What the prior bias does (Lin et al., 2017, sec. 4.1 and 5.1): with and without it, cross-entropy and focal loss.

A small RetinaNet from scratch on the demo scenes, SGD with momentum after a linear warm-up over a tenth of the run, no
clipping, everything else equal. Without the prior each of some 10^5 outputs per image starts at probability 1/2, and
the background's loss swamps the first steps. The rate is a fifth of the paper's: at the paper's, cross-entropy diverges
with the prior too (the paper's backbone is pretrained).

    python benchmarks/prior_bias.py --seeds 0 1 2
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
from focalkit.cli.demo import config
from focalkit.config import OptimConfig, TrainConfig
from focalkit.data import write_demo_scenes
from focalkit.training import DivergedError, train

HERE = Path(__file__).parent
SGD = OptimConfig(optimizer="sgd", lr=0.002, lr_batch=16, schedule="constant", warmup_steps=100, clip_norm=None)
LOSSES = {"focal": TrainConfig.loss, "cross-entropy": "bce"}


def outcome(settings: TrainConfig, out: Path) -> dict[str, Any]:
    """AP, the first and the last training losses; or how it ended."""
    started = time.monotonic()
    try:
        train(settings, out)
        ended = "finished"
    except DivergedError as error:
        ended = f"diverged: {str(error).splitlines()[0]}"
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    losses = [row["classification"] for row in rows if row["kind"] == "train"]
    ap = [row["AP"] for row in rows if row["kind"] == "val"]
    return {
        "ended": ended,
        "AP": ap[-1] if ap else 0.0,
        "classification_loss": {"first": losses[0] if losses else None, "last": losses[-1] if losses else None},
        "seconds": time.monotonic() - started,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "prior_bias.json")
    args = parser.parse_args()
    runs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in args.seeds:
            data = write_demo_scenes(Path(folder) / f"data{seed}", train=200, val=80, seed=seed)
            base = replace(config(data, quick=True, seed=seed), optim=SGD, epochs=args.epochs)
            for name, loss in LOSSES.items():
                for prior in (0.01, None):
                    settings = replace(base, loss=loss, model=replace(base.model, prior_prob=prior))
                    run = outcome(settings, Path(folder) / f"{name}-{prior}-{seed}")
                    runs.append({"loss": name, "prior_prob": prior, "seed": seed, **run})
                    print(json.dumps(runs[-1]), file=sys.stderr, flush=True)
    write_json_atomic(
        args.out,
        {
            "command": " ".join(["python benchmarks/prior_bias.py --seeds", *map(str, args.seeds)]),
            "epochs": args.epochs,
            "versions": {"torch": torch.__version__},
            "runs": runs,
        },
    )


if __name__ == "__main__":
    main()
