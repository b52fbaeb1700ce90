"""A large COCO split as it was opened the last time, so that it opens in seconds: plain arrays in the user's cache.

It counts only while nothing has changed: the annotation file (size and time), and every file in the folders that hold
the images (names, sizes, times). What cannot be written or read, or is of another version, is passed over.
"""

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from focalkit._files import replacing
from focalkit.data._records import Category, DetectionData, ImageRecord
from focalkit.errors import FocalkitError

if TYPE_CHECKING:
    import numpy as np

SCHEMA = 1
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


def recall(key: Sequence[object], source: Path) -> DetectionData | None:
    """The split of this key, None where there is none or its files have changed."""
    import numpy as np

    try:
        with _place(key).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            about: dict[str, Any] = json.loads(arrays["about"].tobytes())
            if about["schema"] != SCHEMA or about["key"] != list(map(str, key)) or about["state"] != state(source, ()):
                return None
            if any(state(Path(folder), [Path(folder)]) != was for folder, was in about["folders"].items()):
                return None
            images = _records({name: arrays[name] for name in arrays.files})
    except Exception:  # a damaged file can raise anything; the annotations are read again
        return None
    categories = tuple(Category(i, name) for i, name in about["categories"])
    return DetectionData(about["split"], categories, tuple(images), tuple(about["warnings"]), source)


def remember(key: Sequence[object], data: DetectionData) -> None:
    """Keep a split that took long to open."""
    if len(data.images) < FEWEST:
        return
    import numpy as np

    parents = sorted({image.path.parent for image in data.images})
    about = {
        "schema": SCHEMA,
        "key": list(map(str, key)),
        "state": state(data.source, ()),
        "folders": {str(folder): state(folder, [folder]) for folder in parents},
        "split": data.split,
        "categories": [(c.id, c.name) for c in data.categories],
        "warnings": data.warnings,
    }
    with suppress(OSError, OverflowError, ValueError, FocalkitError):
        place = _place(key)
        with replacing(place) as temporary, temporary.open("wb") as file:
            content = {"about": _bytes(json.dumps(about)), **_arrays(data.images)}
            np.savez(file, **content)
        for old in sorted(place.parent.glob("*.npz"), key=lambda p: p.stat().st_mtime_ns)[:-KEPT]:
            old.unlink(missing_ok=True)


def state(file: Path, folders: Sequence[Path]) -> str:
    """What changes when the file does, or a file in the folders."""
    found = file.stat()
    digest = hashlib.blake2b(f"{found.st_size} {found.st_mtime_ns}".encode(), digest_size=16)
    for folder in folders:
        rows = []
        with os.scandir(folder) as entries:
            for entry in entries:
                about = entry.stat()
                rows.append(f"{entry.name}\0{about.st_size} {about.st_mtime_ns}\n")
        digest.update("".join(sorted(rows)).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _place(key: Sequence[object]) -> Path:
    name = hashlib.blake2b(repr(list(map(str, key))).encode(), digest_size=16).hexdigest()
    return cache_folder() / "opened" / f"{name}.npz"


def _bytes(text: str) -> "np.ndarray":
    import numpy as np

    return np.frombuffer(text.encode("utf-8", "surrogateescape"), dtype=np.uint8)


def _arrays(images: Sequence[ImageRecord]) -> "dict[str, np.ndarray]":
    import numpy as np

    return {
        "ids": np.array([image.id for image in images], dtype=np.int64),
        "sizes": np.array([(image.width, image.height) for image in images], dtype=np.int32),
        "paths": _bytes(_END.join(str(image.path) for image in images)),
        "names": _bytes(_END.join(image.file_name for image in images)),
        "counts": np.array([len(image.boxes) for image in images], dtype=np.int64),
        "boxes": np.array([box for image in images for box in image.boxes], dtype=np.float64).reshape(-1, 4),
        "labels": np.array([label for image in images for label in image.labels], dtype=np.int32),
        "areas": np.array([area for image in images for area in image.areas], dtype=np.float64),
        "crowd": np.array([crowd for image in images for crowd in image.crowd], dtype=bool),
        "annotation_ids": np.array([number for image in images for number in image.annotation_ids], dtype=np.int64),
    }


def _records(arrays: "dict[str, np.ndarray]") -> list[ImageRecord]:
    paths, names = (arrays[n].tobytes().decode("utf-8", "surrogateescape").split(_END) for n in ("paths", "names"))
    boxes = list(map(tuple, arrays["boxes"].tolist()))
    labels, areas, crowd, numbers = (arrays[n].tolist() for n in ("labels", "areas", "crowd", "annotation_ids"))
    found: list[ImageRecord] = []
    start = 0
    rows = zip(arrays["ids"].tolist(), arrays["sizes"].tolist(), arrays["counts"].tolist(), paths, names, strict=True)
    for key, (width, height), count, path, name in rows:
        part = slice(start, start + count)
        start += count
        of_boxes = (tuple(boxes[part]), tuple(labels[part]), tuple(areas[part]), tuple(crowd[part]))
        found.append(ImageRecord(key, Path(path), width, height, *of_boxes, tuple(numbers[part]), name))
    if start != len(boxes) or not len(boxes) == len(labels) == len(areas) == len(crowd) == len(numbers):
        raise ValueError("the arrays do not fit each other")
    return found
