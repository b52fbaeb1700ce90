"""What may be given as an image, brought to one form: files, folders, PIL images, arrays and tensors.

Not here: URLs; videos are in `video.py`, reading a file in `files.py`.
"""

import glob
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from focalkit._files import walk
from focalkit._pictures import SUFFIXES, is_picture
from focalkit.errors import InputError
from focalkit.images.files import read_image, rgb_array

if TYPE_CHECKING:
    import numpy as np


_CHANNELS = (1, 3, 4)
"""Grey, RGB, and RGB with an alpha channel, which is dropped."""


def find_images(paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[Path]:
    """Files as they are given, and in place of a folder its images, subfolders and linked folders included, sorted.

    Images are known by their suffix (`.png`, `.jpg`, `.webp`, `.bmp`, `.tif`, ...). Hidden files and folders are passed
    over. A path that is not there is taken for a pattern, such as `photos/**/*.jpg`, where it looks like one.

    Raises:
        InputError: A URL, a path that is not there, a folder without images, a pattern that matches none.
    """
    if isinstance(paths, str | os.PathLike):
        paths = [paths]
    found: list[Path] = []
    for given in paths:
        # one slash is enough: that is what pathlib leaves of "https://"; one letter before it is a drive
        if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+:/", text := os.fspath(given)):
            raise InputError(f"{text}: URLs are not read; download the image, or `focalkit predict --allow-network`")

        path = Path(given)
        if path.is_dir():
            inside = [file for file in walk(path) if is_picture(file)]
            if not inside:
                raise InputError(f"{path}: no images in this folder, expected files ending in {', '.join(SUFFIXES)}")
            found += inside
        elif path.exists():
            found.append(path)
        elif glob.has_magic(text):
            matched = sorted(Path(place) for place in glob.glob(text, recursive=True))
            inside = [file for file in matched if file.is_file() and is_picture(file)]
            if not inside:
                raise InputError(f"{text}: no image matches this pattern ({len(matched)} other files and folders do)")
            found += inside
        else:
            raise InputError(f"{path}: no such file or folder")
    return found


def left_out(folder: Path) -> dict[str, int]:
    """How many files of each suffix `find_images` leaves out of a folder, hidden ones aside.

    Example:
        >>> left_out(Path("pictures"))      # doctest: +SKIP
        {'.mp4': 2, '.txt': 40}
    """
    return dict(sorted(Counter(f.suffix.lower() or f.name for f in walk(folder) if not is_picture(f)).items()))


def each_image(images: Any) -> Iterator[Any]:
    """The single images of what `Detector.predict` takes; paths are checked before the first is used."""
    if isinstance(images, str | os.PathLike):
        yield from find_images(images)
    elif isinstance(images, list | tuple):
        yield from (
            part
            for group in [find_images(i) if isinstance(i, str | os.PathLike) else [i] for i in images]
            for part in group
        )
    elif getattr(images, "ndim", None) == 4 or isinstance(images, Iterator):
        yield from images
    else:
        yield images


def as_image(image: Any) -> Tensor:
    """Anything that `Detector.predict` takes for one image, as uint8 (3, h, w).

    Raises:
        InputError: It is none of them; the message says what came.
    """
    import numpy as np
    from PIL import Image

    if isinstance(image, str | os.PathLike):
        return read_image(image)
    if isinstance(image, Image.Image):
        image = rgb_array(image)
    if isinstance(image, np.ndarray):
        image = _of_array(image)
    if not isinstance(image, Tensor):
        what = f"{type(image).__module__}.{type(image).__qualname__}"
        raise InputError(f"expected an image file, a folder, a PIL image, an array or a tensor, got {what}")
    image = image.detach()
    if image.ndim != 3 or image.shape[0] not in _CHANNELS or 0 in image.shape:
        last = image.ndim == 3 and image.shape[2] in _CHANNELS
        hint = "; channels come first: image.permute(2, 0, 1)" if last else ""
        raise InputError(f"expected a tensor image of shape (3, h, w), got {tuple(image.shape)}{hint}")
    if image.is_floating_point():
        low, high = float(image.min()), float(image.max())
        if not (low >= 0 and high <= 1):
            raise InputError(
                f"expected a float image in [0, 1], got values from {low:g} to {high:g}; uint8 is 0 to 255"
            )
        image = (image * 255).round().to(torch.uint8)
    elif image.dtype != torch.uint8:
        raise InputError(f"expected a tensor image of uint8, or float in [0, 1], got {image.dtype}")
    return image[:3].cpu().expand(3, -1, -1).contiguous()


def _of_array(array: "np.ndarray") -> Tensor:
    """An array (h, w), or (h, w, 1, 3 or 4) as a tensor with the channels first; of 16 bits as uint8."""
    import numpy as np

    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in _CHANNELS):
        first = array.ndim == 3 and array.shape[0] in _CHANNELS
        hint = "; channels come last: image.transpose(1, 2, 0)" if first else ""
        raise InputError(f"expected an array (h, w, 3) or (h, w), got {array.dtype} {array.shape}{hint}")
    if array.dtype == np.uint16:
        array = (array * np.float32(255 / 65535)).round().astype(np.uint8)
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise InputError(f"expected an array of uint8, uint16, or float in [0, 1], got {array.dtype} {array.shape}")
    planes = array[..., None] if array.ndim == 2 else array
    planes = np.require(planes, requirements=["C", "W"])  # torch warns of arrays that are read-only
    return torch.from_numpy(planes).permute(2, 0, 1)
