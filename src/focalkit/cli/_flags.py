"""What the flags of several commands share."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from focalkit.errors import InputError

if TYPE_CHECKING:
    from focalkit.data import Selection

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]
"""A switch that is off: `--name` alone, without a `--no-name` beside it."""


def require_threshold(value: float | None) -> None:
    """Raises InputError where `--score-threshold` is no probability."""
    if value is not None and not 0 <= value <= 1:
        raise InputError(f"--score-threshold must lie between 0 and 1, got {value:g}")


@dataclass(frozen=True)
class ClassFlags:
    """Other classes than the data's own; no file is touched."""

    classes: Annotated[str | None, tyro.conf.arg(metavar="NAMES", help_behavior_hint="")] = None
    """Use these classes alone, such as cat,dog; boxes of others are left out"""
    merge: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAMES=NAME...", help_behavior_hint="")] = ()
    """Classes that become one, such as car,truck=vehicle"""
    single_class: Flag = False
    """Every box becomes one of the single class `object`"""

    def selection(self) -> "Selection":
        """The same for the readers."""
        from focalkit.data import Selection

        return Selection(classes=self.classes, merge=self.merge, single_class=self.single_class)


@dataclass(frozen=True)
class WrittenFlags(ClassFlags):
    """`ClassFlags`, and a split that a training has made."""

    splits: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = None
    """splits.json of a run: which images are train, val and test, for data without splits (default: the run's own)"""

    def selection(self) -> "Selection":
        from focalkit.data import Selection

        if self.splits is not None and self.splits.suffix != ".json":
            raise InputError(f"--splits {self.splits}: expected the splits.json of a run")
        split = None if self.splits is None else str(self.splits)
        return Selection(split, classes=self.classes, merge=self.merge, single_class=self.single_class)


@dataclass(frozen=True)
class SelectionFlags(ClassFlags):
    """`ClassFlags`, and how data without splits are divided."""

    split: Annotated[str | None, tyro.conf.arg(metavar="SHARES", help_behavior_hint="")] = None
    """Divide boxes without splits: shares of train, val and perhaps test, such as 80/10/10, or a run's splits.json"""
    split_seed: int = 0
    """Of that division"""
    group_by: Annotated[str | None, tyro.conf.arg(metavar="REGEX", help_behavior_hint="")] = None
    """What stays in one part: a regular expression on names (patient, camera), or folder"""
    fold: Annotated[str | None, tyro.conf.arg(metavar="I/K", help_behavior_hint="")] = None
    """Such as 2/5: val is the second of five parts"""

    def selection(self) -> "Selection":
        from focalkit.data import Selection

        return Selection(
            self.split, self.split_seed, self.classes, self.merge, self.single_class, self.group_by, self.fold
        )


Prefixless = tyro.conf.arg(name="")
"""Of a group of flags: their names stand alone."""
