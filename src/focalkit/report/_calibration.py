"""The page of a calibration: reliability before and after, the operating point, the confusion matrix."""

import html
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs

from focalkit._files import write_text_atomic

from ._plot import NEUTRAL, RUN_COLORS, Figure, axis, figure, line, plain

BEFORE, AFTER = RUN_COLORS[1], RUN_COLORS[0]
MOST_CLASSES = 40
STYLE = """:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;
padding:0 1rem}h1{font-size:1.3rem}h2{font-size:1.05rem;margin:2rem 0 .3rem}table{border-collapse:collapse}
td,th{padding:.15rem .7rem;text-align:left;border-bottom:1px solid #8884}td.n,th.n{text-align:right;
font-variant-numeric:tabular-nums}.scroll{overflow-x:auto}small{opacity:.75}
.js-plotly-plot text{fill:currentColor!important}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(20rem,1fr));gap:1rem}"""


def write_calibration_page(
    report: Mapping[str, Any], calibration: Mapping[str, Any], measures: Mapping[str, str], out: Path
) -> Path:
    """Write one self-contained HTML file about a calibration.

    Args:
        report: `DetectionStudy.report_dict()`, also after JSON.
        calibration: `DetectionStudy.calibration_dict()`, also after JSON.
        measures: Rows of the table -> what they mean.
        out: The HTML file to write.

    Returns:
        `out`.
    """
    shapes: list[Figure] = []

    def chart(shape: Figure) -> str:
        shapes.append(shape)
        return f'<div id="plot{len(shapes) - 1}"></div>'

    target = calibration["target"]
    said = "precision" if target == "precision" else "precision times IoU"
    curves = report["curves"]
    parts = [
        f"<h1>{html.escape(report['recommendation'])}</h1>",
        *(f"<p><small>{html.escape(note)}.</small></p>" for note in report["notes"]),
        "<h2>Before and after, on the held-out images</h2>",
        _table(report["table"], measures),
        f"<h2>Reliability</h2><p>Mean score against {said} per bin of scores, with bootstrap bands over images; the "
        'area of a point is its share of detections. On the diagonal, scores are what they say.</p><div class="pair">',
        chart(reliability_figure(curves["before"], "before", BEFORE, said)),
        chart(reliability_figure(curves["after"], "after", AFTER, said)),
        "</div><h2>Precision, recall and F1 over the threshold</h2><p>Of calibrated scores, all classes together.</p>",
        chart(_over_thresholds(curves["over_thresholds"])),
        "<h2>Operating point</h2>",
        _operating(report["operating"], calibration["thresholds"]),
        "<h2>What was taken for what</h2><p>Boxes of each class by what they were found as at these thresholds.</p>",
        chart(confusion_figure(report["confusion"], [c["name"] for c in calibration["categories"]])),
    ]
    # "</" would end the script early
    data = json.dumps(_finite(shapes), allow_nan=False).replace("</", "<\\/")
    draw = f"{data}.forEach((f,i)=>Plotly.newPlot('plot'+i,f.data,f.layout,{{responsive:true,displaylogo:false}}))"
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Calibration</title><style>{STYLE}</style></head>
<body>{"".join(parts)}<script>{get_plotlyjs()}</script><script>{draw}</script></body></html>
"""
    write_text_atomic(Path(out), page)
    return Path(out)


def reliability_figure(curve: Mapping[str, Any], name: str, color: str, said: str) -> Figure:
    """Score against accuracy with the diagonal; empty bins are left out."""
    rows = [
        row
        for row in zip(*(curve[key] for key in ("confidence", "accuracy", "low", "high", "counts")), strict=True)
        if row[4]
    ]
    total = sum(row[4] for row in rows) or 1
    trace = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "x": [row[0] for row in rows],
        "y": [row[1] for row in rows],
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [max(0.0, row[3] - row[1]) for row in rows],
            "arrayminus": [max(0.0, row[1] - row[2]) for row in rows],
            "color": color,
            "thickness": 1,
        },
        "marker": {"color": color, "size": [6 + 24 * math.sqrt(row[4] / total) for row in rows], "opacity": 0.75},
        "line": {"color": color, "width": 1.5},
        "customdata": [row[4] for row in rows],
        "hovertemplate": "score %{x:.3f}, " + said + " %{y:.3f}, %{customdata} detections<extra></extra>",
    }
    diagonal = line([0, 1], [0, 1], "calibrated", NEUTRAL, dash="dot")
    x, y = axis(f"score {name}", span=(0, 1)), axis(said, span=(0, 1))
    return figure([diagonal, trace], x, y, height=340, hover="closest")


def confusion_figure(table: Sequence[Sequence[int]], names: Sequence[str]) -> Figure:
    """Truth by prediction, shares of each row as colour; with many classes those with the most mistakes."""
    k = len(names)
    mistakes = [sum(table[c]) + sum(row[c] for row in table) - 2 * table[c][c] for c in range(k)]
    shown = [*sorted(sorted(range(k), key=lambda c: -mistakes[c])[:MOST_CLASSES]), k]
    labels = [plain(names[c], 20) if c < k else "background" for c in shown]
    counts = [[table[r][c] for c in shown] for r in shown]
    shares = [[v / (sum(table[r]) or 1) for v in row] for r, row in zip(shown, counts, strict=True)]
    trace = {
        "type": "heatmap",
        "x": labels,
        "y": labels,
        "z": shares,
        "text": counts,
        "texttemplate": "%{text}" if len(shown) <= 12 else "",
        "colorscale": [[0, "rgba(47,130,196,0)"], [1, RUN_COLORS[0]]],
        "zmin": 0,
        "zmax": 1,
        "showscale": False,
        "hovertemplate": "%{y} found as %{x}: %{text}<extra></extra>",
    }
    y = axis("truth") | {"autorange": "reversed"}
    return figure([trace], axis("found as"), y, height=max(320, 24 * len(shown) + 120), hover="closest")


def _over_thresholds(curve: Mapping[str, Any]) -> Figure:
    lines = [
        line(curve["threshold"], curve[key], key, color, dash=dash)
        for key, color, dash in zip(
            ("precision", "recall", "f1"), RUN_COLORS[:3], ("solid", "dash", "dot"), strict=True
        )
    ]
    return figure(lines, axis("threshold", span=(0, 1)), axis("", span=(0, 1)))


def _table(table: Mapping[str, Mapping[str, Any]], measures: Mapping[str, str]) -> str:
    columns = {"before": "before", "precision": "map to precision", "localisation": "map to precision times IoU"}
    head = "".join(f'<th class="n">{title}</th>' for title in columns.values())
    rows = "".join(
        f"<tr><th>{html.escape(m)} <small>{html.escape(measures.get(m, ''))}</small></th>"
        + "".join(f'<td class="n">{_number(row[c], 4)}</td>' for c in columns)
        + "</tr>"
        for m, row in table.items()
    )
    return f'<div class="scroll"><table><tr><th></th>{head}</tr>{rows}</table></div>'


def _operating(found: Mapping[str, Any], thresholds: Mapping[str, Any]) -> str:
    head = "".join(
        f'<th class="n">{title}</th>' for title in ("threshold", "interval", "precision", "recall", "F1", "boxes")
    )
    rows = []
    cells = zip(found["classes"], thresholds["values"], thresholds["interval"], thresholds["reason"], strict=True)
    for row, value, (low, high), reason in cells:
        interval = "" if _number(low) == "–" else f"{_number(low)} to {_number(high)}"
        numbers = [_number(value), interval, *(_number(row[key]) for key in ("precision", "recall", "f1"))]
        numbers.append(str(row["true_positives"] + row["missed"]))
        rows.append(
            f"<tr><th>{html.escape(row['name'])} <small>{html.escape(reason)}</small></th>"
            + "".join(f'<td class="n">{v}</td>' for v in numbers)
            + "</tr>"
        )
    return f'<div class="scroll"><table><tr><th></th>{head}</tr>{"".join(rows)}</table></div>'


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
