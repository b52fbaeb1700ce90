"""Small pieces of HTML, for results that are shown in a notebook."""

import html
from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; everything is escaped, floats have three decimals.

    Example:
        >>> table(["a"], [[0.5], ["<b>"]])
        '<table><thead><tr><th>a</th></tr></thead><tbody><tr><td>0.500</td></tr><tr><td>&lt;b&gt;</td></tr></tbody></table>'
    """
    titles = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    lines = "".join(f"<tr>{''.join(f'<td>{html.escape(shown(cell))}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{lines}</tbody></table>"


def shown(value: object) -> str:
    """A cell's text; -1, which COCO writes for what is absent, is a dash."""
    if isinstance(value, float):
        return "–" if value == -1 or value != value else f"{value:.3f}"
    return str(value)
