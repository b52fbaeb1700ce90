"""Figures and blocks about scores and cut-offs: reliability, the operating point, confusion, kinds of errors."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ._charts import Block, Charts, attempt, guarded
from ._plot import NEUTRAL, RUN_COLORS, Figure, axis, figure, line, plain
from ._read import Json, RunRecord, number

BEFORE, AFTER = RUN_COLORS[1], RUN_COLORS[0]
MOST_CLASSES = 40
DASH = "\u2013"
HEAD = ("Threshold", "95 % interval", "Precision", "Recall", "F1", "Found", "False", "Missed")
UNEVALUATED = "evaluation.json holds nothing about scores and thresholds; `focalkit evaluate` adds it."


@dataclass(frozen=True)
class DecisionsView:
    """What the sections "Scores", "Operating point" and "Errors" of a run show.

    `errors` maps each error of a calibration to its text before and after; `thresholds` holds (class, reason, numbers).
    """

    reliability: Block
    said: str
    advice: str
    notes: list[str]
    errors: list[tuple[str, str, str]]
    operating: Block
    source: str
    thresholds: list[tuple[str, str, list[str]]]
    confusion: Block
    head: tuple[str, ...] = field(default=HEAD)


def view(run: RunRecord, charts: Charts) -> DecisionsView:
    """Of the evaluation; where `focalkit calibrate` has been at the run, of its scores and thresholds."""
    found, tuned = run.evaluated("decisions"), run.calibration
    at = tuned or found
    errors, _ = attempt(lambda: _errors(tuned), "Calibration")
    thresholds, _ = attempt(lambda: threshold_rows(at), "Thresholds")
    return DecisionsView(
        reliability=guarded(lambda: _reliability(run, found, tuned, charts), "Reliability"),
        said=_said(tuned),
        advice=str(tuned.get("recommendation") or ""),
        notes=[str(note) for note in tuned.get("notes") or ()],
        errors=errors or [],
        operating=guarded(lambda: _operating(run, at, charts), "Operating point"),
        source=_source(tuned),
        thresholds=thresholds or [],
        confusion=guarded(lambda: _confusion(run, found, tuned, charts), "Errors"),
    )


def _said(tuned: Json) -> str:
    return "precision times IoU" if tuned.get("target") == "localisation" else "precision"


def _source(tuned: Json) -> str:
    if not tuned:
        return "Each class at the threshold of its largest F1, chosen on these very images."
    split = tuned.get("split") or {}
    return (
        f"Calibrated scores at the thresholds in calibration.json, chosen on {split.get('fit', 'some')} images and "
        f"judged here on {split.get('judged', 'others')} others."
    )


def _reliability(run: RunRecord, found: Json, tuned: Json, charts: Charts) -> Block:
    said = _said(tuned)
    if tuned:
        before, after = (reliability_figure(tuned["curves"][key], said, c) for key, c in PAIR)
        parts = charts.add(before, "Before calibration", "Scores of the network, on the judged images.")
        return Block(parts + charts.add(after, "After calibration", "Calibrated scores, on the same images."))
    if not found:
        return Block(note=run.notes.get("evaluation") or UNEVALUATED)
    errors = f"D-ECE {_number(found['D-ECE'])}, LaECE at 0 {_number(found['LaECE_0'])}."
    return Block(charts.add(reliability_figure(found["reliability"], said, AFTER), "Score against precision", errors))


PAIR = (("before", BEFORE), ("after", AFTER))


def _errors(tuned: Json) -> list[tuple[str, str, str]]:
    if not tuned:
        return []
    return [(name, _number(row["before"]), _number(row[tuned["target"]])) for name, row in tuned["table"].items()]


def _operating(run: RunRecord, at: Json, charts: Charts) -> Block:
    if not at:
        return Block(note=run.notes.get("evaluation") or UNEVALUATED)
    curve = at["curves"]["over_thresholds"] if "curves" in at else at["over_thresholds"]
    cut = number(at["thresholds"]["pooled"]["values"])
    all_ = at["operating"]["all"]
    reached = ", ".join(f"{key} {_number(all_[key])}" for key in ("precision", "recall"))
    words = f"All classes together; at the thresholds below {reached}, F1 {_number(all_['f1'])}."
    return Block(charts.add(over_thresholds_figure(curve, cut), "Precision, recall and F1 over the threshold", words))


def threshold_rows(at: Json) -> list[tuple[str, str, list[str]]]:
    """Class, why this threshold, and the columns of HEAD as text."""
    if not at:
        return []
    cuts, rows = at["thresholds"], []
    cells = zip(at["operating"]["classes"], cuts["values"], cuts["interval"], cuts["reason"], strict=True)
    for row, value, (low, high), reason in cells:
        interval = DASH if number(low) is None else f"{_number(low)} to {_number(high)}"
        numbers = [_number(value), interval, *(_number(row[key]) for key in ("precision", "recall", "f1"))]
        counts = [f"{row[key]:,}" for key in ("true_positives", "false_positives", "missed")]
        rows.append((str(row["name"]), str(reason), [*numbers, *counts]))
    return rows


def _confusion(run: RunRecord, found: Json, tuned: Json, charts: Charts) -> Block:
    at = tuned or found
    if not at:
        return Block(note=run.notes.get("evaluation") or UNEVALUATED)
    names = [row["name"] for row in at["operating"]["classes"]]
    parts = charts.add(
        confusion_figure(at["confusion"], names),
        "What was taken for what",
        "Boxes of each class by what they were found as, at these thresholds; colour is the share of the row.",
    )
    if found.get("errors"):
        words = (
            "Number at the thresholds of the largest F1, and the AP50 that mending one kind alone would add among"
            " detections of all scores, which may find a box that is missed at the thresholds."
        )
        parts += charts.add(kinds_figure(found["errors"]), "Kinds of errors", words)
    return Block(parts)


def reliability_figure(curve: Mapping[str, Sequence[float | None]], said: str, color: str) -> Figure:
    """Score against what it should say, with bootstrap bars and the diagonal; below it how many score so."""
    keys = ("confidence", "accuracy", "low", "high", "counts")
    columns = [curve[key] for key in keys]
    rows = [row for row in zip(*columns, curve["edges"], curve["edges"][1:], strict=False) if row[4]]
    points: Json = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": said,
        "x": [row[0] for row in rows],
        "y": [row[1] for row in rows],
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [max(0.0, row[3] - row[1]) for row in rows],
            "arrayminus": [max(0.0, row[1] - row[2]) for row in rows],
            "color": color,
            "thickness": 1.2,
            "width": 3,
        },
        "marker": {"color": color, "size": 6},
        "line": {"color": color, "width": 1.5},
        "customdata": [row[4] for row in rows],
        "hovertemplate": f"score %{{x:.3f}}, {said} %{{y:.3f}}, %{{customdata:,}} detections<extra></extra>",
    }
    bars: Json = {
        "type": "bar",
        "x": [(row[5] + row[6]) / 2 for row in rows],
        "y": [row[4] for row in rows],
        "width": [0.9 * (row[6] - row[5]) for row in rows],
        "yaxis": "y2",
        "showlegend": False,
        "marker": {"color": NEUTRAL},
        "hovertemplate": "%{y:,} detections<extra></extra>",
    }
    diagonal: Json = line([0, 1], [0, 1], "calibrated", NEUTRAL, dash="dot") | {"hoverinfo": "skip"}
    del diagonal["hovertemplate"]
    shape = figure([diagonal, points, bars], axis("score", span=(0, 1)), axis(said, span=(0, 1)), height=380)
    shape["layout"]["hovermode"] = "closest"
    shape["layout"]["xaxis"]["anchor"] = "y2"
    shape["layout"]["yaxis"]["domain"] = [0.3, 1]
    tallest = max((row[4] for row in rows), default=1)
    span = (math.log10(0.5), math.log10(max(2, tallest)) + 0.1)
    shape["layout"]["yaxis2"] = axis("detections", kind="log", span=span) | {"domain": [0, 0.2]}
    shape["layout"]["yaxis2"]["dtick"] = max(1, math.ceil(span[1] / 3))
    return shape


def over_thresholds_figure(curve: Mapping[str, Sequence[object]], cut: float | None) -> Figure:
    """Precision, recall and F1; a vertical line at the threshold of all classes pooled."""
    named = {"precision": "precision", "recall": "recall", "f1": "F1"}
    traces = [
        line(curve["threshold"], curve[key], name, color, dash=dash)
        for (key, name), color, dash in zip(named.items(), RUN_COLORS, ("solid", "dash", "dot"), strict=False)
    ]
    if cut is not None and cut <= 1:
        pooled: Json = line([cut, cut], [0, 1], f"threshold of all classes, {cut:.3f}", NEUTRAL) | {"hoverinfo": "skip"}
        del pooled["hovertemplate"]
        pooled["line"]["width"] = 1.5
        traces.append(pooled)
    return figure(traces, axis("threshold", span=(0, 1)), axis("", span=(0, 1.02)), height=340)


def confusion_figure(table: Sequence[Sequence[int]], names: Sequence[str]) -> Figure:
    """Truth by prediction, shares of each row as colour; with many classes those with the most mistakes."""
    k = len(names)
    mistakes = [sum(table[c]) + sum(row[c] for row in table) - 2 * table[c][c] for c in range(k)]
    shown = [*sorted(sorted(range(k), key=lambda c: -mistakes[c])[:MOST_CLASSES]), k]
    labels = [plain(names[c], 20) if c < k else "background" for c in shown]
    counts = [[table[r][c] for c in shown] for r in shown]
    shares = [[v / (sum(table[r]) or 1) for v in row] for r, row in zip(shown, counts, strict=True)]
    trace: Json = {
        "type": "heatmap",
        "x": labels,
        "y": labels,
        "z": shares,
        "text": counts,
        "texttemplate": "%{text:,}" if len(shown) <= 12 else "",
        "colorscale": [[0, "rgba(47,130,196,0)"], [1, "rgba(47,130,196,0.75)"]],
        "zmin": 0,
        "zmax": 1,
        "xgap": 1,
        "ygap": 1,
        "showscale": False,
        "showlegend": False,
        "hovertemplate": "%{y} found as %{x}: %{text:,}<extra></extra>",
    }
    x, y = axis("found as", kind="category"), axis("truth", kind="category") | {"autorange": "reversed"}
    x["showgrid"] = y["showgrid"] = False
    if max(map(len, labels)) > 8:  # long names lie over each other otherwise
        x["tickangle"] = -35
    return figure([trace], x, y, height=max(320, 24 * len(shown) + 120), hover="closest")


def kinds_figure(errors: Mapping[str, Mapping[str, object]]) -> Figure:
    """Number and cost of each kind, side by side."""
    kinds = list(errors)
    counts = [number(errors[kind]["count"]) or 0 for kind in kinds]
    costs = [number(errors[kind]["cost"]) for kind in kinds]
    shared: Json = {
        "type": "bar",
        "orientation": "h",
        "y": kinds,
        "textposition": "outside",
        "cliponaxis": False,
        "constraintext": "none",
        "showlegend": False,
    }
    left: Json = {**shared, "x": counts, "text": [f"{n:,.0f}" for n in counts], "marker": {"color": NEUTRAL}}
    left["hovertemplate"] = "%{y}: %{x:,}<extra></extra>"
    right: Json = {**shared, "x": costs, "text": [_number(c) for c in costs], "marker": {"color": RUN_COLORS[1]}}
    right |= {"xaxis": "x2", "hovertemplate": "%{y}: %{x:.3f} AP50<extra></extra>"}
    x = axis("number", span=(0, 1.3 * max([*counts, 1]))) | {"domain": [0, 0.46], "nticks": 3}
    shape = figure([left, right], x, axis(kind="category") | {"autorange": "reversed"}, height=320, hover="closest")
    dearest = max([c for c in costs if c is not None] + [0.005])
    shape["layout"]["xaxis2"] = axis("AP50 it costs", span=(0, 1.3 * dearest)) | {
        "domain": [0.54, 1],
        "anchor": "y",
        "nticks": 3,
    }
    return shape


def _number(value: object, digits: int = 3) -> str:
    found = number(value)
    return DASH if found is None else f"{found:.{digits}f}"
