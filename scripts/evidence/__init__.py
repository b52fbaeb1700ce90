"""The sections of docs/evidence.md, one module each, and what they share."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Section:
    """What a result file says.

    Attributes:
        title: Heading.
        short: One sentence for the top of the page.
        text: Markdown.
        pictures: File name -> SVG, shown in `text` as ![...](assets/evidence/NAME).
    """

    title: str
    short: str
    text: str
    pictures: Mapping[str, str] = field(default_factory=dict)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines)


def verdicts(rows: Iterable[Mapping[str, Any]], metric: str) -> str:
    """A table of one comparison.

    Args:
        rows: With "method", "mean", "difference", "low", "high" and "verdict" (the outcome, "yardstick" for one), as
            `focalkit compare --json` says them.
        metric: What the mean is of.
    """
    lines = []
    for row in rows:
        difference = ""
        if row["verdict"] != "yardstick":
            difference = f"{row['difference']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})"
        lines.append((row["method"], f"{row['mean']:.3f}", difference, row["verdict"]))
    return table(("method", metric, "difference (95 %)", "verdict"), lines)


def named(rows: Iterable[Mapping[str, Any]], verdict: str) -> str:
    """The methods with that verdict, as words."""
    return ", ".join(row["method"] for row in rows if row["verdict"] == verdict) or "none"
