"""A large COCO split as it was opened the last time, so that it opens in seconds: plain arrays in the user's cache.

It counts only while nothing has changed: the annotation file (size and time), every file in the folders that hold
the images (names, sizes, times), and the names in the others that could. Paths are kept relative to these folders, so
that they come back as the data set is spelt this time. What cannot be written or read, or is of another version, is
passed over: nothing here ever stops a data set from being opened.
"""

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from focalkit._files import replacing
from focalkit.data._records import Category, DetectionData, ImageRecord

if TYPE_CHECKING:
    import numpy as np

SCHEMA = 3
FEWEST = 5000
"""Images; smaller splits open quickly anyway."""
KEPT = 16
"""Splits; the one that was written first gives way."""
_END = "\0"


def cache_folder() -> Path:
    """Where this user's programs keep what they can make again."""
    if given := os.environ.get("XDG_CACHE_HOME"):
        return Path(given) / "focalkit"
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/focalkit"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "focalkit/cache"
    return Path.home() / ".cache/focalkit"


def recall(key: Sequence[object], source: Path, folders: Sequence[Path]) -> DetectionData | None:
    """The split of this key, None where there is none or its files have changed.

    Args:
        key: Tells splits, and ways to read them, apart.
        source: The annotation file.
        folders: That may hold the images, as many as when it was kept.
    """
    import numpy as np

    try:
        with _place(key).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            about: dict[str, Any] = json.loads(arrays["about"].tobytes())
            known = about["schema"] == SCHEMA and about["version"] == _version() and about["key"] == list(map(str, key))
            if not known or about["state"] != state(source):
                return None
            if any(content(Path(folder)) != was for folder, was in about["holding"].items()):
                return None
            if any(content(Path(folder), names=True) != was for folder, was in about["others"].items()):
                return None
            images = _records({name: arrays[name] for name in arrays.files}, [*folders, source.parent])
    except Exception:  # a damaged file can raise anything; the annotations are read again
        return None
    categories = tuple(Category(i, name) for i, name in about["categories"])
    return DetectionData(about["split"], categories, tuple(images), tuple(about["warnings"]), source)


def remember(key: Sequence[object], data: DetectionData, folders: Sequence[Path], was: str | None) -> None:
    """Keep a split that took long to open.

    Args:
        key, folders: As for `recall`.
        data: The split.
        was: The `state` of the annotation file before it was read; None keeps nothing.
    """
    if len(data.images) < FEWEST or was is None:
        return
    import numpy as np

    with suppress(Exception):  # a full disk, a folder that vanishes, an id beyond 64 bits: the data are good
        holding = sorted(folder.absolute() for folder in {image.path.parent for image in data.images})
        about = {
            "schema": SCHEMA,
            "version": _version(),
            "key": list(map(str, key)),
            "state": was,
            "holding": {str(folder): content(folder) for folder in holding},
            "others": {
                str(folder): content(folder, names=True) for folder in {f.absolute() for f in folders} - {*holding}
            },
            "split": data.split,
            "categories": [(c.id, c.name) for c in data.categories],
            "warnings": data.warnings,
        }
        place = _place(key)
        with replacing(place) as temporary, temporary.open("wb") as file:
            arrays: dict[str, Any] = dict(_arrays(data.images, [*folders, data.source.parent]))
            np.savez(file, about=_bytes(json.dumps(about)), **arrays)
        for old in sorted(place.parent.glob("*.npz"), key=lambda p: p.stat().st_mtime_ns)[:-KEPT]:
            old.unlink(missing_ok=True)


def state(file: Path) -> str | None:
    """What changes when the file does; None where it cannot be looked at."""
    try:
        found = file.stat()
    except OSError:
        return None
    return f"{found.st_size} {found.st_mtime_ns}"


def content(folder: Path, *, names: bool = False) -> str:
    """What changes when something in a folder does, or with `names` when something comes or goes.

    Raises:
        OSError: It cannot be listed.
    """
    with os.scandir(folder) as entries:
        rows = [entry.name if names else f"{entry.name}\0{_state_of(entry)}" for entry in entries]
    return hashlib.blake2b("\n".join(sorted(rows)).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def _state_of(entry: os.DirEntry[str]) -> str:
    try:
        about = entry.stat()
    except OSError:  # a link that leads nowhere
        return ""
    return f"{about.st_size} {about.st_mtime_ns}"


def _version() -> str:
    try:
        return version("focalkit")
    except PackageNotFoundError:
        return ""


def _place(key: Sequence[object]) -> Path:
    name = hashlib.blake2b(repr(list(map(str, key))).encode(), digest_size=16).hexdigest()
    return cache_folder() / "opened" / f"{name}.npz"


def _bytes(text: str) -> "np.ndarray":
    import numpy as np

    return np.frombuffer(text.encode("utf-8", "surrogateescape"), dtype=np.uint8)


def _prefix(folder: Path) -> str:
    """What the paths of a folder's files begin with, as pathlib writes them."""
    return "" if str(folder) == "." else os.path.join(folder, "")


def _below(path: str, bases: Sequence[str]) -> tuple[int, str]:
    """The first base that a path begins with and the rest; -1 and all of it, absolute, where none is."""
    for number, base in enumerate(bases):
        if path.startswith(base) and (base or not os.path.isabs(path)):
            return number, path[len(base) :]
    return -1, str(Path(path).absolute())


def _arrays(images: Sequence[ImageRecord], folders: Sequence[Path]) -> "dict[str, np.ndarray]":
    import numpy as np

    bases = [_prefix(folder) for folder in folders]
    places = [_below(str(image.path), bases) for image in images]
    return {
        "bases": np.array([base for base, _ in places], dtype=np.int32),
        "ids": np.array([image.id for image in images], dtype=np.int64),
        "sizes": np.array([(image.width, image.height) for image in images], dtype=np.int32),
        "paths": _bytes(_END.join(rest for _, rest in places)),
        "names": _bytes(_END.join(image.file_name for image in images)),
        "counts": np.array([len(image.boxes) for image in images], dtype=np.int64),
        "boxes": np.array([box for image in images for box in image.boxes], dtype=np.float64).reshape(-1, 4),
        "labels": np.array([label for image in images for label in image.labels], dtype=np.int32),
        "areas": np.array([area for image in images for area in image.areas], dtype=np.float64),
        "crowd": np.array([crowd for image in images for crowd in image.crowd], dtype=bool),
        "annotation_ids": np.array([number for image in images for number in image.annotation_ids], dtype=np.int64),
    }


def _records(arrays: "dict[str, np.ndarray]", folders: Sequence[Path]) -> list[ImageRecord]:
    rests, names = (arrays[n].tobytes().decode("utf-8", "surrogateescape").split(_END) for n in ("paths", "names"))
    bases = [*(_prefix(folder) for folder in folders), ""]  # the last for -1
    paths = [Path(bases[base] + rest) for base, rest in zip(arrays["bases"].tolist(), rests, strict=True)]
    boxes = list(map(tuple, arrays["boxes"].tolist()))
    labels, areas, crowd, numbers = (arrays[n].tolist() for n in ("labels", "areas", "crowd", "annotation_ids"))
    found: list[ImageRecord] = []
    start = 0
    rows = zip(arrays["ids"].tolist(), arrays["sizes"].tolist(), arrays["counts"].tolist(), paths, names, strict=True)
    for key, (width, height), count, path, name in rows:
        part = slice(start, start + count)
        start += count
        of_boxes = (tuple(boxes[part]), tuple(labels[part]), tuple(areas[part]), tuple(crowd[part]))
        found.append(ImageRecord(key, path, width, height, *of_boxes, tuple(numbers[part]), name))
    if start != len(boxes) or not len(boxes) == len(labels) == len(areas) == len(crowd) == len(numbers):
        raise ValueError("the arrays do not fit each other")
    return found
