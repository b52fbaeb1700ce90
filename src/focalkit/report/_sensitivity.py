"""How the ranking metric moves with gamma and alpha: from methods that differ in nothing else, and from trials."""

import json
from dataclasses import replace
from typing import Any

import numpy as np

from focalkit.compare import Comparison, Method
from focalkit.compare.plan import training_of
from focalkit.losses import parse

from ._plot import NEUTRAL, Figure, axis, figure, plain, run_color, run_dash

PARAMETERS = ("gamma", "alpha")
Points = list[tuple[float, float, float]]
"""Value of the parameter, mean of the metric, its standard deviation over seeds."""


def sensitivity(comparison: Comparison, parameter: str) -> Figure | None:
    """The metric over one parameter of the losses; None where nothing varies it.

    Lines: means on test of methods that differ in this parameter alone. Crosses: single trials, on validation.
    """
    lines, trials = _lines(comparison, parameter), _trials(comparison, parameter)
    if not lines and not trials:
        return None
    traces: list[dict[str, Any]] = []
    for i, (name, points) in enumerate(lines.items()):
        x, y, spread = (list(column) for column in zip(*sorted(points), strict=True))
        error = {"type": "data", "array": spread, "thickness": 1, "width": 3} if any(spread) else {"visible": False}
        look = {"line": {"color": run_color(i), "dash": run_dash(i), "width": 2}, "error_y": error}
        traces.append({"type": "scatter", "mode": "lines+markers", "name": plain(name), "x": x, "y": y, **look})
    for i, (name, points) in enumerate(trials.items()):
        marker = {"symbol": "x", "size": 7, "color": run_color(len(lines) + i)}
        of = {"x": [x for x, _ in points], "y": [y for _, y in points]}
        traces.append({"type": "scatter", "mode": "markers", "name": plain(f"{name}, trials"), "marker": marker, **of})
    metric = comparison.plan.metric.replace("_", " ")
    found = figure(traces, axis(parameter), axis(metric), hover="closest")
    base = comparison.values(comparison.plan.metric).get(comparison.plan.yardstick)
    if base and lines:
        at = float(np.mean(list(base.values())))
        found["layout"]["shapes"] = [
            {"type": "line", "xref": "paper", "yref": "y", "x0": 0, "x1": 1, "y0": at, "y1": at,
             "line": {"color": NEUTRAL, "width": 1, "dash": "dot"}}
        ]  # fmt: skip
    return found


def _lines(comparison: Comparison, parameter: str) -> dict[str, Points]:
    """Name of the family -> its points; families of one value are left out."""
    families: dict[str, tuple[str, Points]] = {}
    values = comparison.values(comparison.plan.metric)
    for method in comparison.plan.methods:
        at, of = _value(method, parameter), values.get(method.name)
        if at is None or not of:
            continue
        name, arguments = parse(method.loss)
        others = {key: value for key, value in sorted(arguments.items()) if key != parameter}
        rest = training_of(replace(method, loss=f"{name}({others})")) | {"adjust": method.adjust}
        scores = list(of.values())
        label = f"{name}, {', '.join(f'{k} {v}' for k, v in others.items())}" if others else name
        points = families.setdefault(json.dumps(rest, sort_keys=True, default=str), (label, []))[1]
        points.append((at, float(np.mean(scores)), float(np.std(scores, ddof=1)) if len(scores) > 1 else 0.0))
    return {label: points for label, points in families.values() if len({x for x, _, _ in points}) > 1}


def _trials(comparison: Comparison, parameter: str) -> dict[str, list[tuple[float, float]]]:
    """Method -> (value, metric on validation) of the trials of all seeds."""
    found: dict[str, list[tuple[float, float]]] = {}
    key = f"loss.{parameter}"
    for method in comparison.plan.methods if comparison.plan.tune else ():
        if key not in method.space:
            continue
        for row in comparison.store.trials(method.name):
            at = row["values"].get(key, _value(method, parameter))
            if at is not None and row["value"] is not None:
                found.setdefault(method.name, []).append((float(at), float(row["value"])))
    return found


def _value(method: Method, parameter: str) -> float | None:
    if method.loss == "default":
        return None
    at = parse(method.loss)[1].get(parameter)
    return float(at) if isinstance(at, int | float) else None
