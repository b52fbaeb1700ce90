"""One sample made of several, as in YOLOX and RTMDet.

Mosaic is Bochkovskiy et al., 2020 (arXiv 2004.10934), mixup of detections Zhang et al., 2019 (arXiv 1902.04103).
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from focalkit.data.transforms import GREY, Sample, crop, resized, uniform
from focalkit.images.resize import Resize

SHARE = 0.5
"""Of the picture itself in a mixup; the rest is the other's (Ge et al., 2021, YOLOX's code)"""


def mosaic(
    samples: Sequence[Sample], size: tuple[int, int], generator: torch.Generator, resize_mode: Resize = "focalkit"
) -> Sample:
    """Four pictures around a point, on a canvas twice as high and wide as `size`.

    Each is resized to fit into `size` and put into its corner of the point, which lies in the middle half of the
    canvas; what reaches beyond the canvas is cut off, as by `crop`, and what no picture covers is grey.

    Args:
        samples: Four.
        size: Height and width of one picture.
        generator: The only source of chance.
        resize_mode: Whose interpolation; "square" keeps no ratio.
    """
    height, width = size
    y, x = (round(side * uniform(0.5, 1.5, generator)) for side in size)
    placed = []
    for number, sample in enumerate(samples):
        below, right = divmod(number, 2)
        sample = resized(sample, _fitting(sample.size, size, resize_mode), resize_mode)
        h, w = sample.size
        seen_h, seen_w = min(h, 2 * height - y if below else y), min(w, 2 * width - x if right else x)
        part = crop(sample, 0 if below else h - seen_h, 0 if right else w - seen_w, seen_h, seen_w)
        placed.append((part, y if below else y - seen_h, x if right else x - seen_w))
    canvas = _grey(placed[0][0].image, (2 * height, 2 * width))
    for part, top, left in placed:
        canvas[:, top : top + part.size[0], left : left + part.size[1]] = part.image
    shifts = [torch.tensor([left, top, left, top], dtype=torch.float32) for _, top, left in placed]
    pairs = [(part, shift) for (part, _, _), shift in zip(placed, shifts, strict=True)]
    return Sample(
        canvas,
        torch.cat([part.boxes + shift for part, shift in pairs]),
        torch.cat([part.labels for part, _ in pairs]),
        torch.cat([part.ignore_boxes + shift for part, shift in pairs]),
    )


def mixup(sample: Sample, other: Sample) -> Sample:
    """The mean of two pictures, with the boxes of both; the other is cut or padded to the first one's size."""
    height, width = sample.size
    h, w = min(height, other.size[0]), min(width, other.size[1])
    other = crop(other, 0, 0, h, w)
    padded = _grey(sample.image, sample.size)
    padded[:, :h, :w] = other.image
    mixed = SHARE * sample.image.float() + (1 - SHARE) * padded.float()
    mixed = mixed if sample.image.is_floating_point() else mixed.round()
    return replace(
        sample,
        image=mixed.to(sample.image.dtype),
        boxes=torch.cat([sample.boxes, other.boxes]),
        labels=torch.cat([sample.labels, other.labels]),
        ignore_boxes=torch.cat([sample.ignore_boxes, other.ignore_boxes]),
    )


def _fitting(own: tuple[int, int], size: tuple[int, int], resize_mode: Resize) -> tuple[int, int]:
    if resize_mode == "square":
        return size
    scale = min(size[0] / own[0], size[1] / own[1])
    return max(1, round(own[0] * scale)), max(1, round(own[1] * scale))


def _grey(like: Tensor, size: tuple[int, int]) -> Tensor:
    return like.new_full((3, *size), GREY / 255 if like.is_floating_point() else GREY)
