"""The page: records in, one HTML file out. Everything is inline; nothing is fetched when it is opened."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup
from plotly.offline import get_plotlyjs

from focalkit._runs import write_text_atomic
from focalkit.errors import InputError

from . import _classes, _compare, _curves
from ._charts import Block, Charts, attempt, guarded
from ._format import METRICS, ap
from ._page import environment, finite
from ._read import RunRecord, read_run
from ._view import unevaluated, view_run


@dataclass(frozen=True)
class Comparison:
    """What the page says before the runs' own sections, when there are several."""

    answer: str
    caveats: list[str]
    metrics: list[tuple[str, str, list[str], set[int], str]]  # label, meaning, values, best places, difference
    curves: Block
    classes: Block
    recall: Block
    differences: list[tuple[str, list[str]]]


def write_report(runs: Sequence[Path], out: Path, title: str | None = None) -> Path:
    """Write one self-contained HTML file about one run, or comparing several.

    Args:
        runs: Run directories. The order gives the colours; the difference shown for two is the first minus the second.
        out: The HTML file to write; its directory is made where it is missing.
        title: Heading of the page; by default the run's name, or a comparison of the names.

    Returns:
        `out`.

    Raises:
        InputError: no run given, one given twice, a directory that is no run, or `out` is a directory.

    Example:
        >>> write_report([Path("runs/focal"), Path("runs/ce")], Path("report.html"))  # doctest: +SKIP
        PosixPath('report.html')
    """
    if not runs:
        raise InputError("no run directory given; expected at least one written by `focalkit train`")
    places = [Path(run).resolve() for run in runs]
    twice = next((str(run) for run, place in zip(runs, places, strict=True) if places.count(place) > 1), None)
    if twice is not None:
        raise InputError(f"{twice}: is given twice; a run compared with itself would count as another seed")
    out = Path(out)
    if out.is_dir():
        raise InputError(
            f"{out}: is a directory; give the name of the HTML file to write, such as {out / 'report.html'}"
        )
    records = [read_run(Path(run)) for run in runs]
    write_text_atomic(out, render(records, title))
    return out


def render(records: Sequence[RunRecord], title: str | None = None) -> str:
    """The page as text."""
    names = _compare.labels(records) if len(records) > 1 else [records[0].name]
    charts = Charts()
    comparison = _comparison(records, names, charts) if len(records) > 1 else None
    views = [view_run(r, n, i, charts) for i, (r, n) in enumerate(zip(records, names, strict=True))]
    return (
        environment()
        .get_template("page.html")
        .render(
            kicker=title or f"Comparison of {len(records)} runs" if comparison else "Training run",
            title=title or _default_title(names),
            comparison=comparison,
            runs=views,
            figures=finite(charts.figures),
            plotly_js=Markup(get_plotlyjs()),
            written=dt.datetime.now(dt.UTC).strftime("%d %B %Y, %H:%M UTC"),
            ap=ap,
        )
    )


def _default_title(names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) < 4 else f"Comparison of {len(names)} runs"


def _comparison(records: Sequence[RunRecord], names: Sequence[str], charts: Charts) -> Comparison:
    return Comparison(
        answer=_compare.answer(records, names),
        caveats=_compare.caveats(records, names),
        metrics=_metric_table(records),
        curves=guarded(lambda: _overlays(records, names, charts), "Learning curves"),
        classes=guarded(lambda: _class_bars(records, names, charts), "AP per class"),
        recall=guarded(lambda: _recall(records, names, charts), "Precision and recall"),
        differences=_compare.differing(records),
    )


def _metric_table(records: Sequence[RunRecord]) -> list[tuple[str, str, list[str], set[int], str]]:
    rows = []
    comparable = _compare.same_images(records)
    for key, (label, meaning) in METRICS.items():
        values = [r.metrics.get(key) for r in records]
        best, gap = (_compare.best_of(values), _compare.gap(records, key)) if comparable else (set[int](), "")
        rows.append((label, meaning, [ap(v) for v in values], best, gap))
    parts, _ = attempt(lambda: [_classes.thirds(_classes.class_rows(r)) for r in records], "")
    if parts and all(parts):
        for same in zip(*parts, strict=False):
            title, what, _ = same[0]
            values = [p[2] for p in same]
            both = len(values) == 2 and None not in values and comparable
            change = _compare.difference((values[0] or 0) - (values[1] or 0)) if both else ""
            best = _compare.best_of(values) if comparable else set[int]()
            rows.append((f"{title} classes", what, [ap(v) for v in values], best, change))
    return rows


def _overlays(records: Sequence[RunRecord], names: Sequence[str], charts: Charts) -> Block:
    losses = {str(r.config.get("loss")) for r in records}
    boxes = {str((r.config.get("criterion") or {}).get("box_loss")) for r in records}
    apart = "The runs minimise different losses: compare the shapes, not the heights." if len(losses) > 1 else ""
    box = "The same box loss in all runs." if len(boxes) == 1 else "The runs use different box losses."
    parts = charts.add(
        _curves.overlay(records, names, "val", "AP", "AP"), "AP while training", "On the validation set."
    )
    parts += charts.add(
        _curves.overlay(records, names, "val", "AP50", "AP50"), "AP50 while training", "On the validation set."
    )
    parts += charts.add(
        _curves.overlay(records, names, "train", "classification", "loss", log=len(losses) > 1),
        "Classification loss, training",
        apart,
    )
    parts += charts.add(_curves.overlay(records, names, "train", "box", "loss"), "Box loss, training", box)
    silent = [n for r, n in zip(records, names, strict=True) if not r.train and not r.val]
    return Block(parts, f"Nothing recorded while training: {', '.join(silent)}." if silent else "")


def _class_bars(records: Sequence[RunRecord], names: Sequence[str], charts: Charts) -> Block:
    rows = [_classes.class_rows(r) for r in records]
    shape = _classes.per_class(rows, names, list(range(len(records))))
    title = _classes.per_class_title(max(rows, key=len))
    missing = [f"{n}: {unevaluated(r, 'AP per class')}" for r, n, c in zip(records, names, rows, strict=True) if not c]
    return Block(charts.add(shape, title), " ".join(missing))


def _recall(records: Sequence[RunRecord], names: Sequence[str], charts: Charts) -> Block:
    shape = _curves.precision_recall(records, names, list(range(len(records))))
    if shape is None:
        return Block(note="No run has precision-recall curves yet.")
    return Block(charts.add(shape, "Precision over recall"), options=_curves.curve_names(shape))
