"""What 8-bit integers cost in AP on a ResNet-50: one RetinaNet in torch, ONNX Runtime and OpenVINO, float32 and int8.

The backbone is whole, the pyramid and the towers have half the paper's width and the towers half its depth: trained
from scratch on demo scenes (live BatchNorm, AdamW, a one-cycle rate), that has a meaningful AP after some hundred
steps. Training computes in bfloat16, every measurement in float32 or int8. Each row is the AP over the validation
scenes of the same weights; the ranges of activations are measured on training scenes. Exported files stay in the run's
folder; files and rows of the result that are there already are not made again.

    python benchmarks/int8.py --run runs/r50                 # trains, then measures
    python benchmarks/int8.py --run runs/r50 --measure-only  # what a run that was stopped has reached

Other detectors, of runs that `benchmarks/equal_time.py` has made:

    python benchmarks/int8.py --others runs/equal/rtmdet-0 --data scenes/data --out benchmarks/results/int8_others.json
"""

import argparse
import json
import os
import platform
import random
import shlex
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from focalkit._runs import RunDir, write_json_atomic
from focalkit.config import AugmentConfig, DataConfig, ModelConfig, OptimConfig, RuntimeConfig, TrainConfig
from focalkit.data import open_detection_data, write_demo_scenes
from focalkit.detection import Detector
from focalkit.evaluation import evaluate_detector
from focalkit.export import FORMATS, export_detector, load_exported
from focalkit.training import train

HERE = Path(__file__).parent
SIDE = 128
ROWS: dict[str, tuple[str | None, bool]] = {
    "PyTorch": (None, False),
    "ONNX Runtime": ("onnx", False),
    "OpenVINO": ("openvino", False),
    "ONNX Runtime int8": ("onnx", True),
    "OpenVINO int8": ("openvino", True),
}
"""Row -> format and int8 of the exported file; None is the model itself."""
METRICS = ("AP", "AP50", "AP75", "APs", "APm")


def settings(data: Path, epochs: int) -> TrainConfig:
    """ResNet-50 on images of a size that a CPU can afford."""
    return TrainConfig(
        data=DataConfig(data),
        loss="focal(gamma=1.0, alpha=0.5)",
        epochs=epochs,
        batch_size=8,
        min_size=SIDE,
        max_size=SIDE,
        runtime=RuntimeConfig(precision="bf16-mixed", workers=0, logger="none"),
        evaluate_every=4,
        model=ModelConfig("resnet50", "batch", 0, 128, 128, 2, anchor_sizes=(16.0, 32.0, 64.0, 128.0, 256.0)),
        augment=AugmentConfig(flip=0.0, scale=(0.8, 1.25)),  # a mirrored digit is no digit
        optim=OptimConfig(optimizer="adamw", lr=1e-3, lr_batch=8, weight_decay=1e-3, schedule="onecycle"),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="where the run goes, or is; its scenes beside it")
    parser.add_argument("--scenes", type=int, nargs=2, default=(600, 300), help="to train and to evaluate on")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--calibrate", type=int, default=300, help="training scenes to measure ranges on")
    parser.add_argument("--train-only", action="store_true")
    parser.add_argument("--measure-only", action="store_true", help="the best checkpoint of a run that was stopped")
    parser.add_argument("--only", nargs="+", default=list(ROWS), choices=list(ROWS), help="rows to measure")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "int8.json")
    parser.add_argument("--others", type=Path, nargs="+", help="finished runs of other detectors, measured on --data")
    parser.add_argument("--data", type=Path)
    args = parser.parse_args()
    if args.others:
        of_others(args)
        return
    scenes = args.run.with_name(f"{args.run.name}-scenes")
    if not (scenes / "annotations").is_dir():
        write_demo_scenes(scenes, train=args.scenes[0], val=args.scenes[1], size=SIDE, classes=5, imbalance=5)
    if not args.measure_only:
        train(settings(scenes, args.epochs), args.run, resume=args.run.exists())
    if args.train_only:
        return
    run = RunDir(args.run)
    best = max((row for row in run.read_metrics() if row["kind"] == "val"), key=lambda row: row["AP"])
    config = {name: value for name, value in run.read_run()["config"].items() if value is not None and name != "data"}
    parts = [open_detection_data(scenes, part) for part in ("train", "val")]
    result = about(parts, args.calibrate) | {
        "training": {"config": config, "best": {name: best[name] for name in ("epoch", "step", "AP")}},
        "rows": json.loads(args.out.read_text())["rows"] if args.out.is_file() else {},
    }
    for _ in measure(args.run, parts, args.calibrate, result["rows"], args.only):
        write_json_atomic(args.out, result)


def of_others(args: argparse.Namespace) -> None:
    """Finished runs, of any detector, on the data that they were trained on."""
    known = json.loads(args.out.read_text()) if args.out.is_file() else {}
    parts = [open_detection_data(args.data, part) for part in ("train", "val")]
    result = about(parts, args.calibrate) | {"runs": known.get("runs", {})}
    for folder in args.others:
        config = RunDir(folder).read_config()
        entry = {"detector": config.model.detector, "pixels": config.max_size, "rows": {}}
        rows = result["runs"].setdefault(folder.name, entry)["rows"]
        for _ in measure(folder, parts, args.calibrate, rows, args.only):
            write_json_atomic(args.out, result)


def about(parts: list[Any], calibrate: int) -> dict[str, Any]:
    """What the figures were made with."""
    packages = {name: version(name) for name in ("torch", "onnxruntime", "openvino", "nncf")}
    return {
        "command": shlex.join(["python", "benchmarks/int8.py", *sys.argv[1:]]),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version()} | packages,
        "scenes": {"train": len(parts[0]), "val": len(parts[1]), "calibration": min(calibrate, len(parts[0]))},
    }


def measure(run: Path, parts: list[Any], calibrate: int, rows: dict[str, Any], only: list[str]) -> Iterator[str]:
    """Fill in the rows that are missing; yields the name of each that is there now."""
    detector = Detector.from_run(run, "cpu")
    train_images = [image.path for image in parts[0].images]
    calibration = random.Random(0).sample(train_images, min(calibrate, len(train_images)))
    for name in only:
        if name in rows:
            continue
        form, int8 = ROWS[name]
        one = detector
        if form is not None:
            path = run / f"{form}-{'int8' if int8 else 'float32'}{FORMATS[form]}"
            if not path.is_file():
                export_detector(detector, path, format=form, calibrate_on=calibration if int8 else None)
            one = load_exported(path)
        rows[name] = measured(one, parts[1])
        print(json.dumps({"run": str(run), "row": name, **rows[name]}), flush=True)
        yield name


def measured(detector: Detector, data: Any) -> dict[str, Any]:
    """The AP of a detector on the validation scenes."""
    metrics = evaluate_detector(detector, data)["metrics"]
    return {name: metrics[name] for name in METRICS}


if __name__ == "__main__":
    main()
