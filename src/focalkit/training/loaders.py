"""The loaders of training and validation images."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader

from focalkit.config import TrainConfig
from focalkit.data import DetectionBatch, DetectionData, DetectionDataset, collate
from focalkit.data.cache import ImageCache, cache_for
from focalkit.data.dataset import batch_bytes
from focalkit.data.loading import make_loader
from focalkit.evaluation.predict import split_loader
from focalkit.sampling import item_repeat_factors
from focalkit.training.order import EpochOrder
from focalkit.training.schedule import plan_run

TRAIN_SHARE = 0.75
"""Of the memory for decoded images; validation has the rest."""


def train_loader(
    data: DetectionData,
    config: TrainConfig,
    *,
    fill: Sequence[float],
    rank: int,
    world: int,
    start_step: int,
    beside: int = 1,
) -> DataLoader:
    """Batches of `config.batch_size // (world * config.accumulate)` augmented images, in the order of `EpochOrder`.

    So many trainings as `beside` says, this one included, share the memory for decoded images.
    """
    rule = config.model.numerics.resize
    sizes, epochs = (config.min_size, config.max_size), plan_run(config, len(data)).epochs
    cache = _cache(data, config, epochs, TRAIN_SHARE / beside)
    dataset = DetectionDataset(data, *sizes, config.augment, seed=config.seed, resize=rule, epochs=epochs, cache=cache)
    order = EpochOrder(
        len(dataset),
        batch=config.batch_size,
        seed=config.seed,
        rank=rank,
        world=world,
        accumulate=config.accumulate,
        start_step=start_step,
        upright=[image.height > image.width for image in data.images],
        repeats=_repeats(data, config.repeat_factor),
        on_epoch=dataset.set_epoch,
    )
    return make_loader(
        dataset,
        order.micro_batch,
        collate(fill),
        workers=config.runtime.workers,
        batch_bytes=batch_bytes(order.micro_batch, config.min_size, config.max_size),
        sampler=order,
        persistent=True,
        pin=_pin(config),
        processes=config.runtime.devices,
    )


def val_loader(data: DetectionData, config: TrainConfig, *, fill: Sequence[float], rank: int, world: int) -> DataLoader:
    """What `split_loader` gives for the settings of a run."""
    return split_loader(
        data,
        config.min_size,
        config.max_size,
        resize=config.model.numerics.resize,
        fill=fill,
        batch_size=max(config.batch_size // (world * config.accumulate), 1),
        workers=config.runtime.workers,
        pin=_pin(config),
        rank=rank,
        world=world,
        processes=config.runtime.devices,
        cache=_cache(data, config, plan_run(config, len(data)).epochs, 1 - TRAIN_SHARE),
    )


def batches(loader: DataLoader, epochs: int) -> Iterator[DetectionBatch]:
    """All batches of so many epochs of a `train_loader`, outside of Lightning, which does it by itself."""
    order: Any = loader.sampler
    for epoch in range(epochs):
        order.set_epoch(epoch)
        yield from loader


def _cache(data: DetectionData, config: TrainConfig, epochs: int, share: float) -> ImageCache | None:
    if config.runtime.cache == "none" or epochs < 2:
        return None
    return cache_for([(image.height, image.width) for image in data.images], share, config.runtime.devices)


def _repeats(data: DetectionData, t: float | None) -> Sequence[float]:
    if t is None:
        return ()
    shown = [[c for c, crowd in zip(i.labels, i.crowd, strict=True) if not crowd] for i in data.images]
    return item_repeat_factors(shown, t).tolist()


def _pin(config: TrainConfig) -> bool:
    return config.runtime.accelerator != "cpu" and torch.cuda.is_available()
