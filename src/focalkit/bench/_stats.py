"""From samples to figures."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from ._model import Bar

QUANTILES = {"min": 0.0, "p10": 0.1, "median": 0.5, "p90": 0.9}


def quantile(samples: Sequence[float], q: float) -> float:
    """Linear between neighbours, as numpy's default."""
    ordered = sorted(samples)
    place = q * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def quantiles(samples: Sequence[float]) -> dict[str, float]:
    """The figures of a row: {"min", "p10", "median", "p90"}."""
    return {name: quantile(samples, q) for name, q in QUANTILES.items()}


def paired_ratio(over: Sequence[float], under: Sequence[float]) -> float:
    """Median over rounds of over / under: what slows a whole round down cancels."""
    return median(a / b for a, b in zip(over, under, strict=True))


def judge(
    bar: Bar, rows: Mapping[str, Mapping[str, Any]], unit_bytes: int | None = None, *, quick: bool = False
) -> dict[str, Any]:
    """A bar with what was measured.

    Args:
        bar: The goal.
        rows: Name -> row of the result, those that ran.
        unit_bytes: The case's.
        quick: Whether the sizes are too small for the bar: it is measured but not judged.

    Returns:
        `measured` and `met` are None where a row is missing or has no such figure.
    """
    measured = _measured(bar, rows, unit_bytes)
    met = (
        None
        if measured is None or quick
        else measured >= bar.limit
        if bar.sense == "at least"
        else measured <= bar.limit
    )
    return {
        "text": bar.text,
        "over": bar.over,
        "under": bar.under,
        "quantity": bar.quantity,
        "sense": bar.sense,
        "limit": bar.limit,
        "percent": bar.percent,
        "measured": measured,
        "met": met,
    }


def _measured(bar: Bar, rows: Mapping[str, Mapping[str, Any]], unit_bytes: int | None) -> float | None:
    if bar.over not in rows or (bar.under and bar.under not in rows):
        return None
    if bar.quantity == "time":
        return paired_ratio(rows[bar.over]["samples_ms"], rows[bar.under]["samples_ms"])
    over = rows[bar.over]["memory_bytes"]
    under = rows[bar.under]["memory_bytes"] if bar.under else unit_bytes
    return None if over is None or under is None else over / max(under, 1)
