"""Every test of this folder starts as a fresh process would, and tensors of any size count."""

import os

import pytest
import torch

from focalkit.kernels import dispatch


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(dispatch, "SMALL", 1)
    monkeypatch.setattr(dispatch, "failed", {})


@pytest.fixture(scope="session")
def device():
    """The GPU; skips without one. Nothing of these tests can be said of a CPU."""
    if os.environ.get("TRITON_INTERPRET") == "1" or not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return torch.device("cuda")
