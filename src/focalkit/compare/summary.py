"""What a person reads of a comparison: the table, and the sentence above it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from focalkit.compare.comparison import Comparison
from focalkit.compare.evaluate import DEFAULT, TUNED
from focalkit.compare.statistics import LEAST_SEEDS
from focalkit.compare.store import ERROR, read_json
from focalkit.compare.verdicts import in_units

LEAST = {"auroc": 0.55, "AP50": 0.05}
"""Metric -> mean on test below which a model knows next to nothing; by chance .5 and 0."""


def words(name: str) -> str:
    """A name of code in prose.

    Example:
        >>> words("average_precision"), words("balanced_accuracy_argmax")
        ('average precision', 'balanced accuracy of the most probable class')
    """
    plain = name.removesuffix("_argmax").replace("_", " ")
    return f"{plain} of the most probable class" if name.endswith("_argmax") else plain


@dataclass(frozen=True)
class Line:
    """One method, over its finished seeds.

    Attributes:
        method: Name.
        done, failed: Numbers of cells.
        mean, spread: Of the ranking metric on test; spread is the standard deviation over seeds, NaN for one.
        difference: Mean of the differences to the yardstick, seed by seed; NaN for the yardstick itself.
        tuned, default: Mean of the task's decision metric at tuned and at default thresholds; NaN where none.
        seconds: Mean time of a cell, tuning included.
        error: Of the first failed cell.
    """

    method: str
    done: int
    failed: int
    mean: float
    spread: float
    difference: float
    tuned: float
    default: float
    seconds: float
    error: str = ""


def lines(comparison: Comparison) -> list[Line]:
    """One line per method, the best first, those without a finished cell last."""
    plan, decision = comparison.plan, comparison.task.decision_metric
    values = comparison.values(plan.metric)
    tuned = comparison.values(decision, TUNED) if decision else {}
    default = comparison.values(decision, DEFAULT) if decision else {}
    yardstick = values.get(plan.yardstick, {})
    found = []
    for method in plan.methods:
        name = method.name
        cells = [comparison.store.cell(name, seed) for seed in plan.seeds]
        of = values.get(name, {})
        shared = [of[seed] - yardstick[seed] for seed in of if seed in yardstick and name != plan.yardstick]
        costs = [cell.record["cost"] for cell in cells if cell.status == "done"]
        errors = [cell.record["error"] for cell in cells if cell.status == "failed"]
        found.append(
            Line(
                method=name,
                done=len(of),
                failed=len(errors),
                mean=_mean(list(of.values())),
                spread=float(np.std(list(of.values()), ddof=1)) if len(of) > 1 else float("nan"),
                difference=_mean(shared),
                tuned=_mean(list(tuned.get(name, {}).values())),
                default=_mean(list(default.get(name, {}).values())),
                seconds=_mean([cost["fit_seconds"] + cost.get("tune_seconds", 0.0) for cost in costs]),
                error=errors[0] if errors else "",
            )
        )
    place = {name: i for i, name in enumerate(comparison.ranking)}
    return sorted(found, key=lambda line: place.get(line.method, len(place)))


@dataclass(frozen=True)
class Failure:
    """A cell that could not be made.

    Attributes:
        method, seed: Which.
        error: In one line.
        file: The traceback.
    """

    method: str
    seed: int
    error: str
    file: Path


def failures(comparison: Comparison) -> list[Failure]:
    """Every failed cell, in the plan's order."""
    return [
        Failure(method, seed, str(cell.record["error"]).partition("\n")[0], cell.folder / ERROR)
        for (method, seed), cell in comparison.cells.items()
        if cell.status == "failed"
    ]


def sentence(comparison: Comparison) -> str:
    """What came out, in plain words that claim no more than the verdicts do."""
    said = _verdict_in_words(comparison)
    if (little := learnt_little(comparison)) is not None:
        name, best, least = little
        said += f" But no method has learnt much: the best {words(name)} is {best:.3f}, below {least:g} (FK307)."
    return said


def _verdict_in_words(comparison: Comparison) -> str:
    plan, rows = comparison.plan, lines(comparison)
    metric, n = words(plan.metric), len(plan.seeds)
    if not comparison.ranking:
        return "No method has all its cells; the failures are below."
    higher = comparison.metric(plan.metric).higher_is_better
    judged = {v.method: in_units(v, higher) for v in comparison.verdicts}
    mean = {row.method: row.mean for row in rows}
    best = comparison.ranking[0]
    if plan.yardstick not in comparison.ranking:
        return f"{best} has the best mean {metric}, {mean[best]:.3f} over {_seeds(n)}; the yardstick failed."
    known = "plain cross-entropy, " if plan.yardstick == "ce" else ""
    against = f"{plan.yardstick} ({known}{mean[plan.yardstick]:.3f})"
    better = [name for name in comparison.ranking if judged[name].outcome == "better"]
    if better:
        first, others = better[0], better[1:]
        v = judged[first]
        also = f"; so {'is' if len(others) == 1 else 'are'} {_listed(others)}" if others else ""
        return (
            f"{first} is better than {against} in {metric}: {mean[first]:.3f}, a difference of {v.difference:+.3f}"
            f" ({v.low:+.3f} to {v.high:+.3f}) over {_seeds(n)}{also}."
        )
    if best == plan.yardstick:
        return f"No method is shown to be better than {against}, which has the best mean {metric} over {_seeds(n)}."
    v = judged[best]
    if v.outcome == "too few seeds":
        return (
            f"{best} has the best mean {metric}, {mean[best]:.3f}, {v.difference:+.3f} against {against}:"
            f" too few seeds ({v.seeds}) to say whether that is more than chance; {LEAST_SEEDS} or more can."
        )
    return (
        f"No method is shown to be better than {against} in {metric}: the best mean, {mean[best]:.3f} of {best},"
        f" differs by {v.difference:+.3f} ({v.low:+.3f} to {v.high:+.3f}) over {_seeds(n)}."
    )


def learnt_little(comparison: Comparison) -> tuple[str, float, float] | None:
    """(metric, best mean, what it should pass) where even the best method knows next to nothing; None elsewhere."""
    known = {metric.name for metric in comparison.metrics}
    name, least = next(((n, least) for n, least in LEAST.items() if n in known), ("", 0.0))
    means = [_mean(list(by_seed.values())) for by_seed in comparison.values(name).values()] if name else []
    best = max((mean for mean in means if mean == mean), default=1.0)
    return (name, best, least) if best < least else None


def _seeds(n: int) -> str:
    return f"{n} seed{'s' if n != 1 else ''}"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:4])
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"


def data_findings(comparison: Comparison) -> list[str]:
    """What was found in the data that a reader of the results should know: errors and warnings, not notes."""
    found = read_json(comparison.store.out / "data.json")["findings"]
    return [f"{f['code']} {f['title']}: {f['seen']}" for f in found if f["level"] != "note"]


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
