"""Resize images as other libraries do, and pad them into a batch."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Resize = Literal["focalkit", "torchvision", "detectron2", "mmdet", "square"]
"""Whose rounding of sizes and whose interpolation; "square" does not keep the ratio."""


def fit_size(
    height: int, width: int, min_size: int, max_size: int, resize_mode: Resize = "focalkit"
) -> tuple[int, int]:
    """Size with the short side at `min_size`, unless the long side would pass `max_size`; the ratio is kept.

    Libraries round differently, so that a side may differ by a pixel: `resize_mode` says which library is followed.
    "square" makes both sides `min_size`, whatever the ratio.

    Example:
        >>> fit_size(480, 640, 800, 1333)
        (800, 1067)
        >>> fit_size(480, 640, 800, 1333, resize_mode="torchvision")
        (800, 1066)
    """
    if resize_mode == "square":
        return min_size, min_size
    if resize_mode == "detectron2":
        scale = min_size / min(height, width)
        sides = (min_size, scale * width) if height < width else (scale * height, min_size)
        if max(sides) > max_size:
            scale = max_size / max(sides)
            sides = sides[0] * scale, sides[1] * scale
    else:
        scale = min(min_size / min(height, width), max_size / max(height, width))
        sides = height * scale, width * scale
    whole = {"focalkit": round, "torchvision": math.floor}.get(resize_mode, _half_up)
    return max(1, whole(sides[0])), max(1, whole(sides[1]))


def _half_up(side: float) -> int:
    return int(side + 0.5)


def resize(image: Tensor, size: tuple[int, int], resize_mode: Resize = "focalkit") -> Tensor:
    """Resize (3, h, w) to `size` = (height, width), bilinear.

    Args:
        image: uint8 or floating.
        size: Height and width.
        resize_mode: "focalkit", "square": with antialiasing; the dtype is kept. "torchvision" (its detectors): without
            antialiasing, and not rounded to whole grey levels, so uint8 becomes float32 in 0..1. "detectron2": as
            Pillow does, with antialiasing. "mmdet": as OpenCV does, without antialiasing, in its fixed-point
            arithmetic. The last two round to uint8 and take floating images as "torchvision" does.
    """
    if resize_mode in ("focalkit", "square"):
        if tuple(image.shape[-2:]) == tuple(size):
            return image
        from torchvision.transforms.v2 import functional

        return functional.resize(image, list(size), antialias=True)
    if resize_mode == "torchvision" or image.dtype != torch.uint8:
        return F.interpolate(to_unit(image)[None], size=tuple(size), mode="bilinear", align_corners=False)[0]
    if tuple(image.shape[-2:]) == tuple(size):
        return image
    return _pillow(image, size) if resize_mode == "detectron2" else _fixed_point(image, size)


def _pillow(image: Tensor, size: tuple[int, int]) -> Tensor:
    import numpy as np
    from PIL import Image

    array = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
    resized = Image.fromarray(array).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1).contiguous()


def _fixed_point(image: Tensor, size: tuple[int, int]) -> Tensor:
    """OpenCV's INTER_LINEAR on uint8: weights in 1/2048, and what its two passes cut off."""
    top, bottom, up, down = _taps(image.shape[1], size[0])
    left, right, near, far = _taps(image.shape[2], size[1], whole_edge=True)
    rows = image.to(torch.int32)
    rows = rows[:, :, left] * near + rows[:, :, right] * far
    high, low = ((rows[:, i] >> 4) * w[:, None] >> 16 for i, w in ((top, up), (bottom, down)))
    return (high + low + 2 >> 2).to(torch.uint8)


def _taps(old: int, new: int, whole_edge: bool = False) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """For each new pixel: the two old ones it lies between, and their weights in 1/2048.

    Beyond the edge both are the last pixel; with `whole_edge` the first of them has all the weight, which is cut off
    in another place: OpenCV does so along rows, not along columns.
    """
    place = ((torch.arange(new, dtype=torch.float64) + 0.5) * (old / new) - 0.5).float()
    first = place.floor().long()
    part = place - first
    if whole_edge:
        part = torch.where((first < 0) | (first >= old - 1), 0.0, part)
    weights = ((1 - part) * 2048).round().int(), (part * 2048).round().int()
    return first.clamp(0, old - 1), (first + 1).clamp(0, old - 1), *weights


def to_unit(image: Tensor) -> Tensor:
    """uint8 0..255 to float32 0..1; floating images are taken to be in 0..1 already."""
    return image.float() / 255 if image.dtype == torch.uint8 else image.float()


def padded_size(height: int, width: int, multiple: int = 32) -> tuple[int, int]:
    """Height and width rounded up to a multiple: what `pad_batch` makes of an image by itself.

    Example:
        >>> padded_size(800, 1067)
        (800, 1088)
    """
    return -(-height // multiple) * multiple, -(-width // multiple) * multiple


def same_size_batches(sizes: Sequence[tuple[int, int]], batch_size: int, multiple: int = 32) -> list[list[int]]:
    """Batches of images that `pad_batch` pads no further than it pads each by itself.

    Padding is not inert: after the first convolution with a bias or a norm it is not zero, and the receptive field of
    the high levels carries it over the whole image. An image that shares a batch with larger ones would get other
    detections than by itself.

    Args:
        sizes: Height and width of each image.
        batch_size: Images per batch at most.
        multiple: See `pad_batch`.

    Returns:
        Rows of `sizes`, each in one batch; the largest images come first.

    Raises:
        ValueError: A batch of no image.

    Example:
        >>> same_size_batches([(64, 60), (96, 64), (50, 64)], 8)
        [[1], [0, 2]]
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    groups: dict[tuple[int, int], list[int]] = {}
    for row, (height, width) in enumerate(sizes):
        groups.setdefault(padded_size(height, width, multiple), []).append(row)
    largest_first = sorted(groups.items(), key=lambda group: (-group[0][0] * group[0][1], group[0]))
    return [rows[i : i + batch_size] for _, rows in largest_first for i in range(0, len(rows), batch_size)]


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
    largest = max(image.shape[1] for image in images), max(image.shape[2] for image in images)
    height, width = padded_size(*largest, multiple)
    colour = torch.tensor(tuple(fill), device=images[0].device).view(3, 1, 1)
    shape = (len(images), 3, height, width)
    batch = torch.empty(shape, device=images[0].device, memory_format=torch.channels_last)
    for slot, image in zip(batch, images, strict=True):
        _, h, w = image.shape
        slot[:, :h, :w] = to_unit(image)
        slot[:, h:] = colour
        slot[:, :h, w:] = colour
    return batch
