"""The loaders of training and validation images."""

import os
from collections.abc import Sequence

import torch
from torch.utils.data import DataLoader, Dataset, Subset

from focalkit.config import TrainConfig
from focalkit.data import DetectionData, DetectionDataset, collate
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


def usable_workers(wanted: int) -> int:
    """`wanted`, or as many as this process has cores: more only get in each other's way, and torch warns of them."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(wanted, cores)


def _loader(
    dataset: Dataset, batch: int, config: TrainConfig, fill: Sequence[float], sampler: EpochOrder | None
) -> DataLoader:
    return DataLoader(
        dataset,
        batch_size=batch,
        sampler=sampler,
        shuffle=False if sampler is None else None,
        num_workers=usable_workers(config.workers),
        collate_fn=collate(fill),
        pin_memory=config.accelerator != "cpu" and torch.cuda.is_available(),
        persistent_workers=config.workers > 0 and sampler is not None,
    )
