"""Every test starts as a fresh process would: nothing compiled, nothing learned, and tensors of any size count."""

import logging

import pytest

from focalkit.kernels import _choice, _engine


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(_choice, "SMALL", 1)
    monkeypatch.setattr(_choice, "PIECES", 1)
    monkeypatch.setattr(_choice.machine, "broken", {})
    monkeypatch.setattr(_choice.machine, "announced", False)
    logging.getLogger("focalkit.kernels").setLevel(logging.WARNING)


@pytest.fixture
def no_compiler(monkeypatch):
    """Nor was there one when focalkit was installed."""
    monkeypatch.setitem(_choice.machine.broken, "c++", "left out")
    monkeypatch.setattr(_choice, "_cpp_compiler", lambda cxx: None)
    monkeypatch.setattr(_engine, "_kernels", {})
