"""Every test starts as a fresh process would: no compilation has failed, and tensors of any size count."""

import dataclasses
import logging

import pytest

from focalkit.kernels import dispatch, inductor


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(dispatch, "SMALL", 1)
    monkeypatch.setattr(dispatch, "CHUNKED", 1)
    monkeypatch.setattr(inductor, "_announced", False)
    logging.getLogger("focalkit.kernels").setLevel(logging.WARNING)
    yield
    dispatch.failed.clear()


@pytest.fixture
def no_native(monkeypatch):
    """There was no compiler when focalkit was installed."""
    here = dispatch.machine
    monkeypatch.setattr(dispatch, "machine", lambda: dataclasses.replace(here(), native=frozenset()))


@pytest.fixture
def no_compiler(monkeypatch):
    """Nor is there one now."""
    monkeypatch.setattr(dispatch, "machine", lambda: dispatch.Machine(frozenset(), {"cpu": "left out"}))
