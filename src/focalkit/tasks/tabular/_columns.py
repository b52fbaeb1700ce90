"""Columns of a table and what becomes of them: numbers, categories, dates, and those that say nothing.

The columns that are used are a schema, which is stored with a model: new data go through the same one.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from focalkit.errors import DataError

from ._kinds import is_unclear_date

if TYPE_CHECKING:
    import polars

LEVELS = 64
"""Most categories of a text column; rarer ones share a code."""
TEXT_SHARE = 0.5
"""A text column with more different values than this share of the rows is free text or an identifier."""
DATE_PARTS = ("day", "month", "weekday", "hour")


@dataclass(frozen=True)
class Column:
    """One column that is used.

    Attributes:
        name: In the table.
        kind: "number"; "date": days since 1970, month, weekday and hour, as numbers; "category": a code.
        levels: The categories by code, from 1; 0 is a missing, rare or new one.
    """

    name: str
    kind: Literal["number", "date", "category"]
    levels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rows:
    """A table as arrays.

    Attributes:
        numbers: (n, d) float64, NaN where missing.
        codes: (n, c) int64, from 0.
    """

    numbers: NDArray[np.float64]
    codes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, index: NDArray[np.int64]) -> "Rows":
        """Some of the rows."""
        return Rows(self.numbers[index], self.codes[index])


@dataclass(frozen=True)
class Part:
    """Rows of one part of the splits."""

    schema: tuple[Column, ...]
    rows: Rows
    labels: NDArray[np.int64]
    ids: NDArray[np.int64]
    groups: NDArray[np.int64]


def schema_of(frame: "polars.DataFrame") -> tuple[tuple[Column, ...], list[str]]:
    """The columns worth using, and a sentence about each that is not, or that was read in a way worth telling."""
    import polars

    used: list[Column] = []
    notes: list[str] = []
    for name, column in frame.to_dict().items():
        known = column.drop_nulls()
        distinct = known.n_unique()
        if not len(known):
            notes.append(f"column {name!r} is empty and was left out")
        elif distinct == 1 and len(known) == len(frame):
            notes.append(f"column {name!r} is constant and was left out")
        elif column.dtype.is_temporal():
            if column.dtype == polars.Time or column.dtype == polars.Duration:
                notes.append(f"column {name!r} holds times without a date and was left out")
            else:
                used.append(Column(name, "date"))
        elif column.dtype.is_numeric():
            used.append(Column(name, "number"))
            if column.dtype.is_float() and (infinite := int(known.is_infinite().sum())):
                notes.append(f"column {name!r} has {infinite} infinite values, which count as missing")
        elif column.dtype in (polars.String, polars.Boolean, polars.Categorical, polars.Enum):
            text = known.cast(polars.String)
            if column.dtype == polars.String and distinct > LEVELS:
                said = f"column {name!r} has {distinct:,} different texts and was left out: "
                if is_unclear_date(known):
                    unclear = "dates whose day and month cannot be told apart; 2024-12-31 or 31.12.2024 can"
                    notes.append(said + unclear)
                    continue
                if distinct > TEXT_SHARE * len(known):
                    notes.append(said + "text or identifiers")
                    continue
            levels = text.value_counts(sort=True).sort(["count", name], descending=[True, False])[name].to_list()
            if len(levels) > LEVELS:
                notes.append(
                    f"column {name!r} has {len(levels):,} categories; all but the {LEVELS} most frequent are one"
                )
            used.append(Column(name, "category", tuple(levels[:LEVELS])))
        else:
            notes.append(f"column {name!r} of type {column.dtype} was left out")
    return tuple(used), notes


def rows_of(frame: "polars.DataFrame", schema: Sequence[Column], source: object) -> Rows:
    """The arrays of a table by a schema.

    Raises:
        DataError: A column is missing or holds something else than the schema says.
    """
    import polars

    there = dict.fromkeys(frame.columns)
    if missing := [column.name for column in schema if column.name not in there]:
        has = ", ".join([*there][:20])
        raise DataError(source, [f"there is no column {name!r}; the columns are {has}" for name in missing])
    numbers: list[NDArray[Any]] = []
    codes: list[NDArray[Any]] = []
    for column in schema:
        values = frame[column.name]
        if column.kind == "category":
            table = {level: code for code, level in enumerate(column.levels, 1)}
            text = values.cast(polars.String)
            if set(column.levels) <= {"true", "false"}:  # read as Booleans in training, which may be written True
                text = text.str.to_lowercase()
            code = text.replace_strict(table, default=0, return_dtype=polars.Int64) if table else text.is_null()
            codes.append(code.fill_null(0).to_numpy())
        elif column.kind == "number":
            numbers.append(_number(values, source))
        else:
            numbers += _date(values, source)
    n = len(frame)
    x = np.stack(numbers, 1) if numbers else np.zeros((n, 0))
    x[np.isinf(x)] = np.nan
    return Rows(x, np.stack(codes, 1).astype(np.int64) if codes else np.zeros((n, 0), dtype=np.int64))


def schema_to_list(schema: Sequence[Column]) -> list[dict[str, Any]]:
    """JSON-ready."""
    return [{**asdict(column), "levels": list(column.levels)} for column in schema]


def schema_from_list(values: Sequence[dict[str, Any]]) -> tuple[Column, ...]:
    """The inverse."""
    return tuple(Column(row["name"], row["kind"], tuple(row["levels"])) for row in values)


def _number(values: "polars.Series", source: object) -> NDArray[np.float64]:
    import polars

    found = values.cast(polars.Float64, strict=False)
    if found.null_count() > values.null_count():
        bad = values.filter(found.is_null() & values.is_not_null())[0]
        raise DataError(source, [f"column {values.name!r} should hold numbers, got {bad!r}"])
    return found.fill_null(float("nan")).to_numpy().copy()


def _date(values: "polars.Series", source: object) -> list[NDArray[np.float64]]:
    import polars

    if not values.dtype.is_temporal():
        text = values.cast(polars.String)
        try:
            parsed = text.str.to_datetime(strict=False)
        except polars.exceptions.ComputeError:  # nothing in it looks like a date
            parsed = text.str.to_datetime("%Y-%m-%d", strict=False)
        if parsed.null_count() > values.null_count():
            bad = values.filter(parsed.is_null() & values.is_not_null())[0]
            raise DataError(source, [f"column {values.name!r} should hold dates such as 2024-12-31, got {bad!r}"])
        values = parsed
    time = values.cast(polars.Datetime("us")).dt.replace_time_zone(None)
    parts = [time.dt.epoch("us") / 86_400e6, time.dt.month(), time.dt.weekday(), time.dt.hour()]
    return [part.cast(polars.Float64).fill_null(float("nan")).to_numpy().copy() for part in parts]
