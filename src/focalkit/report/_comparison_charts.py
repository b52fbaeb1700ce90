"""The charts of a comparison's page, from its cells: each block stands alone, and a damaged record breaks no other."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from focalkit.compare import Comparison
from focalkit.compare.evaluate import TUNED
from focalkit.compare.statistics import Verdict
from focalkit.compare.store import Cell
from focalkit.compare.summary import words

from . import _errors, _methods
from ._charts import Block, Charts, guarded
from ._sensitivity import PARAMETERS, sensitivity


def comparison_charts(
    comparison: Comparison,
    judged: Mapping[str, Verdict],
    done: dict[str, Cell],
    shown: Sequence[str],
    best: str | None,
    record: Mapping[str, Any],
    charts: Charts,
) -> dict[str, Block]:
    """Name in the template -> block.

    Args:
        comparison: What is drawn.
        judged: Method -> verdict, with the sign of the metric.
        done: Method -> the finished cell of its first seed.
        shown: Methods that get curves.
        best: The method that ranks first, if any has all its cells.
        record: `data.json`.
        charts: Takes the figures.
    """
    plan, first = comparison.plan, done.get(best or "")
    builders = {
        "differences": ("Differences", lambda: _differences(judged, plan.yardstick, plan.metric, charts)),
        "curves": ("Precision and recall", lambda: _curves(done, shown, charts)),
        "operating": ("Operating point", lambda: _operating(comparison, done, best, charts)),
        "classes": ("Classes", lambda: _classes(done, shown, record, charts)),
        "sensitivity": ("Sensitivity", lambda: _sensitive(comparison, charts)),
        "errors": ("Kinds of errors", lambda: _errors.error_kinds(comparison, shown, charts)),
        "loss": ("Where the loss sits", lambda: _errors.concentration(first, charts) or _loss(done, best, charts)),
    }
    return {name: guarded(build, title) for name, (title, build) in builders.items()}


def _differences(judged: Mapping[str, Verdict], yardstick: str, metric: str, charts: Charts) -> Block:
    shape = _methods.differences(list(judged.values()), yardstick, words(metric))
    caption = "95 % intervals; grey: differences that do not matter."
    return Block(charts.add(shape, "Difference to the yardstick", caption))


def _curves(done: dict[str, Cell], shown: Sequence[str], charts: Charts) -> Block:
    outputs = {name: done[name].test for name in shown}
    parts = charts.add(_methods.precision_recall(outputs), "Precision over recall", "First seed, test part.")
    parts += charts.add(
        _methods.reliability(outputs),
        "Reliability",
        "Tenths of the probability with at least 5 items; on the diagonal: calibrated.",
    )
    return Block(parts)


def _operating(comparison: Comparison, done: dict[str, Cell], best: str | None, charts: Charts) -> Block:
    if best not in done:
        return Block(note="No method has all its cells.")
    sample = comparison.samples()[best][0]
    if TUNED not in sample.thresholds:
        return Block()
    rule = sample.thresholds[TUNED]
    chosen = rule.values[-1] if len(rule.values) == 2 else math.nan
    shape = _methods.over_thresholds(done[best].test, chosen)
    caption = f"{best}, first seed. Dotted: tuned on validation, {chosen:.3g}."
    return Block(charts.add(shape, "Over the threshold", caption), rule.note)


def _classes(done: dict[str, Cell], shown: Sequence[str], record: Mapping[str, Any], charts: Charts) -> Block:
    outputs = {
        n: (done[n].test.probabilities.argmax(1), done[n].test.targets) for n in shown if not done[n].test.multilabel
    }
    shape = _methods.recalls(outputs, record.get("classes", []), record.get("class_counts", []))
    return Block(charts.add(shape, "Recall of every class", "Most probable class; in brackets: training items."))


def _loss(done: dict[str, Cell], best: str | None, charts: Charts) -> Block:
    if best not in done:
        return Block()
    shape = _methods.loss_concentration(done[best].test)
    return Block(
        charts.add(
            shape,
            "Share of the loss of the most frequent class",
            f"{best}, first seed, items sorted from easy to hard: the larger gamma, the fewer items carry the loss.",
        )
    )


def _sensitive(comparison: Comparison, charts: Charts) -> Block:
    caption = (
        "Lines: on test, methods that differ in nothing else; dotted: the yardstick. Crosses: trials, on validation."
    )
    parts = [charts.add(sensitivity(comparison, p), f"Sensitivity to {p}", caption) for p in PARAMETERS]
    return Block([chart for part in parts for chart in part])
