"""Where the splits of a YOLO data set lie: by `data.yaml`, by darknet's `*.data`, or by names of classes alone.

Text in the YAML file is taken as it stands (`on`, `no`, `1.0` are names), and nothing in it is executed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from focalkit._files import visible, walk
from focalkit._pictures import is_picture
from focalkit.data._lookup import Lookup
from focalkit.data._splits import SPLITS, canonical, split_in
from focalkit.data._texts import read_lines, read_text
from focalkit.data.check import Findings
from focalkit.errors import DataError, InputError

_NULL = ("", "null", "~", "None")


@dataclass(frozen=True)
class YoloFiles:
    """Where one split lies: the file that names the classes, and the entries that lead to the images."""

    source: Path
    entries: tuple[str, ...]
    root: str
    names: tuple[tuple[int, str], ...]


def find(path: Path) -> dict[str, YoloFiles]:
    """The splits of a YOLO data set at `path` (a folder, a YAML file or a `*.data` file); empty where there is none.

    Raises:
        InputError: Several data sets lie in the folder.
        DataError: The file that describes it cannot be used.
    """
    if path.is_file():
        return _of_file(path)
    first = [path / "data.yaml", path / "data.yml", path / "dataset.yaml"]
    candidates = [p for p in first if p.is_file()] or [*visible(path, "*.yaml"), *visible(path, "*.yml")]
    for group in (candidates, visible(path, "*.data")):
        found = {p: splits for p in group if (splits := _of_file(p))}
        if len(found) > 1:
            names = ", ".join(p.name for p in found)
            raise InputError(f"{path} holds several YOLO data sets: {names}; give one of them")
        if found:
            return next(iter(found.values()))
    return _by_class_list(path)


def _of_file(path: Path) -> dict[str, YoloFiles]:
    readers = {".yaml": _by_yaml, ".yml": _by_yaml, ".data": _by_darknet}
    return readers[path.suffix](path) if path.suffix in readers else {}


def _text(path: Path, read: Any) -> Any:
    """`read` of the file; its warnings are left out: what matters in these files is plain ASCII."""
    try:
        return read(path, Findings())
    except (OSError, ValueError) as error:
        raise DataError(path, [f"{path.name}: cannot be read as text ({error})"]) from error


def _by_yaml(path: Path) -> dict[str, YoloFiles]:
    import yaml

    class Plain(yaml.SafeLoader):
        yaml_implicit_resolvers = {}  # noqa: RUF012  as in its base: no word is a boolean, number or null

    try:
        content = yaml.load(_text(path, read_text), Plain)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DataError(path, [f"{path.name}: not YAML: {str(error)[:300]}"]) from error
    if not isinstance(content, dict) or "names" not in content:
        return {}
    names = _names(content["names"], path)
    _check_count(content.get("nc"), names, path)
    root = content.get("path")
    found: dict[str, YoloFiles] = {}
    for split, words in SPLITS.items():
        entry = next((content[w] for w in words if content.get(w, "") not in _NULL), None)
        if entry is not None:
            entries = tuple(map(str, entry)) if isinstance(entry, list) else (str(entry),)
            found[split] = YoloFiles(path, entries, root if isinstance(root, str) and root not in _NULL else "", names)
    return found or _by_folders(path.parent, path, names)  # supervision's file has the names alone


def _names(names: Any, path: Path) -> tuple[tuple[int, str], ...]:
    pairs = (
        list(names.items() if isinstance(names, dict) else enumerate(names)) if isinstance(names, dict | list) else []
    )
    sound = all(str(key).isdecimal() and isinstance(value, str) for key, value in pairs)
    if not pairs or not sound or len({int(key) for key, _ in pairs}) < len(pairs):
        what = f"names must be a list, or a mapping from class numbers to names; got {_short(names)}"
        raise DataError(path, [f"{path.name}: {what}"])
    return tuple(sorted((int(key), name) for key, name in pairs))


def _short(value: Any) -> str:
    """A beginning of what `repr` says; aliases of aliases in YAML would make all of it endless."""
    return (
        f"a {type(value).__name__} of {len(value)}" if isinstance(value, list | dict) and value else f"{value!r:.200}"
    )


def _check_count(nc: Any, names: tuple[tuple[int, str], ...], path: Path) -> None:
    """An error where the number of classes is another than the names say; numbers without a name may be counted."""
    if nc is not None and nc not in (str(len(names)), str(names[-1][0] + 1)):
        listed = ", ".join(name for _, name in names)
        raise DataError(path, [f"nc says {nc!r:.50} classes, names has {len(names)}: {listed:.200}; mend one of them"])


def _by_darknet(path: Path) -> dict[str, YoloFiles]:
    """`classes = 2`, `train = data/train.txt`, `valid = ...`, `names = data/obj.names`; paths are darknet's own."""
    pairs = [line.split("=", 1) for line in _text(path, read_lines) if "=" in line and not line.startswith("#")]
    content = {key.strip(): value.strip() for key, value in pairs}
    if "names" not in content:
        return {}
    listing = Lookup([path.parent], Findings()).folder(content["names"])
    if listing is None:
        raise DataError(path, [f"{path.name}: the file of class names, {content['names']}, was not found"])
    names = tuple(enumerate(_text(listing, read_lines)))
    entries = {canonical(key): value for key, value in content.items() if canonical(key) in SPLITS}
    return {split: YoloFiles(path, (entry,), "", names) for split, entry in entries.items()}


def _by_class_list(folder: Path) -> dict[str, YoloFiles]:
    """`classes.txt` (labelImg, Label Studio) or `obj.names` (FiftyOne) beside the labels or above them."""
    places = [folder / name for name in ("classes.txt", "labels/classes.txt", "obj.names")]
    listing = next((place for place in places if place.is_file()), None)
    if listing is None:
        return {}
    return _by_folders(folder, listing, tuple(enumerate(_text(listing, read_lines))))


def _by_folders(folder: Path, source: Path, names: tuple[tuple[int, str], ...]) -> dict[str, YoloFiles]:
    """The images in `images`, `data` or the folder itself, where one has labels; splits are folders called so."""
    images = next((folder / name for name in ("images", "data") if (folder / name).is_dir()), folder)
    if not any(label_path(file).is_file() or file.with_suffix(".txt").is_file() for file in _pictures(images)):
        return {}
    below = {canonical(d.name): d for d in visible(images, "*") if d.is_dir() and split_in(d.name)}
    splits = below or {"all": images}
    return {split: YoloFiles(source, (str(place.absolute()),), "", names) for split, place in splits.items()}


def _pictures(folder: Path) -> Iterator[Path]:
    return (file for file in walk(folder) if is_picture(file))


def label_path(image: Path) -> Path:
    """Where the labels of an image lie: the last folder called `images` becomes `labels`, the suffix `.txt`.

    Example:
        >>> label_path(Path("images/train/a.jpg")).as_posix()
        'labels/train/a.txt'
    """
    parts = list(image.parts)
    for i in range(len(parts) - 2, -1, -1):
        if parts[i] == "images":
            parts[i] = "labels"
            break
    return Path(*parts).with_suffix(".txt")
