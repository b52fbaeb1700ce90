"""What happens to an image of the training split, in order.

File -> copy-paste -> your pipeline -> mosaic -> rotation, crop, scale, flip, colour -> mixup -> blur, noise, JPEG ->
erasing. Everything is drawn from the generator of the sample, the other images too.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch

from focalkit.config import AugmentConfig
from focalkit.data.copy_paste import MOST, Objects, paste
from focalkit.data.distortions import distort, erase
from focalkit.data.mosaic import mixup, mosaic
from focalkit.data.own_pipeline import content_of, load_pipeline, run_pipeline
from focalkit.data.transforms import Sample, augment, uniform
from focalkit.images import fit_size
from focalkit.images.resize import Resize


@dataclass(frozen=True)
class Augmenter:
    """Makes training samples.

    Attributes:
        config: What is done, and how often.
        min_size, max_size, resize_mode: The evaluation size.
        read: Index -> the sample as it is in its file.
        count: Number of images.
        objects: What copy-paste draws from; None without it.
        content: Of the file of your own pipeline: it stays the same while this is in use.
    """

    config: AugmentConfig
    min_size: int
    max_size: int
    resize_mode: Resize
    read: Callable[[int], Sample]
    count: int
    objects: Objects | None = None
    content: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "content", content_of(self.config.pipeline or ""))

    def __call__(self, index: int, generator: torch.Generator, several: bool = True) -> Sample:
        """The sample of an image; `several` allows what takes other images too."""
        a, sizes = self.config, (self.min_size, self.max_size)
        sample, used = self._one(index, generator, several), a
        if several and _happens(a.mosaic, generator):
            others = [self._one(self._other(index, generator), generator, several) for _ in range(3)]
            size = fit_size(*sample.size, *sizes, self.resize_mode)
            sample = mosaic([sample, *others], size, generator, self.resize_mode)
            used = replace(a, scale=(2 * a.scale[0], 2 * a.scale[1]))  # the canvas is twice as large as an image
        sample = augment(sample, used, *sizes, generator, self.resize_mode)
        if several and _happens(a.mixup, generator):
            other = self._one(self._other(index, generator), generator, several)
            sample = mixup(sample, augment(other, a, *sizes, generator, self.resize_mode))
        return erase(distort(sample, a, generator), a, generator)

    def _one(self, index: int, generator: torch.Generator, several: bool) -> Sample:
        """One image, with what is pasted into it, both through your pipeline."""
        sample, spec = self.read(index), self.config.pipeline
        if self.objects is not None and several and _happens(self.config.copy_paste, generator):
            for _ in range(1 + int(uniform(0, MOST, generator))):
                other, row, outlines = self.objects.draw(generator)
                sample = paste(sample, self.read(other), row, outlines, generator)
        return sample if spec is None else run_pipeline(load_pipeline(spec, self.content), sample, generator, spec)

    def _other(self, index: int, generator: torch.Generator) -> int:
        """Another image, where there is one."""
        return (index + 1 + int(uniform(0, max(self.count - 1, 1), generator))) % self.count


def _happens(probability: float, generator: torch.Generator) -> bool:
    """By chance; nothing is drawn for what never happens, so that it changes no other draw."""
    return probability > 0 and uniform(0, 1, generator) < probability
