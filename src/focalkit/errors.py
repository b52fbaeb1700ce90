"""Every exception that focalkit raises on purpose.

    FocalkitError               catch this to catch them all
    ├── InputError              a bad argument, file or data set; the message says what to do
    │   └── DataError           one or more problems in a data set, all reported at once (`.problems`)
    ├── ConfigError             an unknown key, an impossible value, a run directory that does not fit
    ├── WriteError              a file cannot be written: the disk is full, or fails
    ├── BackendError            a kernel backend was asked for that cannot run here
    ├── ProcessDiedError        one of the processes of a job was killed, or has ended before the others
    └── DivergedError           training stopped because a loss became NaN or infinite

Shape and value mistakes in loss calls are plain `ValueError` / `TypeError`, as in PyTorch.
"""

from collections.abc import Mapping, Sequence
from typing import Any


class FocalkitError(Exception):
    """Base class of focalkit's own exceptions."""


class InputError(FocalkitError):
    """The caller's input cannot be used. The command line exits with status 2."""


class DataError(InputError):
    """Problems found while reading a data set.

    Attributes:
        problems: One line each, naming the file, the image and the annotation.
    """

    shown = 20

    def __init__(self, source: object, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        lines = [f"{source}: {len(self.problems)} problem{'s' if len(self.problems) != 1 else ''} in the data"]
        lines += [f"  {p}" for p in self.problems[: self.shown]]
        if len(self.problems) > self.shown:
            lines.append(f"  ... and {len(self.problems) - self.shown} more")
        super().__init__("\n".join(lines))


class ConfigError(InputError):
    """A configuration that cannot be used."""


class WriteError(FocalkitError):
    """A file cannot be written; what was complete before is kept. The command line exits with status 1."""


class BackendError(FocalkitError):
    """The kernel backend asked for cannot run; the message says why."""


class DivergedError(FocalkitError):
    """A loss became NaN or infinite in training; the message names the step and what may help.

    Attributes:
        autopsy: Ready for `autopsy.json`, where more is known than the message says, else None.
    """

    def __init__(self, message: str, autopsy: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.autopsy = autopsy


class ProcessDiedError(FocalkitError):
    """One of the processes of a job was killed, or has ended before the others."""
