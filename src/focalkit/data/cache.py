"""Decoded images kept in memory, as far as it holds them, so that later epochs decode nothing.

The memory is shared with loading processes that are forked, whatever the size of /dev/shm: whoever decodes an image
first keeps it for all. Processes that are started in another way (macOS, Windows) have a cache each, of a share of the
size. What is read from the cache is what would have been read from the file.
"""

import mmap
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from focalkit._memory import free_memory

SHARE = 1 / 3
"""Of the memory that is free when training begins."""


class ImageCache:
    """Room for decoded images, uint8 (3, h, w): the first ones of a split, as many as fit.

    Args:
        sizes: Height and width of each image.
        budget: Bytes at most.

    Example:
        >>> cache = ImageCache([(2, 2), (2, 2)], budget=12)
        >>> reads = [cache.get(0, lambda: torch.ones(3, 2, 2, dtype=torch.uint8)) for _ in range(2)]
        >>> len(cache), cache.kept
        (1, 1)
    """

    def __init__(self, sizes: Sequence[tuple[int, int]], budget: int) -> None:
        self.sizes, self.budget = list(sizes), budget
        self._memory: Tensor | None = None
        self._allocate(budget)

    def __len__(self) -> int:
        """Images that there is room for."""
        return len(self._starts)

    @property
    def kept(self) -> int:
        """Images that are there."""
        return 0 if self._memory is None else int(self._memory[: len(self)].sum())

    def get(self, index: int, read: Callable[[], Tensor]) -> Tensor:
        """The image, from the cache or from `read`, which is then kept. It may be changed."""
        if self._memory is None:
            info = get_worker_info()
            self._allocate(self.budget // (1 if info is None else info.num_workers))
        assert self._memory is not None
        if index >= len(self):
            return read()
        height, width = self.sizes[index]
        place = self._memory[self._starts[index] :][: 3 * height * width].view(3, height, width)
        if self._memory[index]:
            return place.clone()
        image = read()
        if image.shape == place.shape:
            place.copy_(image)
            self._memory[index] = 1  # last: another process may be looking
        return image

    def _allocate(self, budget: int) -> None:
        self._starts: list[int] = []
        end = 0
        for height, width in self.sizes:
            if end + 3 * height * width > budget:
                break
            self._starts.append(end)
            end += 3 * height * width
        # a byte per image says whether it is there
        self._starts = [len(self._starts) + start for start in self._starts]
        memory = mmap.mmap(-1, max(1, len(self._starts) + end))
        self._memory = torch.frombuffer(memory, dtype=torch.uint8)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_memory": None, "_starts": []}


def cache_for(sizes: Sequence[tuple[int, int]], share: float, processes: int = 1) -> ImageCache | None:
    """A cache within a share of what may be used of the free memory; None where that is not known, or holds nothing.

    Args:
        sizes: Height and width of each image.
        share: Of `SHARE` of the free memory.
        processes: Programs on this machine that share it.
    """
    free = free_memory()
    found = None if free is None else ImageCache(sizes, int(free * SHARE * share / processes))
    return found if found is not None and len(found) else None
