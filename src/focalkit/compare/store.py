"""The directory of a comparison, and how its files appear: whole or not at all, whatever kills the process.

OUT/plan.json                 what is compared (schema, data, task, methods, seeds, tuning, budget)
    data.json                 what was found while reading the data: sizes, classes, counts, facts, notes
    cells/METHOD/seedN/       one fit: a folder that appears by rename when it is complete
        run.json              method, seed, budget, versions, when it began
        val.npz  test.npz     `focalkit.tasks.Outputs`
        model.safetensors  model.json   the model, for `focalkit predict`
        cell.json             "status": "done" | "failed", classes, counts, facts of the fit, cost, tuned values
        error.txt             of a failed one alone: the traceback
        autopsy.json          of one whose training diverged: step, losses, logits, items, likeliest causes
    cells/METHOD/tuning/seedN.jsonl     one line per trial
    results.csv               method, seed, metric, threshold, value
    best                      link to the winner's cell
    cache/                    decoded data, where the task keeps any
"""

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from focalkit import _files
from focalkit._files import alive, write_json_atomic, write_text_atomic
from focalkit.compare._specs import folder_name
from focalkit.compare.plan import Job, Plan, plan_from_dict, plan_to_dict
from focalkit.errors import ConfigError
from focalkit.tasks import Outputs

CELL_SCHEMA = 1
NEEDED = ("task", "name", "seed", "classes", "class_counts", "method", "facts", "cost")
"""What the record of a finished cell holds."""
ERROR = "error.txt"
"""Of a failed cell: the traceback."""


@dataclass(frozen=True)
class Cell:
    """A finished or failed cell on disk."""

    folder: Path

    @cached_property
    def record(self) -> dict[str, Any]:
        """`cell.json`, or {} where there is no cell.

        Raises:
            ConfigError: It cannot be read, or another version wrote it.
        """
        file = self.folder / "cell.json"
        if not file.is_file():
            return {}
        values = read_json(file)
        if values.get("schema") != CELL_SCHEMA:
            raise ConfigError(f"{file}: schema {values.get('schema')!r}, this focalkit reads schema {CELL_SCHEMA}")
        if values.get("status") == "done" and (lacks := [name for name in NEEDED if name not in values]):
            raise ConfigError(
                f"{file}: lacks {', '.join(lacks)}; delete its folder, and `compare` makes the cell again"
            )
        return values

    @property
    def status(self) -> Literal["done", "failed", "missing"]:
        """What became of it."""
        return self.record.get("status", "missing")

    @cached_property
    def val(self) -> Outputs:
        """Outputs on the validation part."""
        return Outputs.read(self.folder / "val.npz")

    @cached_property
    def test(self) -> Outputs:
        """Outputs on the test part."""
        return Outputs.read(self.folder / "test.npz")


@dataclass(frozen=True)
class Store:
    """The directory of one comparison."""

    out: Path

    def cell(self, method: str, seed: int) -> Cell:
        """The cell of a method and a seed, which need not exist."""
        return Cell(self.out / "cells" / folder_name(method) / f"seed{seed}")

    def trials(self, method: str) -> list[dict[str, Any]]:
        """The trials of a method's searches, of all seeds, in order."""
        files = sorted((self.out / "cells" / folder_name(method) / "tuning").glob("seed*.jsonl"))
        rows = []
        for file in files:
            for line in _files.read_text(file).splitlines():
                with contextlib.suppress(ValueError):  # a last line that was cut off
                    rows.append(json.loads(line))
        return rows

    def read_plan(self) -> Plan:
        """`plan.json`.

        Raises:
            ConfigError: There is no comparison here, or its plan cannot be read.
        """
        file = self.out / "plan.json"
        if not file.is_file():
            raise ConfigError(f"{self.out}: holds no comparison, it has no plan.json; expected the --out of `compare`")
        return plan_from_dict(read_json(file), str(file))

    def write_plan(self, plan: Plan) -> None:
        """Replace `plan.json`."""
        write_json_atomic(self.out / "plan.json", plan_to_dict(plan))

    def write_results(self, rows: list[tuple[Any, ...]]) -> None:
        """Replace `results.csv`; every row is (method, seed, metric, threshold, value)."""
        import csv
        import io

        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("method", "seed", "metric", "threshold", "value"))
        writer.writerows(rows)
        write_text_atomic(self.out / "results.csv", text.getvalue())

    def link_best(self, cell: Cell) -> None:
        """Let `best` be the cell: a link, or a file that names it where links cannot be made."""
        place, target = self.out / "best", os.path.relpath(cell.folder, self.out)
        temporary = self.out / ".best.tmp"  # of one name, so that the next process finds what a killed one left
        try:
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(target, target_is_directory=True)
            os.replace(temporary, place)
        except OSError:
            temporary.unlink(missing_ok=True)
            write_text_atomic(place, target + "\n")

    def clean(self) -> None:
        """Remove half-made cells of processes that are gone."""
        for folder in self.out.glob("cells/*/.seed*.tmp-*"):
            pid = folder.name.rpartition("-")[2]
            if not (pid.isdigit() and int(pid) != os.getpid() and alive(int(pid))):
                shutil.rmtree(folder, ignore_errors=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory: two comparisons at once would do everything twice.

        Raises:
            ConfigError: Another process holds it.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        with open(self.out / ".lock", "wb") as file:
            if not _lock(file):
                raise ConfigError(f"{self.out}: another `focalkit compare` is running here; wait for it or stop it")
            yield


def write_cell(job: Job, fill: Callable[[Path], Mapping[str, Any]]) -> Cell:
    """Make the folder of a cell: `fill` writes into an empty one and returns the content of `cell.json`.

    The folder gets its name when everything is in it. A failed cell is replaced; a finished one, which another process
    may have made in the meantime, stays.
    """
    place = job.folder
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = place.parent / f".{place.name}.tmp-{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        record = fill(temporary)
        write_json_atomic(temporary / "cell.json", {"schema": CELL_SCHEMA, **record})
        if place.exists() and Cell(place).status != "done":
            shutil.rmtree(place)
        with contextlib.suppress(FileExistsError, OSError) if place.exists() else contextlib.nullcontext():
            os.rename(temporary, place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Cell(place)


def write_outputs(file: Path, outputs: Outputs) -> None:
    """`val.npz` or `test.npz`; not atomic by itself, the cell's folder is."""
    arrays: dict[str, Any] = outputs.arrays()
    np.savez_compressed(file, **arrays)


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ConfigError: The file holds none.
    """
    try:
        value = _files.read_json(file)
    except ValueError as error:
        raise ConfigError(f"{file}: cannot be read as JSON ({error})") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{file}: expected a JSON object, got {type(value).__name__}")
    return value


def _lock(file: BinaryIO) -> bool:
    try:
        import fcntl
    except ImportError:  # no such locks on Windows: nothing is guarded there
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:  # other errors: a file system without locks, where nothing is guarded either
        return error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
    return True
