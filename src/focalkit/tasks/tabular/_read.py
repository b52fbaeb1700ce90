"""Read a table: csv, tsv (also .gz), parquet or npz, as a polars data frame with a name for every column."""

import csv
import gzip
import hashlib
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from focalkit._files import special
from focalkit.errors import DataError, InputError

from .._npz import open_arrays
from ._kinds import with_kinds

if TYPE_CHECKING:
    import polars

FORMATS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet", ".npz")
LONGEST_HEADER = 5_000_000
MISSING = ["", "NA", "N/A", "n/a", "nan", "NaN", "NAN", "null", "NULL", "?"]
"""Texts that mean that a value is missing."""
PARTS = ("train", "val", "test")


def format_of(path: Path) -> str | None:
    """The ending of a file that `read_frame` reads, or None."""
    return next((ending for ending in sorted(FORMATS, key=len, reverse=True) if path.name.endswith(ending)), None)


def files_of(path: Path) -> dict[str, Path]:
    """ "all" -> the file, or "train", "val" (optional), "test" -> the files of a folder with a split of its own.

    Raises:
        InputError: Nothing there that could be read.
    """
    if path.is_file():
        if format_of(path) is None:
            raise InputError(f"{path}: expected a table that ends in {', '.join(FORMATS)}")
        return {"all": path}
    of_parts = {p: [f for f in sorted(path.glob(f"{p}.*")) if format_of(f) == f.name[len(p) :]] for p in PARTS}
    if several := next((files for files in of_parts.values() if len(files) > 1), None):
        raise InputError(f"{several[0]} and {several[1].name} are the same part; leave one of them in the folder")
    found = {p: files[0] for p, files in of_parts.items() if files}
    if "train" not in found or "test" not in found:
        raise InputError(f"{path}: expected a table, or a folder with train.csv and test.csv (and perhaps val.csv)")
    return found


def read_frame(file: Path, texts: Collection[str] = ()) -> "polars.DataFrame":
    """The table in a file; numbers, dates and texts where all values of a column are such.

    Args:
        file: In one of `FORMATS`.
        texts: Columns that are texts whatever they look like ("01"), because they are elsewhere.

    Raises:
        DataError: It cannot be read, has no header, no rows, or two columns of one name.
    """
    try:
        import polars
    except ImportError as error:
        raise InputError("tables need the package polars: pip install 'focalkit[compare]'") from error
    try:
        kind = format_of(file)
        if other := special(file):
            raise DataError(file, [f"is {other}, expected a table"])
        if kind == ".npz":
            frame = _from_npz(file)
        elif kind == ".parquet":
            frame = polars.read_parquet(file)
        else:
            separator = "\t" if kind is not None and kind.startswith(".tsv") else _separator(file)
            _check_header(file, separator)
            frame = _from_text(file, separator, texts)
    except (polars.exceptions.PolarsError, UnicodeDecodeError, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.filename is not None:  # it cannot be opened, and says so
            raise
        raise DataError(file, [f"cannot be read as a table ({str(error).splitlines()[0]})"]) from error
    if not len(frame):
        raise DataError(file, ["has no rows"])
    return frame


def read_frames(files: Mapping[str, Path]) -> "dict[str, polars.DataFrame]":
    """The tables of one data set; a column that holds texts in one of them holds texts in all.

    Raises:
        DataError: As `read_frame`.
    """
    frames = {part: read_frame(file) for part, file in files.items()}
    if len(frames) == 1:
        return frames
    import polars

    # a column without any value is read as texts, and says nothing about the others
    empty = {part: [name for name in f.columns if f[name].null_count() == len(f)] for part, f in frames.items()}
    kinds = [{n: k for n, k in f.schema.items() if n not in empty[part]} for part, f in frames.items()]
    texts = {name for kind in kinds for name, of in kind.items() if of == polars.String}
    for part, kind in zip(frames, kinds, strict=True):
        if any(kind.get(name, polars.String) != polars.String for name in texts):
            frames[part] = read_frame(files[part], texts)
        frames[part] = frames[part].with_columns(polars.lit(None).alias(name) for name in empty[part])
    return frames


def spellings_of_missing(file: Path, columns: Collection[str]) -> dict[str, int]:
    """Texts of `MISSING` that stand in these columns of a csv or tsv -> how often; empty fields are not counted."""
    import polars

    kind = format_of(file)
    if kind is None or kind in (".npz", ".parquet") or not columns:
        return {}
    separator = "\t" if kind.startswith(".tsv") else _separator(file)
    frame = polars.read_csv(file, separator=separator, columns=list(columns), infer_schema=False)
    counts = {text: sum(int((frame[name] == text).sum()) for name in columns) for text in MISSING if text}
    return {text: count for text, count in counts.items() if count}


def fingerprint(files: dict[str, Path]) -> str:
    """Hash of the bytes of the files."""
    total = hashlib.sha256()
    for part, file in sorted(files.items()):
        total.update(part.encode())
        with open(file, "rb") as opened:
            while block := opened.read(2**22):
                total.update(block)
    return total.hexdigest()[:32]


def _from_text(file: Path, separator: str, texts: Collection[str]) -> "polars.DataFrame":
    import polars

    kinds = {name: polars.String for name in texts if name in _names(file, separator)}

    def read(sample: int | None) -> "polars.DataFrame":
        return polars.read_csv(
            file, separator=separator, null_values=MISSING, infer_schema_length=sample,
            truncate_ragged_lines=False, schema_overrides=kinds,
        )  # fmt: skip

    try:
        return with_kinds(read(20_000), texts, separator)
    except polars.exceptions.ComputeError:  # a column changes its mind after the sample: look at all of it
        return with_kinds(read(None), texts, separator)


def _from_npz(file: Path) -> "polars.DataFrame":
    import polars

    try:
        with open_arrays(file) as archive:
            arrays = {name: archive[name] for name in archive}
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(file, [f"cannot be read ({error}); expected arrays X (rows, columns) and y (rows)"]) from error
    x = next((arrays[name] for name in ("X", "x", "data") if name in arrays), None)
    y = next((arrays[name] for name in ("y", "Y", "target", "labels") if name in arrays), None)
    if x is None or x.ndim != 2 or (y is not None and len(y.reshape(-1)) != len(x)):
        shapes = ", ".join(f"{name} {value.shape}" for name, value in arrays.items())
        raise DataError(file, [f"expected arrays X (rows, columns) and y (rows), got {shapes}"])
    if x.dtype.kind not in "biufU":
        raise DataError(file, [f"X holds {x.dtype}, expected numbers or texts"])
    columns = {f"x{i}": x[:, i] for i in range(x.shape[1])}
    return polars.DataFrame(columns if y is None else {**columns, "target": y.reshape(-1)})


def _first_line(file: Path) -> str:
    with gzip.open(file, "rt", encoding="utf-8-sig") if file.suffix == ".gz" else open(file, encoding="utf-8-sig") as f:
        line = f.readline(LONGEST_HEADER)
    if len(line) == LONGEST_HEADER:
        raise DataError(file, [f"has no line end in {LONGEST_HEADER:,} characters; expected names of columns"])
    return line.rstrip("\r\n")


def _separator(file: Path) -> str:
    """What separates the names in the header: the most frequent of the usual ones."""
    line = _first_line(file)
    return max(",;\t|", key=line.count)


def _names(file: Path, separator: str) -> list[str]:
    return [name.strip() for name in next(csv.reader([_first_line(file)], delimiter=separator), [""])]


def _check_header(file: Path, separator: str) -> None:
    names = _names(file, separator)
    if not any(names):
        raise DataError(file, ["is empty; expected a header line with the names of the columns"])
    numbers = [name for name in names if _is_number(name)]
    if 2 * len(numbers) >= len(names) and not (len(names) == 1 and not numbers):
        raise DataError(
            file,
            [
                f"has no header: the first line holds numbers ({', '.join(numbers[:3])}, ...). "
                "Put a line with the names of the columns before it, for example "
                + separator.join([*(f"x{i}" for i in range(1, min(len(names), 4))), "...", "target"])
            ],
        )
    twice = sorted(name for name, times in Counter(names).items() if times > 1)
    if twice:
        raise DataError(file, [f"two columns are named {name!r}" for name in twice])


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
