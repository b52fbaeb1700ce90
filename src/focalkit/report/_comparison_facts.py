"""The tables of a comparison's page: the data, how it was done, what each method is, findings, the hardest items."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from focalkit.compare import Comparison, Method
from focalkit.compare.findings import findings
from focalkit.compare.store import Cell, read_json
from focalkit.compare.summary import words
from focalkit.findings import Finding

HARDEST = 15


def hardest(cell: Cell) -> list[tuple[str, str, str, str]]:
    """Test items with the largest loss: id, class, most probable other class, probability of the class."""
    test = cell.test
    if test.multilabel or not len(test):
        return []
    names, p = cell.record["classes"], test.probabilities
    own = p[np.arange(len(test)), test.targets]
    rows = []
    for i in np.argsort(own, kind="stable")[:HARDEST]:
        looks = int(p[i].argmax())
        rows.append((str(test.ids[i]), names[test.targets[i]], names[looks], f"{own[i]:.2g}"))
    return rows


def about_data(comparison: Comparison, record: Mapping[str, Any]) -> list[tuple[str, str]]:
    counts = dict(zip(record.get("classes", []), record.get("class_counts", []), strict=False))
    listed = ", ".join(f"{name} {n:,}" for name, n in list(counts.items())[:12]) + (" ..." if len(counts) > 12 else "")
    rows = [("Data", str(comparison.plan.source.path)), ("Task", comparison.plan.task)]
    of, counted = ("Images", "boxes") if "boxes" in record.get("facts", {}) else ("Items", "items")
    rows += [(f"{of} in {part}", f"{n:,}") for part, n in record.get("sizes", {}).items()]
    rows += [(f"Training {counted} per class", listed)]
    return rows + [(words(k).capitalize(), _short(v)) for k, v in record.get("facts", {}).items() if v is not None]


def how_it_was_done(comparison: Comparison, done: Mapping[str, Cell]) -> list[tuple[str, str]]:
    plan = comparison.plan
    cell = next(iter(done.values()), None)
    run = read_json(file) if cell is not None and (file := cell.folder / "run.json").is_file() else {}
    splits = "every seed splits the data anew" if plan.resplits else "all seeds share the data's split"
    tuning = f"{plan.tune} trials per method, on validation only" if plan.tune else "none: methods as they stand"
    decides = comparison.task.decision_metric
    thresholds = "tuned on validation for every method" if decides else "none: nothing is decided, only ranked"
    budget = ", ".join(f"{k} {v}" for k, v in vars(plan.budget).items() if v is not None and k != "beside")
    of_seeds = "Nadeau and Bengio's, of seeds whose splits overlap"
    intervals = of_seeds if plan.resplits else "Howe's, of seeds and items"
    rows = [
        ("Methods", f"{len(plan.methods)}, each with the same initial weights, splits and budget for a seed"),
        ("Seeds", f"{', '.join(map(str, plan.seeds))}; {splits}"),
        ("Tuning", tuning),
        ("Thresholds", f"{thresholds}; the test part was read once, afterwards"),
        ("Budget", budget),
        ("Intervals", f"95 %, {intervals}; p-values after Holm's correction over the methods"),
        ("Smallest difference that matters", str(plan.rope or "chosen from the yardstick's spread")),
    ]
    return rows + [(name, version) for name, version in run.get("versions", {}).items()]


def settings(method: Method) -> str:
    fields = ("loss", "class_weight", "sampler", "augment", "schedule", "adjust")
    parts = {name: getattr(method, name) for name in fields}
    parts["model"] = None if method.model == "default" else method.model
    text = ", ".join(f"{k} {v}" for k, v in parts.items() if v and v != "default") or "nothing beyond the task's own"
    return text + (f" ({method.paper})" if method.paper != "-" else "")


def found(record: Mapping[str, Any], comparison: Comparison) -> list[tuple[str, str, str]]:
    """(number and title, what was seen and what to do, why and how); remarks without a number have only the second."""
    seen = [*findings(comparison), *(Finding(f["code"], f["seen"]) for f in record.get("findings", []))]
    rows = [
        (f"{f.code} {f.check.title}", f"{f.seen}. {f.check.action}", f"{f.check.why} How it is found: {f.check.how}")
        for f in seen
    ]
    return rows + [("", note, "") for note in record.get("notes", [])]


def why(cell: Cell) -> str:
    return str(cell.record.get("error", "not run yet")).splitlines()[0]


def _short(value: Any) -> str:
    text = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
    return text if len(text) <= 300 else text[:297] + "..."
