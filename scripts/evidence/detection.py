"""The section on the detection tables of the focal loss paper, from paper_tables.json."""

from typing import Any

from evidence import Section, named, verdicts

TITLE = "Boxes: the tables of the focal loss paper in miniature"


def section(result: dict[str, Any]) -> Section:
    """Every method beside cross-entropy."""
    rows = result["rows"]
    short = f"**{TITLE}**: better than cross-entropy: {named(rows, 'better')}; worse: {named(rows, 'worse')}."
    return Section(TITLE, short, verdicts(rows, "AP"))
