"""A split as a torch data set, and its batches.

Workers read, augment and batch; images stay uint8 until the batch is made. Sampling and worker counts are the
trainer's business.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from focalkit.config import AugmentConfig
from focalkit.data._records import DetectionData, ImageRecord
from focalkit.data.augmenter import Augmenter
from focalkit.data.cache import ImageCache
from focalkit.data.copy_paste import Objects
from focalkit.data.transforms import Sample, fit
from focalkit.detection.types import DetectionBatch, DetectionTarget
from focalkit.errors import InputError
from focalkit.images import pad_batch, read_image
from focalkit.images.resize import Resize


class DetectionDataset(Dataset[tuple[Tensor, DetectionTarget]]):
    """Images and targets of a split.

    A sample depends on (seed, epoch, index) alone, whatever the number of workers. `set_epoch` reaches workers that are
    already running (`persistent_workers`), because the epoch lies in shared memory.

    Args:
        data: The records.
        min_size: Short side in pixels after resizing.
        max_size: Bound of the long side.
        augment: Random changes for training; None only resizes.
        seed: Of the random changes.
        resize: Whose rounding of sizes and whose interpolation (`focalkit.detection.resize`).
        cache: Keeps decoded images; None reads the file each time.
        epochs: Of the whole run, of which the last `augment.close_mosaic` have no mosaic, mixup and copy-paste; None
            has them in every epoch.

    Example:
        >>> dataset = DetectionDataset(data, 320, 416)   # doctest: +SKIP
        >>> image, target = dataset[0]                   # doctest: +SKIP
    """

    def __init__(
        self,
        data: DetectionData,
        min_size: int,
        max_size: int,
        augment: AugmentConfig | None = None,
        *,
        seed: int = 0,
        resize: Resize = "focalkit",
        epochs: int | None = None,
        cache: ImageCache | None = None,
    ) -> None:
        self.data = data
        self.cache = cache
        self.min_size = min_size
        self.max_size = max_size
        self.seed = seed
        self.resize: Resize = resize
        self.augmenter = None if augment is None else self._augmenter(augment)
        # the epoch from which on each sample is of one image
        self._closed = None if augment is None or epochs is None else epochs - min(augment.close_mosaic, epochs // 2)
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def __len__(self) -> int:
        return len(self.data.images)

    def set_epoch(self, epoch: int) -> None:
        """Choose the random changes of this epoch; call it before iterating."""
        self._epoch.fill_(epoch)

    def __getitem__(self, index: int) -> tuple[Tensor, DetectionTarget]:
        """uint8 (3, h, w), or float in [0, 1] as `resize` has it, and its target in the pixels of the resized image."""
        record = self.data.images[index]
        if self.augmenter is None:
            sample = fit(self._read(index), self.min_size, self.max_size, self.resize)
        else:
            several = self._closed is None or int(self._epoch) < self._closed
            sample = self.augmenter(index, self._generator(index), several)
        target = DetectionTarget(
            boxes=sample.boxes,
            labels=sample.labels,
            ignore_boxes=sample.ignore_boxes,
            image_id=record.id,
            size=sample.size,
            original_size=(record.height, record.width),
        )
        return sample.image, target

    def _augmenter(self, augment: AugmentConfig) -> Augmenter:
        objects = Objects.of(self.data, augment.copy_paste_power) if augment.copy_paste else None
        return Augmenter(augment, self.min_size, self.max_size, self.resize, self._read, len(self), objects)

    def _read(self, index: int) -> Sample:
        record = self.data.images[index]
        if self.cache is None:
            return read_sample(record)
        return as_sample(record, self.cache.get(index, lambda: read_picture(record)))

    def _generator(self, index: int) -> torch.Generator:
        # subtle: hash() of a tuple of integers is the same in every process, unlike that of a string
        return torch.Generator().manual_seed(hash((self.seed, int(self._epoch), index)) & 0x7FFFFFFFFFFFFFFF)


def read_sample(record: ImageRecord) -> Sample:
    """Decode the image of a record, with its boxes.

    Raises:
        InputError: As `read_picture`.
    """
    return as_sample(record, read_picture(record))


def read_picture(record: ImageRecord) -> Tensor:
    """The image of a record, uint8 (3, h, w).

    Raises:
        InputError: The file cannot be read, or has another size than the record.
    """
    image = read_image(record.path)
    if tuple(image.shape[-2:]) != (record.height, record.width):
        raise InputError(
            f"{record.path}: image {record.id} is {image.shape[-1]}x{image.shape[-2]} (width x height), "
            f"the annotations say {record.width}x{record.height}"
        )
    return image


def as_sample(record: ImageRecord, image: Tensor) -> Sample:
    """The image with the boxes of its record."""
    boxes = torch.tensor(record.boxes, dtype=torch.float32).reshape(-1, 4)
    crowd = torch.tensor(record.crowd, dtype=torch.bool)
    labels = torch.tensor(record.labels, dtype=torch.int64)
    return Sample(image, boxes[~crowd], labels[~crowd], boxes[crowd])


@dataclass(frozen=True)
class Collate:
    """Makes a batch of samples; see `collate`."""

    fill: tuple[float, ...]
    multiple: int = 32

    def __call__(self, samples: Sequence[tuple[Tensor, DetectionTarget]]) -> DetectionBatch:
        return DetectionBatch(pad_batch([s[0] for s in samples], self.fill, self.multiple), [s[1] for s in samples])


def collate(fill: Sequence[float], multiple: int = 32) -> Collate:
    """A `collate_fn` for `DataLoader`: pads with the colour `fill` (0 to 1) to a multiple of `multiple` pixels.

    Example:
        >>> DataLoader(dataset, 8, collate_fn=collate(model.pixel_mean.flatten().tolist()))   # doctest: +SKIP
    """
    return Collate(tuple(float(v) for v in fill), multiple)


def batch_bytes(batch: int, min_size: int, max_size: int) -> int:
    """Size of a batch of images as tall and wide as they can become; those of similar shape share one."""
    height, width = (-(-side // 32) * 32 for side in (min_size, max(min_size, max_size)))
    return batch * 3 * height * width * 4
