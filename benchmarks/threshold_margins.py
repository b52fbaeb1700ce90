"""How often thresholds chosen for a precision reach it on other images, and what more caution costs in recall.

The images of a run's validation split are divided in halves, again and again: one half chooses a threshold per class,
the other judges. Chosen three ways: as asked, with `confidence` (an exact test that takes detections for independent,
which those of one image are not), and the upper end of the threshold's bootstrap interval, which draws whole images.

    python benchmarks/threshold_margins.py RUN --out benchmarks/results/threshold_margins.json
"""

import argparse
import json
import platform
import time
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor

from focalkit._runs import RunDir, write_json_atomic
from focalkit.calibration import Thresholds, detection_thresholds
from focalkit.evaluation.run import open_split
from focalkit.metrics import DetectionMatches, match_coco, operating_point

TARGET, MARGIN = 0.9, 0.03
RULES = ("as asked", "confidence 0.95", "upper end of the 95 % interval")


def cuts_of(rule: str, half: DetectionMatches, seed: int) -> Tensor:
    """(k,) a class without a threshold of its own takes that of all, and reports nothing where there is none."""
    confidence = 0.95 if rule == "confidence 0.95" else None
    found, pooled = detection_thresholds(half, target_precision=TARGET, confidence=confidence, seed=seed)

    def value(of: Thresholds) -> Tensor:
        return of.interval[..., 1] if rule.startswith("upper") else of.values

    return torch.where(value(found).isnan(), value(pooled), value(found)).nan_to_num(torch.inf)


def rows_of(matches: DetectionMatches, divisions: int) -> list[dict[str, Any]]:
    rows = []
    for seed in range(divisions):
        n = len(matches.image_ids)
        chooses = torch.zeros(n, dtype=torch.bool)
        chooses[torch.randperm(n, generator=torch.Generator().manual_seed(seed))[: n // 2]] = True
        row: dict[str, Any] = {"seed": seed}
        for rule in RULES:
            cuts = cuts_of(rule, matches.in_images(chooses), seed)
            reached = operating_point(matches.in_images(~chooses), cuts)["all"]
            row[rule] = {"precision": reached["precision"], "recall": reached["recall"]}
        rows.append(row)
    return rows


def short(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """By rule, over the divisions."""
    table = {}
    for rule in RULES:
        precisions = [row[rule]["precision"] for row in rows]
        table[rule] = {
            "precision": mean(precisions),
            "least precision": min(precisions),
            "recall": mean(row[rule]["recall"] for row in rows),
            f"at least {TARGET:g}": mean(p >= TARGET for p in precisions),
            f"at least {TARGET - MARGIN:g}": mean(p >= TARGET - MARGIN for p in precisions),
        }
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="with its predictions.json")
    parser.add_argument("--data", type=Path, help="a data set; the run's own without it")
    parser.add_argument("--name", default="", help="of run and data, for the result file")
    parser.add_argument("--divisions", type=int, default=100)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    started = time.process_time()
    truth = open_split(RunDir(args.run).read_config(), args.data, "val").to_coco()
    matches = match_coco(truth, json.loads((args.run / "predictions.json").read_text(encoding="utf-8")))
    rows = rows_of(matches, args.divisions)
    result = {
        "command": f"python benchmarks/threshold_margins.py RUN --divisions {args.divisions}",
        "data": args.name,
        "machine": f"one thread of {platform.machine()}, PyTorch {torch.__version__}",
        "seconds": time.process_time() - started,
        "images": len(matches.image_ids),
        "boxes": len(matches.truth_labels),
        "table": short(rows),
        "rows": rows,
    }
    write_json_atomic(args.out, result)
    print(json.dumps(result["table"], indent=1))


if __name__ == "__main__":
    main()
