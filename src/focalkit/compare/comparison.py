"""What lies in the directory of a comparison: results, ranking, the best cell, and what statistics need."""

from collections.abc import Sequence
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from focalkit._html import table
from focalkit.compare.evaluate import (
    DEFAULT,
    NONE,
    TUNED,
    Sample,
    default_thresholds,
    evaluate,
    rules_of,
    value_of,
)
from focalkit.compare.statistics import Verdict
from focalkit.compare.store import Cell, Store
from focalkit.compare.verdicts import verdicts_of
from focalkit.errors import ConfigError
from focalkit.tasks import Metric, is_built_in, open_task

if TYPE_CHECKING:
    import polars


class Comparison:
    """What lies in the directory of a comparison.

    Args:
        out: The directory, as `compare` made it.
        metrics: Metrics of your own beside the task's; they need no training.
        task: A task of your own by import path, where the comparison used one: no directory makes Python import
            something by itself.

    Raises:
        ConfigError: There is no comparison, or one with a task that is not focalkit's.

    Example:
        comparison = Comparison("runs/mammography")
        comparison.results.filter(metric="average_precision")
    """

    def __init__(self, out: str | Path, metrics: Sequence[Metric] = (), *, task: str | None = None) -> None:
        self.store = Store(Path(out))
        self.plan = self.store.read_plan()
        if not is_built_in(self.plan.task) and self.plan.task != task:
            raise ConfigError(f"{out}: its task {self.plan.task!r} is not focalkit's; give task={self.plan.task!r} too")
        self.task = open_task(self.plan.task)
        self.metrics = (*self.task.metrics, *metrics)
        if self.plan.metric not in [metric.name for metric in self.metrics]:
            raise ConfigError(
                f"{out}: is ranked by {self.plan.metric!r}, which is no metric of {self.plan.task}; give it in metrics"
            )

    @property
    def cells(self) -> dict[tuple[str, int], Cell]:
        """(method, seed) -> cell, of everything planned, in the plan's order."""
        return {(m.name, s): self.store.cell(m.name, s) for m in self.plan.methods for s in self.plan.seeds}

    @cached_property
    def rows(self) -> list[tuple[str, int, str, str, float]]:
        """(method, seed, metric, threshold rule, value on test) of every finished cell."""
        return [
            (method, seed, *row)
            for (method, seed), cell in self.cells.items()
            if cell.status == "done"
            for row in evaluate(cell, self.metrics, self.task.decision_metric)
        ]

    @property
    def results(self) -> "polars.DataFrame":
        """A data frame: method, seed, metric, threshold ("default", "tuned" or ""), value."""
        import polars

        schema = {"method": str, "seed": int, "metric": str, "threshold": str, "value": float}
        return polars.DataFrame(self.rows, schema=schema, orient="row")

    def values(self, metric: str, threshold: str | None = None) -> dict[str, dict[int, float]]:
        """Method -> seed -> value; without a rule named, a metric of decisions is that at the tuned threshold."""
        of = self.metric(metric).of
        rule = threshold or (NONE if of != "decisions" else TUNED if self.task.decision_metric else DEFAULT)
        found: dict[str, dict[int, float]] = {}
        for method, seed, name, by, value in self.rows:
            if name == metric and by == rule:
                found.setdefault(method, {})[seed] = value
        return found

    def metric(self, name: str) -> Metric:
        """The metric of that name."""
        return next(metric for metric in self.metrics if metric.name == name)

    def samples(self) -> dict[str, list[Sample]]:
        """Method -> its finished cells by seed: what `focalkit.compare.statistics` resamples."""
        found: dict[str, list[Sample]] = {}
        for (method, seed), cell in self.cells.items():
            if cell.status == "done":
                rules = rules_of(cell, self.metrics, self.task.decision_metric)
                found.setdefault(method, []).append(Sample(seed, cell.test, rules))
        return found

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """What can be said of every method beside the yardstick, in the plan's order."""
        return self.judge()

    def judge(
        self, metric: str | None = None, *, yardstick: str | None = None, methods: Sequence[str] | None = None
    ) -> list[Verdict]:
        """The verdicts by another metric, against another method, or of some methods alone; None takes the plan's.

        The fewer methods are compared, the weaker the correction for their number.
        """
        plan, wanted = self.plan, self.metric(metric or self.plan.metric)
        sizes = next((cell.record["sizes"] for cell in self.cells.values() if cell.status == "done"), None)
        return verdicts_of(
            plan,
            wanted,
            self.values(wanted.name),
            {} if plan.resplits else self.samples(),
            overlap=sizes["test"] / max(sizes["train"], 1) if sizes else 0.0,
            yardstick=yardstick,
            methods=methods,
        )

    def _repr_html_(self) -> str:
        """In a notebook: what came out in a sentence, and a row for each method, the best first."""
        from focalkit.compare.summary import lines, sentence, words

        outcomes = {verdict.method: verdict.outcome for verdict in self.verdicts}
        head = ["method", words(self.plan.metric), "over seeds ±", f"beside {self.plan.yardstick}", "", "seconds"]
        rows = [
            (line.method, line.mean, line.spread, line.difference, outcomes.get(line.method, line.error), line.seconds)
            for line in lines(self)
        ]
        return f"<p>{escape(sentence(self))}</p>" + table(head, rows)

    def report(self, path: str | Path | None = None) -> Path:
        """Write the HTML report; None: `report.html` in the directory."""
        from importlib import import_module

        # subtle: report lies above compare, so it is found when it is needed
        return import_module("focalkit.report").write_comparison(self, None if path is None else Path(path))

    @property
    def ranking(self) -> list[str]:
        """Methods with every cell finished, best mean of the plan's metric first."""
        sign = -1 if self.metric(self.plan.metric).higher_is_better else 1
        full = {
            method: sign * float(np.mean(list(by_seed.values())))
            for method, by_seed in self.values(self.plan.metric).items()
            if len(by_seed) == len(self.plan.seeds)
        }
        return sorted((m for m in full if not np.isnan(full[m])), key=lambda m: full[m])

    @property
    def best(self) -> Cell | None:
        """The cell to use: of the first method of the ranking, the seed that is best on validation."""
        if not self.ranking:
            return None
        metric = self.metric(self.plan.metric)
        sign = 1 if metric.higher_is_better else -1

        def on_validation(seed: int) -> float:
            cell = self.store.cell(self.ranking[0], seed)
            rules = rules_of(cell, self.metrics, self.task.decision_metric)
            return sign * value_of(metric, cell.val, rules.get(TUNED, default_thresholds(cell.val)))

        return self.store.cell(self.ranking[0], max(self.plan.seeds, key=on_validation))
