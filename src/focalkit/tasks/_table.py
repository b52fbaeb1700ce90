"""The tasks there are, in one literal table."""

import importlib
from pathlib import Path

from focalkit._config_io import nearest
from focalkit.errors import InputError

from ._task import Task

TASKS: dict[str, str] = {
    "detection": "focalkit.tasks.detection:TASK",
    "image": "focalkit.tasks.image:TASK",
    "tabular": "focalkit.tasks.tabular:TASK",
}
"""Name -> where the task is, as "module:attribute". All are imported to find out whose data a path holds, so what they
need beyond numpy they import when they read or fit."""


def open_task(name: str) -> Task:
    """The task of that name, or at "module:attribute".

    Raises:
        InputError: There is none.
    """
    where, colon, attribute = TASKS.get(name, name).partition(":")
    if not colon:
        raise InputError(f"there is no task {name!r}{nearest(name, list(TASKS))}")
    try:
        return getattr(importlib.import_module(where), attribute)
    except (ModuleNotFoundError, AttributeError) as error:
        if name in TASKS:
            raise
        raise InputError(f"cannot import the task {name!r}: {error}; the form is my_pkg.mod:TASK") from error


def is_built_in(name: str) -> bool:
    """Whether a task is focalkit's own, so that opening it imports nobody else's code."""
    return name in TASKS or name.startswith("focalkit.")


def find_task(path: Path) -> str:
    """The name of the task that the data at `path` look like.

    Raises:
        InputError: Nothing is there, or no task takes it, or several do.
    """
    if not Path(path).exists():
        raise InputError(f"{path}: no such file or folder")
    found = [name for name in TASKS if open_task(name).recognises(Path(path))]
    if len(found) == 1:
        return found[0]
    what = f"looks like data for {' and for '.join(found)}" if found else "no task recognises these data"
    raise InputError(f"{path}: {what}; say which with --task ({', '.join(TASKS)})")
