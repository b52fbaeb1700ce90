"""Images in a folder that no form of data set calls theirs, such as `photos/`.

Masks have the names of their photographs. So such a folder is looked in only where none of those that are called like
folders of images holds any of the images, and where it is the only one that does; and what is found there is counted.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from focalkit._files import subfolders
from focalkit.data._findings import Findings
from focalkit.data._lookup import Lookup
from focalkit.data._splits import split_in
from focalkit.errors import DataError

_MOST_FOLDERS = 50


def others_in(bases: Iterable[Path], split: str | None = None) -> tuple[Path, ...]:
    """The folders in `bases`; where `split` is given without those that are called like another one."""
    there = dict.fromkeys(folder for base in bases for folder in subfolders(base))
    return tuple(d for d in there if split is None or split_in(d.name) in (None, split))[:_MOST_FOLDERS]


def find_images(
    folders: Sequence[Path], others: Sequence[Path], images: Sequence[Sequence[str]], source: Path, findings: Findings
) -> tuple[list[Path | None], Lookup]:
    """The file of each image, which may have any of some names, and where they were looked up.

    Args:
        folders: Called like folders of images, best guess first.
        others: Looked in where `folders` hold no image.
        images: The names that each may have.
        source: The annotation file.
        findings: Gets a warning for everything that is not where, or called as, it should be.

    Raises:
        DataError: `folders` hold no image, and several of `others` do.
    """
    lookup = Lookup(folders, findings)
    found = lookup.files(images)
    if any(found) or (other := only_one(others, images, source, findings)) is None:
        return found, lookup
    lookup = Lookup([other, *folders], findings)
    return lookup.files(images), lookup


def only_one(others: Sequence[Path], images: Sequence[Sequence[str]], source: Path, findings: Findings) -> Path | None:
    """The one folder that holds images, None where none does; every image of exactly its name there is counted.

    Raises:
        DataError: Several do.
    """
    lookups = {folder: Lookup([folder], Findings()) for folder in others}
    sample = images[:: max(1, len(images) // 1000)]  # what differs takes long to look up
    found = [d for d, lookup in lookups.items() if any(lookup.has(name) for names in images for name in names)]
    found = found or [d for d, lookup in lookups.items() if any(lookup.has_end(n) for names in sample for n in names)]
    if len(found) > 1:
        what = f"images of the same data lie in {found[0]} and in {found[1]}, neither of them called like images"
        raise DataError(source, [f"{source.name}: {what}: call the folder that is meant images, and leave the other"])
    for folder in found:
        for names in images:
            if name := next((name for name in names if lookups[folder].has(name)), None):
                findings.warn("images are found in a folder that is not called like one of images", f"{folder / name}")
    return found[0] if found else None
