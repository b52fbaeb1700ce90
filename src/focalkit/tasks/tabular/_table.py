"""From files to a table whose columns, target, groups and duplicates are known."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from focalkit._config_io import nearest
from focalkit.errors import DataError

from .._task import Source
from ._columns import Column, Rows, rows_of, schema_of
from ._read import PARTS, files_of, fingerprint, read_frames

if TYPE_CHECKING:
    import polars

TARGET_NAMES = ("target", "label", "class", "outcome", "is_fraud", "fraud")
MOST_CLASSES = 100
FEWEST_ROWS = 5
"""Different rows that every class needs, so that each of five parts can have one."""
LOOKED_AT = 1000
"""Rows of a class that nearly always hold so many different ones."""


@dataclass(frozen=True)
class Table:
    """A table, read.

    Attributes:
        rows: Features as arrays.
        labels: (n,) class indices.
        groups: (n,) rows of one number stay together: equal rows, and rows of one group of the user's.
        copies: (n,) rows of one number are equal.
        part: (n,) 0, 1, 2 for train, val, test where the data have a split of their own, else None.
        schema: What the features are.
        classes: Names; of two the rarer one is the second.
        target: Name of the target column.
        facts, notes, fingerprint: As in `Splits`.
    """

    rows: Rows
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    copies: NDArray[np.int64]
    part: NDArray[np.int64] | None
    schema: tuple[Column, ...]
    classes: tuple[str, ...]
    target: str
    facts: Mapping[str, Any]
    notes: tuple[str, ...]
    fingerprint: str


def read_table(source: Source) -> Table:
    """The table at `source`; one that was read before and has not changed is not read again.

    Raises:
        InputError: Nothing there to read.
        DataError: What is there cannot be used; the message says why and what to do.
    """
    files = files_of(source.path)
    state = tuple((part, file, file.stat().st_mtime_ns, file.stat().st_size) for part, file in files.items())
    return _read(source.path, source.target, source.group, source.leave_out, state)


@lru_cache(maxsize=1)
def _read(
    path: Path,
    target: str | None,
    group: str | None,
    leave_out: tuple[str, ...],
    state: tuple[tuple[str, Path, int, int], ...],
) -> Table:
    import polars

    files = {part: file for part, file, _, _ in state}
    frames = read_frames(files)
    part = None
    if "all" not in frames:
        first = frames["train"]
        for name, frame in frames.items():
            if frame.columns != first.columns:
                raise DataError(
                    files[name], [f"expected the columns of {files['train'].name}: {', '.join(first.columns)}"]
                )
        part = np.concatenate([np.full(len(frame), PARTS.index(name)) for name, frame in frames.items()])
        try:
            frame = polars.concat(list(frames.values()), how="vertical_relaxed")
        except polars.exceptions.PolarsError as error:
            raise DataError(path, [f"the files hold columns of different kinds ({error})"]) from error
    else:
        frame = frames["all"]
    if strange := [column for column in leave_out if column not in frame.columns]:
        wrong = [f"there is no column {column!r} to leave out{nearest(column, frame.columns)}" for column in strange]
        raise DataError(path, wrong)
    notes: list[str] = []
    name = _target_of(frame, target, path, notes)
    if used := {name, group} & set(leave_out):
        raise DataError(path, [f"column {column!r} is the target or the group: it is needed" for column in used])
    if group is not None and group not in frame.columns:
        raise DataError(path, [f"there is no column {group!r} to group by{nearest(group, frame.columns)}"])
    if frame[name].dtype.is_float():
        frame = frame.with_columns(polars.col(name).fill_nan(None))
    if (unknown := frame[name].null_count()) > 0:
        notes.append(f"{unknown:,} rows without a value of {name!r} were left out")
        kept = frame[name].is_not_null()
        frame, part = frame.filter(kept), None if part is None else part[kept.to_numpy()]
    labels, classes = _classes(frame[name], path)
    features = frame.drop([name, *([group] if group else []), *set(leave_out)])
    schema, about = schema_of(features)
    if not schema:
        raise DataError(path, ["no column is left to predict from", *about])
    rows = rows_of(features, schema, path)
    same = _equal_rows(rows)
    repeated = len(same) - int(same.max()) - 1
    _check_classes(labels, same, classes, path)
    groups = (
        same if group is None else _joined(same, frame[group].rank("dense").fill_null(0).to_numpy().astype(np.int64))
    )
    missing = int(np.isnan(rows.numbers).sum())
    if repeated:
        told = "they stay on one side of every split" if part is None else "see whether test rows are training rows too"
        notes.append(f"{repeated:,} of {len(same):,} rows have the same features as an earlier row; {told}")
    if part is not None and (shared := _shared(same, part)):
        notes.append(f"{shared:,} test rows are also rows of the training or validation part: results will be too good")
    facts = {
        "rows": len(labels),
        "target": name,
        "columns": {kind: [c.name for c in schema if c.kind == kind] for kind in ("number", "category", "date")},
        "columns_left_out": [*(f"column {column!r} was left out as asked" for column in leave_out), *about],
        "duplicate_rows": repeated,
        "missing_numbers": missing,
        "group": group,
        "split": "its own files" if part is not None else "by seed: five folds, a fifth of the rest for validation",
    }
    return Table(
        rows, labels, groups, same, part, schema, classes, name, facts, (*notes, *about), fingerprint(files)
    )  # fmt: skip


def _target_of(frame: "polars.DataFrame", target: str | None, path: Path, notes: list[str]) -> str:
    columns = frame.columns
    if target is not None:
        if target not in columns:
            raise DataError(path, [f"there is no column {target!r} for the target{nearest(target, columns)}"])
        return target
    named = [column for column in columns if column.lower() in TARGET_NAMES]
    named = named or [column for column in columns if column in ("y", "Y")]
    if len(named) == 1:
        return named[0]
    if len(named) > 1:
        raise DataError(path, [f"{' and '.join(named)} could be the target; say which with --target"])
    last = columns[-1]
    distinct = frame[last].drop_nulls().n_unique()
    if not 2 <= distinct <= 20:
        few = [c for c in columns if 2 <= frame[c].drop_nulls().n_unique() <= 20]
        which = f"columns with few different values: {', '.join(few[:12])}" if few else "no column has few values"
        raise DataError(
            path, [f"no column is named {', '.join(TARGET_NAMES[:3])}, y or the like; say --target; {which}"]
        )
    notes.append(f"took the last column, {last!r}, for the target; another one is named with --target")
    return last


def _classes(column: "polars.Series", path: Path) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Class indices and names: of two the rarer one second, of more in their natural order."""
    import polars

    values = column
    if column.dtype.is_float():
        whole = column.drop_nans()
        if len(whole) and bool((whole == whole.round(0)).all()) and bool(whole.is_finite().all()):
            values = column.cast(polars.Int64, strict=False)
    counts = values.value_counts().sort(column.name)
    if len(counts) < 2:
        only = counts[column.name][0] if len(counts) else "nothing"
        raise DataError(path, [f"the target {column.name!r} holds {only!r} only; at least two classes are needed"])
    if len(counts) > MOST_CLASSES:
        what = "a quantity" if column.dtype.is_numeric() else "free text"
        raise DataError(
            path,
            [f"the target {column.name!r} has {len(counts):,} different values and looks like {what}; "
             f"expected at most {MOST_CLASSES} classes (another column is named with --target)"],
        )  # fmt: skip
    if len(counts) == 2:
        counts = counts.sort(["count", column.name], descending=[True, False])
    names = counts[column.name].to_list()
    table = {value: index for index, value in enumerate(names)}
    labels = values.replace_strict(list(table), list(table.values()), return_dtype=polars.Int64)
    return labels.to_numpy().astype(np.int64), tuple(str(name) for name in names)


def _check_classes(labels: NDArray[np.int64], same: NDArray[np.int64], classes: tuple[str, ...], path: Path) -> None:
    problems = []
    for index, name in enumerate(classes):
        of_class = same[labels == index]
        different = len(np.unique(of_class[:LOOKED_AT]))
        if different < FEWEST_ROWS:
            different = len(np.unique(of_class))
        if different < FEWEST_ROWS:
            rows = f"{different} different row{'s' if different != 1 else ''}"
            problems.append(
                f"class {name!r} has {rows}; at least {FEWEST_ROWS} are needed to train, tune and test. "
                "Leave the class out, join it with another one, or find more"
            )
    if problems:
        raise DataError(path, problems)


def _equal_rows(rows: Rows) -> NDArray[np.int64]:
    """A number for every row that equal rows share, whatever their labels."""
    import polars

    columns = {f"n{i}": rows.numbers[:, i] for i in range(rows.numbers.shape[1])}
    columns |= {f"c{i}": rows.codes[:, i] for i in range(rows.codes.shape[1])}
    hashed = polars.DataFrame(columns).hash_rows(seed=0).to_numpy()
    _, number = np.unique(hashed, return_inverse=True)
    return number.astype(np.int64)


def _joined(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
    """The finest grouping that keeps together what either keeps together."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    n_a, n_b = int(a.max()) + 1, int(b.max()) + 1
    edges = coo_matrix((np.ones(len(a)), (a, b + n_a)), shape=(n_a + n_b, n_a + n_b))
    return connected_components(edges, directed=False)[1][a].astype(np.int64)


def _shared(same: NDArray[np.int64], part: NDArray[np.int64]) -> int:
    return int(np.isin(same[part == 2], same[part != 2]).sum())
