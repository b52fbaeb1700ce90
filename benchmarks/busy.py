"""Training and inference of cpu-small beside one other busy process on the same cores, by OpenMP's spin count.

    python benchmarks/busy.py --out benchmarks/results/busy.json

Each setting runs in a process of its own, for GNU's OpenMP reads the environment when torch loads it: first quiet, then
beside a process that does nothing but count. Settings take turns; `--rounds` repeats all.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

SETTINGS = {
    "default": {},
    "GOMP_SPINCOUNT=1000": {"GOMP_SPINCOUNT": "1000"},
    "GOMP_SPINCOUNT=2000": {"GOMP_SPINCOUNT": "2000"},
    "GOMP_SPINCOUNT=4000": {"GOMP_SPINCOUNT": "4000"},
    "GOMP_SPINCOUNT=10000": {"GOMP_SPINCOUNT": "10000"},
    "GOMP_SPINCOUNT=50000": {"GOMP_SPINCOUNT": "50000"},
    "OMP_WAIT_POLICY=PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
}
NAMES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
WORK = """
import sys, time, torch
from dataclasses import replace
from focalkit.bench.train import ours, photos
from focalkit.bench.inference import ours as predict, small
from focalkit.config import cpu_small
config = cpu_small()
call = ours(photos(16, 640, config)) if sys.argv[1] == "train" else predict(small(320, 416, torch.device("cpu")))
images = config.batch_size if sys.argv[1] == "train" else 1
call()
start, done = time.perf_counter(), 0
while time.perf_counter() - start < float(sys.argv[2]):
    call()
    done += images
print(done / (time.perf_counter() - start))
"""


def measure(work: str, seconds: float, setting: dict[str, str], busy: bool) -> float:
    """Images a second."""
    environment = {name: value for name, value in os.environ.items() if name not in NAMES} | setting
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if busy else None
    try:
        words = [sys.executable, "-c", WORK, work, str(seconds)]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    finally:
        if other is not None:
            other.kill()
            other.wait()
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", nargs="+", choices=("train", "predict"), default=["train", "predict"])
    parser.add_argument("--seconds", type=float, default=12)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    samples: dict[str, dict[str, dict[str, list[float]]]] = {}
    for _ in range(args.rounds):
        for work in args.work:
            for name, setting in SETTINGS.items():
                for state in ("quiet", "busy"):
                    row = samples.setdefault(work, {}).setdefault(name, {"quiet": [], "busy": []})
                    row[state].append(round(measure(work, args.seconds, setting, state == "busy"), 2))
                    print(f"{work}, {name}, {state}: {row[state][-1]} images/s", flush=True)
    found = {
        "command": "python benchmarks/busy.py",
        "cores": os.cpu_count(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "images_per_second": samples,
        "busy_over_quiet": {
            work: {name: round(median(row["busy"]) / median(row["quiet"]), 3) for name, row in rows.items()}
            for work, rows in samples.items()
        },
    }
    print(json.dumps(found["busy_over_quiet"], indent=1))
    if args.out:
        args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
