"""Damage to a picture that leaves its boxes where they are: blur, noise, JPEG's artefacts, an erased rectangle.

The filters are torchvision's, the compression Pillow's; the parameters come from the sample's own generator.
"""

import io
import math
from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional

from focalkit.config import AugmentConfig
from focalkit.data.transforms import Sample, uniform

SIGMA = (0.3, 2.0)
"""Range of the blur, in pixels of the network's input"""
NOISE = (0.01, 0.06)
"""Range of the noise's standard deviation; white is 1"""
QUALITY = (30, 95)
ERASED = (0.02, 0.2)
"""Range of an erased rectangle's share of the image (Zhong et al., 2020: up to .4, which hides whole objects)"""
RATIO = 1 / 0.3
"""Its height / width at most, and width / height"""
HIDDEN = 0.75
"""A box of which so much is erased becomes a region to ignore"""


def distort(sample: Sample, config: AugmentConfig, generator: torch.Generator) -> Sample:
    """Blur, then noise, then JPEG, each with its probability in `config`."""
    image = sample.image
    if config.blur and uniform(0, 1, generator) < config.blur:
        sigma = uniform(*SIGMA, generator)
        size = 2 * math.ceil(3 * sigma) + 1
        if min(image.shape[-2:]) > size // 2:  # what it reflects at the edge must be there
            image = functional.gaussian_blur(image, [size, size], [sigma, sigma])
    if config.noise and uniform(0, 1, generator) < config.noise:
        image = _noisy(image, uniform(*NOISE, generator), generator)
    if config.jpeg and uniform(0, 1, generator) < config.jpeg:
        low, high = QUALITY
        quality = low + int(uniform(0, high - low + 1, generator))
        coded = _jpeg(functional.to_dtype(image, torch.uint8, scale=True), quality)
        image = functional.to_dtype(coded, image.dtype, scale=True)
    return replace(sample, image=image)


def erase(sample: Sample, config: AugmentConfig, generator: torch.Generator) -> Sample:
    """Random erasing (Zhong et al., 2020, arXiv 1708.04896): a rectangle becomes noise, with the probability `erase`.

    A box that is all but hidden is no ground truth any more, and becomes a region to ignore.
    """
    if not config.erase or uniform(0, 1, generator) >= config.erase:
        return sample
    height, width = sample.size
    area, steepest = uniform(*ERASED, generator) * height * width, math.log(RATIO)
    ratio = math.exp(uniform(-steepest, steepest, generator))
    h, w = min(height, round(math.sqrt(area * ratio))), min(width, round(math.sqrt(area / ratio)))
    top, left = int(uniform(0, height - h + 1, generator)), int(uniform(0, width - w + 1, generator))
    noise = torch.randint(256, (3, h, w), generator=generator, dtype=torch.uint8)
    image = functional.erase(sample.image, top, left, h, w, functional.to_dtype(noise, sample.image.dtype, scale=True))
    gone = _hidden(sample.boxes, torch.tensor([left, top, left + w, top + h])) >= HIDDEN
    ignored = torch.cat([sample.ignore_boxes, sample.boxes[gone]])
    return Sample(image, sample.boxes[~gone], sample.labels[~gone], ignored)


def _hidden(boxes: Tensor, rectangle: Tensor) -> Tensor:
    """The share of each box that a rectangle (4,), xyxy, covers."""
    low, high = torch.maximum(boxes[:, :2], rectangle[:2]), torch.minimum(boxes[:, 2:], rectangle[2:])
    return (high - low).clamp(min=0).prod(1) / (boxes[:, 2:] - boxes[:, :2]).prod(1)


def _jpeg(image: Tensor, quality: int) -> Tensor:
    """A uint8 image (3, h, w) as it comes back from a JPEG file of that quality, 1 to 95."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).numpy())).save(file, "JPEG", quality=quality)
    with Image.open(file) as picture:
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()


def _noisy(image: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
    white = 1.0 if image.is_floating_point() else 255.0
    noise = torch.randn(image.shape, generator=generator) * (sigma * white)
    noisy = (image.float() + noise).clamp(0, white)
    return noisy if image.is_floating_point() else noisy.round().to(image.dtype)
