"""From a file's image and boxes to the network's input: crop, resize, flip, colour, rotate, shift and shear.

Geometry and colour are torchvision's (transforms.v2); this file decides the parameters, from a generator of its own, so
that a sample depends on nothing but (seed, epoch, index). A box whose centre a crop cuts off is no ground truth any
more; what is still visible of it becomes a region to ignore, so that half an object is not taught as background.
Not here: what damages a picture (`distortions`), and what takes several of them (`mosaic`, `copy_paste`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import InterpolationMode, functional

from focalkit.config import AugmentConfig
from focalkit.images import fit_size, resize
from focalkit.images.resize import Resize

_CROP = (0.5, 1.0)
"""Range of a crop's sides relative to the image's"""
_SMALLEST = 1.0
"""A box with a side below this many pixels after a crop is removed"""
GREY = 114
"""Of 255: where a picture has nothing to show, as in the code of YOLOX and RTMDet"""


@dataclass(frozen=True)
class Sample:
    """An image and what is in it.

    Attributes:
        image: uint8 (3, h, w), or float in [0, 1].
        boxes: float32 (m, 4), xyxy in the image's pixels.
        labels: int64 (m,).
        ignore_boxes: float32 (r, 4), xyxy.
    """

    image: Tensor
    boxes: Tensor
    labels: Tensor
    ignore_boxes: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.image.shape[-2], self.image.shape[-1]


def fit(sample: Sample, min_size: int, max_size: int, resize_mode: Resize = "focalkit") -> Sample:
    """Resize to the evaluation size, keeping the ratio."""
    return resized(sample, fit_size(*sample.size, min_size, max_size, resize_mode), resize_mode)


def augment(
    sample: Sample,
    config: AugmentConfig,
    min_size: int,
    max_size: int,
    generator: torch.Generator,
    resize_mode: Resize = "focalkit",
) -> Sample:
    """Rotate, crop, resize to a random scale, flip and recolour, as `config` says.

    Args:
        sample: With the boxes inside the image.
        config: Probabilities and ranges. A scale above 1 shows a random part of the image, no larger than the whole
            at scale 1 (as in large-scale jittering, Ghiasi et al., 2021, sec. 3): steps keep their cost.
        min_size: Short side at scale 1. A crop keeps the scale that the whole image would have had.
        max_size: Bound of the long side at scale 1.
        generator: The only source of chance.
        resize_mode: Whose rounding and interpolation.
    """
    scale = uniform(*config.scale, generator)
    height, width = fit_size(
        *sample.size, max(1, round(min_size * scale)), max(1, round(max_size * scale)), resize_mode
    )
    sample = affine(sample, config, generator)
    zoom = height / sample.size[0], width / sample.size[1]
    parts = [min(1.0, 1 / scale)] * 2  # what a larger scale pushes beyond the evaluation size
    if uniform(0, 1, generator) < config.crop:
        parts = [part * uniform(*_CROP, generator) for part in parts]
    if min(parts) < 1:
        sample = random_crop(sample, parts, generator)
        height, width = (max(1, round(side * z)) for side, z in zip(sample.size, zoom, strict=True))
    sample = resized(sample, (height, width), resize_mode)
    if uniform(0, 1, generator) < config.flip:
        sample = flip(sample)
    if config.color > 0:
        sample = replace(sample, image=_recolour(sample.image, config.color, generator))
    return sample


def flip(sample: Sample) -> Sample:
    """Mirror left and right."""

    def mirrored(boxes: Tensor) -> Tensor:
        return _clamp(_plain(functional.horizontal_flip(_boxes(boxes, sample.size))), *sample.size)

    image = functional.horizontal_flip(sample.image)
    return Sample(image, mirrored(sample.boxes), sample.labels, mirrored(sample.ignore_boxes))


def random_crop(sample: Sample, parts: Sequence[float], generator: torch.Generator) -> Sample:
    """Cut out a window of `parts` (0 to 1) of the height and width, around the centre of a box where there is one."""
    window = [max(1, int(side * part)) for side, part in zip(sample.size, parts, strict=True)]
    low, high = [0, 0], [side - part for side, part in zip(sample.size, window, strict=True)]
    if len(sample.boxes):
        chosen = sample.boxes[int(uniform(0, len(sample.boxes), generator))]
        centre = ((chosen[1] + chosen[3]) / 2).item(), ((chosen[0] + chosen[2]) / 2).item()
        low = [max(0, int(c - part // 1) + 1 if c >= part else 0) for c, part in zip(centre, window, strict=True)]
        high = [min(most, int(c)) for c, most in zip(centre, high, strict=True)]
    top, left = (a + int(uniform(0, b - a + 1, generator)) for a, b in zip(low, high, strict=True))
    return crop(sample, top, left, window[0], window[1])


def crop(sample: Sample, top: int, left: int, height: int, width: int) -> Sample:
    """Cut out a window. Boxes whose centre lies outside, or of which less than a pixel is left, are removed."""
    shift = torch.tensor([left, top, left, top], dtype=torch.float32)
    image = functional.crop(sample.image, top, left, height, width)
    return _cut(Sample(image, sample.boxes - shift, sample.labels, sample.ignore_boxes - shift))


def affine(sample: Sample, config: AugmentConfig, generator: torch.Generator) -> Sample:
    """Rotate, shift and shear about the middle, by up to what `config` says; the size stays.

    Of a box that is no longer upright the enclosing one is taken, which is too large for a round object.
    """
    a = config
    if not (a.rotate or a.translate or a.shear):
        return sample
    height, width = sample.size
    angle = uniform(-a.rotate, a.rotate, generator)
    shift = [float(round(side * uniform(-a.translate, a.translate, generator))) for side in (width, height)]
    shear = [uniform(-a.shear, a.shear, generator), 0.0]
    fill = [GREY / 255 if sample.image.is_floating_point() else GREY]

    def moved(boxes: Tensor) -> Tensor:
        given = _boxes(boxes, sample.size, clamped=False)
        return _plain(functional.affine(given, angle, shift, 1.0, shear))

    bilinear = InterpolationMode.BILINEAR
    image = functional.affine(sample.image, angle, shift, 1.0, shear, interpolation=bilinear, fill=fill)
    return _cut(Sample(image, moved(sample.boxes), sample.labels, moved(sample.ignore_boxes)))


def _cut(sample: Sample) -> Sample:
    """Boxes cut at the edge of the image; one whose centre lies outside becomes a region to ignore."""
    height, width = sample.size
    x, y = (sample.boxes[:, i::2].mean(1) for i in (0, 1))
    centred = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    boxes, ignore = (_clamp(b, height, width) for b in (sample.boxes, sample.ignore_boxes))
    visible, ignore_visible = (((b[:, 2:] - b[:, :2]) >= _SMALLEST).all(1) for b in (boxes, ignore))
    kept = centred & visible
    ignored = torch.cat([ignore[ignore_visible], boxes[visible & ~centred]])
    return Sample(sample.image, boxes[kept], sample.labels[kept], ignored)


def _clamp(boxes: Tensor, height: int, width: int) -> Tensor:
    most = torch.tensor([width, height, width, height], dtype=boxes.dtype)
    return torch.minimum(boxes.clamp(min=0), most)


def resized(sample: Sample, size: tuple[int, int], resize_mode: Resize = "focalkit") -> Sample:
    """Image and boxes resized to (height, width)."""

    def scaled(boxes: Tensor) -> Tensor:
        return _clamp(_plain(functional.resize(_boxes(boxes, sample.size), list(size))), *size)

    image = resize(sample.image, size, resize_mode)
    return Sample(image, scaled(sample.boxes), sample.labels, scaled(sample.ignore_boxes))


def _recolour(image: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Brightness, contrast and saturation, each by a factor in 1 - strength .. 1 + strength."""
    adjust = (functional.adjust_brightness, functional.adjust_contrast, functional.adjust_saturation)
    for step in adjust:
        image = step(image, uniform(max(0.0, 1 - strength), 1 + strength, generator))
    return image


def _boxes(boxes: Tensor, size: tuple[int, int], clamped: bool = True) -> tv_tensors.BoundingBoxes:
    mode = "soft" if clamped else None
    return tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=size, clamping_mode=mode)  # pyright: ignore[reportCallIssue]


def _plain(boxes: Tensor) -> Tensor:
    return boxes.as_subclass(Tensor)


def uniform(low: float, high: float, generator: torch.Generator) -> float:
    """A number between `low` and `high`."""
    return low + (high - low) * torch.rand((), generator=generator, dtype=torch.float64).item()
