"""Read image files as RGB tensors: EXIF orientation, greyscale, palette, CMYK and 16-bit files."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from focalkit._pictures import open_picture
from focalkit.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image


def read_image(path: str | os.PathLike[str]) -> Tensor:
    """Read an image file as RGB, turned upright by its EXIF orientation.

    Greyscale, palette, CMYK and 16-bit files are converted; an alpha channel is dropped.

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
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: cannot be read as an image ({error}); expected PNG, JPEG or WebP") from error
    return torch.from_numpy(array).permute(2, 0, 1).contiguous()


def rgb_array(image: "Image.Image") -> "np.ndarray":
    """A PIL image of any mode as an array (h, w, 3) of uint8; see `read_image`."""
    import numpy as np

    if image.mode.startswith(("I", "F")):
        values = np.asarray(image).astype(np.float32)
        # 16-bit greyscale fills 0..65535; PIL's own conversion would clip it at 255
        values = values / 257 if values.max(initial=0) > 255 else values
        return np.repeat(values.round().clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
    if "transparency" in image.info:
        image = image.convert("RGBA")
    return np.array(image.convert("RGB"))
