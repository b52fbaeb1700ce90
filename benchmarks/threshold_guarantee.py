"""Does the guarantee of `choose_thresholds(..., confidence=)` hold? 4,000 simulated data sets per case.

Each draws n rows from a distribution whose precision and recall above any cut are known on a fine grid, asks for a cut
with 95 % confidence, and looks at the true precision (recall) above it. A violation is a cut whose truth lies below the
target; a data set too small to give a cut counts as none given. In the long run at most 5 % are violations.

    python benchmarks/threshold_guarantee.py
"""

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from focalkit._files import write_json_atomic
from focalkit.calibration import choose_thresholds

HERE = Path(__file__).parent
TARGET, CONFIDENCE = 0.9, 0.95
GRID = 200_001

CASES: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "calibrated": (lambda s: s, 6),
    "precise": (lambda s: s**0.1, 6),
    "not monotone": (lambda s: 0.5 + 0.45 * torch.sin(9 * s).abs(), 6),
    "eleven scores": (lambda s: s**0.25, 1),
    "at the target everywhere": (lambda s: torch.full_like(s, TARGET), 6),
}
"""Name -> probability of being positive by score, and the digits that scores are rounded to."""


def simulate(eta: Callable[[Tensor], Tensor], digits: int, aim: str, rows: int, times: int) -> dict[str, Any]:
    """Share of data sets that got a cut, and of those whose truth lies below the target."""
    grid = (torch.arange(GRID, dtype=torch.float64) / (GRID - 1) * 10**digits).round() / 10**digits
    truth = eta(grid)
    given = broken = 0
    for seed in range(times):
        generator = torch.Generator().manual_seed(seed)
        scores = (torch.rand(rows, generator=generator, dtype=torch.float64) * 10**digits).round() / 10**digits
        labels = torch.rand(rows, generator=generator, dtype=torch.float64) < eta(scores)
        cut = float(choose_thresholds(scores, labels, **{aim: TARGET}, confidence=CONFIDENCE, bootstrap=0).values)
        if not math.isnan(cut):
            kept = truth[grid >= cut]
            reached = kept.mean() if aim == "target_precision" else kept.sum() / truth.sum()
            given, broken = given + 1, broken + (float(reached) < TARGET - 1e-9)
    return {"given": given, "violations": broken, "of": times}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=4000)
    parser.add_argument("--rows", type=int, nargs="+", default=[200, 2000])
    parser.add_argument("--out", type=Path, default=HERE / "results" / "threshold_guarantee.json")
    args = parser.parse_args()
    rows = []
    for name, (eta, digits) in CASES.items():
        for n in args.rows:
            for aim in ("target_precision", "target_recall"):
                rows.append({"case": name, "rows": n, "aim": aim, **simulate(eta, digits, aim, n, args.times)})
                print(json.dumps(rows[-1]), flush=True)
    result = {
        "command": f"python benchmarks/threshold_guarantee.py --times {args.times}",
        "target": TARGET,
        "confidence": CONFIDENCE,
        "versions": {"torch": torch.__version__},
        "cases": rows,
    }
    write_json_atomic(args.out, result)


if __name__ == "__main__":
    main()
