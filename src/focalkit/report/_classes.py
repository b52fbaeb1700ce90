"""Everything sorted from the most to the least frequent class: AP per class, training counts, the class histogram."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ._format import plural
from ._plot import NEUTRAL, Figure, axis, figure, plain, run_color
from ._read import Json, RunRecord, number

BARS_UP_TO = 60


@dataclass(frozen=True)
class ClassRow:
    """One class of one evaluation; AP is None where there was nothing to measure.

    `train_count` is None where the training data could not be read at evaluation; then `count`, the boxes evaluated,
    stands in for the frequency.
    """

    name: str
    train_count: int | None
    count: int
    ap: float | None
    ap50: float | None
    ap75: float | None

    @property
    def frequency(self) -> int:
        return self.count if self.train_count is None else self.train_count


def boxes_counted(rows: Sequence[ClassRow]) -> str:
    """Which boxes `ClassRow.frequency` counts."""
    return "evaluated boxes" if any(r.train_count is None for r in rows) else "training boxes"


def class_rows(run: RunRecord) -> list[ClassRow]:
    """The classes of the evaluation, the most frequent first."""
    rows = [
        ClassRow(
            name=str(entry["name"]),
            train_count=None if entry.get("train_count") is None else int(entry["train_count"]),
            count=int(entry.get("count") or 0),
            ap=number(entry.get("AP")),
            ap50=number(entry.get("AP50")),
            ap75=number(entry.get("AP75")),
        )
        for entry in run.evaluation.get("per_class") or ()
    ]
    return sorted(rows, key=lambda r: (-r.frequency, r.name))


def thirds(rows: Sequence[ClassRow]) -> list[tuple[str, str, float | None]]:
    """(part, which classes, mean AP) of the frequent, middle and rare classes; empty for fewer than six classes."""
    if len(rows) < 6:
        return []
    cuts = (0, round(len(rows) / 3), round(2 * len(rows) / 3), len(rows))
    parts = []
    for title, start, stop in zip(("Frequent", "Middle", "Rare"), cuts, cuts[1:], strict=False):
        part = rows[start:stop]
        measured = [r.ap for r in part if r.ap is not None]
        most, least = part[0].frequency, part[-1].frequency
        what = f"{plural(len(part), 'class', 'classes')} with {most:,} to {least:,} {boxes_counted(rows)}"
        parts.append((title, what, sum(measured) / len(measured) if measured else None))
    return parts


def per_class_title(rows: Sequence[ClassRow]) -> str:
    """What `per_class` shows for these rows."""
    return (
        f"AP over {boxes_counted(rows)}, a dot per class"
        if len(rows) > BARS_UP_TO
        else "AP per class, most frequent first"
    )


def per_class(runs: Sequence[Sequence[ClassRow]], labels: Sequence[str], places: Sequence[int]) -> Figure | None:
    """AP per class, bars from the most frequent class down, with the training counts beside them.

    Above BARS_UP_TO classes the bars would be unreadable: then AP over the number of training boxes, a dot per class.
    """
    order = next((rows for rows in runs if rows), None)
    if order is None:
        return None
    if len(order) > BARS_UP_TO:
        return _scatter(runs, labels, places)
    index = {row.name: len(order) - 1 - i for i, row in enumerate(order)}
    traces: list[Json] = []
    for rows, label, place in zip(runs, labels, places, strict=True):
        known = [r for r in rows if r.name in index]
        traces.append(
            {
                "type": "bar",
                "orientation": "h",
                "y": [index[r.name] for r in known],
                "x": [r.ap for r in known],
                "text": [f"{r.ap:.3f}" if r.ap is not None else "" for r in known],
                "textposition": "outside",
                "cliponaxis": False,
                "constraintext": "none",
                "offsetgroup": str(place),
                "name": plain(label),
                "marker": {"color": run_color(place)},
                "customdata": [[plain(r.name), r.count] for r in known],
                "hovertemplate": "%{customdata[0]}: AP %{x:.3f} (%{customdata[1]:,} boxes evaluated)",
            }
        )
    traces.reverse()  # plotly stacks the bars of a group upwards
    traces.append(_count_bars(order, index))
    best = max((r.ap for rows in runs for r in rows if r.ap is not None), default=1.0)
    shape = figure(traces, axis("AP", span=(0, max(best, 0.05) * 1.14)), axis(), hover="closest")
    thickness = 20 + 15 * (len(runs) - 1)
    shape["layout"] |= {
        "height": 110 + thickness * len(order) + 8 * len(order),
        "bargap": 0.28,
        "showlegend": len(runs) > 1,
        "xaxis2": axis(f"{boxes_counted(order)} (log)", kind="log", span=_log_span(r.frequency for r in order))
        | {"domain": [0.69, 1], "anchor": "y"},
    }
    shape["layout"]["legend"]["traceorder"] = "reversed"
    shape["layout"]["xaxis"] |= {"domain": [0, 0.64]}
    shape["layout"]["yaxis"] |= _ticks([r.name for r in reversed(order)])
    return shape


def histogram(run: RunRecord, place: int) -> Figure | None:
    """Boxes per class in the training and the validation set, on a log axis; a split that was not read is left out."""
    source = run.evaluation.get("class_histogram") or {}
    names = [str(n) for n in source.get("names") or ()]
    if not names:
        return None
    splits = [("train", "training", run_color(place)), ("val", "validation", NEUTRAL)]
    splits = [s for s in splits if source.get(s[0])]
    order = sorted(range(len(names)), key=lambda i: (-source[splits[0][0]][i], names[i]))
    traces: list[Json] = []
    for split, title, color in splits:
        counts = [source[split][i] for i in order]
        traces.append(
            {
                "type": "bar",
                "x": list(range(len(order))),
                "y": [c or None for c in counts],
                "name": title,
                "marker": {"color": color},
                "customdata": [[plain(names[i])] for i in order],
                "hovertemplate": f"%{{customdata[0]}}: %{{y:,}} boxes ({title})<extra></extra>",
            }
        )
    y = axis("boxes (log)", kind="log", span=_log_span(c for t in traces for c in t["y"] if c))
    shape = figure(traces, axis(), y, height=320, hover="closest")
    shape["layout"]["xaxis"] |= _ticks([names[i] for i in order])
    shape["layout"] |= {"bargap": 0.25}
    return shape


def _count_bars(rows: Sequence[ClassRow], index: dict[str, int]) -> Json:
    return {
        "type": "bar",
        "orientation": "h",
        "y": [index[r.name] for r in rows],
        "x": [r.frequency or None for r in rows],
        "text": [f"{r.frequency:,}" for r in rows],
        "textposition": "auto",
        "xaxis": "x2",
        "name": boxes_counted(rows),
        "showlegend": False,
        "marker": {"color": NEUTRAL, "opacity": 0.55},
        "alignmentgroup": "counts",  # apart from the AP bars: they would share the height of a row otherwise
        "customdata": [[plain(r.name)] for r in rows],
        "hovertemplate": f"%{{customdata[0]}}: %{{x:,}} {boxes_counted(rows)}<extra></extra>",
    }


def _scatter(runs: Sequence[Sequence[ClassRow]], labels: Sequence[str], places: Sequence[int]) -> Figure:
    symbols = ("circle", "diamond", "square", "cross")
    traces: list[Json] = []
    for rows, label, place in zip(runs, labels, places, strict=True):
        seen = [r for r in rows if r.frequency and r.ap is not None]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": [r.frequency for r in seen],
                "y": [r.ap for r in seen],
                "name": plain(label),
                "marker": {
                    "color": run_color(place),
                    "size": 7,
                    "opacity": 0.75,
                    "symbol": symbols[place % len(symbols)],
                },
                "customdata": [[plain(r.name), r.count] for r in seen],
                "hovertemplate": f"%{{customdata[0]}}: AP %{{y:.3f}}, %{{x:,}} {boxes_counted(rows)}",
            }
        )
    x = axis(f"{boxes_counted(max(runs, key=len))} (log)", kind="log")
    best = max((y for t in traces for y in t["y"]), default=1.0)
    return figure(traces, x, axis("AP", span=(0, max(best, 0.05) * 1.08)), height=420, hover="closest")


def _log_span(counts: Iterable[int]) -> tuple[float, float]:
    """Range in powers of ten with room below 1, so that a single box still has a bar."""
    return -0.3, math.log10(max(counts, default=1) or 1) * 1.06 + 0.1


def _ticks(names: Sequence[str]) -> Json:
    """Positions 0, 1, ... under the names; too many names to read are left to the hover text."""
    if len(names) > BARS_UP_TO:
        return {"showticklabels": False, "title": {"text": f"{len(names)} classes, most frequent first"}}
    return {
        "tickvals": list(range(len(names))),
        "ticktext": [plain(n, 22) for n in names],
        "showgrid": False,
        "tickangle": None,
    }
