"""Names of weights in two layouts, from one table of templates read in both directions.

A template is a name with fields in braces: `{p}` stands for one part between dots, `{rest}` for any number of them, a
single letter such as `{c}` for a whole number. On their side a number may be written as `{c*2}`, `{n+3}` or `{c*3+1}`:
what stands there is our number put into that formula.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache

Table = tuple[tuple[str, str], ...]
"""Pairs (their template, our template); the first that fits counts."""

_FIELD = re.compile(r"\{(\w+)(?:\*(\d+))?(?:\+(\d+))?\}")


def to_ours(name: str, table: Table) -> str | None:
    """Our name for theirs; None where the table has none."""
    return _translate(name, tuple((_reader(theirs), _writer(ours)) for theirs, ours in table))


def to_theirs(name: str, table: Table) -> str | None:
    """Their name for ours; None where the table has none."""
    return _translate(name, tuple((_reader(ours), _writer(theirs)) for theirs, ours in table))


def _translate(
    name: str, pairs: Sequence[tuple[Callable[[str], dict[str, str] | None], Callable[[dict[str, str]], str]]]
) -> str | None:
    for read, write in pairs:
        if (values := read(name)) is not None:
            return write(values)
    return None


@lru_cache(maxsize=256)
def _reader(template: str) -> Callable[[str], dict[str, str] | None]:
    fields = [(m[1], int(m[2] or 1), int(m[3] or 0)) for m in _FIELD.finditer(template)]
    pattern = "".join(
        part if i % 2 else re.escape(part) for i, part in enumerate(re.split(r"\0", _FIELD.sub(_group, template)))
    )
    compiled = re.compile(pattern)

    def read(name: str) -> dict[str, str] | None:
        if (match := compiled.fullmatch(name)) is None:
            return None
        values = match.groupdict()
        for field, times, plus in fields:
            if len(field) == 1 and field != "p":
                number, left = divmod(int(values[field]) - plus, times)
                if left or number < 0:
                    return None
                values[field] = str(number)
        return values

    return read


def _group(match: re.Match[str]) -> str:
    name = match[1]
    inside = r".+" if name == "rest" else r"[^.]+" if name == "p" else r"\d+"
    return f"\0(?P<{name}>{inside})\0"


@lru_cache(maxsize=256)
def _writer(template: str) -> Callable[[dict[str, str]], str]:
    def write(values: dict[str, str]) -> str:
        def filled(match: re.Match[str]) -> str:
            value = values[match[1]]
            return str(int(value) * int(match[2] or 1) + int(match[3] or 0)) if match[2] or match[3] else value

        return _FIELD.sub(filled, template)

    return write
