"""Small cases whose rows do next to nothing."""

import pytest
import torch

from focalkit.bench import Settings


@pytest.fixture
def settings() -> Settings:
    """Three rounds on the CPU, no warm-up, no memory."""
    return Settings(torch.device("cpu"), rounds=3, seconds=60.0, least=3, warmup=0, memory=False)
