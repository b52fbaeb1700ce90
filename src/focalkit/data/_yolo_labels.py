"""The label file of every image of a YOLO data set, and the label files that no image has.

Looked in: the folder that is called as that of the image with `labels` for `images`, that of the image itself, and
those that differ from the first in case or are called `label` or `annotations`. Looked for: `a.txt` and `a.jpg.txt`.
"""

from collections.abc import Iterator
from pathlib import Path

from focalkit._files import files_ending, is_folder, subfolders
from focalkit.data._findings import Findings
from focalkit.data._lookup import Lookup
from focalkit.data._texts import beginning

_IMAGES = ("images", "image", "imgs", "img")
_LABELS = ("labels", "label", "annotations", "annotation")


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


class Labels:
    """Finds label files, and remembers which."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._lookups: dict[Path, Lookup] = {}
        self._image_of: dict[Path, Path] = {}

    def of(self, image: Path) -> Path | None:
        """The label file of an image; None, with a warning, where there is none."""
        lookup = self._lookups.get(image.parent)
        if lookup is None:
            lookup = self._lookups[image.parent] = Lookup(list(_folders(image.parent)), self._findings)
        names = (f"{image.stem}.txt", f"{image.name}.txt")
        found = next((path for name in names if (path := lookup.literal(name))), None)
        if found is None:
            expected = label_path(image)
            # what is there and no file is refused later
            found = expected if expected.exists() else next((p for name in names if (p := lookup.loosely(name))), None)
            if found is None:
                self._findings.warn("images have no label file: taken as empty", f"{image}, no {expected}")
                return None
        if (other := self._image_of.setdefault(found, image)) != image:
            self._findings.warn("images share their label file with another", f"{image} and {other}: {found}")
        return found

    @property
    def any(self) -> bool:
        """Whether an image has one."""
        return bool(self._image_of)

    def tell_others(self) -> None:
        """Count the label files, beside those that were found, that no image has."""
        for folder in dict.fromkeys(path.parent for path in self._image_of):
            for file in files_ending(folder, ".txt"):
                if file not in self._image_of and has_rows(file):
                    self._findings.warn("label files have no image: left out", str(file))


def _folders(images: Path) -> Iterator[Path]:
    """The folders that may hold the labels of the images in a folder, best guess first; all are there."""
    places = [label_path(images / "x").parent, images, images / "labels"]
    for i in range(len(images.parts) - 1, 0, -1):
        if images.parts[i].casefold() in _IMAGES:
            root, rest = Path(*images.parts[:i]), images.parts[i + 1 :]
            places += [root / name / Path(*rest) for name in _alike(root)]
    yield from dict.fromkeys(place for place in places if is_folder(place))


def _alike(root: Path) -> list[str]:
    """The folders in `root` that are called like one of labels, the likeliest first."""
    there = [path.name for path in subfolders(root) if path.name.casefold() in _LABELS]
    return sorted(there, key=lambda name: _LABELS.index(name.casefold()))


def has_rows(file: Path) -> bool:
    """Whether a text file begins like labels, and not like a list or names of classes."""
    try:
        words = beginning(file, 500).split(b"\n")[0].split()
        return len(words) >= 5 and all(float(word) == float(word) for word in words)
    except (OSError, ValueError):
        return False
