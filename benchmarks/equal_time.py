"""RetinaNet, RTMDet, RT-DETRv2 and D-FINE on the demo scenes, each for about as long on one thread.

All on the backbone `tiny`, from scratch, at 256 px; as many steps as fit into that time. Each is a command of
`focalkit train`, which the result file holds.

    focalkit demo --scenes-only --out scenes
    python benchmarks/equal_time.py --data scenes/data --runs runs/equal --probe
    python benchmarks/equal_time.py --data scenes/data --runs runs/equal --seeds 0 1 2
    python benchmarks/equal_time.py --data scenes/data --runs runs/equal --large
    python benchmarks/equal_time.py --data scenes/data --runs runs/equal --faces runs/faces runs/faces-rtmdet

Runs that are finished are read and not repeated. `--probe` measures the CPU seconds of a step, `--large` trains on a
ResNet-18 for about 25 minutes of two cores, `--faces` adds finished runs on other images.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from focalkit._runs import write_json_atomic

HERE = Path(__file__).parent
COMMON = (
    "--workers 0 --accelerator cpu --logger none --min-size 256 --max-size 256 --batch-size 8 --evaluate-every 1000"
    " --augment.flip 0 --model.backbone-norm batch --model.freeze-at 0"
)
TINY = "--model.backbone tiny"
SETS = (
    "--model.fpn-channels 64 --model.decoder.layers 2 --model.decoder.queries 50 --model.decoder.denoising 100"
    " --model.decoder.feedforward 128 --optim.lr 1e-3 --optim.ema-decay 0.995"
)
DETECTORS = {
    "retinanet": (1500, "--preset cpu-small --optim.lr 2e-3"),
    "rtmdet": (
        1875,
        "--preset rtmdet-tiny --model.fpn-channels 64 --model.head-channels 64 --augment.mosaic 0 --augment.mixup 0"
        " --augment.scale 0.7 1.4 --optim.lr 2e-3 --optim.lr-batch 8 --optim.weight-decay 0.01"
        " --optim.schedule onecycle --optim.ema-decay 0.995",
    ),
    "rtdetrv2": (1200, f"--preset rtdetrv2-small {SETS}"),
    "dfine": (1070, f"--preset rtdetrv2-small --model.detector dfine --model.decoder.points 3 {SETS}"),
}
"""Name -> steps, flags"""
LARGE = {
    "retinanet-r18": (
        2000,
        "--preset cpu-small --model.backbone resnet18 --model.fpn-channels 128 --model.head-channels 128"
        " --optim.lr 1e-3",
    ),
    "rtdetrv2-r18": (
        1400,
        "--preset rtdetrv2-small --model.backbone resnet18vd --model.fpn-channels 128 --model.decoder.layers 3"
        " --model.decoder.queries 50 --model.decoder.denoising 100 --model.decoder.feedforward 256 --optim.lr 5e-4"
        " --optim.ema-decay 0.995 --optim.warmup-steps 200",
    ),
}
"""The same, with a larger backbone"""


def flags_of(name: str) -> str:
    """Of `focalkit train`, without data, steps, seed and place."""
    return f"{COMMON} {TINY} {DETECTORS[name][1]}" if name in DETECTORS else f"{COMMON} {LARGE[name][1]}"


def run(name: str, data: Path, out: Path, steps: int, seed: int, threads: int = 1) -> float:
    """Train. Returns the CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    flags = f"{flags_of(name)} --max-steps {steps} --seed {seed}".split()
    command = [sys.executable, "-m", "focalkit", "train", "--data", str(data), *flags, "--out", str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    subprocess.run(command, check=True, env=environment, stdout=sys.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def probe(data: Path) -> dict[str, float]:
    """CPU seconds of a step: those of 100 steps less those of 20, which end with the same evaluation."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in DETECTORS:
            short, long = (run(name, data, Path(folder) / f"{name}-{steps}", steps, 0) for steps in (20, 100))
            found[name] = round((long - short) / 80, 4)
    return found


def of_run(folder: Path) -> dict[str, Any]:
    """What a finished run reached."""
    run, result = (json.loads((folder / name).read_text()) for name in ("run.json", "result.json"))
    config = run["config"]
    size = {"detector": config["model"]["detector"], "pixels": config["max_size"]}
    counts = {"seed": run["seed"], "steps": result["steps"], "minutes": round(result["seconds"] / 60, 1)}
    return size | counts | {key: round(result["metrics"][key], 4) for key in ("AP", "AP50", "AP75")}


def command_of(folder: Path) -> str:
    """What made a run that this script did not start, without the folders that its paths were in."""
    words = json.loads((folder / "run.json").read_text())["command"].split()
    return " ".join(Path(word).name if word.startswith("/") else word for word in words)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True, help="folder of the run folders")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--probe", action="store_true")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--faces", type=Path, nargs="+", help="finished runs on photographs of faces")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "equal_time.json")
    args = parser.parse_args()
    result: dict[str, Any] = json.loads(args.out.read_text()) if args.out.is_file() else {}
    result |= {
        "commands": {
            name: f"focalkit train --data scenes/data {flags_of(name)} --max-steps {steps}"
            for name, (steps, _) in (DETECTORS | LARGE).items()
        },
        "command": "python benchmarks/equal_time.py --data scenes/data --runs runs/equal --seeds 0 1 2",
        "machine": f"one thread ({platform.machine()}), torch {torch.__version__}; steps times the CPU time of one",
    }
    if args.probe or args.faces or args.large:
        if args.large:
            result["large"] = []
            for name, (steps, _) in LARGE.items():
                folder = args.runs / f"{name}-0"
                if not (folder / "result.json").is_file():
                    run(name, args.data, folder, steps, 0, threads=2)
                result["large"].append(of_run(folder))
        if args.probe:
            result["cpu_seconds_of_a_step"] = probe(args.data)
        if args.faces:
            result["faces"] = [of_run(folder) | {"command": command_of(folder)} for folder in args.faces]
        write_json_atomic(args.out, result)
        return
    rates, result["rows"] = result["cpu_seconds_of_a_step"], []
    for seed in args.seeds:
        for name, (steps, _) in DETECTORS.items():
            folder = args.runs / f"{name}-{seed}"
            if not (folder / "result.json").is_file():
                run(name, args.data, folder, steps, seed)
            result["rows"].append({"detector": name, **of_run(folder)})
            result["minutes"] = round(sum(rates[row["detector"]] * row["steps"] for row in result["rows"]) / 60, 1)
            write_json_atomic(args.out, result)
            print(json.dumps(result["rows"][-1]), flush=True)


if __name__ == "__main__":
    main()
