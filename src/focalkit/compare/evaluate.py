"""From the files of a cell to numbers: thresholds tuned on validation, metrics on test. Nothing here trains.

One decision rule serves every single-label task: the class with the largest p_c / t_c. With two classes and thresholds
(1 - t, t) that is p >= t; with equal thresholds it is the most probable class. Where items have several labels, label
c is given where p_c >= t_c.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from focalkit.compare.store import Cell
from focalkit.tasks import Array, Metric, Outputs

FEWEST = 50
"""Validation items below which thresholds stay where they are: a tuned one would be noise."""
CANDIDATES = 256
DEFAULT, TUNED, NONE = "default", "tuned", ""
"""Names of threshold rules in results: .5 (the most probable class), tuned on validation, and not applicable."""


@dataclass(frozen=True)
class Thresholds:
    """How probabilities become decisions.

    Attributes:
        values: (k,).
        note: Why they are what they are, where that is not plain.
    """

    values: tuple[float, ...]
    note: str = ""

    def decide(self, probabilities: Array, *, multilabel: bool = False) -> Array:
        """(n,) class indices, or (n, k) of 0 and 1 where items have several labels.

        Example:
            >>> Thresholds((0.9, 0.1)).decide(np.array([[0.85, 0.15], [0.95, 0.05]])).tolist()
            [1, 0]
        """
        t = np.asarray(self.values)
        if multilabel:
            return (probabilities >= t).astype(np.int64)
        if len(t) == 2:  # subtle: not by division, so that p >= t holds exactly at the threshold itself
            return (probabilities[:, 1] >= t[1]).astype(np.int64)
        return (probabilities / t).argmax(1)


@dataclass(frozen=True)
class Sample:
    """A finished cell as statistics want it: everything about its test part, and the thresholds to decide with."""

    seed: int
    test: Outputs
    thresholds: dict[str, Thresholds]
    """"default" and, where the task decides anything, "tuned" on validation."""


def default_thresholds(outputs: Outputs) -> Thresholds:
    """.5 with two classes or several labels; equal ones otherwise."""
    k = outputs.logits.shape[1]
    return Thresholds((0.5,) * k if outputs.multilabel or k == 2 else (1 / max(k, 1),) * k)


def tuned_thresholds(val: Outputs, metric: Metric) -> Thresholds:
    """Those that maximise a metric of decisions on validation outputs."""
    start, p = default_thresholds(val), val.probabilities
    if len(val) < FEWEST:
        return Thresholds(start.values, f"not tuned: {len(val)} validation items, at least {FEWEST} are needed")
    sign = 1 if metric.higher_is_better else -1

    def value(values: Sequence[float]) -> float:
        found = metric.function(Thresholds(tuple(values)).decide(p, multilabel=val.multilabel), val.targets)
        return -math.inf if math.isnan(found) else sign * found

    if p.shape[1] == 2 and not val.multilabel:
        return Thresholds(_sweep(start.values, p[:, 1], (val.targets == 1).sum(), lambda t: value((1 - t, t))))
    return Thresholds(_ascend(start.values, p, val, value))


def value_of(metric: Metric, outputs: Outputs, thresholds: Thresholds) -> float:
    """One metric of outputs; `thresholds` matter to metrics of decisions only. Pure: resample with `outputs.take`."""
    if metric.of == "outputs":
        return float(metric.function(outputs))
    p = outputs.probabilities
    if metric.of == "decisions":
        p = thresholds.decide(p, multilabel=outputs.multilabel)
    return float(metric.function(p, outputs.targets))


def evaluate(cell: Cell, metrics: Sequence[Metric], decision_metric: str) -> list[tuple[str, str, float]]:
    """(metric, threshold rule, value on test) of a finished cell: every metric of decisions under both rules."""
    rules = rules_of(cell, metrics, decision_metric)
    rows = []
    for metric in metrics:
        for rule, thresholds in rules.items() if metric.of == "decisions" else [(NONE, rules[DEFAULT])]:
            rows.append((metric.name, rule, value_of(metric, cell.test, thresholds)))
    return rows


def rules_of(cell: Cell, metrics: Sequence[Metric], decision_metric: str) -> dict[str, Thresholds]:
    """The decision rules of a cell by name: "default", and "tuned" where the task decides anything."""
    rules = {DEFAULT: default_thresholds(cell.val)}
    if decision_metric:
        by = next(metric for metric in metrics if metric.name == decision_metric)
        rules[TUNED] = tuned_thresholds(cell.val, by)
    return rules


def _sweep(
    start: tuple[float, ...], scores: Array, positives: int, value: Callable[[float], float]
) -> tuple[float, ...]:
    """(1 - t, t) with the best t between two neighbouring scores; of equally good ones the middle."""
    levels = np.unique(scores)[::-1]
    between = (levels[:-1] + levels[1:]) / 2
    if len(between) > CANDIDATES:  # densest where about as many items as there are positives lie above
        ranks = np.concatenate(
            [
                np.linspace(0, min(3 * int(positives), len(between) - 1), CANDIDATES // 2),
                np.geomspace(1, len(between), CANDIDATES // 2) - 1,
            ]
        )
        between = between[np.unique(ranks.astype(int))]
    between = between[(between > 0) & (between < 1)]
    values = np.array([value(t) for t in between])
    if not len(values) or values.max() <= value(start[1]):
        return start
    best = np.flatnonzero(values == values.max())
    t = float(between[best[len(best) // 2]])
    return (1 - t, t)


def _ascend(
    start: tuple[float, ...], p: Array, val: Outputs, value: Callable[[Sequence[float]], float]
) -> tuple[float, ...]:
    """Thresholds improved one class at a time, the rarest first, twice over."""
    counts = val.targets.sum(0) if val.multilabel else np.bincount(val.targets, minlength=p.shape[1])
    now, best = list(start), value(start)
    for c in [*np.argsort(counts, kind="stable")] * 2:
        if val.multilabel:
            steps = np.quantile(p[:, c], 1 - np.geomspace(1 / len(p), 1, 40))
        else:
            steps = now[c] * 2.0 ** np.arange(-4, 4.5, 0.5)
        for t in steps:
            tried = [*now[:c], float(t), *now[c + 1 :]]
            if (found := value(tried)) > best:
                best, now = found, tried
    return tuple(now)
