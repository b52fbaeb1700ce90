"""Image files to tensors, sizes and batches: the few steps that training, evaluation and prediction share.

Not here: augmentation (`focalkit.data`) and drawing (`draw.py`).
"""

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from focalkit.errors import InputError


def read_image(path: str | os.PathLike[str]) -> Tensor:
    """Read an image file as RGB, turned upright by its EXIF orientation.

    Greyscale, palette, CMYK and 16-bit files are converted; an alpha channel is dropped.

    Returns:
        uint8 (3, h, w).

    Raises:
        InputError: The file is missing, is no image, or is damaged; the message names it.
    """
    import numpy as np
    from PIL import Image, ImageOps, UnidentifiedImageError

    path = Path(path)
    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file)
            if image.mode.startswith(("I", "F")):
                values = np.asarray(image).astype(np.float32)
                # 16-bit greyscale fills 0..65535; PIL's own conversion would clip it at 255
                values = values / 257 if values.max(initial=0) > 255 else values
                array = np.repeat(values.round().clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
            else:
                if "transparency" in image.info:
                    image = image.convert("RGBA")
                array = np.array(image.convert("RGB"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such image file") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: cannot be read as an image ({error}); expected PNG, JPEG or WebP") from error
    return torch.from_numpy(array).permute(2, 0, 1).contiguous()


def fit_size(height: int, width: int, min_size: int, max_size: int) -> tuple[int, int]:
    """Size with the short side at `min_size`, unless the long side would pass `max_size`; the ratio is kept.

    Example:
        >>> fit_size(480, 640, 800, 1333)
        (800, 1067)
    """
    scale = min(min_size / min(height, width), max_size / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (3, h, w) to `size` = (height, width): bilinear, with antialiasing. The dtype is kept."""
    if tuple(image.shape[-2:]) == tuple(size):
        return image
    from torchvision.transforms.v2 import functional

    return functional.resize(image, list(size), antialias=True)


def to_unit(image: Tensor) -> Tensor:
    """uint8 0..255 to float32 0..1; floating images are taken to be in 0..1 already."""
    return image.float() / 255 if image.dtype == torch.uint8 else image.float()


def pad_batch(images: Sequence[Tensor], fill: Sequence[float], multiple: int = 32) -> Tensor:
    """Put images of different sizes into one batch, each in the upper left corner.

    Args:
        images: (3, h, w), uint8 or float in [0, 1].
        fill: Colour of the padding, in [0, 1]: the model's `pixel_mean`, which is zero after normalisation.
        multiple: Height and width are rounded up to a multiple of this.

    Returns:
        float32 (b, 3, H, W) in [0, 1], channels_last.

    Raises:
        ValueError: No images, or one that is not (3, h, w).
    """
    if not images:
        raise ValueError("pad_batch needs at least one image, got none")
    for image in images:
        if image.ndim != 3 or image.shape[0] != 3:
            raise ValueError(f"expected images of shape (3, h, w), got {tuple(image.shape)}")
    height, width = (-(-max(image.shape[axis] for image in images) // multiple) * multiple for axis in (1, 2))
    colour = torch.tensor(tuple(fill), device=images[0].device).view(3, 1, 1)
    shape = (len(images), 3, height, width)
    batch = torch.empty(shape, device=images[0].device, memory_format=torch.channels_last)
    for slot, image in zip(batch, images, strict=True):
        _, h, w = image.shape
        slot[:, :h, :w] = to_unit(image)
        slot[:, h:] = colour
        slot[:, :h, w:] = colour
    return batch
