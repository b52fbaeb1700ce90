"""Samplers for a `torch.utils.data.DataLoader`: `DataLoader(data, sampler=EpochSampler("class_balanced", labels))`."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from ._indices import epoch_indices, read_sampler


class EpochSampler:
    """Items of an epoch by a sampler's spec; another order, and other draws, in every epoch.

    Args:
        spec: As in `epoch_indices`; None for every item once.
        labels: (n,) class indices.
        seed: Fixes all epochs.

    Raises:
        ConfigError: As `read_sampler`.

    Example:
        >>> sampler = EpochSampler("under", [0, 0, 0, 1], seed=0)
        >>> len(sampler), len(list(sampler))
        (2, 2)
    """

    def __init__(self, spec: str | None, labels: ArrayLike, seed: int = 0) -> None:
        read_sampler(spec)
        self.spec, self.labels, self.seed, self.epoch = spec, np.asarray(labels, dtype=np.int64), seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Says which epoch, from 0, the next pass is; passes count up by themselves."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Items of the epoch that comes next."""
        return len(epoch_indices(self.spec, self.labels, self.seed, self.epoch))

    def __iter__(self) -> Iterator[int]:
        chosen = epoch_indices(self.spec, self.labels, self.seed, self.epoch)
        self.epoch += 1
        return iter(chosen.tolist())
