"""Tuning: the same number of trials for every method, on validation only, resumable trial by trial.

Trials are lines of a file. Each trial's sampler is seeded by its number and sees the trials before it, so that a search
that was killed and goes on tries what it would have tried.
"""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from focalkit._runs import dump_json
from focalkit.compare import together
from focalkit.compare._specs import folder_name, with_values
from focalkit.compare.adjust import adjusted
from focalkit.compare.evaluate import default_thresholds, tuned_thresholds, value_of
from focalkit.compare.methods import Method, Range
from focalkit.compare.plan import Job
from focalkit.errors import ConfigError, FocalkitError, ProcessDiedError
from focalkit.tasks import Splits, Task, open_task


@dataclass(frozen=True)
class Trials:
    """What a search found.

    Attributes:
        best: Values of the best trial, {} where the method's own were the best.
        value: Its metric on validation; `default`: that of the method's own values.
        count: Trials.
        seconds: Time of all trials.
    """

    best: dict[str, float]
    value: float
    default: float
    count: int
    seconds: float


def tune(job: Job, splits: Splits) -> Trials:
    """Search for the values of `job.method`; the first trial is the method as it stands.

    Raises:
        ConfigError: No trial succeeded; the message is the first one's.
    """
    task = open_task(job.task)
    space = {**task.space(job.method.model), **job.method.space}
    metric = task.metrics[0]
    file = job.out / "cells" / folder_name(job.method.name) / "tuning" / f"seed{job.tune_seed}.jsonl"
    rows = _read(file)
    if rows and all(row["value"] is None or math.isnan(row["value"]) for row in rows):
        file.unlink()  # nothing succeeded: what was wrong, such as a missing package, may be mended by now
        rows = []
    for number in range(len(rows), job.tune):
        values = {} if number == 0 else _ask(space, rows, number, metric.higher_is_better)
        began = time.perf_counter()
        try:
            value, error = _value(task, with_values(job.method, values), job, splits), ""
        except ProcessDiedError:
            raise
        except (FocalkitError, ValueError, ArithmeticError) as problem:
            value, error = math.nan, str(problem)
        rows.append({"values": values, "value": value, "error": error, "seconds": time.perf_counter() - began})
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(file, "a", encoding="utf-8", newline="\n") as out:
            out.write(dump_json(rows[-1]) + "\n")
    good = [row for row in rows[: job.tune] if row["value"] is not None and not math.isnan(row["value"])]
    if not good:
        raise ConfigError(f"no trial of {job.method.name} succeeded: {rows[0]['error']}")
    best = (max if metric.higher_is_better else min)(good, key=lambda row: row["value"])
    default = rows[0]["value"] if rows[0]["value"] is not None else math.nan
    seconds = sum(row["seconds"] for row in rows[: job.tune])
    return Trials(best["values"], best["value"], default, len(rows[: job.tune]), seconds)


def edges(space: Mapping[str, Range], values: Mapping[str, float]) -> list[str]:
    """Names whose best value lies at the edge of what was searched."""
    return [name for name, value in values.items() if name in space and space[name].at_edge(value)]


def _value(task: Task, method: Method, job: Job, splits: Splits) -> float:
    with TemporaryDirectory() as folder:
        fitted = together.fit(job, method, splits, job.tune_seed, Path(folder))
        val = adjusted(fitted.outputs("val"), method.adjust, splits.class_counts, fitted.facts)
    metric = task.metrics[0]
    thresholds = tuned_thresholds(val, metric) if metric.of == "decisions" else default_thresholds(val)
    return value_of(metric, val, thresholds)


def _ask(space: Mapping[str, Range], rows: list[dict[str, Any]], number: int, maximise: bool) -> dict[str, float]:
    try:
        import optuna
    except ImportError as error:
        raise ConfigError("--tune needs the package optuna: pip install 'focalkit[compare]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    kinds: dict[str, optuna.distributions.BaseDistribution] = {
        name: optuna.distributions.IntDistribution(int(r.low), int(r.high), log=r.log)
        if r.integer
        else optuna.distributions.FloatDistribution(r.low, r.high, log=r.log)
        for name, r in space.items()
    }
    sampler = optuna.samplers.TPESampler(seed=number, n_startup_trials=8)
    study = optuna.create_study(direction="maximize" if maximise else "minimize", sampler=sampler)
    for row in rows:
        if row["values"] and row["value"] is not None and not math.isnan(row["value"]):
            past = optuna.trial.create_trial(params=row["values"], distributions=kinds, value=row["value"])
            study.add_trial(past)
    return dict(study.ask(kinds).params)


def _read(file: Path) -> list[dict[str, Any]]:
    """The trials so far, without a last line that was cut off."""
    if not file.is_file():
        return []
    rows = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    whole = "".join(dump_json(row) + "\n" for row in rows)
    if whole != file.read_text(encoding="utf-8"):
        from focalkit._runs import write_text_atomic

        write_text_atomic(file, whole)
    return rows
