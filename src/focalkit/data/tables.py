"""Tables of boxes: Open Images' csv files, and tables with a row per box as TensorFlow, Roboflow and Kaggle have them.

Open Images: `*-annotations-bbox.csv` (ImageID, LabelName, XMin, XMax, YMin, YMax from 0 to 1, IsGroupOf), the names of
classes in `class-descriptions-boxable.csv`; FiftyOne's `labels/detections.csv` and `metadata/classes.csv` too. Rows
with IsGroupOf 1 become regions to ignore. Others: any table with columns for the image and the box (`_table_columns`),
in pixels; without one for the class every box is an "object". Images lie in a folder that is called like the split, in
`data`, in `images` or beside the table. Rows of images that are not there are counted and left out; images without a
row, where their folder is that of one split, and images with an empty row are taken as empty. Classes in alphabetical
order of all splits, with ids from 1.
Not read: IsOccluded, IsTruncated, IsDepiction, IsInside, Confidence, masks, relationships.
"""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from focalkit._files import visible
from focalkit._pictures import SUFFIXES, is_picture
from focalkit.data._elsewhere import find_images, others_in
from focalkit.data._lookup import Lookup
from focalkit.data._records import Box, Category, DetectionData
from focalkit.data._splits import SPLITS, split_in
from focalkit.data._table_columns import Columns, columns_of
from focalkit.data._texts import read_text
from focalkit.data.check import Findings, RawBox, RawImage, as_corners, assemble, measure_all
from focalkit.errors import DataError

LOOKED_FOR = "Tables: csv with columns such as filename, class, xmin, ymin, xmax, ymax, beside the images or above them"
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


@dataclass(frozen=True)
class TableFiles:
    """Where one split lies: its table, the folders that may hold its images, any others, the tables of all splits."""

    table: Path
    columns: Columns
    folders: tuple[Path, ...]
    others: tuple[Path, ...]
    everything: tuple[tuple[Path, Columns], ...]
    names: Path | None


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    image: str
    label: str
    values: tuple[str, ...]
    crowd: bool = False


def find(path: Path) -> dict[str, TableFiles]:
    """The splits of tables at `path` (a folder or one csv file); empty where there are none.

    Raises:
        DataError: Several tables of one split.
    """
    files = [path] if path.is_file() else [*visible(path, "*.csv"), *visible(path, "*/*.csv")] if path.is_dir() else []
    tables = [(f, columns) for f in files if f.suffix.lower() == ".csv" and (columns := columns_of(f))]
    root = path if path.is_dir() else path.parent
    described = [
        *visible(root, "*class-descriptions*.csv"), *visible(root, "*/*class-descriptions*.csv"),
        *visible(root, "metadata/classes.csv"),
    ]  # fmt: skip
    found: dict[str, TableFiles] = {}
    for table, columns in tables:
        split = split_in(table.name) or (table.parent != root and split_in(table.parent.name)) or "all"
        folders, others = _folders(table, split, root), others_in((root,), split)
        if not columns.sure and not _shows_pictures(table, columns, (*folders, *others)):
            continue
        if split in found:
            raise DataError(path, [f"{found[split].table} and {table} are both tables of the split {split}; name one"])
        found[split] = TableFiles(table, columns, folders, others, tuple(tables), next(iter(described), None))
    return found


def _folders(table: Path, split: str, root: Path) -> tuple[Path, ...]:
    """The folders that may hold the images of a table, best guess first."""
    words = SPLITS.get(split, ())
    places = [root / place / word for place in ("", "images", "data") for word in words]
    places += [table.parent, root / "data", root / "images", table.parent.parent / "data", root]
    return tuple(dict.fromkeys(place for place in places if place.is_dir()))


def _shows_pictures(table: Path, columns: Columns, folders: tuple[Path, ...]) -> bool:
    """Whether one of the first rows names an image that is there."""
    lookup = Lookup(folders, Findings())
    names = dict.fromkeys(row.image for row in islice(_rows(table, columns, {}, Findings()), 20))
    return any(lookup.files(list(map(_spelt, names))))


def read(split: str, where: TableFiles, *, check: bool = True, repair: bool = False) -> DetectionData:
    """Read and check one split. Sizes stand in the images alone, so their headers are read even with `check=False`.

    Raises:
        DataError: With every problem found.
    """
    findings = Findings()
    described = _described(where.names, findings)
    own = list(_rows(where.table, where.columns, described, findings))
    rest = [(table, columns) for table, columns in where.everything if table != where.table]
    others = [row for table, columns in rest for row in _rows(table, columns, described, Findings())]
    names = sorted({row.label for row in (*own, *others) if row.values})
    categories = tuple(Category(key, name) for key, name in enumerate(names, start=1))
    label_of = {name: label for label, name in enumerate(names)}
    files = _images(own, where, findings)
    _add_empty(files, {Path(row.image).name for row in others}, split, where, findings)
    paths = list(dict.fromkeys(files.values()))
    found: dict[Path, RawImage] = {}
    for number, (path, size) in enumerate(zip(paths, measure_all(paths, f"checking {split} images"), strict=True), 1):
        if isinstance(size, str):
            findings.error(f"{where.table.name}: image {number} ({path})", size)
        else:
            found[path] = RawImage(number, path, path.name, *size)
    relative = where.columns.relative
    for number, row in enumerate(own, start=1):
        image = found.get(files[row.image]) if row.image in files else None
        place = f"{where.table}: line {row.line} ({row.image})"
        if not row.values:
            findings.warn("rows have no box: their images are taken as empty", place)
            continue
        box = _box(row, where.columns.form, place, findings)
        if image is not None and box is not None:
            sx, sy = (image.width or 0, image.height or 0) if relative else (1, 1)
            scaled = (box[0] * sx, box[1] * sy, box[2] * sx, box[3] * sy)
            image.boxes.append(RawBox(number, scaled, label_of[row.label], row.crowd))
    if not names:
        findings.error(str(where.table), "no row names an object")
    images = list(found.values())
    corners = ("x, y, width, height", as_corners) if where.columns.form == "sizes" else None
    return assemble(split, categories, images, where.table, findings, check=False, repair=repair, corners=corners)


def _rows(table: Path, columns: Columns, described: dict[str, str], findings: Findings) -> Iterator[_Row]:
    last = max(columns.image, columns.label or 0, *columns.box)
    try:
        reader = csv.reader(io.StringIO(read_text(table, findings)), delimiter=columns.separator, skipinitialspace=True)
        for row in islice(reader, int(columns.named), None):
            if not any(value.strip() for value in row):
                continue
            if len(row) <= last:
                findings.error(f"{table}: line {reader.line_num}", f"expected {columns.expected}; a value is missing")
                continue
            values = tuple(row[place].strip() for place in columns.box)
            if len(values) == 1 and len(found := _NUMBER.findall(values[0])) == 4:
                values = tuple(found)
            label = "object" if columns.label is None else row[columns.label]
            crowd = columns.group is not None and row[columns.group : columns.group + 1] == ["1"]
            box = values if any(values) else ()
            if box and not label.strip():
                findings.error(f"{table}: line {reader.line_num} ({row[columns.image]})", "the box has no class")
                continue
            yield _Row(reader.line_num, row[columns.image].strip(), described.get(label, label), box, crowd)
    except (OSError, ValueError, csv.Error) as error:
        findings.error(str(table), f"cannot be read as a table ({error})")


def _described(file: Path | None, findings: Findings) -> dict[str, str]:
    """LabelName -> display name, such as "/m/01yrx" -> "Cat"."""
    if file is None:
        return {}
    try:
        rows = [row for row in csv.reader(io.StringIO(read_text(file, findings))) if len(row) >= 2]
    except (OSError, ValueError, csv.Error) as error:
        findings.error(str(file), f"cannot be read as a table ({error})")
        return {}
    return {row[0].strip(): row[1].strip() for row in rows}


def _images(rows: list[_Row], where: TableFiles, findings: Findings) -> dict[str, Path]:
    """The file of every image that a row names and that is there."""
    names = list(dict.fromkeys(row.image for row in rows))
    paths, _ = find_images(where.folders, where.others, list(map(_spelt, names)), where.table, findings)
    found = {name: path for name, path in zip(names, paths, strict=True) if path}
    absent = sum(row.image not in found for row in rows)
    if rows and not found:
        looked = ", ".join(map(str, (*where.folders, *where.others))) or "no folder"
        findings.error(where.table.name, f"the images, such as {rows[0].image}, were not found; looked in {looked}")
    elif absent:
        first = next(row.image for row in rows if row.image not in found)
        for _ in range(absent):
            findings.warn("rows are of images that are not there: left out", f"{where.table.name}: {first}")
    return found


def _spelt(name: str) -> tuple[str, ...]:
    """What the file of an image may be called."""
    return (name,) if is_picture(Path(name)) else tuple(f"{name}{suffix}" for suffix in SUFFIXES)


def _add_empty(files: dict[str, Path], elsewhere: set[str], split: str, where: TableFiles, findings: Findings) -> None:
    """Add the images beside those of the rows that no table names; of a folder that splits share they are left out."""
    named = set(files.values())
    for folder in sorted({path.parent for path in named}):
        shared = len(where.everything) > 1 and split_in(folder.name) != split
        for file in visible(folder, "*"):
            if not is_picture(file) or file in named or {file.name, file.stem} & elsewhere:
                continue
            if shared:
                findings.warn("images have no row, and their split is not known: left out", str(file))
            else:
                findings.warn("images have no row: taken as empty", str(file))
                files[str(file)] = file


def _box(row: _Row, form: str, place: str, findings: Findings) -> Box | None:
    try:
        x0, y0, x1, y1 = map(float, row.values)
    except ValueError:
        findings.error(place, f"expected four numbers, got {', '.join(row.values)!r:.80}")
        return None
    return (x0, y0, x0 + x1, y0 + y1) if form == "sizes" else (x0, y0, x1, y1)
