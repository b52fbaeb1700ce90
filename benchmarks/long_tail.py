"""Writes what docs/evidence.md says about long-tailed images from a finished comparison.

    focalkit compare CIFAR10_LT --preset quick --out runs/cifar10_lt
    python benchmarks/long_tail.py runs/cifar10_lt

CIFAR10_LT is a folder with npz files of CIFAR-10's long tails and `lt_counts.json` (docs/compare.md, "Images").
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from focalkit._files import write_json_atomic
from focalkit.compare import Comparison

HERE = Path(__file__).parent


def record(comparison: Comparison) -> dict[str, Any]:
    """One row per method, the best first, and what they were trained on."""
    verdicts = {verdict.method: verdict for verdict in comparison.verdicts}
    values = comparison.values(comparison.plan.metric)
    tails = tail_accuracy(comparison)
    rows = []
    for method in comparison.ranking:
        v, of = verdicts[method], list(values[method].values())
        about = {"method": method, "mean": float(np.mean(of)), "values": of, "verdict": v.outcome}
        rows.append({**about, "difference": v.difference, "low": v.low, "high": v.high, "p": v.p, **tails[method]})
    data = json.loads((comparison.store.out / "data.json").read_text(encoding="utf-8"))
    steps = {c.record["facts"]["steps"] for c in comparison.cells.values()}
    sizes = {"class_counts": data["class_counts"], "sizes": data["sizes"], "steps": max(steps)}
    return {"seeds": len(comparison.plan.seeds), **sizes, "rows": rows}


def tail_accuracy(comparison: Comparison) -> dict[str, dict[str, float]]:
    """Method -> mean recall of the three most and the three least frequent classes, of the most probable class."""
    counts = np.asarray(next(iter(comparison.cells.values())).record["class_counts"])
    order = np.argsort(-counts)
    found: dict[str, dict[str, list[float]]] = {}
    for (method, _), cell in comparison.cells.items():
        decided, targets = cell.test.logits.argmax(1), cell.test.targets
        recall = np.array([(decided[targets == c] == c).mean() for c in range(len(counts))])
        of = found.setdefault(method, {"many": [], "few": []})
        of["many"].append(float(recall[order[:3]].mean()))
        of["few"].append(float(recall[order[-3:]].mean()))
    return {method: {name: float(np.mean(values)) for name, values in of.items()} for method, of in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("comparison", type=Path)
    parser.add_argument("--machine", default="one thread", help="what it ran on")
    parser.add_argument("--minutes", type=float, help="how long it took, if not the sum of the fits")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "cifar10_lt.json")
    args = parser.parse_args()
    comparison = Comparison(args.comparison)
    fits = sum(c.record["cost"]["fit_seconds"] for c in comparison.cells.values()) / 60
    about = {"command": "focalkit compare CIFAR10_LT --preset quick", "machine": args.machine}
    write_json_atomic(args.out, {**about, "minutes": args.minutes or fits, **record(comparison)})


if __name__ == "__main__":
    main()
