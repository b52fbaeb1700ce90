"""RetinaNet and its relatives on the same images: each trained in the same way, with its own losses.

The demo scenes with the settings of `focalkit demo` (a small backbone from scratch), or a data set of yours with the
preset cpu-small where backbone weights are given. All have GroupNorm in their towers. "retinanet + giou" is the second
recipe of torchvision, "retinanet, sampled" trains with cross-entropy on 256 priors of each image.

    python benchmarks/relatives.py --epochs 12 --seeds 0 1 2
    python benchmarks/relatives.py --data DATA --backbone-weights WEIGHTS --epochs 16 --only retinanet gfl

Each finished run is added to the result file at once; runs that are there already are not repeated.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from focalkit._runs import write_json_atomic
from focalkit.cli.demo import config as demo_config
from focalkit.config import CriterionConfig, DataConfig, TrainConfig, cpu_small
from focalkit.data import write_demo_scenes
from focalkit.training import train

HERE = Path(__file__).parent
RELATIVES = ("fcos", "atss", "gfl", "vfnet", "centernet")


def variants(base: TrainConfig) -> dict[str, TrainConfig]:
    """Name -> configuration."""
    base = replace(base, model=replace(base.model, head_norm="group"))
    plain = replace(base, criterion=CriterionConfig(), loss=TrainConfig.loss)
    giou = CriterionConfig(box_loss="giou", box_weight=2.0)
    return {
        "retinanet": plain,
        "retinanet + giou": replace(plain, criterion=giou),
        "retinanet, sampled": replace(plain, loss="bce", criterion=CriterionConfig(sample=256)),
        **{name: replace(plain, model=replace(plain.model, detector=name)) for name in RELATIVES},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument(
        "--images", type=int, nargs=2, default=(600, 200), help="demo scenes to train and to evaluate on"
    )
    parser.add_argument("--only", nargs="+", help="names of variants; all without it")
    parser.add_argument("--data", type=Path, help="a data set; the demo scenes without it")
    parser.add_argument("--backbone-weights", type=Path)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "relatives.json")
    args = parser.parse_args()
    result: dict[str, Any] = json.loads(args.out.read_text()) if args.out.is_file() else {"runs": []}
    data_name = f"{args.images[0]} demo scenes" if args.data is None else args.data.name
    done = {(run["data"], run["variant"], run["epochs"], run["seed"]) for run in result["runs"]}
    with tempfile.TemporaryDirectory() as folder:
        for seed in args.seeds:
            scenes = Path(folder) / f"scenes{seed}"
            data = args.data or write_demo_scenes(
                scenes, train=args.images[0], val=args.images[1], seed=seed, classes=5
            )
            base = demo_config(data, quick=False, seed=seed)
            if args.backbone_weights is not None:
                base = replace(cpu_small(), data=DataConfig(data), seed=seed, backbone_weights=args.backbone_weights)
            for name, settings in variants(replace(base, epochs=args.epochs)).items():
                if (args.only and name not in args.only) or (data_name, name, args.epochs, seed) in done:
                    continue
                found = train(settings, Path(folder) / f"{name}-{seed}")
                run = {"data": data_name, "variant": name, "epochs": args.epochs, "seed": seed}
                run |= {key: found["metrics"][key] for key in ("AP", "AP50", "AP75")} | {"seconds": found["seconds"]}
                result["runs"].append(run)
                result |= {
                    "command": " ".join(["python benchmarks/relatives.py", *sys.argv[1:]]),
                    "versions": {"torch": torch.__version__, "python": platform.python_version()},
                    "cpus": os.cpu_count(),
                }
                write_json_atomic(args.out, result)
                print(json.dumps(run), flush=True)


if __name__ == "__main__":
    main()
