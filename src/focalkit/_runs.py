"""Run directories: what one training run leaves on disk.

    RUN/run.json            schema version, resolved configuration, categories, seed, command, commit, versions, device
        metrics.jsonl       one JSON object per line: {"kind": "train" | "val", "step": ..., "epoch": ..., ...}
        splits.json         names of the images of each part, where training made the split
        result.json         the numbers of the best checkpoint; "finished": true ends the run
        checkpoints/        best.ckpt, last.ckpt
        predictions.json  evaluation.json  gallery/  report.html  tensorboard/  csv/  csv-from-N/
        evaluations/NAME/   the same of another data set
        autopsy.json        of a training that stopped at a loss or gradient that is not finite
        calibration.json    maps of scores and thresholds, where `focalkit calibrate` was called; calibration/

Free of torch. What this file does not do: it neither trains nor evaluates.
"""

import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from focalkit._config_io import config_from_dict
from focalkit._files import append_text, read_json, read_text, remove_leftovers, write_text_atomic
from focalkit._files import dump_json as dump_json
from focalkit._files import write_json_atomic as write_json_atomic
from focalkit.config import TrainConfig
from focalkit.errors import ConfigError

SCHEMA = 2
"""Of run.json. Schema 1 had the settings of `data` and `runtime` at the top of the configuration; it is read too."""
READS = (1, SCHEMA)
_FILES = (
    "run.json",
    "metrics.jsonl",
    "result.json",
    "predictions.json",
    "evaluation.json",
    "report.html",
    "calibration.json",
    "autopsy.json",
    "splits.json",
)
_FOLDERS = ("checkpoints", "gallery", "evaluations", "calibration", "tensorboard", "wandb", "mlruns")
_TABLES = [f"{folder}/{name}" for folder in ("csv", "csv-from-*") for name in ("metrics.csv", "hparams.yaml")]
"""Of the CSV logger, in folders whose names others may give too."""


@dataclass(frozen=True)
class RunDir:
    """One run directory.

    Example:
        >>> run = RunDir(Path("runs/facemask"))
        >>> run.finished, run.checkpoint("best").name
        (False, 'best.ckpt')
    """

    path: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))

    @property
    def exists(self) -> bool:
        """Whether a run was started here."""
        return (self.path / "run.json").is_file()

    @property
    def finished(self) -> bool:
        """Whether the run here came to its end."""
        return bool(self.read_result().get("finished", False))

    def checkpoint(self, which: Literal["best", "last"]) -> Path:
        """Where a checkpoint lies; it need not exist yet."""
        return self.path / "checkpoints" / f"{which}.ckpt"

    def read_run(self) -> dict[str, Any]:
        """`run.json` as it stands.

        Raises:
            ConfigError: There is no run here, or the file cannot be read, or a newer focalkit wrote it.
        """
        file = self.path / "run.json"
        if not file.is_file():
            raise ConfigError(f"{self.path}: not a run directory, it has no run.json; expected the --out of a training")
        run = _read_json(file)
        schema = run.get("schema")
        if schema not in READS:
            raise ConfigError(
                f"{file}: schema {schema!r}, this focalkit reads schema {' and '.join(map(str, READS))}; use the"
                " version that wrote it"
            )
        return run

    def read_config(self) -> TrainConfig:
        """The resolved configuration in `run.json`.

        Raises:
            ConfigError: As `read_run`, or there is no configuration in it, or one that this focalkit cannot read.
        """
        file = self.path / "run.json"
        config = self.read_run().get("config")
        if not isinstance(config, dict):
            raise ConfigError(f"{file}: holds no configuration; expected what `focalkit train` writes")
        found = config_from_dict(config, source=str(file))
        if problems := _out_of_range(found):
            raise ConfigError(f"{file}: {'; '.join(problems)}")
        return found

    def read_categories(self) -> list[dict[str, Any]]:
        """The classes in `run.json`, {"id": 3, "name": "cat"}, in the order of the model's outputs.

        Raises:
            ConfigError: As `read_run`, or they are not there or of another form.
        """
        return checked_categories(self.read_run().get("categories"), self.path / "run.json")

    def write_run(self, run: Mapping[str, Any]) -> None:
        """Write `run.json`; the schema number is added."""
        write_json_atomic(self.path / "run.json", {"schema": SCHEMA, **run})

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        """Add one line to `metrics.jsonl`."""
        append_text(self.path / "metrics.jsonl", dump_json(row) + "\n")

    def read_metrics(self) -> list[dict[str, Any]]:
        """All lines of `metrics.jsonl`, without one that a killed process left half written."""
        file = self.path / "metrics.jsonl"
        if not file.is_file():
            return []
        rows = []
        try:
            lines = read_text(file, errors="replace").splitlines()
        except ValueError as error:
            raise ConfigError(f"{file}: {error}") from error
        for line in lines:
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(row, dict) and isinstance(row.get("step"), int) and isinstance(row.get("kind"), str):
                rows.append(row)
        return rows

    def truncate_metrics(self, step: int) -> None:
        """Drop what was written after optimiser step `step`: a resumed run takes those steps again."""
        rows = [row for row in self.read_metrics() if row.get("step", 0) <= step]
        write_text_atomic(self.path / "metrics.jsonl", "".join(dump_json(row) + "\n" for row in rows))

    def read_result(self) -> dict[str, Any]:
        """`result.json`, or an empty dict where there is none yet."""
        file = self.path / "result.json"
        return _read_json(file) if file.is_file() else {}

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Replace `result.json`."""
        write_json_atomic(self.path / "result.json", dict(result))

    def clear(self) -> None:
        """Delete what a run writes, by name; other files stay, and all of them where there is no run."""
        if not self.exists:
            return
        for name in _FILES[1:]:
            (self.path / name).unlink(missing_ok=True)
        for name in _FOLDERS:
            shutil.rmtree(self.path / name, ignore_errors=True)
        for file in [file for pattern in _TABLES for file in self.path.glob(pattern)]:
            file.unlink(missing_ok=True)
            with suppress(OSError):  # something else is in it
                file.parent.rmdir()
        (self.path / _FILES[0]).unlink()  # last: without it nothing says that the others are a run's


def claim(path: Path, *, resume: bool = False, force: bool = False) -> RunDir:
    """The directory for a run that is about to start or continue.

    | what is there   | plain | `resume`  | `force` |
    |-----------------|-------|-----------|---------|
    | no run          | start | start     | start   |
    | its files alone | error | error     | error   |
    | unfinished run  | error | continue  | start   |
    | finished run    | error | unchanged | start   |

    Nothing is deleted yet but what killed processes left half written; with `force`, call `clear` when everything else
    is known to be in order.

    Raises:
        ConfigError: As in the table, or `resume` and `force` together, or `path` is a file.
    """
    run = RunDir(path)
    if resume and force:
        raise ConfigError("--resume continues the run and --force deletes it: give one of them")
    if run.path.exists() and not run.path.is_dir():
        raise ConfigError(f"{path}: expected a directory for the run, got a file")
    if not run.exists and (left := [n for n in (*_FILES, *_FOLDERS) if (run.path / n).exists()]):
        raise ConfigError(
            f"{path}: has no run.json but holds {', '.join(left)}, which a run would write over and --force does not "
            "delete; choose another --out"
        )
    if force:
        return run
    if run.exists and not resume:
        if run.finished:
            raise ConfigError(
                f"{path}: holds a finished run; choose another --out, or --force to delete it and start over"
            )
        raise ConfigError(f"{path}: holds an unfinished run; --resume continues it, --force deletes it and starts over")
    for folder in (run.path, *(run.path / name for name in _FOLDERS)):
        remove_leftovers(folder)
    return run


def checked_categories(value: object, source: object) -> list[dict[str, Any]]:
    """`value` if it is a list of classes, {"id": 3, "name": "cat"}, as runs and weights files hold.

    Raises:
        ConfigError: It is something else.
    """
    if not isinstance(value, list) or not value:
        raise ConfigError(f"{source}: its categories are {value!r:.80}, expected a list of classes with id and name")
    for row, item in enumerate(value):
        good = isinstance(item, dict) and type(item.get("id")) is int and isinstance(item.get("name"), str)
        if not good:
            raise ConfigError(f"{source}: categories[{row}] is {item!r:.80}, expected a class with id and name")
    return value


_RANGES = {"min_size": 10**5, "max_size": 10**5}
_MODEL_RANGES = {"fpn_channels": 2**16, "head_channels": 2**16, "head_depth": 100, "neck_depth": 100}


def _out_of_range(config: TrainConfig) -> list[str]:
    """Sizes in a file that no model and no image has; the memory would not hold them."""
    asked = [(name, getattr(config, name), most) for name, most in _RANGES.items()]
    asked += [(f"model.{name}", getattr(config.model, name), most) for name, most in _MODEL_RANGES.items()]
    return [f"{name} is {value}, expected 1 to {most}" for name, value, most in asked if not 1 <= value <= most]


def _read_json(file: Path) -> dict[str, Any]:
    try:
        value = read_json(file)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: cannot be read as JSON ({error})") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{file}: expected a JSON object, got {type(value).__name__}")
    return value
