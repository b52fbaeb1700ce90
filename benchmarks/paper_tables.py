"""Tables 1a, 1b and 1d of Lin et al. (2017) in miniature: what docs/evidence.md says about boxes.

    python benchmarks/paper_tables.py --runs runs/paper

Draws the demo scenes at 128 px into `--runs` and runs `focalkit compare` with the preset paper-tables-mini on them;
the same command goes on where it was stopped. Beside the verdicts against cross-entropy, every claim of the tables is
judged as a pair of its own. With --partial the result holds what is finished.
"""

import argparse
import os
import platform
from pathlib import Path
from typing import Any

from focalkit._runs import write_json_atomic
from focalkit.compare import Comparison, compare
from focalkit.compare.presets import PRESETS
from focalkit.data import write_demo_scenes
from focalkit.tasks import Budget

HERE = Path(__file__).parent
PRESET = PRESETS["paper-tables-mini"]
SCENES = {"train": 600, "val": 200, "size": 128, "classes": 5}

# AP of the paper, in hundredths; ResNet-50 (1a, 1b) and ResNet-101 (1d) at 600 px, COCO minival
PUBLISHED = {
    "ce_no_prior": ("1a", "cross-entropy, no prior", None),  # sec. 5.1: diverges
    "alpha_ce(alpha=0.25)": ("1a", "cross-entropy, alpha .25", 10.8),
    "ce": ("1a", "cross-entropy, prior .01", 30.2),
    "alpha_ce(alpha=0.75)": ("1a", "cross-entropy, alpha .75", 31.1),
    "focal_alpha(alpha=0.5,gamma=0.5)": ("1b", "focal, gamma .5, alpha .5", 32.9),
    "focal_alpha(alpha=0.25,gamma=1.0)": ("1b", "focal, gamma 1, alpha .25", 33.7),
    "focal_alpha": ("1b", "focal, gamma 2, alpha .25", 34.0),
    "focal_alpha(alpha=0.25,gamma=5.0)": ("1b", "focal, gamma 5, alpha .25", 32.2),
    "ohem": ("1d", "OHEM, the best of the table", 32.8),
    "hard_negative_mining": ("1d", "OHEM 1:3, the best of the table", 31.1),
}
# table, better, worse, published difference in hundredths (None: the other one diverged)
CLAIMS = (
    ("1a", "ce", "ce_no_prior", None),
    ("1a", "ce", "alpha_ce(alpha=0.25)", 19.4),
    ("1a", "alpha_ce(alpha=0.75)", "ce", 0.9),
    ("1b", "focal_alpha", "alpha_ce(alpha=0.75)", 2.9),
    ("1b", "focal_alpha(alpha=0.25,gamma=1.0)", "focal_alpha(alpha=0.5,gamma=0.5)", 0.8),
    ("1b", "focal_alpha", "focal_alpha(alpha=0.25,gamma=1.0)", 0.3),
    ("1b", "focal_alpha", "focal_alpha(alpha=0.25,gamma=5.0)", 1.8),
    ("1d", "focal_alpha", "ohem", 3.2),
    ("1d", "focal_alpha", "hard_negative_mining", 4.9),
)


def rows_of(comparison: Comparison) -> list[dict[str, Any]]:
    """One row per method that has finished somewhere: values by seed and the verdict against cross-entropy."""
    values, rows = comparison.values("AP"), []
    judged = {verdict.method: verdict for verdict in comparison.verdicts}
    for method, (table, setting, published) in PUBLISHED.items():
        found = list(values.get(method, {}).values())
        if found:
            v = judged[method]
            row = {"method": method, "table": table, "setting": setting, "published": published}
            ours = {"mean": round(sum(found) / len(found), 4), "values": [round(x, 4) for x in found]}
            rows.append({**row, **ours, **_numbers(v), "verdict": v.outcome})
    return rows


def claims_of(comparison: Comparison) -> list[dict[str, Any]]:
    """What the tables claim about pairs, each judged by itself."""
    done, found = comparison.values("AP"), []
    for table, better, worse, published in CLAIMS:
        if better in done and worse in done:
            pair = comparison.judge(yardstick=worse, methods=[better, worse])
            v = next(one for one in pair if one.method == better)
            claim = {"table": table, "better": better, "worse": worse, "published": published}
            found.append({**claim, **_numbers(v), "verdict": v.outcome})
    return found


def background_per_positive(comparison: Comparison) -> float:
    """Anchors of the training part."""
    facts = comparison.task.inspect(comparison.plan.source).facts
    return 1 / facts["foreground"] - 1


def _numbers(verdict: Any) -> dict[str, float | None]:
    given = {key: getattr(verdict, key) for key in ("difference", "low", "high")}
    return {key: round(value, 4) if value == value else None for key, value in given.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/paper"))
    parser.add_argument("--seeds", type=int, default=PRESET.seeds)
    parser.add_argument("--partial", action="store_true", help="train nothing: write down what is finished")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "paper_tables.json")
    args = parser.parse_args()
    out = args.runs / "compared"
    if args.partial:
        comparison = Comparison(out)
    else:
        scenes = write_demo_scenes(args.runs / "scenes", **SCENES)
        comparison = compare(
            scenes, PRESET.methods, task=PRESET.task, seeds=args.seeds, budget=Budget(steps=PRESET.steps), out=out,
            engine="serial", progress=lambda e: print(e.kind, e.job.method.name, e.job.seed, e.error, flush=True),
        )  # fmt: skip
    cells = [cell for cell in comparison.cells.values() if cell.status == "done"]
    seconds = sum(cell.record["cost"]["fit_seconds"] + cell.record["cost"]["predict_seconds"] for cell in cells)
    rows = rows_of(comparison)
    write_json_atomic(
        args.out,
        {
            "command": "python benchmarks/paper_tables.py",
            "machine": f"{os.cpu_count()} cores ({platform.machine()}), one thread",
            "minutes": round(seconds / 60, 1),
            "seeds": min(len(row["values"]) for row in rows),
            "steps": PRESET.steps,
            "background_per_positive": round(background_per_positive(comparison), 1),
            "rows": rows,
            "claims": claims_of(comparison),
        },
    )


if __name__ == "__main__":
    main()
