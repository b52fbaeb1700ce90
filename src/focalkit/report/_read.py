"""A run directory as it lies on disk, read with patience.

Only `run.json` must be there and sound. Everything else may be missing, half written (a killed run) or damaged: the
part is left empty and a sentence about it goes into `RunRecord.notes`, to be shown where the part would have been.
Pictures are embedded as they are; nothing here decodes an image.
"""

import base64
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from focalkit._config_io import grouped
from focalkit._files import read_json, read_text
from focalkit._runs import RunDir

Json = dict[str, Any]
MEDIA_TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}


@dataclass(frozen=True)
class Picture:
    """One gallery entry; `uri` is None where the file is missing, and then `note` says so."""

    kind: str
    caption: str
    file_name: str
    score: float | None
    uri: str | None
    note: str = ""


@dataclass(frozen=True)
class RunRecord:
    """Everything the report knows about one run. Missing parts are empty; `notes[part]` says why."""

    path: Path
    name: str
    info: Json
    train: tuple[Json, ...] = ()
    val: tuple[Json, ...] = ()
    result: Json = field(default_factory=dict)
    evaluation: Json = field(default_factory=dict)
    calibration: Json = field(default_factory=dict)
    autopsy: Json = field(default_factory=dict)
    pictures: tuple[Picture, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def config(self) -> Json:
        """The resolved configuration in today's groups, empty where `run.json` has none."""
        return grouped(_mapping(self.info.get("config")))

    def evaluated(self, part: str) -> Json:
        """A part of the evaluation that is an object; empty where it is missing or something else."""
        return _mapping(self.evaluation.get(part))

    @property
    def finished(self) -> bool:
        """Whether the run says of itself that it came to its end."""
        return bool(self.result.get("finished", bool(self.result)))

    @property
    def metrics(self) -> dict[str, float]:
        """COCO numbers: of the evaluation, else of the result, else of the best validation while training."""
        for source in (self.evaluation.get("metrics"), self.result.get("metrics"), self.best_validation):
            found = {
                k: float(v) for k, v in _mapping(source).items() if k[:2] in ("AP", "AR") and number(v) is not None
            }
            if found:
                return found
        return {}

    @property
    def best_validation(self) -> Json:
        """The validation record with the highest AP."""
        return max((v for v in self.val if number(v.get("AP")) is not None), key=lambda v: v["AP"], default={})


def read_run(path: Path) -> RunRecord:
    """Read a run directory.

    Raises:
        ConfigError: `path` is no run directory, or its `run.json` cannot be read. It is an InputError.
    """
    info = RunDir(path).read_run()
    notes: dict[str, str] = {}
    records = _read_lines(path / "metrics.jsonl", notes)
    result = _read_part(path / "result.json", "result", "The run has not finished", notes)
    evaluation = _read_part(path / "evaluation.json", "evaluation", "The run has not been evaluated", notes)
    return RunRecord(
        path=path,
        name=path.resolve().name,
        info=info,
        train=tuple(r for r in records if r.get("kind") == "train"),
        val=tuple(r for r in records if r.get("kind") == "val"),
        result=result,
        evaluation=evaluation,
        calibration=_read_calibration(path),
        autopsy=_read_part(
            path / "autopsy.json", "autopsy", "Training did not stop at a loss that is not finite", notes
        ),
        pictures=_read_pictures(path, evaluation),
        notes=notes,
    )


def number(value: object) -> float | None:
    """A finite float, or None. COCO writes -1 where there is nothing to measure; that is None too."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value == -1:
        return None
    return float(value)


def _mapping(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _read_object(path: Path) -> tuple[Json, str]:
    try:
        value = read_json(path)
    except (OSError, ValueError) as error:  # ValueError: not JSON, or not UTF-8
        return {}, f"cannot be read ({error})"
    if not isinstance(value, dict):
        return {}, f"expected a JSON object, found {type(value).__name__}"
    return value, ""


def _read_part(path: Path, part: str, absent: str, notes: dict[str, str]) -> Json:
    if not path.is_file():
        notes[part] = f"{absent}: there is no {path.name}."
        return {}
    value, problem = _read_object(path)
    if problem:
        notes[part] = f"{path.name}: {problem}."
    return value


def _read_calibration(path: Path) -> Json:
    """The numbers of the calibration that the run applies; empty where it applies none."""
    if not (path / "calibration.json").is_file():
        return {}
    value, _ = _read_object(path / "calibration" / "report.json")
    return value if "curves" in value and "thresholds" in value else {}


def _read_lines(path: Path, notes: dict[str, str]) -> list[Json]:
    if not path.is_file():
        notes["metrics"] = "Nothing was recorded while training: there is no metrics.jsonl."
        return []
    try:
        lines = read_text(path, errors="replace").splitlines()
    except (OSError, ValueError) as error:
        notes["metrics"] = f"metrics.jsonl: cannot be read ({error})."
        return []
    records: list[Json] = []
    damaged = 0
    for line in lines:
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            damaged += 1
            continue
        if isinstance(record, dict):
            records.append(record)
        else:
            damaged += 1
    if damaged:
        left_out = "1 damaged line" if damaged == 1 else f"{damaged} damaged lines"
        notes["metrics"] = f"{left_out} of metrics.jsonl left out, as a process killed while writing leaves them."
    elif not records:
        notes["metrics"] = "Nothing was recorded while training: metrics.jsonl is empty."
    return records


def _read_pictures(root: Path, evaluation: Json) -> tuple[Picture, ...]:
    entries = evaluation.get("gallery")
    if not isinstance(entries, list):
        return ()
    return tuple(_read_picture(root, entry) for entry in entries if isinstance(entry, dict))


def _read_picture(root: Path, entry: Json) -> Picture:
    name = str(entry.get("file", ""))
    path = root / name
    uri, note = None, ""
    if root.resolve() not in path.resolve().parents:
        note = f"{name!r} lies outside the run directory and was not read."
    elif path.suffix.lower() not in MEDIA_TYPES:
        note = f"{name!r} is no JPEG, PNG or WebP file."
    elif not path.is_file():
        note = f"The picture {name} is missing."
    else:
        data = base64.b64encode(path.read_bytes()).decode("ascii")
        uri = f"data:{MEDIA_TYPES[path.suffix.lower()]};base64,{data}"
    return Picture(
        kind=str(entry.get("kind", "")),
        caption=str(entry.get("caption", "")),
        file_name=str(entry.get("file_name", "")),
        score=number(entry.get("score")),
        uri=uri,
        note=note,
    )
