"""What the flags of several commands share."""

from typing import Annotated

import tyro

from focalkit.errors import InputError

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]
"""A switch that is off: `--name` alone, without a `--no-name` beside it."""


def require_threshold(value: float | None) -> None:
    """Raises InputError where `--score-threshold` is no probability."""
    if value is not None and not 0 <= value <= 1:
        raise InputError(f"--score-threshold must lie between 0 and 1, got {value:g}")
