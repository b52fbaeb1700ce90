"""Whether a path holds images, by names alone: `compare` asks this of every task, so nothing is imported here."""

import re
from pathlib import Path

from focalkit._files import walk
from focalkit._pictures import is_picture
from focalkit.errors import InputError

from .._npz import holds_images

SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""Names of folders, in lower case -> the part they are."""
_OF_TRAINING = re.compile(r"train(ing)?[-_]?\d*")
"""A folder of this name, such as train2017, is a part and no class."""
_WITH_MASKS = ({"images", "image", "imgs", "img", "jpegimages"}, {"masks", "mask", "labels", "gt", "segmentationclass"})
"""Folders of these names side by side are pictures and the masks of their pixels, as in Pascal VOC."""


def looks_like_images(path: Path) -> bool:
    """See `Images.recognises`."""
    if path.is_file():
        return path.suffix == ".npz" and holds_images(path)
    return bool(npz_parts(path)) or bool(class_folders(path)) or bool(split_folders(path))


def npz_parts(folder: Path) -> dict[str, Path]:
    """Part -> file of a folder with train*.npz, test*.npz and perhaps val*.npz."""
    found = {}
    for part in ("train", "val", "test"):
        files = sorted(f for f in folder.glob(f"{part}*.npz") if holds_images(f))
        if len(files) == 1:
            found[part] = files[0]
    return found if {"train", "test"} <= set(found) else {}


def split_folders(folder: Path) -> dict[str, Path]:
    """Part -> folder of folders, where there is train/ and perhaps val/ and test/."""
    found: dict[str, Path] = {}
    for here in _folders(folder):
        part = SPLITS.get(here.name.lower())
        if part in found and class_folders(here):
            raise InputError(f"{found[part]} and {here} are both called like the part {part!r}; put them together")
        if part is not None:
            found[part] = here
    return found if "train" in found and all(class_folders(f) for f in found.values()) else {}


def class_folders(folder: Path) -> list[Path]:
    """The folders with images inside: one class each; none if fewer than two, or if they are pictures and masks."""
    names = {f.name.lower() for f in _folders(folder)}
    if any(map(_OF_TRAINING.fullmatch, names)) or all(names & of_kind for of_kind in _WITH_MASKS):
        return []
    found = [f for f in _folders(folder) if images_in(f)]
    return found if len(found) > 1 else []


def images_in(folder: Path) -> list[Path]:
    """Image files of a folder and below, hidden ones passed over, sorted."""
    return [file for file in walk(folder) if is_picture(file)]


def _folders(folder: Path) -> list[Path]:
    return sorted(f for f in folder.iterdir() if f.is_dir() and not f.name.startswith("."))
