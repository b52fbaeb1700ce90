"""How fast the workbench is on a large table: reading 10^6 x 30 numbers, and one cell of the default network on 10^5.

    python benchmarks/table_speed.py

Both tables are made here, 2 % of their rows positive. Each part runs in a process of its own, whose largest resident
memory is said beside the time; the cell has all processors of the machine.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from focalkit.compare import METHODS
from focalkit.compare.engines import processors
from focalkit.tasks import Budget, Source, open_task

HERE = Path(__file__).parent
COLUMNS = 30


def write_table(file: Path, rows: int) -> None:
    """Normal deviates of which a few columns say something of the target, with three decimals."""
    import polars

    random = np.random.default_rng(0)
    x = random.normal(size=(rows, COLUMNS)).round(3)
    score = x[:, 0] + 0.7 * x[:, 1] * x[:, 2] - 0.5 * np.abs(x[:, 3]) + random.normal(0, 0.7, rows)
    target = (score > np.quantile(score, 0.98)).astype(np.int8)
    polars.DataFrame({f"x{i}": x[:, i] for i in range(COLUMNS)} | {"target": target}).write_csv(file)


def read(file: Path) -> dict[str, Any]:
    """Read, look at the columns, split."""
    began = time.perf_counter(), time.process_time()
    splits = open_task("tabular").read(Source(file), 0)
    return {"rows": sum(splits.sizes.values()), **since(*began)}


def fit(file: Path) -> dict[str, Any]:
    """One cell: fit the network, predict the parts."""
    task = open_task("tabular")
    splits = task.read(Source(file), 0)
    began = time.perf_counter(), time.process_time()
    fitted = task.fit(METHODS["ce"], splits, Budget(threads=processors()), 0, file.parent)
    outputs = {part: fitted.outputs(part) for part in ("val", "test")}
    taken = since(*began)
    test = outputs["test"]
    facts = {name: fitted.facts[name] for name in ("steps", "best_step")}
    score = task.metrics[0].function(test.probabilities, test.targets)
    return {"rows": sum(splits.sizes.values()), **taken, **facts, task.metrics[0].name: score}


def since(clock: float, processor: float) -> dict[str, float]:
    """Seconds on the clock, and of the processors: on a busy machine the two differ."""
    return {"seconds": time.perf_counter() - clock, "cpu_seconds": time.process_time() - processor}


PARTS = {"read": (read, 1_000_000), "fit": (fit, 100_000)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--out", type=Path, default=HERE / "results" / "table_speed.json")
    parser.add_argument("--inside", nargs=2, metavar=("PART", "FILE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        found = PARTS[args.inside[0]][0](Path(args.inside[1]))
        unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
        found["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
        print(json.dumps({name: round(v, 3) if isinstance(v, float) else v for name, v in found.items()}))
        return
    results = {
        "command": "python benchmarks/table_speed.py",
        "machine": f"{os.cpu_count()} cores ({platform.machine()})",
        "columns": COLUMNS,
    }
    with tempfile.TemporaryDirectory() as folder:
        for part in args.parts:
            file = Path(folder) / f"{part}.csv"
            write_table(file, PARTS[part][1])
            words = [sys.executable, __file__, "--inside", part, str(file)]
            results[part] = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
            print(part, results[part], flush=True)
    args.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
