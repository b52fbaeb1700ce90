"""npz files: the names of what they hold, and their arrays, where these fit into the memory."""

import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from focalkit._files import special
from focalkit._memory import memory_for_a_file


def holds_images(file: Path) -> bool:
    """Whether an npz file has the arrays of images: `images`, or `jpeg` with `offsets`; and `labels`."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = {name.removesuffix(".npy") for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile):
        return False
    return "labels" in names and ("images" in names or {"jpeg", "offsets"} <= names)


@contextmanager
def open_arrays(file: Path) -> Iterator[Mapping[str, NDArray[Any]]]:
    """The arrays of an npz file, each read when it is asked for; nothing in them is unpickled.

    Raises:
        OSError: It is missing or cannot be read.
        ValueError, zipfile.BadZipFile: It is no npz file, or holds more than the memory does.
    """
    if kind := special(file):
        raise ValueError(f"is {kind}")
    # subtle: of a damaged file that numpy opens itself it leaves the handle open
    with open(file, "rb") as opened:
        archive = np.load(opened, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("is a single array, expected an npz file")
        with archive:
            members = archive.zip.infolist() if archive.zip is not None else []
            if others := [member.filename for member in members if not member.filename.endswith(".npy")]:
                raise ValueError(f"holds {others[0]!r}, which is no array")
            unpacked = sum(member.file_size for member in members)
            if unpacked > memory_for_a_file():
                raise ValueError(f"unpacks to {unpacked / 1e9:,.0f} GB, too much for the memory")
            try:
                yield archive
            except MemoryError as error:  # of a shape that its bytes do not have
                raise ValueError(f"holds arrays beyond the memory ({error})") from error
