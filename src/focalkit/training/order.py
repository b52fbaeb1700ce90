"""The order of the training images: one deterministic sequence, cut the same way for any number of processes."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch.utils.data import Sampler


class EpochOrder(Sampler[int]):
    """Yields this process's image indices, micro-batch after micro-batch.

    The order of an epoch depends on `seed` and the epoch alone. Each optimiser step takes the next `batch` images of
    it, and only then are they dealt out to `accumulate` forward passes and `world` processes: the images of step s are
    the same for every `world` and `accumulate`. An epoch is `images // batch` steps, the rest waits for another
    shuffle; a data set smaller than one batch is repeated to fill it. Upright and wide images take turns by the step,
    where `upright` tells them apart: images of similar shape need little padding, which costs as much as image.

    Because nothing depends on what was drawn before, a run resumes in the middle of an epoch by skipping: `start_step`
    is the number of optimiser steps already taken. Lightning calls `set_epoch`, but only after the first epoch's loader
    has started, so the first epoch is taken from `start_step`.

    `len()` is a full epoch's, also where the first epoch is cut: Lightning counts the steps already taken itself.

    Args:
        images: Size of the data set.
        batch: Images per optimiser step over all processes.
        seed: Of the shuffling.
        rank: This process.
        world: Number of processes.
        accumulate: Forward passes per optimiser step.
        start_step: Optimiser steps already taken.
        upright: Which images are higher than wide; none if not given.
        repeats: How often each image is shown relative to others, at least 1 (repeat-factor sampling); once if not
            given. An epoch stays as long: of the repeated images it takes as many as there are images, by chance.
        on_epoch: Told the epoch before its first index is drawn (`DetectionDataset.set_epoch`).

    Example:
        >>> list(EpochOrder(5, batch=2, seed=0)), len(EpochOrder(5, batch=2, seed=0))
        ([2, 4, 0, 1], 4)
    """

    def __init__(
        self,
        images: int,
        *,
        batch: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        accumulate: int = 1,
        start_step: int = 0,
        upright: Sequence[bool] = (),
        repeats: Sequence[float] = (),
        on_epoch: Callable[[int], None] | None = None,
    ) -> None:
        if images < 1:
            raise ValueError("expected at least one image to train on, got none")
        if batch % (world * accumulate):
            raise ValueError(f"expected a batch divisible by {world} processes x {accumulate} passes, got {batch}")
        self.images, self.batch, self.seed = images, batch, seed
        self.rank, self.world, self.accumulate = rank, world, accumulate
        self.steps_per_epoch = max(images // batch, 1)
        self.first_epoch, self.skip = divmod(start_step, self.steps_per_epoch)
        self.epoch = self.first_epoch
        self.upright = upright
        self.repeats = torch.tensor(list(repeats), dtype=torch.float64)
        self.on_epoch = on_epoch

    @property
    def micro_batch(self) -> int:
        """Images of one forward pass of one process."""
        return self.batch // (self.world * self.accumulate)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration yields."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.steps_per_epoch * self.batch // self.world

    def __iter__(self) -> Iterator[int]:
        epoch = self.epoch
        if self.on_epoch is not None:
            self.on_epoch(epoch)
        order = self._order(epoch)
        skip = self.skip if epoch == self.first_epoch else 0
        for step in range(skip, self.steps_per_epoch):
            images = order[step * self.batch : (step + 1) * self.batch]
            # subtle: pass p of rank r takes a contiguous piece, so that with one rank the passes are the batch in order
            for p in range(self.accumulate):
                first = (p * self.world + self.rank) * self.micro_batch
                yield from images[first : first + self.micro_batch]

    def _order(self, epoch: int) -> list[int]:
        generator = torch.Generator().manual_seed(mix(self.seed, epoch))
        order = self._shuffled(generator)
        while len(order) < self.batch:
            order += self._shuffled(generator)
        return self._by_shape(order) if self.upright else order

    def _shuffled(self, generator: torch.Generator) -> list[int]:
        if not len(self.repeats):
            return torch.randperm(self.images, generator=generator).tolist()
        # the fraction of a repeat by chance, so that the mean is right
        times = (self.repeats + torch.rand(self.images, generator=generator, dtype=torch.float64)).floor().long()
        repeated = torch.arange(self.images).repeat_interleave(times)
        return repeated[torch.randperm(len(repeated), generator=generator)[: self.images]].tolist()

    def _by_shape(self, order: list[int]) -> list[int]:
        """Whole batches of one shape, each where its last image stood; at the end what is left of both shapes."""
        grouped: list[int] = []
        waiting: tuple[list[int], list[int]] = ([], [])
        for image in order:
            same = waiting[self.upright[image]]
            same.append(image)
            if len(same) == self.batch:
                grouped += same
                same.clear()
        return grouped + waiting[0] + waiting[1]


def mix(*numbers: int) -> int:
    """A 63-bit seed from a few integers, the same in every process and Python.

    The multiply-and-xor-shift finaliser of SplitMix64 (Steele, Lea & Flood, 2014), once per number.
    """
    state = 0
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state >> 1
