"""Texts of a csv that are dates, or numbers as other countries write them.

Dates: 2024-12-31, 2024/12/31 and 31.12.2024, each with or without a time. Not here: 12/11/2024, which is November in
one country and December in another. Numbers: 1.234,5 where semicolons separate the columns; 1,234.5 elsewhere, with
quotes where commas do.
"""

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars

SAMPLE = 50
"""Values that are looked at before a whole column is."""
DATES = {
    r"^\d{4}-\d{2}-\d{2}": None,  # ISO 8601, in any of its forms
    r"^\d{4}/\d{1,2}/\d{1,2}(\s|$)": "%Y/%m/%d",
    r"^\d{1,2}\.\d{1,2}\.\d{4}(\s|$)": "%d.%m.%Y",
}
"""Form -> how polars calls it."""
DECIMAL_COMMA = r"^[+-]?(\d+|\d{1,3}(\.\d{3})+)(,\d+)?$"
THOUSANDS_COMMA = r"^[+-]?(\d+|\d{1,3}(,\d{3})+)(\.\d+)?$"


def with_kinds(frame: "polars.DataFrame", texts: Collection[str], separator: str) -> "polars.DataFrame":
    """The frame with columns of texts that are all dates, or all numbers, as such.

    polars could find dates while it reads, which takes seconds where there are many columns of texts.

    Args:
        frame: As polars read it.
        texts: Columns that stay texts whatever they look like.
        separator: Of the file.
    """
    import polars

    for name in [name for name, kind in frame.schema.items() if kind == polars.String and name not in texts]:
        for parse in (_number(separator), *(_date(pattern, form) for pattern, form in DATES.items())):
            found = parse(frame[name])
            if found is not None and found.null_count() == frame[name].null_count():
                frame = frame.with_columns(found.alias(name))
                break
    return frame


def is_unclear_date(column: "polars.Series") -> bool:
    """Whether texts are dates such as 12/11/2024."""
    return _all(column, r"^\d{1,2}[/-]\d{1,2}[/-](\d{4}|\d{2})(\s|$)")


def _all(column: "polars.Series", pattern: str) -> bool:
    """Whether the first values, of which there are some, have this form."""
    some = column.drop_nulls().head(SAMPLE)
    return bool(len(some)) and bool(some.str.strip_chars().str.contains(pattern).all())


def _number(separator: str) -> "Callable[[polars.Series], polars.Series | None]":
    pattern, group, point = (DECIMAL_COMMA, ".", ",") if separator == ";" else (THOUSANDS_COMMA, ",", ".")

    def parse(column: "polars.Series") -> "polars.Series | None":
        import polars

        text = column.str.strip_chars()
        if not _all(text, pattern) or not bool(text.str.contains(pattern).fill_null(True).all()):
            return None
        plain = text.str.replace_all(group, "", literal=True).str.replace(point, ".", literal=True)
        return plain.cast(polars.Float64, strict=False)

    return parse


def _date(pattern: str, form: str | None) -> "Callable[[polars.Series], polars.Series | None]":
    def parse(column: "polars.Series") -> "polars.Series | None":
        import polars

        if not _all(column, pattern):
            return None
        if form is None:
            try:
                return column.str.to_datetime(strict=False)
            except polars.exceptions.ComputeError:
                return None
        text = column.str.strip_chars()
        date = text.str.extract(r"^(\S+)").str.to_datetime(form, strict=False)
        for clock in ("%H:%M:%S", "%H:%M"):
            timed = text.str.to_datetime(f"{form} {clock}", strict=False)
            if timed.null_count() == column.null_count():
                return timed
        return date if not bool(text.str.contains(r"\s").any()) else None

    return parse
