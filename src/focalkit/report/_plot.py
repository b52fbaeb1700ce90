"""Plain-dict plotly figures: axes, lines, and the look that all of them share.

Colours of text, axes and grid are left to the style sheet, so that one drawing serves light, dark and print. Only the
colours of the data are set here: readable on both grounds and to colour-blind eyes. Lines differ in dash too.
"""

import html
from collections.abc import Sequence
from typing import Any

from ._read import Json, number

Figure = dict[str, Any]
RUN_COLORS = ("#2f82c4", "#d9660f", "#1a9a78", "#b8569b", "#8c7a10", "#6f7d8c")
RUN_DASHES = ("solid", "dash", "dot", "dashdot")
NEUTRAL = "#8a939e"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif"
MAX_POINTS = 400


def run_color(index: int) -> str:
    """The colour of the run at this place on the command line; repeats after six."""
    return RUN_COLORS[index % len(RUN_COLORS)]


def run_dash(index: int) -> str:
    """Solid for the first run; the dash tells runs apart where the colour cannot."""
    return RUN_DASHES[index % len(RUN_DASHES)]


def plain(text: object, limit: int = 60) -> str:
    """Text that plotly shows as it is: it would read `<b>` and `<a href>` as markup otherwise."""
    shown = str(text)
    if len(shown) > limit:
        shown = shown[: limit - 1] + "\u2026"
    return html.escape(shown, quote=False)


def axis(title: str = "", *, kind: str = "linear", span: Sequence[float] | None = None, form: str = "") -> Json:
    """One axis. `span` in data units (in powers of ten on a log axis); `form` is a d3 number format."""
    result: Json = {
        "title": {"text": title, "standoff": 10, "font": {"size": 12}},
        "type": kind,
        "automargin": True,
        "zeroline": False,
        "fixedrange": False,
        "tickfont": {"size": 12},
        "tickangle": 0,
    }
    if span is not None:
        result["range"] = list(span)
    if form:
        result["tickformat"] = form
    if kind == "log":
        result |= {"dtick": 1, "exponentformat": "none", "separatethousands": True}
    return result


def figure(traces: list[Json], x: Json, y: Json, *, height: int = 280, hover: str = "x unified") -> Figure:
    """A figure with one pair of axes, the legend above the plot."""
    layout: Json = {
        "height": height,
        "margin": {"l": 54, "r": 14, "t": 12, "b": 42},
        "font": {"family": FONT, "size": 12},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "hovermode": hover,
        "hoverlabel": {"bgcolor": "#20262d", "bordercolor": "#20262d", "font": {"color": "#ffffff", "size": 12}},
        "showlegend": sum(t.get("showlegend", True) for t in traces) > 1,
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "xanchor": "left", "yanchor": "bottom", "font": {"size": 12}},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": NEUTRAL, "activecolor": NEUTRAL},
        "xaxis": x,
        "yaxis": y,
    }
    return {"data": traces, "layout": layout}


def line(
    x: Sequence[object],
    y: Sequence[object],
    name: str,
    color: str,
    *,
    dash: str = "solid",
    markers: bool = False,
    form: str = ".3f",
) -> Json:
    """One line; a value that is no finite number leaves a gap."""
    trace: Json = {
        "type": "scatter",
        "mode": "lines+markers" if markers else "lines",
        "x": [number(v) for v in x],
        "y": [_rounded(v) for v in y],
        "name": plain(name),
        "line": {"color": color, "width": 2, "dash": dash},
        "hovertemplate": f"%{{y:{form}}}",
    }
    if markers:
        trace |= {"marker": {"color": color, "size": 5}, "cliponaxis": False}
    return trace


def noisy_line(x: Sequence[object], y: Sequence[object], name: str, color: str, *, dash: str = "solid") -> list[Json]:
    """A series that jumps from record to record: thin as recorded, thick as its running mean."""
    xs, ys = _binned(x, y)
    if len(ys) < 20:
        return [line(xs, ys, name, color, dash=dash)]
    raw = line(xs, ys, name, color)
    raw |= {"opacity": 0.28, "showlegend": False, "hoverinfo": "skip", "line": {"color": color, "width": 1}}
    del raw["hovertemplate"]
    return [raw, line(xs, _running_mean(ys, max(5, len(ys) // 20)), name, color, dash=dash)]


def smoothed(shape: Figure | None) -> bool:
    """Whether `noisy_line` drew a running mean into this figure."""
    return shape is not None and any(t.get("opacity") for t in shape["data"])


def _rounded(value: object) -> float | None:
    found = number(value)
    return None if found is None else float(f"{found:.6g}")


def _binned(x: Sequence[object], y: Sequence[object]) -> tuple[list[float], list[float]]:
    """At most MAX_POINTS points: means over neighbours, so that a long run does not make a large file."""
    pairs = [(a, b) for a, b in zip(map(number, x), map(number, y), strict=True) if a is not None and b is not None]
    size = -(-len(pairs) // MAX_POINTS) or 1
    bins = [pairs[i : i + size] for i in range(0, len(pairs), size)]
    return [sum(a for a, _ in b) / len(b) for b in bins], [sum(v for _, v in b) / len(b) for b in bins]


def _running_mean(values: Sequence[float], span: int) -> list[float]:
    """Exponential mean of about `span` records, without the pull of a starting value."""
    keep = 1 - 2 / (span + 1)
    total, weight, means = 0.0, 0.0, []
    for value in values:
        total, weight = keep * total + value, keep * weight + 1
        means.append(total / weight)
    return means
