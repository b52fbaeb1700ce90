"""The suites of `focalkit bench`, by name."""

import importlib

from focalkit.errors import InputError

from ._model import Suite

SUITES = {
    "loss": "focalkit.bench.loss:cases",
    "match": "focalkit.bench.match:cases",
    "postprocess": "focalkit.bench.postprocess:cases",
    "step": "focalkit.bench.step:cases",
    "train": "focalkit.bench.train:cases",
    "inference": "focalkit.bench.inference:cases",
}
"""Suite -> "module:function" that returns its cases."""


def load(suite: str) -> Suite:
    """The function behind a name of `SUITES` or behind "module:function"."""
    module, _, function = SUITES.get(suite, suite).partition(":")
    if not function:
        raise InputError(f"there is no suite {suite!r}; expected one of {', '.join(SUITES)}")
    return getattr(importlib.import_module(module), function)
