"""The page of a comparison of methods: what wins, by how much, how sure, at what cost, and how it was done."""

import datetime as dt
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from focalkit._runs import write_text_atomic
from focalkit.compare import Comparison
from focalkit.compare.evaluate import TUNED
from focalkit.compare.findings import findings
from focalkit.compare.store import Cell, read_json
from focalkit.compare.summary import Line, lines, sentence
from focalkit.compare.verdicts import in_units
from focalkit.errors import InputError

from . import _errors, _methods
from ._charts import Block, Charts, attempt, guarded
from ._page import environment, finite
from ._sensitivity import PARAMETERS, sensitivity

MEANINGS = {
    "better": "the difference is not zero (Holm-corrected) and its mean is larger than what matters",
    "worse": "the same, below zero",
    "equivalent": "the interval lies within differences that do not matter",
    "not shown": "the interval holds both: these cells cannot tell",
    "one observation": "fewer than three seeds, so how much training varies is not known",
    "yardstick": "what the others are compared with",
}
SHOWN = 3
HARDEST = 15


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
    findings: list[tuple[str, str]]
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
        metric=_words(plan.metric),
        yardstick=plan.yardstick,
        decision=_words(comparison.task.decision_metric),
        rows=table,
        meanings=[(name, text) for name, text in MEANINGS.items() if name in outcomes],
        seeds=len(plan.seeds),
        charts={
            "differences": guarded(
                lambda: Block(
                    charts.add(
                        _methods.differences(list(judged.values()), plan.yardstick, _words(plan.metric)),
                        "Difference to the yardstick",
                        "95 % intervals; grey: differences that do not matter.",
                    )
                ),
                "Differences",
            ),
            "curves": guarded(lambda: _curves(done, shown, charts), "Precision and recall"),
            "operating": guarded(lambda: _operating(comparison, done, best, charts), "Operating point"),
            "classes": guarded(lambda: _classes(comparison, done, shown, record, charts), "Classes"),
            "sensitivity": guarded(lambda: _sensitive(comparison, charts), "Sensitivity"),
            "errors": guarded(lambda: _errors.error_kinds(comparison, shown, charts), "Kinds of errors"),
            "loss": guarded(
                lambda: _errors.concentration(first, charts) or _loss(done, best, charts), "Where the loss sits"
            ),
        },
        shares=_errors.shares(first),
        pictures=pictures,
        pictures_note=pictures_note,
        hardest=_hardest(done[best]) if best in done else [],
        findings=_findings(record, comparison),
        missing=[
            (f"{name}, seed {seed}", _why(cell))
            for (name, seed), cell in comparison.cells.items()
            if cell.status != "done"
        ],
        data=_about_data(comparison, record),
        done=_how(comparison, done),
        methods=[(m.name, _settings(m)) for m in plan.methods],
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


def _curves(done: dict[str, Cell], shown: list[str], charts: Charts) -> Block:
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


def _classes(
    comparison: Comparison, done: dict[str, Cell], shown: list[str], record: dict[str, Any], charts: Charts
) -> Block:
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


def _hardest(cell: Cell) -> list[tuple[str, str, str, str]]:
    """Test items with the largest loss: id, class, most probable other class, probability of the class."""
    test = cell.test
    if test.multilabel or not len(test):
        return []
    names, p = cell.record["classes"], test.probabilities
    own = p[np.arange(len(test)), test.targets]
    rows = []
    for i in np.argsort(own, kind="stable")[:HARDEST]:
        looks = int(p[i].argmax())
        rows.append((str(test.ids[i]), names[test.targets[i]], names[looks], f"{own[i]:.2g}"))
    return rows


def _about_data(comparison: Comparison, record: dict[str, Any]) -> list[tuple[str, str]]:
    counts = dict(zip(record.get("classes", []), record.get("class_counts", []), strict=False))
    listed = ", ".join(f"{name} {n:,}" for name, n in list(counts.items())[:12]) + (" ..." if len(counts) > 12 else "")
    rows = [("Data", str(comparison.plan.source.path)), ("Task", comparison.plan.task)]
    of, counted = ("Images", "boxes") if "boxes" in record.get("facts", {}) else ("Items", "items")
    rows += [(f"{of} in {part}", f"{n:,}") for part, n in record.get("sizes", {}).items()]
    rows += [(f"Training {counted} per class", listed)]
    return rows + [(_words(k).capitalize(), _short(v)) for k, v in record.get("facts", {}).items()]


def _how(comparison: Comparison, done: dict[str, Cell]) -> list[tuple[str, str]]:
    plan = comparison.plan
    cell = next(iter(done.values()), None)
    run = _read(cell.folder / "run.json") if cell is not None else {}
    splits = "every seed splits the data anew" if plan.resplits else "all seeds share the data's split"
    tuning = f"{plan.tune} trials per method, on validation only" if plan.tune else "none: methods as they stand"
    decides = comparison.task.decision_metric
    thresholds = "tuned on validation for every method" if decides else "none: nothing is decided, only ranked"
    budget = ", ".join(f"{k} {v}" for k, v in vars(plan.budget).items() if v is not None)
    rows = [
        ("Methods", f"{len(plan.methods)}, each with the same initial weights, splits and budget for a seed"),
        ("Seeds", f"{', '.join(map(str, plan.seeds))}; {splits}"),
        ("Tuning", tuning),
        ("Thresholds", f"{thresholds}; the test part was read once, afterwards"),
        ("Budget", budget),
        ("Intervals", "95 %, Howe's for seeds and items; p-values after Holm's correction over the methods"),
        ("Smallest difference that matters", str(plan.rope or "chosen from the yardstick's spread")),
    ]
    return rows + [(name, version) for name, version in run.get("versions", {}).items()]


def _settings(method: Any) -> str:
    fields = ("loss", "class_weight", "sampler", "augment", "schedule", "adjust")
    parts = {name: getattr(method, name) for name in fields}
    parts["model"] = None if method.model == "default" else method.model
    text = ", ".join(f"{k} {v}" for k, v in parts.items() if v and v != "default") or "nothing beyond the task's own"
    return text + (f" ({method.paper})" if method.paper != "-" else "")


def _findings(record: dict[str, Any], comparison: Comparison) -> list[tuple[str, str]]:
    """(number and title, what was seen and what to do); remarks without a number have no title."""
    found = [*(finding.as_dict() for finding in findings(comparison)), *record.get("findings", [])]
    rows = [(f"{f['code']} {f['title']}", f"{f['seen']}. {f['action']}") for f in found]
    return rows + [("", note) for note in record.get("notes", [])]


def _why(cell: Cell) -> str:
    return str(cell.record.get("error", "not run yet")).splitlines()[0]


def _read(file: Path) -> dict[str, Any]:
    return read_json(file) if file.is_file() else {}


def _words(name: str) -> str:
    return name.replace("_", " ")


def _short(value: Any) -> str:
    text = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
    return text if len(text) <= 300 else text[:297] + "..."


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else ""
