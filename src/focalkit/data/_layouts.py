"""Finding out which format a data set has, by looking at it.

Does not read images or annotations itself: `coco`, `voc`, `yolo` and the others of `_OTHERS` each say what they
recognise and read it.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from focalkit._files import subfolders
from focalkit.data import coco, cvat, datumaro, fiftyone, label_studio, labelme, tables, voc, yolo
from focalkit.data._hints import hint
from focalkit.data._records import DetectionData
from focalkit.data._splits import SPLITS, SeveralError, canonical, split_in
from focalkit.errors import InputError

MOST_FOLDERS = 50
"""Where more lie in one folder, no data set is looked for inside them."""
_PARTS = ("images", "labels", "annotations", "jpegimages", "data", "imagesets", "obj_train_data")
_FORMATS = {"COCO": coco, "Pascal VOC": voc, "YOLO": yolo}
_NESTED = SimpleNamespace(find=voc.find_nested, read=voc.read, LOOKED_FOR=voc.LOOKED_FOR)
_OTHERS = {
    "CVAT": cvat,
    "Pascal VOC": _NESTED,
    "Label Studio": label_studio,
    "Datumaro": datumaro,
    "FiftyOne": fiftyone,
    "labelme": labelme,
    "table": tables,
}
"""Looked for where none of the first is found: their files also lie beside data sets that were made of them."""


@dataclass(frozen=True)
class Layout:
    """What lies at a path: the format's name, what reads it, and per split where it lies, as the reader found it.

    `inside` says what the split is called there, where that is another name.
    """

    format: str
    reader: Any
    places: Mapping[str, Any]
    inside: Mapping[str, str] = field(default_factory=dict)

    @property
    def splits(self) -> dict[str, Callable[[bool, bool], DetectionData]]:
        """Split -> how to read it with (check, repair)."""
        return {split: partial(self._read, split) for split in self.places}

    def _read(self, split: str, check: bool, repair: bool) -> DetectionData:
        called = self.inside.get(split, split)
        return replace(self.reader.read(called, self.places[split], check=check, repair=repair), split=split)


def find_layout(path: Path | str) -> Layout:
    """The format and splits of the data set at `path`.

    Raises:
        InputError: Nothing or more than one format was recognised; says what was looked for and what was there.
    """
    path = Path(path)
    found = find_layouts(path)
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        what = "; ".join(f"{name} with the splits {', '.join(layout.splits)}" for name, layout in found.items())
        raise InputError(
            f"{path} looks like several data sets at once: {what}. Name one: a JSON file with --train-json / "
            "--val-json, a YAML file as the data path, or a folder that holds only one of them"
        )
    looked = "".join(f"\n  {reader.LOOKED_FOR}" for reader in (_FORMATS | _OTHERS).values())
    raise InputError(
        f"{path}: no data set was recognised. Looked for{looked}\nFound {_listing(path)}{_above(path) or hint(path)}"
    )


def find_layouts(path: Path) -> dict[str, Layout]:
    """Every format that is recognised at `path`, by name; or in the one folder there that holds a data set.

    Raises:
        InputError: There is nothing at `path`.
        SeveralError: Several data sets of one format lie there, or in folders of it.
    """
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder")
    folders = subfolders(path)
    folders = folders if len(folders) <= MOST_FOLDERS else []
    for readers in (_FORMATS, _OTHERS):
        if found := _layouts_at(path, readers):
            return found
        inside = {place: layouts for place in folders if (layouts := _layouts_at(place, readers))}
        if len(inside) == 1:
            return next(iter(inside.values()))
        whole = all(list(at) == ["Pascal VOC"] and list(at["Pascal VOC"].splits) == ["all"] for at in inside.values())
        if inside and not whole:  # else folders of one data set, which `_NESTED` finds
            return _as_splits(path, inside)
    return {}


def find_others(path: Path, opened: Iterable[DetectionData]) -> dict[str, str]:
    """Folders of `path` that are data sets of their own beside the one that was opened -> their format."""
    used = {place for data in opened for place in (data.source, *{image.path.parent for image in data.images})}
    used |= {above for place in used for above in place.parents}
    found: dict[str, str] = {}
    for folder in subfolders(path)[:MOST_FOLDERS]:
        if folder.name.casefold() in _PARTS or split_in(folder.name) or folder in used:
            continue
        with suppress(InputError, OSError):
            layouts = next(filter(None, (_layouts_at(folder, readers) for readers in (_FORMATS, _OTHERS))), {})
            if layouts:
                found[folder.name] = " or ".join(layouts)
    return found


def _layouts_at(path: Path, readers: Mapping[str, Any]) -> dict[str, Layout]:
    found: dict[str, Layout] = {}
    for name, reader in readers.items():
        places = reader.find(path)
        if places:
            found[name] = Layout(name, reader, places)
    return found


def _as_splits(path: Path, inside: dict[Path, dict[str, Layout]]) -> dict[str, Layout]:
    """Data sets in folders that are called like splits, as one: the classes are those of all."""
    places: dict[str, Any] = {}
    called: dict[str, str] = {}
    for folder, layouts in inside.items():
        split, layout = split_in(folder.name), next(iter(layouts.values()))
        if split and split not in places and len(layouts) == len(layout.places) == 1:
            called[split], places[split] = next(iter(layout.places.items()))
    found = {name: layout for layouts in inside.values() for name, layout in layouts.items()}
    if len(found) > 1 or len(places) < len(inside):
        listed = ", ".join(f"{folder.name} ({' or '.join(layouts)})" for folder, layouts in inside.items())
        raise SeveralError(f"{path} holds several data sets: {listed}; give one of them")
    everything = tuple(part for where in places.values() for part in getattr(where, "everything", ()))
    if everything:
        places = {split: replace(where, everything=everything) for split, where in places.items()}
    return {name: Layout(name, layout.reader, places, called) for name, layout in found.items()}


def _listing(path: Path) -> str:
    if path.is_file():
        return f"a file of the kind {path.suffix or '(no suffix)'}"
    names = sorted(p.name + "/" * p.is_dir() for p in path.iterdir())
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return (", ".join(names[:12]) + more) or "nothing in it"


def _above(path: Path) -> str:
    """The data set of which `path` is perhaps a folder."""
    if path.name.casefold() not in _PARTS and canonical(path.name) not in SPLITS:
        return ""
    for above in path.absolute().parents[:2]:
        try:
            formats = [name for name, reader in _FORMATS.items() if reader.find(above)]
        except (InputError, OSError):
            continue
        if formats:
            return f"\n{above} holds a {' or '.join(formats)} data set: give that folder"
    return ""
