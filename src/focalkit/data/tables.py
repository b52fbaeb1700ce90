"""Tables of boxes: Open Images' csv files, and csv files with a row per box as TensorFlow and Roboflow write them.

Open Images: `*-annotations-bbox.csv` (ImageID, LabelName, XMin, XMax, YMin, YMax from 0 to 1, IsGroupOf), the names of
classes in `class-descriptions-boxable.csv`; FiftyOne's `labels/detections.csv` and `metadata/classes.csv` too. Rows
with IsGroupOf 1 become regions to ignore. Plain: `_annotations.csv` or any csv with the columns filename, class, xmin,
ymin, xmax, ymax in pixels (and width, height). Images lie in a folder that is called like the split, in `data`, in
`images` or beside the table. Rows of images that are not there are counted and left out, images without a row are
taken as empty where their folder is that of one split. Classes in alphabetical order of all splits, with ids from 1.
Not read: IsOccluded, IsTruncated, IsDepiction, IsInside, Confidence, masks, relationships.
"""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from focalkit._files import visible
from focalkit._pictures import SUFFIXES, is_picture
from focalkit.data._lookup import Lookup
from focalkit.data._records import Box, Category, DetectionData
from focalkit.data._splits import SPLITS, split_in
from focalkit.data._texts import read_text
from focalkit.data.check import Findings, RawBox, RawImage, assemble, measure_all
from focalkit.errors import DataError

LOOKED_FOR = "Tables: *-annotations-bbox.csv (Open Images), or csv with filename, class, xmin, ymin, xmax, ymax"
OPEN_IMAGES = ("ImageID", "LabelName", "XMin", "XMax", "YMin", "YMax")
PLAIN = ("filename", "class", "xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class TableFiles:
    """Where one split lies: its table, the folders that may hold its images, and the tables of all splits."""

    table: Path
    folders: tuple[Path, ...]
    everything: tuple[Path, ...]
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
    tables = [path] if path.is_file() else [*visible(path, "*.csv"), *visible(path, "*/*.csv")] if path.is_dir() else []
    tables = [table for table in tables if table.suffix.lower() == ".csv" and _columns(table)]
    root = path if path.is_dir() else path.parent
    described = [
        *visible(root, "*class-descriptions*.csv"), *visible(root, "*/*class-descriptions*.csv"),
        *visible(root, "metadata/classes.csv"),
    ]  # fmt: skip
    found: dict[str, TableFiles] = {}
    for table in tables:
        split = split_in(table.name) or (table.parent != root and split_in(table.parent.name)) or "all"
        if split in found:
            raise DataError(path, [f"{found[split].table} and {table} are both tables of the split {split}; name one"])
        words = SPLITS.get(split, ())
        places = [root / place / word for place in ("", "images", "data") for word in words]
        places += [table.parent, root / "data", root / "images", table.parent.parent / "data", root]
        folders = tuple(dict.fromkeys(place for place in places if place.is_dir()))
        found[split] = TableFiles(table, folders, tuple(tables), next(iter(described), None))
    return found


def _columns(table: Path) -> tuple[str, ...]:
    """The columns that a table of boxes has; empty where it is another table."""
    try:
        with table.open("rb") as file:
            head = file.readline(2000).decode("utf-8-sig")
    except (OSError, ValueError):
        return ()
    there = {word.strip().strip('"') for word in head.split(",")}
    return next((columns for columns in (OPEN_IMAGES, PLAIN) if there >= set(columns)), ())


def read(split: str, where: TableFiles, *, check: bool = True, repair: bool = False) -> DetectionData:
    """Read and check one split. Sizes stand in the images alone, so their headers are read even with `check=False`.

    Raises:
        DataError: With every problem found.
    """
    findings = Findings()
    described = _described(where.names, findings)
    own = list(_rows(where.table, described, findings))
    others = [row for table in where.everything if table != where.table for row in _rows(table, described, Findings())]
    names = sorted({row.label for row in own} | {row.label for row in others})
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
    relative = _columns(where.table) == OPEN_IMAGES
    for number, row in enumerate(own, start=1):
        image = found.get(files[row.image]) if row.image in files else None
        box = _box(row, f"{where.table}: line {row.line} ({row.image})", findings)
        if image is not None and box is not None:
            sx, sy = (image.width or 0, image.height or 0) if relative else (1, 1)
            scaled = (box[0] * sx, box[1] * sy, box[2] * sx, box[3] * sy)
            image.boxes.append(RawBox(number, scaled, label_of[row.label], row.crowd))
    if not names:
        findings.error(str(where.table), "no row names an object")
    images = list(found.values())
    return assemble(split, categories, images, where.table, findings, check=False, repair=repair)


def _rows(table: Path, described: dict[str, str], findings: Findings) -> Iterator[_Row]:
    columns = _columns(table)
    try:
        reader = csv.DictReader(io.StringIO(read_text(table, findings)), skipinitialspace=True)
        for row in reader:
            if any(row.get(column) is None for column in columns):
                findings.error(f"{table}: line {reader.line_num}", f"expected {', '.join(columns)}; a value is missing")
            elif columns == OPEN_IMAGES:
                label = described.get(row["LabelName"], row["LabelName"])
                corners = (row["XMin"], row["YMin"], row["XMax"], row["YMax"])
                yield _Row(reader.line_num, row["ImageID"], label, corners, row.get("IsGroupOf") == "1")
            else:
                corners = (row["xmin"], row["ymin"], row["xmax"], row["ymax"])
                yield _Row(reader.line_num, row["filename"], row["class"], corners)
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
    lookup = Lookup(where.folders, findings)
    found: dict[str, Path] = {}
    for name in dict.fromkeys(row.image for row in rows):
        spelt = (name,) if is_picture(Path(name)) else tuple(f"{name}{suffix}" for suffix in SUFFIXES)
        path = next((p for one in spelt if (p := lookup.literal(one))), None) or lookup.loosely(spelt[0])
        if path is not None:
            found[name] = path
    absent = sum(row.image not in found for row in rows)
    if rows and not found:
        looked = ", ".join(map(str, where.folders)) or "no folder"
        findings.error(where.table.name, f"the images, such as {rows[0].image}, were not found; looked in {looked}")
    elif absent:
        first = next(row.image for row in rows if row.image not in found)
        for _ in range(absent):
            findings.warn("rows are of images that are not there: left out", f"{where.table.name}: {first}")
    return found


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


def _box(row: _Row, place: str, findings: Findings) -> Box | None:
    try:
        x0, y0, x1, y1 = map(float, row.values)
    except ValueError:
        findings.error(place, f"expected four numbers, got {', '.join(row.values)!r:.80}")
        return None
    return x0, y0, x1, y1
