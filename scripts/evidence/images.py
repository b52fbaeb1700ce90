"""The section on long-tailed images, from cifar10_lt.json."""

from typing import Any

from evidence import Section, named, verdicts

TITLE = "Images with a long tail: CIFAR-10-LT"


def section(result: dict[str, Any]) -> Section:
    """Every method beside cross-entropy."""
    rows = result["rows"]
    short = f"**{TITLE}**: better than cross-entropy: {named(rows, 'better')}; worse: {named(rows, 'worse')}."
    return Section(TITLE, short, verdicts(rows, "balanced accuracy"))
