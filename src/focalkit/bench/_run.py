"""Runs suites and puts everything that was found into one plain dict."""

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ._machine import describe, versions
from ._measure import Say, difference, explain, interleave
from ._memory import child_peak, cuda_peak
from ._model import Call, Case, Row, Settings
from ._stats import judge, paired_ratio, quantiles
from ._suites import SUITES, load

SCHEMA = 1


def run_suites(names: Sequence[str], settings: Settings, command: str, say: Say = lambda text: None) -> dict[str, Any]:
    """Measure.

    Args:
        names: Of `SUITES`, or "module:function".
        settings: How.
        command: What was typed; kept with the result.
        say: Gets a line of progress whenever something begins.

    Returns:
        {"schema", "command", "date", "machine", "versions", "settings", "suites": [{"suite", "cases": [...]}]}.
        A case has `name`, `title`, `note`, `unit_bytes`, `rows` (name, role, note, samples_ms, quantiles_ms, ratio to
        the first row, memory_bytes, difference, agrees), `absent`, `failed` and `bars`.
    """
    found = [{"suite": name, "cases": _suite(name, settings, say)} for name in names]
    say("")
    return {
        "schema": SCHEMA,
        "command": command,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": describe(settings.device),
        "versions": versions(),
        "settings": {
            "quick": settings.quick,
            "rounds": settings.rounds,
            "seconds": settings.seconds,
            "warmup": settings.warmup,
        },
        "suites": found,
    }


def _suite(name: str, settings: Settings, say: Say) -> list[dict[str, Any]]:
    cases = load(name)(settings)
    results = []
    for i, case in enumerate(cases):
        prefix = f"{name} {i + 1}/{len(cases)}, {case.name}: "
        results.append(run_case(case, settings, name, lambda text, prefix=prefix: say(prefix + text)))
    return results


def run_case(case: Case, settings: Settings, suite: str = "", say: Say = lambda text: None) -> dict[str, Any]:
    """Measure one case: answers first, then times, then memory."""
    say("inputs")
    inputs = case.inputs(settings)
    calls, absent, failed = _calls(case, inputs)
    differences = _compare(case, calls, failed, say)
    timing = interleave(calls, settings, say)
    failed |= timing.failed
    del calls
    rows = {}
    first = next((row.name for row in case.rows if row.name in timing.samples), "")
    for row in case.rows:
        if row.name not in timing.samples:
            continue
        samples = timing.samples[row.name]
        gap = differences.get(row.name)
        rows[row.name] = {
            "name": row.name,
            "role": row.role,
            "note": row.note,
            "samples_ms": [round(ms, 5) for ms in samples],
            "quantiles_ms": quantiles(samples),
            "ratio": paired_ratio(samples, timing.samples[first]),
            "memory_bytes": None,
            "difference": gap,
            "agrees": None if gap is None else gap <= row.tolerance,
        }
    unit = case.unit_bytes(inputs) if case.unit_bytes else None
    if settings.memory:
        _memory(case, inputs, rows, failed, settings, suite, say)
    return {
        "name": case.name,
        "title": case.title,
        "note": case.note,
        "unit_bytes": unit,
        "reference": case.reference,
        "rows": list(rows.values()),
        "absent": [{"name": row.name, "install": row.install} for row in case.rows if row.name in absent],
        "failed": [
            {"name": row.name, "role": row.role, "error": failed[row.name]} for row in case.rows if row.name in failed
        ],
        "bars": [judge(bar, rows, unit, quick=settings.quick) for bar in case.bars],
    }


def _calls(case: Case, inputs: Any) -> tuple[dict[str, Call], set[str], dict[str, str]]:
    calls, absent, failed = {}, set(), {}
    for row in case.rows:
        try:
            calls[row.name] = row.make(inputs)
        except ModuleNotFoundError as error:
            if row.install:
                absent.add(row.name)
            else:
                failed[row.name] = explain(error)
        except Exception as error:
            failed[row.name] = explain(error)
    return calls, absent, failed


def _compare(case: Case, calls: dict[str, Call], failed: dict[str, str], say: Say) -> dict[str, float]:
    """Name -> difference from the reference's answer; rows that fail here are dropped from `calls`."""
    if case.reference not in calls:
        return {}
    rows: dict[str, Row] = {row.name: row for row in case.rows}
    say(f"answers: {case.reference}")
    try:
        reference: Sequence[Tensor] = rows[case.reference].answer(calls[case.reference]())
    except Exception as error:
        failed[case.reference] = explain(error)
        del calls[case.reference]
        return {}
    found = {}
    for name in [n for n in calls if n != case.reference]:
        say(f"answers: {name}")
        try:
            answer = rows[name].answer(calls[name]())
        except Exception as error:
            failed[name] = explain(error)
            del calls[name]
            continue
        if answer:
            found[name] = difference(answer, reference)
    return found


def _memory(
    case: Case,
    inputs: Any,
    rows: dict[str, dict[str, Any]],
    failed: dict[str, str],
    settings: Settings,
    suite: str,
    say: Say,
) -> None:
    for row in case.rows:
        if row.name not in rows:
            continue
        say(f"memory: {row.name}")
        try:
            if settings.device.type == "cuda":
                peak = cuda_peak(row.make(inputs), settings.device)
            else:
                peak = child_peak(SUITES.get(suite, suite), case.name, row.name, settings, torch.get_num_threads())
        except Exception as error:
            failed[row.name] = f"memory: {explain(error)}"
            continue
        rows[row.name]["memory_bytes"] = peak
