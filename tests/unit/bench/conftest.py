"""Small cases whose rows do next to nothing."""

import gc
from collections.abc import Iterator

import pytest
import torch

from focalkit.bench import Settings


@pytest.fixture(scope="package", autouse=True)
def _nothing_old_to_collect() -> Iterator[None]:
    """Every measurement collects garbage first, which takes seconds where other tests left millions of objects."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def settings() -> Settings:
    """Three rounds on the CPU, no warm-up, no memory."""
    return Settings(torch.device("cpu"), rounds=3, seconds=60.0, least=3, warmup=0, memory=False)
