"""Columns of a table: missing, constant, like an identifier, giving the target away."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from focalkit.findings._catalog import Finding

Array = NDArray[Any]
PERFECT = 0.999
"""A column that ranks the classes with an AUROC from here on is suspected of leaking the target."""
ROWS = 50_000


def check_columns(
    columns: Mapping[str, Array], labels: Array, seed: int = 0, *, spellings: Mapping[str, int] | None = None
) -> list[Finding]:
    """Findings about single columns.

    Args:
        columns: Name -> (n,) numbers, NaN where missing, or strings (object or unicode), None or "" where missing.
        labels: (n,) class indices.
        seed: Of the sample that is looked at where there are more than 50,000 rows.
        spellings: Texts that were read as missing values, such as "NA" -> how often.
    """
    missing = {name: int(_missing(values).sum()) for name, values in columns.items()}
    n = len(labels)
    found = []
    if some := {name: count for name, count in missing.items() if count}:
        worst = max(some, key=lambda name: some[name])
        spelt = ", ".join(f"{text!r} ({count:,})" for text, count in (spellings or {}).items())
        found.append(
            Finding(
                "FK114",
                f"{sum(some.values()):,} values in {len(some)} of {len(columns)} columns; most in {worst!r}"
                f" ({some[worst] / n:.1%})" + (f"; read as missing: {spelt}" if spelt else ""),
                {"columns": some, **({"spellings": dict(spellings)} if spellings else {})},
            )
        )
    constant = [name for name, values in columns.items() if _is_constant(values)]
    if constant:
        found.append(Finding("FK115", f"{_listed(constant)}", {"columns": constant}))
    rows = np.arange(n) if n <= ROWS else np.sort(np.random.default_rng(seed).choice(n, ROWS, replace=False))
    ids = [name for name, values in columns.items() if name not in constant and _is_identifier(values)]
    if ids:
        found.append(Finding("FK117", f"{_listed(ids)}", {"columns": ids}))
    leaks = {}
    for name, values in columns.items():
        if name not in constant:
            score = separation(values[rows], labels[rows])
            if score >= PERFECT:
                leaks[name] = round(score, 4)
    if leaks:
        shown = ", ".join(f"{name!r} (AUROC {score:.4f})" for name, score in list(leaks.items())[:5])
        found.append(Finding("FK116", f"{shown}", {"columns": leaks}))
    return found


def separation(values: Array, labels: Array) -> float:
    """How well one column alone tells the rarest class from the others: AUROC in 0.5..1; strings by their class rates.

    A string that occurs once says nothing: rates are those of the other rows with that string.
    """
    classes, counts = np.unique(labels, return_counts=True)
    rare = labels == classes[counts.argmin()]
    if values.dtype.kind in "fiub":
        score = values.astype(np.float64)
        score = np.where(np.isnan(score), np.nanmin(score, initial=0.0) - 1, score)
    else:
        codes = np.unique(values.astype(str), return_inverse=True)[1]
        total, hits = np.bincount(codes), np.bincount(codes, rare)
        others = total[codes] - 1
        score = np.where(others > 0, (hits[codes] - rare) / np.maximum(others, 1), rare.mean())
    area = _auroc(score, rare)
    return max(area, 1 - area)


def _auroc(score: Array, positive: Array) -> float:
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    p, n = int(positive.sum()), int((~positive).sum())
    return 0.5 if not p or not n else float((rank[positive].sum() - p * (p + 1) / 2) / (p * n))


def _missing(values: Array) -> Array:
    if values.dtype.kind in "fc":
        return np.isnan(values)
    if values.dtype.kind in "iub":
        return np.zeros(len(values), dtype=bool)
    return np.asarray([v is None or v == "" or v != v for v in values.tolist()], dtype=bool)


def _is_constant(values: Array) -> bool:
    there = values[~_missing(values)]
    return len(there) == 0 or bool((there == there[0]).all())


def _is_identifier(values: Array) -> bool:
    """Whole numbers or strings, different in every row: a float measured finely enough differs too, and is none."""
    if len(values) < 50 or _missing(values).any():
        return False
    whole = values.dtype.kind in "iu" or (values.dtype.kind == "f" and bool((values == np.round(values)).all()))
    text = values.dtype.kind not in "fiub"
    return (whole or text) and len(np.unique(values.astype(str) if text else values)) == len(values)


def _listed(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names[:8]) + (f" and {len(names) - 8} more" if names[8:] else "")
