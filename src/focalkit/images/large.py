"""Pictures too large for memory, read window by window by libvips: `pip install 'focalkit[large]'`.

libvips decodes what a window needs. Of formats that can only be read from their beginning, such as PNG and JPEG, it
keeps the pixels in a temporary file. Memory is bounded either way.
"""

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from focalkit._pictures import open_picture
from focalkit.errors import InputError


def is_large(path: str | os.PathLike[str]) -> bool:
    """Whether an image file has more pixels than `read_image` reads: 179 million."""
    from PIL import Image

    try:
        with open_picture(Path(path)):
            return False
    except Image.DecompressionBombError:
        return True
    except (OSError, SyntaxError, ValueError):
        return False


class LargePicture:
    """An image file of any size.

    Attributes:
        path: The file.
        height, width: In pixels, turned upright by its EXIF orientation.

    Raises:
        InputError: It cannot be read, has pixels of a kind that cannot be shown as RGB, or pyvips is not installed.

    Example:
        >>> picture = LargePicture("slide.tif")                # doctest: +SKIP
        >>> picture.window(0, 0, 640, 640).shape               # doctest: +SKIP
        torch.Size([3, 640, 640])
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        vips = _pyvips()
        try:
            opened = vips.Image.new_from_file(str(self.path), access="random", fail_on="error")
            # from its beginning to its end a file is read without keeping its pixels, but only in the order it has
            self._upright = not opened.get_typeof("orientation") or opened.get("orientation") == 1
            self._image = _rgb(opened.autorot(), self.path)
        except vips.Error as error:
            raise _unreadable(self.path, error) from error
        self.height, self.width = int(self._image.height), int(self._image.width)

    def window(self, x0: int, y0: int, x1: int, y1: int) -> Tensor:
        """uint8 (3, y1 - y0, x1 - x0) of a window inside the picture.

        Raises:
            InputError: This part of the file is damaged.
        """
        return self._pixels(self._image.crop(x0, y0, x1 - x0, y1 - y0))

    def overview(self, side: int) -> Tensor:
        """uint8 (3, h, w) of the whole picture, reduced so that its long side is `side` at most."""
        scale, image = min(1.0, side / max(self.height, self.width)), self._image
        if self._upright:
            opened = _pyvips().Image.new_from_file(str(self.path), access="sequential", fail_on="error")
            image = _rgb(opened, self.path)
        return self._pixels(image.resize(scale) if scale < 1 else image)

    def _pixels(self, image: Any) -> Tensor:
        try:
            return torch.from_numpy(image.numpy().copy()).permute(2, 0, 1).contiguous()
        except _pyvips().Error as error:
            raise _unreadable(self.path, error) from error


def _rgb(image: Any, path: Path) -> Any:
    """Three bands of uint8, by the rules of `read_image`."""
    if image.interpretation == "cmyk":
        image = image.colourspace("srgb")
    if image.format == "ushort":
        image = (image * (255 / 65535)).rint().cast("uchar")
    elif image.format == "float" and image.bands <= 2:
        image = image.extract_band(0)
        if not ((image >= 0) & (image <= 1)).min():  # what is not a number is neither
            low, high = image.min(), image.max()
            raise InputError(f"{path}: grey values from {low:g} to {high:g}; expected 0 to 1 in an image of floats")
        image = (image * 255).rint().cast("uchar")
    elif image.format != "uchar":
        raise InputError(f"{path}: has pixels of {image.format}; expected 8 or 16 bits, or grey floats from 0 to 1")
    if image.bands >= 3:
        return image.extract_band(0, n=3)
    grey = image.extract_band(0)
    return grey.bandjoin([grey, grey])


def _unreadable(path: Path, error: Exception) -> InputError:
    reason = str(error).strip().splitlines()
    return InputError(f"{path}: cannot be read as an image ({reason[0] if reason else 'libvips does not say why'})")


def _pyvips() -> Any:
    try:
        import pyvips
    except (ImportError, OSError):  # or the library behind it is not there
        raise InputError(
            "images of over 179 million pixels need the package pyvips, not installed: pip install 'focalkit[large]'"
        ) from None
    return pyvips
