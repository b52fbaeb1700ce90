"""Writes docs/findings/, a page per finding and one of all, from the catalog; --check says whether they are current.

python scripts/findings_page.py
"""

import sys
from pathlib import Path

from focalkit.findings import CATALOG, Check

FOLDER = Path(__file__).parents[1] / "docs" / "findings"
MARK = "<!-- generated: scripts/findings_page.py -->"
LEVELS = {
    "error": "An error: results would be wrong.",
    "warning": "A warning: results may be wrong.",
    "note": "A note: worth knowing.",
}
HEAD = f"""# Findings

{MARK}

What `focalkit inspect`, `focalkit compare` and `focalkit calibrate` may say about data and results. A number is never
used again for another thing. An error means that results would be wrong, a warning that they may be, a note that it is
worth knowing.

| | | |
|---|---|---|
"""


def pages() -> dict[str, str]:
    """File name -> the page as it should be."""
    rows = [f"| [{code}]({code.lower()}.md) | {check.title} | {check.level} |" for code, check in CATALOG.items()]
    each = {f"{code.lower()}.md": page(code, check) for code, check in CATALOG.items()}
    return {"index.md": HEAD + "\n".join(rows) + "\n", **each}


def page(code: str, check: Check) -> str:
    """One finding."""
    parts = {"Why it matters": check.why, "How it is found": check.how, "What to do": check.action}
    sections = "\n".join(f"## {title}\n\n{text}\n" for title, text in parts.items())
    return f"# {code}: {check.title}\n\n{MARK}\n\n*{LEVELS[check.level]}*\n\n{sections}\n[All findings](index.md)\n"


def main() -> int:
    wanted = pages()
    there = {file.name: file.read_text(encoding="utf-8") for file in FOLDER.glob("*.md")}
    if "--check" in sys.argv:
        return 0 if there == wanted else 1
    FOLDER.mkdir(exist_ok=True)
    for name in there.keys() - wanted.keys():
        (FOLDER / name).unlink()
    for name, text in wanted.items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
