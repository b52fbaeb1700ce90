"""Read image files as RGB tensors: EXIF orientation, greyscale, palette, CMYK and 16-bit files."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from focalkit._pictures import open_picture, unreadable
from focalkit.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image


def read_image(path: str | os.PathLike[str]) -> Tensor:
    """Read an image file as RGB, turned upright by its EXIF orientation.

    Greyscale, palette and CMYK files are converted; an alpha channel is dropped. 16-bit grey is taken as 0 to 65535
    and float grey as 0 to 1, whatever the picture shows: 12-bit data in 16-bit files must be multiplied by 16 first.

    Returns:
        uint8 (3, h, w).

    Raises:
        InputError: The file is missing, is no image, or is damaged; the message names it.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    path = Path(path)
    try:
        with open_picture(path) as file:
            image = ImageOps.exif_transpose(file)
            array = rgb_array(image)
    except FileNotFoundError:
        raise InputError(f"{path}: no such image file") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{path}: has more than 179 million pixels, too many to read at once; `focalkit predict --tiles 1024`, or "
            "TiledDetector, reads it window by window"
        ) from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        why = unreadable(path, error)
        raise InputError(
            f"{path}: cannot be read as an image ({why}); expected PNG, JPEG, WebP, BMP, GIF or TIFF"
        ) from error
    return torch.from_numpy(array).permute(2, 0, 1).contiguous()


def rgb_array(image: "Image.Image") -> "np.ndarray":
    """A PIL image of any mode as an array (h, w, 3) of uint8; see `read_image`.

    Raises:
        InputError: Numbers that the mode cannot mean: integers beyond 16 bits, floats outside [0, 1].
    """
    import numpy as np

    if image.mode.startswith(("I", "F")):
        return np.repeat(_to_bytes(np.asarray(image), image.mode)[..., None], 3, axis=2)
    if "transparency" in image.info:
        image = image.convert("RGBA")
    return np.array(image.convert("RGB"))


def _to_bytes(values: "np.ndarray", mode: str) -> "np.ndarray":
    """Grey values as uint8. The mode decides the scale: two pictures of one kind are never scaled differently."""
    import numpy as np

    white = 1 if mode == "F" else 65535  # modes I;16 and I, in which 16-bit files are opened
    low, high = float(values.min(initial=0)), float(values.max(initial=0))
    if not (low >= 0 and high <= white):
        raise InputError(f"grey values from {low:g} to {high:g}; expected 0 to {white} in an image of mode {mode}")
    return (values.astype(np.float32) * (255 / white)).round().astype(np.uint8)
