"""What calibrating a trained run does to its scores and thresholds, over several divisions of its validation images.

Half of the images fit maps and thresholds, the other half judges them, as `focalkit calibrate RUN` does for one seed.

    focalkit train --data FACEMASK --preset cpu-small --backbone-weights WEIGHTS --epochs 16 --out RUN
    python benchmarks/calibrate_run.py RUN --out benchmarks/results/calibrate_facemask.json
"""

import argparse
import platform
import time
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from focalkit._runs import RunDir, write_json_atomic
from focalkit.calibration import calibrate_detections
from focalkit.detection import Detector
from focalkit.evaluation import coco_results, images_that_trained, predict_split
from focalkit.evaluation.run import open_split, with_classes_of

MEASURES = ("D-ECE", "LaECE_0", "AP")


def rows_of(run: Path, data_path: Path | None, seeds: list[int], target: float) -> list[dict[str, Any]]:
    detector = Detector.from_run(run, "cpu", calibrated=False)
    config = RunDir(run).read_config()
    data = with_classes_of(detector, open_split(config, data_path, "val"), run)
    if images_that_trained(config, data):
        raise SystemExit("some of these images trained the run")
    truth = data.to_coco()
    found = coco_results(predict_split(detector, data, label="detecting"), data.category_ids)
    rows = []
    for seed in seeds:
        study = calibrate_detections(truth, found, target_precision=target, seed=seed)
        rows.append({
            "seed": seed,
            "fit": len(study.split["fit"]),
            "judged": len(study.split["judged"]),
            "methods": {name: fitted.method for name, fitted in study.maps.items()},
            "table": study.table,
            "operating": study.operating["all"],
            "intervals": study.intervals,
        })  # fmt: skip
    return rows


def short(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over the divisions, and the worst of them."""
    tables = [row["table"] for row in rows]
    errors = {m: {c: mean(t[m][c] for t in tables) for c in tables[0][m]} for m in MEASURES}
    precisions = [row["operating"]["precision"] for row in rows]
    return {
        "means": errors,
        "most of D-ECE left": max(t["D-ECE"]["precision"] / t["D-ECE"]["before"] for t in tables),
        "most of LaECE_0 left": max(t["LaECE_0"]["localisation"] / t["LaECE_0"]["before"] for t in tables),
        "largest change of AP": max(abs(t["AP"][c] - t["AP"]["before"]) for t in tables for c in t["AP"]),
        "precision at the thresholds": {"mean": mean(precisions), "least": min(precisions)},
        "recall at the thresholds": mean(row["operating"]["recall"] for row in rows),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, help="a data set; the run's own without it")
    parser.add_argument("--name", default="", help="of run and data, for the result file")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--target-precision", type=float, default=0.9)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    started = time.monotonic()
    rows = rows_of(args.run, args.data, args.seeds, args.target_precision)
    result = {
        "command": f"python benchmarks/calibrate_run.py RUN --target-precision {args.target_precision:g}",
        "data": args.name,
        "machine": f"one thread of {platform.machine()}, PyTorch {torch.__version__}",
        "minutes": (time.monotonic() - started) / 60,
        **short(rows),
        "rows": rows,
    }
    write_json_atomic(args.out, result)
    print({key: value for key, value in result.items() if key != "rows"})


if __name__ == "__main__":
    main()
