"""The page of a comparison of methods: what wins, by how much, how sure, at what cost, and how it was done."""

import datetime as dt
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup
from plotly.offline import get_plotlyjs

from focalkit._runs import write_text_atomic
from focalkit.compare import Comparison
from focalkit.compare.store import Cell, read_json
from focalkit.compare.summary import Line, lines, sentence, words
from focalkit.compare.verdicts import in_units
from focalkit.errors import InputError

from . import _comparison_facts as facts
from . import _errors
from ._charts import Block, Charts, attempt
from ._comparison_charts import comparison_charts
from ._page import environment, finite

MEANINGS = {
    "better": "the difference is above zero (Holm-corrected) and its mean is larger than what matters",
    "worse": "the difference is below zero (Holm-corrected) and its mean is larger than what matters",
    "equivalent": "the interval lies within differences that do not matter",
    "not shown": "neither different nor alike: these cells cannot tell, also where an interval, which is of one "
    "comparison and not corrected for their number, leaves out zero",
    "too few seeds": "fewer than three seeds, so how much training varies is not known",
    "yardstick": "what the others are compared with",
}
SHOWN = 3
"""Methods that get curves, beside the yardstick."""


@dataclass(frozen=True)
class Row:
    """One method in the table."""

    name: str
    summary: str
    mean: str
    spread: str
    difference: str
    interval: str
    outcome: str
    tuned: str
    default: str
    cost: str
    error: str


@dataclass(frozen=True)
class Page:
    """Everything that the template shows."""

    title: str
    answer: str
    metric: str
    yardstick: str
    decision: str
    rows: list[Row]
    meanings: list[tuple[str, str]]
    seeds: int
    charts: dict[str, Block]
    shares: list[tuple[str, list[str]]]
    pictures: _errors.Groups
    pictures_note: str
    hardest: list[tuple[str, str, str, str]]
    findings: list[tuple[str, str, str]]
    missing: list[tuple[str, str]]
    data: list[tuple[str, str]]
    done: list[tuple[str, str]]
    methods: list[tuple[str, str]]
    figures: dict[str, Any] = field(default_factory=dict)


def write_comparison(directory: Path | Comparison, out: Path | None = None) -> Path:
    """Write one self-contained HTML file about a comparison.

    Args:
        directory: What `focalkit compare` was given as `--out`; or the comparison itself, with metrics of your own.
        out: The file; None takes `report.html` in the directory.

    Returns:
        The file written.

    Raises:
        ConfigError: There is no comparison.
        InputError: `out` is a directory.

    Example:
        >>> write_comparison(Path("runs/fraud"))  # doctest: +SKIP
        PosixPath('runs/fraud/report.html')
    """
    comparison = directory if isinstance(directory, Comparison) else Comparison(directory)
    out = comparison.store.out / "report.html" if out is None else Path(out)
    if out.is_dir():
        raise InputError(f"{out}: is a directory; give the name of the HTML file to write")
    page = _page(comparison)
    text = environment().get_template("comparison.html").render(
        page=page,
        figures=finite(page.figures),
        plotly_js=Markup(get_plotlyjs()),
        written=dt.datetime.now(dt.UTC).strftime("%d %B %Y, %H:%M UTC"),
    )  # fmt: skip
    write_text_atomic(out, text)
    return out


def _page(comparison: Comparison) -> Page:
    plan, charts = comparison.plan, Charts()
    higher = comparison.metric(plan.metric).higher_is_better
    judged = {v.method: in_units(v, higher) for v in comparison.verdicts}
    table = [_row(line, comparison, judged) for line in lines(comparison)]
    record = _read(comparison.store.out / "data.json")
    done = _first_cells(comparison)
    best = comparison.ranking[0] if comparison.ranking else None
    shown = [name for name in dict.fromkeys([*comparison.ranking[:SHOWN], plan.yardstick]) if name in done]
    outcomes = [row.outcome for row in table]
    first = done.get(best or "")
    found, damaged = attempt(lambda: _errors.pictures(comparison, first), "Pictures")
    pictures, pictures_note = found or ([], damaged)
    return Page(
        title=plan.source.path.name,
        answer=sentence(comparison),
        metric=words(plan.metric),
        yardstick=plan.yardstick,
        decision=words(comparison.task.decision_metric),
        rows=table,
        meanings=[(name, text) for name, text in MEANINGS.items() if name in outcomes],
        seeds=len(plan.seeds),
        charts=comparison_charts(comparison, judged, done, shown, best, record, charts),
        shares=_errors.shares(first),
        pictures=pictures,
        pictures_note=pictures_note,
        hardest=facts.hardest(done[best]) if best in done else [],
        findings=facts.found(record, comparison),
        missing=[
            (f"{name}, seed {seed}", facts.why(cell))
            for (name, seed), cell in comparison.cells.items()
            if cell.status != "done"
        ],
        data=facts.about_data(comparison, record),
        done=facts.how_it_was_done(comparison, done),
        methods=[(m.name, facts.settings(m)) for m in plan.methods],
        figures=charts.figures,
    )


def _row(line: Line, comparison: Comparison, judged: dict[str, Any]) -> Row:
    verdict, method = judged[line.method], next(m for m in comparison.plan.methods if m.name == line.method)
    known = math.isfinite(verdict.low)
    return Row(
        name=line.method,
        summary=method.summary,
        mean=_number(line.mean),
        spread=f"± {line.spread:.3f}" if math.isfinite(line.spread) else "",
        difference=f"{verdict.difference:+.3f}" if verdict.outcome != "yardstick" and line.done else "",
        interval=f"{verdict.low:+.3f} to {verdict.high:+.3f}" if known and verdict.outcome != "yardstick" else "",
        outcome=verdict.outcome if line.done else "failed" if line.failed else "missing",
        tuned=_number(line.tuned),
        default=_number(line.default),
        cost=f"{line.seconds:,.1f} s" if math.isfinite(line.seconds) else "",
        error=line.error.splitlines()[0] if line.error else "",
    )


def _first_cells(comparison: Comparison) -> dict[str, Cell]:
    """Method -> the finished cell of its first seed."""
    found: dict[str, Cell] = {}
    for (name, _), cell in comparison.cells.items():
        if cell.status == "done":
            found.setdefault(name, cell)
    return found


def _read(file: Path) -> dict[str, Any]:
    return read_json(file) if file.is_file() else {}


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else ""
