"""Treatments of imbalance on twelve public tables with rare positives: what docs/evidence.md says about tables.

    python benchmarks/tables.py --data FOLDER --runs runs/tables

FOLDER holds the files that `TABLES` names. A table of more than 15,000 rows is cut to so many, drawn with seed 0;
networks train for at most 600 steps. Every table is one comparison under `--runs`: the same command goes on where it
was stopped, and more methods or seeds add their fits to what is there. Beside the yardstick, every method is judged
against its plain peer: the same model without the treatment.
"""

import argparse
import json
import math
import os
import platform
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from focalkit.compare import Comparison, compare
from focalkit.compare.evaluate import DEFAULT
from focalkit.compare.presets import PRESETS
from focalkit.tasks import Budget
from focalkit.tasks.tabular._read import read_frame

HERE = Path(__file__).parent
MOST_ROWS = 15_000
PRESET = PRESETS["tables"]

# file, target; chosen before any was run: the rare class is hard to find, and at least 30 rows of it are there
TABLES = {
    "abalone_19": ("abalone_19.csv.gz", "target"),
    "ALOI": ("ALOI.npz", "target"),
    "annthyroid": ("annthyroid.npz", "target"),
    "churn": ("churn.csv.gz", "target"),
    "kc1": ("kc1.csv.gz", "target"),
    "mammography": ("mammography.csv.gz", "target"),
    "ozone_level_8hr": ("ozone_level_8hr.csv.gz", "target"),
    "pc1": ("pc1.csv.gz", "target"),
    "vehicle_claim_fraud": ("vehicle_claim_fraud_1994_1995.csv.gz", "FraudFound_P"),
    "wilt": ("wilt.csv.gz", "target"),
    "wine_quality": ("wine_quality.csv.gz", "target"),
    "yeast_me2": ("yeast_me2.csv.gz", "target"),
}
PLAIN = {
    "ce": "ce", "focal": "ce", "weighted": "ce", "oversample": "ce", "threshold_moving": "ce", "logistic": "logistic",
    "hist_gb": "hist_gb", "hist_gb_balanced": "hist_gb", "hist_gb_oversample": "hist_gb",
    "hist_gb_under_bagging": "hist_gb", "balanced_forest": "hist_gb", "easy_ensemble": "hist_gb",
    "lightgbm": "lightgbm", "lightgbm_balanced": "lightgbm", "lightgbm_focal": "lightgbm", "xgboost": "xgboost",
    "xgboost_focal": "xgboost",
}  # fmt: skip
"""Method -> the same model without the treatment (for the ensembles: the boosted trees)."""
METRICS = ("average_precision", "auroc", "macro_f1", "balanced_accuracy", "brier")


def prepared(data: Path, runs: Path, name: str) -> tuple[Path, str]:
    """The table to compare on, and its target."""
    file, target = TABLES[name]
    frame = read_frame(data / file)
    if len(frame) <= MOST_ROWS:
        return data / file, target
    small = runs / f"{name}.parquet"
    if not small.is_file():
        small.parent.mkdir(parents=True, exist_ok=True)
        rows = np.sort(np.random.default_rng(0).choice(len(frame), MOST_ROWS, replace=False))
        frame[rows].write_parquet(small)
    return small, target


def rows_of(name: str, comparison: Comparison) -> Iterable[dict[str, Any]]:
    """One row per method: values by seed and the verdict against its plain peer, in average precision."""
    methods = [method.name for method in comparison.plan.methods]
    judged = {
        verdict.method: verdict
        for plain in dict.fromkeys(PLAIN[method] for method in methods)
        for verdict in comparison.judge(yardstick=plain, methods=[m for m in methods if PLAIN[m] == plain])
    }
    wanted = {metric: comparison.values(metric) for metric in METRICS}
    wanted["macro_f1_default"] = comparison.values("macro_f1", DEFAULT)
    wanted["balanced_accuracy_default"] = comparison.values("balanced_accuracy", DEFAULT)
    for method in methods:
        v = judged[method]
        values = {metric: [known(x) for x in found[method].values()] for metric, found in wanted.items()}
        cells = [comparison.store.cell(method, seed) for seed in comparison.plan.seeds]
        seconds = float(np.mean([cell.record["cost"]["fit_seconds"] for cell in cells]))
        about = {"table": name, "method": method, "plain": PLAIN[method], "verdict": v.outcome}
        difference = {key: known(getattr(v, key)) for key in ("difference", "low", "high", "p", "rope")}
        yield {**about, **difference, **values, "seconds": round(seconds, 2)}


def known(value: float) -> float | None:
    """Rounded; None for what JSON cannot say."""
    return round(value, 6) if math.isfinite(value) else None


def about_table(name: str, comparison: Comparison) -> dict[str, Any]:
    """Size and classes."""
    record = json.loads((comparison.store.out / "data.json").read_text(encoding="utf-8"))
    rows = sum(record["sizes"].values())
    share = record["class_counts"][1] / sum(record["class_counts"])
    found = [f["code"] for f in record["findings"]]
    return {"table": name, "rows": rows, "share": round(share, 5), "findings": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/tables"))
    parser.add_argument("--seeds", type=int, default=PRESET.seeds)
    parser.add_argument("--tables", nargs="+", default=list(TABLES), choices=list(TABLES), metavar="NAME")
    parser.add_argument("--methods", nargs="+", default=PRESET.methods, choices=list(PLAIN), metavar="NAME")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "tables.json")
    args = parser.parse_args()
    rows, tables, seconds = [], [], 0.0
    for name in args.tables:
        began = time.perf_counter()
        path, target = prepared(args.data, args.runs, name)
        comparison = compare(
            path, args.methods, out=args.runs / name, seeds=args.seeds, target=target, engine="serial",
            budget=Budget(steps=PRESET.steps),
        )  # fmt: skip
        rows += rows_of(name, comparison)
        tables.append(about_table(name, comparison))
        seconds += sum(
            c.record["cost"]["fit_seconds"] for c in comparison.cells.values() if not c.record.get("derived_from")
        )
        print(f"{name}: {time.perf_counter() - began:.0f} s", flush=True)
        result = {
            "command": f"python benchmarks/tables.py --data FOLDER --seeds {args.seeds}",
            "machine": f"{os.cpu_count()} cores ({platform.machine()}), one thread",
            "minutes": round(seconds / 60, 1),
            "seeds": args.seeds,
            "planned": len(TABLES),
            "steps": PRESET.steps,
            "most_rows": MOST_ROWS,
            "tables": tables,
            "rows": rows,
        }
        write_rows(args.out, result)


def write_rows(file: Path, result: dict[str, Any]) -> None:
    """One row a line."""
    head = {key: value for key, value in result.items() if key not in ("rows", "tables")}
    lists = [f' "{key}": [\n  ' + ",\n  ".join(map(json.dumps, result[key])) + "\n ]" for key in ("tables", "rows")]
    file.write_text(",\n".join([json.dumps(head, indent=1)[:-2], *lists]) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
