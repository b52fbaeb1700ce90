"""Writes docs/findings.md from the catalog of findings; with --check says whether it is current.

python scripts/findings_page.py
"""

import sys
from pathlib import Path

from focalkit.findings import CATALOG

PAGE = Path(__file__).parents[1] / "docs" / "findings.md"
HEAD = """# Findings

What `focalkit inspect` and `focalkit compare` may say about data and results. A number is never used again for another
thing. An error means that results would be wrong, a warning that they may be, a note that it is worth knowing.

<!-- generated: scripts/findings_page.py -->
"""


def page() -> str:
    """The page as it should be."""
    rows = [
        f"## {code}: {check.title} {{#{code.lower()}}}\n\n*{check.level}.* {check.why}\n\n"
        f"**What to do.** {check.action}\n"
        for code, check in CATALOG.items()
    ]
    return "\n".join([HEAD, *rows])


def main() -> int:
    if "--check" in sys.argv:
        return 0 if PAGE.read_text(encoding="utf-8") == page() else 1
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
