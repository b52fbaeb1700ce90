"""The section on tables, from tables.json: rows of data set x method with one value per seed."""

from collections import Counter
from typing import Any

from evidence import Section, table

TITLE = "Tables"


def section(result: dict[str, Any]) -> Section:
    """Every method beside its plain peer, counted over the data sets."""
    rows = result["rows"]
    lines = []
    for method in dict.fromkeys(row["method"] for row in rows if row["method"] != row["plain"]):
        of = [row for row in rows if row["method"] == method]
        counts = Counter(row["verdict"] for row in of)
        lines.append((method, of[0]["plain"], *(str(counts[word]) for word in ("better", "worse", "not shown"))))
    return Section(TITLE, f"**{TITLE}**", table(("method", "plain peer", "better", "worse", "not shown"), lines))
