"""The loaders of training and validation images."""

from collections.abc import Sequence

import torch
from torch.utils.data import DataLoader, Dataset, Subset

from focalkit.config import TrainConfig
from focalkit.data import DetectionData, DetectionDataset, collate
from focalkit.data.loading import make_loader
from focalkit.training.order import EpochOrder


def train_loader(
    data: DetectionData, config: TrainConfig, *, fill: Sequence[float], rank: int, world: int, start_step: int
) -> DataLoader:
    """Batches of `config.batch_size // (world * config.accumulate)` augmented images, in the order of `EpochOrder`."""
    rule = config.model.numerics.resize
    dataset = DetectionDataset(data, config.min_size, config.max_size, config.augment, seed=config.seed, resize=rule)
    order = EpochOrder(
        len(dataset),
        batch=config.batch_size,
        seed=config.seed,
        rank=rank,
        world=world,
        accumulate=config.accumulate,
        start_step=start_step,
        upright=[image.height > image.width for image in data.images],
        on_epoch=dataset.set_epoch,
    )
    return _loader(dataset, order.micro_batch, config, fill, sampler=order)


def val_loader(data: DetectionData, config: TrainConfig, *, fill: Sequence[float], rank: int, world: int) -> DataLoader:
    """Every `world`-th image from `rank` on, resized only; together the processes see each image once.

    Images of like shape share a batch, so that little is padding.
    """
    dataset = DetectionDataset(data, config.min_size, config.max_size, None, resize=config.model.numerics.resize)
    images = data.images
    by_shape = sorted(range(len(images)), key=lambda i: (images[i].height / images[i].width, i))
    mine: Dataset = Subset(dataset, by_shape[rank::world])
    return _loader(mine, max(config.batch_size // (world * config.accumulate), 1), config, fill, sampler=None)


def batch_bytes(batch: int, min_size: int, max_size: int) -> int:
    """Size of a batch of images as tall and wide as they can become; those of like shape share one."""
    height, width = (-(-side // 32) * 32 for side in (min_size, max(min_size, max_size)))
    return batch * 3 * height * width * 4


def _loader(
    dataset: Dataset, batch: int, config: TrainConfig, fill: Sequence[float], sampler: EpochOrder | None
) -> DataLoader:
    return make_loader(
        dataset,
        batch,
        collate(fill),
        workers=config.workers,
        batch_bytes=batch_bytes(batch, config.min_size, config.max_size),
        sampler=sampler,
        persistent=sampler is not None,
        pin=config.accelerator != "cpu" and torch.cuda.is_available(),
        processes=config.devices,
    )
