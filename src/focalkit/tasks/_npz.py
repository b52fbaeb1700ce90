"""What an npz file holds, by the names of its arrays: images or a table. Nothing is read but the names."""

import zipfile
from pathlib import Path


def holds_images(file: Path) -> bool:
    """Whether an npz file has the arrays of images: `images`, or `jpeg` with `offsets`; and `labels`."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = {name.removesuffix(".npy") for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile):
        return False
    return "labels" in names and ("images" in names or {"jpeg", "offsets"} <= names)
