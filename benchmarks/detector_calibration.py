"""How well calibrated detectors are that were trained with focal loss, cross-entropy, QFL or varifocal loss.

D-ECE and LaECE_0 before, and after each calibrator: fitted on half of the validation images, judged on the other half,
the mean over five divisions. Detectors are trained on the demo scenes with the settings of `focalkit demo`: RetinaNet
with focal loss or cross-entropy, whose scores learn the class, and VarifocalNet's head with quality focal or varifocal
loss, whose scores learn the IoU. Runs of yours are added by name.

    python benchmarks/detector_calibration.py --seeds 0 1
    python benchmarks/detector_calibration.py --seeds --run "face masks, focal" runs/facemask

Each finished run is added to the result file at once; runs that are there already are not repeated.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from focalkit._runs import RunDir, write_json_atomic
from focalkit.calibration import DetectionCalibration
from focalkit.cli.demo import config as demo_config
from focalkit.config import TrainConfig
from focalkit.data import write_demo_scenes
from focalkit.detection import Detector
from focalkit.detection.build import losses_of
from focalkit.evaluation import coco_results, predict_split
from focalkit.evaluation.run import open_split, with_classes_of
from focalkit.losses import SigmoidFocalLoss, build, parse
from focalkit.metrics import DetectionMatches, box_features, coco_ap, match_coco, matches_calibration_error
from focalkit.training import train

HERE = Path(__file__).parent
LOSSES = {  # name -> (detector, loss)
    "focal": ("retinanet", "focal(gamma=2.0, alpha=0.25)"),
    "CE": ("retinanet", "bce"),
    "QFL": ("vfnet", "qfl"),
    "varifocal": ("vfnet", "varifocal"),
}
METHODS = ("temperature", "platt", "beta", "isotonic", "histogram", "box")
MEASURES = {"D-ECE": ("d-ece", 0.5), "LaECE_0": ("laece", 0.0)}
DIVISIONS = 5
TRAIN, VAL, EPOCHS = 480, 400, 8


def trained(scenes: Path, name: str, seed: int, out: Path) -> RunDir:
    detector, loss = LOSSES[name]
    base = demo_config(scenes, seed=seed)
    model = replace(base.model, detector=detector, head_norm="group")
    runtime = replace(base.runtime, workers=0)
    train(replace(base, loss=loss, model=model, runtime=runtime, epochs=EPOCHS, evaluate_every=EPOCHS), out)
    return RunDir(out)


def measured(run: RunDir) -> dict[str, Any]:
    """AP, and each error before and after each calibrator on held-out images."""
    detector = Detector.from_run(run.path, "cpu", calibrated=False)
    config = run.read_config()
    data = with_classes_of(detector, open_split(config, None, "val"), run.path)
    truth = data.to_coco()
    found = coco_results(predict_split(detector, data, label="detecting"), data.category_ids)
    posterior = undoing(config)
    errors: dict[str, dict[str, float]] = {}
    for measure, (kind, tau) in MEASURES.items():
        matches = match_coco(truth, found, iou_threshold=tau)
        rows = [divided(matches, kind, seed, posterior) for seed in range(DIVISIONS)]
        errors[measure] = {column: sum(row[column] for row in rows) / len(rows) for column in rows[0]}
    return {
        "images": len(data),
        "detections": len(found),
        "AP": coco_ap(truth, found, per_class=False).metrics["AP"],
        "errors": errors,
    }


def divided(
    matches: DetectionMatches, kind: str, seed: int, posterior: DetectionCalibration | None
) -> dict[str, float]:
    """One division: column -> error on the images that did not fit the map."""
    order = torch.randperm(len(matches.image_ids), generator=torch.Generator().manual_seed(seed))
    fits = torch.zeros(len(order), dtype=torch.bool)
    fits[order[: len(order) // 2]] = True
    rows, judged = matches.in_images(fits).counted, matches.in_images(~fits)
    targets = rows.correct.double() if kind == "d-ece" else rows.iou

    def error(scores: torch.Tensor) -> float:
        return matches_calibration_error(replace(judged, scores=scores), kind=kind)  # pyright: ignore[reportArgumentType]

    columns = {"before": error(judged.scores)}
    if posterior is not None:
        columns["posterior"] = error(posterior.transform(judged.scores, judged.labels))  # pyright: ignore[reportArgumentType]
    for method in METHODS:
        fitted = DetectionCalibration(method).fit(rows.scores, rows.labels, targets, box_features(rows))
        columns[method] = error(fitted.transform(judged.scores, judged.labels, box_features(judged)))  # pyright: ignore[reportArgumentType]
    return columns


def undoing(config: TrainConfig) -> DetectionCalibration | None:
    """The closed inverse of the focal loss that trained the run; None for another loss."""
    spec = losses_of(config)[0]
    loss = build(spec) if parse(spec)[0] == "focal" else None
    if not isinstance(loss, SigmoidFocalLoss):
        return None
    return DetectionCalibration.posterior(float(loss.gamma), float(loss.alpha))  # pyright: ignore[reportArgumentType]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1])
    parser.add_argument("--only", nargs="+", choices=LOSSES, default=list(LOSSES), help="losses; all without it")
    parser.add_argument("--run", nargs=2, action="append", default=[], metavar=("NAME", "DIR"), help="a trained run")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "detector_calibration.json")
    args = parser.parse_args()
    result: dict[str, Any] = json.loads(args.out.read_text()) if args.out.is_file() else {"minutes": 0.0, "rows": []}
    done = {(row["data"], row["loss"], row["seed"]) for row in result["rows"]}
    command = " ".join(["python benchmarks/detector_calibration.py", *sys.argv[1:]])

    def keep(data: str, loss: str, seed: int, run: RunDir, started: float) -> None:
        row = {"data": data, "loss": loss, "seed": seed, "command": command, **measured(run)}
        result["rows"].append(row)
        result["command"] = command
        result["machine"] = f"{torch.get_num_threads()} threads of a {os.cpu_count()}-core {platform.machine()}"
        result["minutes"] += (time.monotonic() - started) / 60
        write_json_atomic(args.out, result)
        print(json.dumps(row), flush=True)

    demo = f"{TRAIN} demo scenes"
    with tempfile.TemporaryDirectory() as folder:
        for seed in args.seeds:
            missing = [name for name in args.only if (demo, name, seed) not in done]
            scenes = Path(folder) / f"scenes{seed}"
            if missing:
                write_demo_scenes(scenes, train=TRAIN, val=VAL, seed=seed, classes=5)
            for name in missing:
                started = time.monotonic()
                keep(demo, name, seed, trained(scenes, name, seed, Path(folder) / f"{name}-{seed}"), started)
        for name, place in args.run:
            run = RunDir(Path(place))
            config = run.read_config()
            if (name, losses_of(config)[0], config.seed) not in done:
                keep(name, losses_of(config)[0], config.seed, run, time.monotonic())


if __name__ == "__main__":
    main()
