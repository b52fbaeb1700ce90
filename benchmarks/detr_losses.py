"""The classification losses of set predictors on a small RT-DETRv2: what docs/evidence.md says of them.

focalkit demo --scenes-only --size 128 --out scenes
focalkit compare scenes/data --preset detr-losses-mini --steps 900 --out runs/detr
python benchmarks/detr_losses.py runs/detr
"""

import argparse
import os
import platform
from pathlib import Path

from focalkit._runs import write_json_atomic
from focalkit.compare import Comparison

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("comparison", type=Path)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "detr_losses.json")
    args = parser.parse_args()
    comparison = Comparison(args.comparison)
    values, rows = comparison.values("AP"), []
    for verdict in comparison.verdicts:
        found = [round(value, 4) for value in values[verdict.method].values()]
        given = {key: getattr(verdict, key) for key in ("difference", "low", "high")}
        given = {key: round(value, 4) if value == value else None for key, value in given.items()}
        mean = {"mean": round(sum(found) / len(found), 4), "values": found}
        rows.append({"method": verdict.method, **mean, **given, "verdict": verdict.outcome})
    done = [cell for cell in comparison.cells.values() if cell.status == "done"]
    seconds = sum(cell.record["cost"]["fit_seconds"] + cell.record["cost"]["predict_seconds"] for cell in done)
    result = {
        "command": "focalkit compare scenes/data --preset detr-losses-mini --steps 900 --out runs/detr",
        "machine": f"{os.cpu_count()} cores ({platform.machine()}), one thread",
        "minutes": round(seconds / 60, 1),
        "seeds": len(rows[0]["values"]),
        "rows": rows,
    }
    write_json_atomic(args.out, result)


if __name__ == "__main__":
    main()
