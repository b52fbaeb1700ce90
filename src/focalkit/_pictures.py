"""Open an image file without waiting, warning or being overwhelmed. Free of torch."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from focalkit._files import no_file
from focalkit._memory import memory_for_a_file

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".jfif", ".pgm", ".ppm", ".jp2", ".avif",
    ".mpo", ".heic", ".heif",
)  # fmt: skip
"""Files of a folder that are taken for images, in upper or lower case."""


_IN_PARTS = ("BMP", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF")
"""Formats of which Pillow reads no more than it needs; of others the whole file, which must fit the memory."""


def is_picture(path: Path) -> bool:
    """Whether the name says so."""
    return path.suffix.lower() in SUFFIXES


def open_picture(path: Path) -> "Image.Image":
    """`PIL.Image.open` of a file; the pixels are read later.

    Raises:
        OSError: It is missing, no file (a pipe would be waited for without end), or no image; a HEIC photograph where
            the package pillow-heif is not installed.
        Image.DecompressionBombError: It has more than 179 million pixels.
    """
    from PIL import Image

    if kind := no_file(path):
        raise OSError(f"it is {kind}, not a file")
    # from half of that on Pillow warns, in a line of its source
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")  # of what is beside the pixels: EXIF, ICC
    if path.suffix.lower() in (".heic", ".heif"):
        _learn_heif()
    return Image.open(path, formats=_IN_PARTS if path.stat().st_size > memory_for_a_file() else None)


def _learn_heif() -> None:
    """Teach Pillow the photographs of telephones; it does not read them by itself."""
    try:
        from pillow_heif import register_heif_opener  # pyright: ignore[reportMissingImports] - in no extra
    except ImportError as error:
        raise OSError("HEIC needs a package more: pip install pillow-heif, or save the image as JPEG") from error
    register_heif_opener()


def unreadable(path: Path, error: BaseException) -> str:
    """Why a file cannot be read as an image: what it is instead, where its beginning says so, or else the error."""
    try:
        if no_file(path):
            return str(error)
        with path.open("rb") as file:
            head = file.read(64).lstrip().lower()
    except (OSError, ValueError):  # which it raises of what no path can be
        return str(error)
    if not head:
        return "the file is empty"
    if head.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS: `git lfs pull` fetches the image"
    if head.startswith((b"<!doctype html", b"<html")):
        return "it is a web page, perhaps an error that was saved in place of the image"
    return str(error)
