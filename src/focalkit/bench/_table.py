"""A result as text: tables for the terminal, and the cells that the documentation uses too."""

from collections.abc import Mapping, Sequence
from typing import Any

Json = Mapping[str, Any]
HEAD = ("row", "median", "p10 - p90", "time ratio", "peak memory", "answer")


def render(result: Json) -> str:
    """The whole result, case by case."""
    parts = [machine_line(result)]
    for suite in result["suites"]:
        parts += [case_text(case) for case in suite["cases"]]
    return "\n\n".join(parts)


def machine_line(result: Json) -> str:
    """Where and with what it was measured."""
    machine, versions = result["machine"], result["versions"]
    gpu = machine.get("gpu")
    where = f"{gpu['name']}, CUDA {gpu['cuda']}" if gpu else f"{machine['cpu']}, {machine['cores']} cores"
    threads = "" if gpu else f", {machine['threads']} torch threads"
    packages = ", ".join(f"{name} {versions[name]}" for name in versions)
    quick = (
        "\nquick sizes: these numbers say that everything works, nothing more" if result["settings"]["quick"] else ""
    )
    return f"{where}{threads}\n{packages}{quick}"


def case_text(case: Json) -> str:
    """One case: its table, its bars, who was absent or failed."""
    lines = [f"{case['name']}: {case['title']}"]
    rows = [HEAD, *(cells(row, case) for row in case["rows"])]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines += ["  " + "  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines += [f"  {row['name']}: {row['note']}" for row in case["rows"] if row["note"]]
    lines += [f"  {case['note']}"] if case["note"] else []
    lines += [f"  bar: {bar_text(bar)}" for bar in case["bars"]]
    lines += [f"  absent: {row['name']} (pip install {row['install']})" for row in case["absent"]]
    lines += [f"  failed: {row['name']}: {row['error']}" for row in case["failed"]]
    return "\n".join(lines)


def cells(row: Json, case: Json) -> tuple[str, ...]:
    """One line of a case's table, below `HEAD`."""
    q = row["quantiles_ms"]
    return (
        row["name"],
        milliseconds(q["median"]),
        f"{milliseconds(q['p10'])} - {milliseconds(q['p90'])}",
        f"{significant(row['ratio'])}x",
        _memory(row["memory_bytes"], case["unit_bytes"]),
        _answer(row, case),
    )


def bar_text(bar: Json) -> str:
    """For example "at least 20x faster than torchvision: 24.1x, met"."""
    limit, measured = (None if v is None else _ratio(v, bar["percent"]) for v in (bar["limit"], bar["measured"]))
    verdict = {None: "not judged at this size", True: "met", False: "missed"}[bar["met"]]
    return f"{bar['sense']} {limit} {bar['text']}: {'not measured' if measured is None else f'{measured}, {verdict}'}"


def milliseconds(value: float) -> str:
    """Three significant digits, in ms or s."""
    return f"{significant(value / 1e3)} s" if value >= 1e4 else f"{significant(value)} ms"


def significant(value: float, digits: int = 3) -> str:
    """Three significant digits without an exponent."""
    if value == 0:
        return "0"
    text = f"{value:.{digits}g}"
    return (
        f"{float(text):,.0f}"
        if "e+" in text
        else f"{float(text):.7f}".rstrip("0").rstrip(".")
        if "e-" in text
        else text
    )


def _ratio(value: float, percent: bool) -> str:
    return f"{significant(100 * value)} %" if percent else f"{significant(value)}x"


def _memory(value: int | None, unit: int | None) -> str:
    if value is None:
        return "not measured"
    shown = f"{significant(value / 2**20)} MiB"
    return f"{shown} ({value / unit:.2f}x)" if unit else shown


def _answer(row: Json, case: Json) -> str:
    if row["name"] == case["reference"]:
        return "reference"
    if row["difference"] is None:
        return "not compared"
    shown = f"{row['difference']:.1e}"
    return f"agrees, {shown}" if row["agrees"] else f"DIFFERS, {shown}"


def disagreements(result: Json) -> Sequence[str]:
    """Rows of ours that failed or whose answer is not the reference's: what makes a run a failure."""
    found = []
    for suite in result["suites"]:
        for case in suite["cases"]:
            wrong = [r["name"] for r in case["rows"] if r["role"] == "ours" and r["agrees"] is False]
            wrong += [r["name"] for r in case["failed"] if r["role"] == "ours"]
            found += [f"{suite['suite']}, {case['name']}: {name}" for name in wrong]
    return found
