"""Where the splits of a YOLO data set lie: by `data.yaml`, by darknet's `*.data`, or by names of classes alone.

Text in the YAML file is taken as it stands (`on`, `no`, `1.0` are names), and nothing in it is executed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from focalkit._files import subfolders, visible, walk
from focalkit._pictures import is_picture
from focalkit.data._lookup import Lookup
from focalkit.data._splits import SPLITS, SeveralError, canonical, folders_of_splits
from focalkit.data._texts import number_in, read_lines, read_text
from focalkit.data._yolo_labels import label_path
from focalkit.data.check import Findings
from focalkit.errors import DataError

_NULL = ("", "null", "~", "None")


@dataclass(frozen=True)
class YoloFiles:
    """Where one split lies: the file that names the classes, and the entries that lead to the images.

    `key_points` is how many numbers of a row follow its box; `absent` names a test split that is not there.
    """

    source: Path
    entries: tuple[str, ...]
    root: str
    names: tuple[tuple[int, str], ...]
    key_points: int = 0
    absent: str = ""


def find(path: Path) -> dict[str, YoloFiles]:
    """The splits of a YOLO data set at `path` (a folder, a YAML file or a `*.data` file); empty where there is none.

    Raises:
        SeveralError: Several data sets lie in the folder.
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
            raise SeveralError(f"{path} holds several YOLO data sets: {names}; give one of them")
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
        raise DataError(path, [f"{path.name}: not YAML{_place_in(error)}"]) from error
    if not isinstance(content, dict):
        return {}
    root, nc = content.get("path"), content.get("nc")
    root = root if isinstance(root, str) and root not in _NULL else ""
    given = content.get("names")
    if "names" not in content:
        if not any(isinstance(content.get(word), str | list) for word in SPLITS["train"]):
            return {}
        count = number_in(nc) or 0
        if not 0 < count < 100_000:
            raise DataError(path, [f"{path.name}: has neither names nor nc: add 'names: [dog, cat]', in their order"])
        given = [f"class_{number}" for number in range(count)]  # as Ultralytics calls them
    names = _names(given, path)
    _check_count(nc, names, path)
    found: dict[str, YoloFiles] = {}
    for split, words in SPLITS.items():
        entry = next((content[w] for w in words if content.get(w, "") not in _NULL), None)
        if entry is not None:
            entries = tuple(map(str, entry)) if isinstance(entry, list) else (str(entry),)
            found[split] = YoloFiles(path, entries, root, names, _key_points(content.get("kpt_shape")))
    found = _without_absent_test(found)
    return found or _by_folders(path.parent, path, names)  # supervision's file has the names alone


def _place_in(error: Exception) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None:
        return f": {str(error)[:300]}"
    return f" at line {mark.line + 1}, column {mark.column + 1}: {problem}"


def _key_points(shape: Any) -> int:
    """How many numbers the key points of `kpt_shape: [17, 3]` are."""
    numbers = [n for text in shape if (n := number_in(text)) is not None] if isinstance(shape, list) else []
    return numbers[0] * numbers[1] if len(numbers) == 2 else 0


def _without_absent_test(found: dict[str, YoloFiles]) -> dict[str, YoloFiles]:
    """Exporters name a test split whether there is one or not: without, it is left out, which the others say."""
    test = found.get("test")
    if test is None or len(found) < 2 or any(place_of(entry, test, Findings())[0] for entry in test.entries):
        return found
    absent = ", ".join(test.entries)
    first, *more = (split for split in found if split != "test")
    return {first: replace(found[first], absent=absent), **{split: found[split] for split in more}}


def place_of(entry: str, where: YoloFiles, findings: Findings) -> tuple[Path | None, list[Path]]:
    """The folder or list that an entry names, None where there is none; and what it may be relative to."""
    here = where.source.parent
    roots = list(dict.fromkeys([here / where.root, here]))
    lookup = Lookup(roots, findings)
    found = next((p for name in (entry, without_dots(entry)) if (p := lookup.exactly(name))), None)
    return found or lookup.folder(entry), roots


def without_dots(entry: str) -> str:
    """An entry without the `../` at its beginning, since exporters disagree on what it is relative to."""
    while entry.startswith("../"):
        entry = entry[3:]
    return entry


def _names(names: Any, path: Path) -> tuple[tuple[int, str], ...]:
    pairs = (
        list(names.items() if isinstance(names, dict) else enumerate(names)) if isinstance(names, dict | list) else []
    )
    numbers = {number_in(str(key)) for key, _ in pairs}
    sound = None not in numbers and all(isinstance(value, str) and value.strip() for _, value in pairs)
    if not pairs or not sound or len(numbers) < len(pairs):
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
    """`classes.txt` (labelImg, Label Studio) or `obj.names` (FiftyOne) beside the labels or above them.

    Splits are lists of images called so (`train.txt`) beside it, else folders.
    """
    places = [folder / name for name in ("classes.txt", "labels/classes.txt", "obj.names")]
    listing = next((place for place in places if place.is_file()), None)
    if listing is None:
        return {}
    names = tuple(enumerate(_text(listing, read_lines)))
    lists = {canonical(file.stem): file for file in visible(folder, "*.txt") if canonical(file.stem) in SPLITS}
    by_lists = {split: YoloFiles(listing, (str(file.absolute()),), "", names) for split, file in lists.items()}
    return by_lists if "train" in lists else _by_folders(folder, listing, names)


def _by_folders(folder: Path, source: Path, names: tuple[tuple[int, str], ...]) -> dict[str, YoloFiles]:
    """The images in `images`, `data` or the folder itself, where one has labels; splits are folders called so."""
    images = next((folder / name for name in ("images", "data") if (folder / name).is_dir()), folder)
    if not any(label_path(file).is_file() or file.with_suffix(".txt").is_file() for file in _pictures(images)):
        return {}
    below = folders_of_splits(subfolders(images), lambda place: any(True for _ in _pictures(place)))
    splits = below or {"all": images}
    return {split: YoloFiles(source, (str(place.absolute()),), "", names) for split, place in splits.items()}


def _pictures(folder: Path) -> Iterator[Path]:
    return (file for file in walk(folder, outputs=False) if is_picture(file))
