"""Make one cell: read, tune, fit, predict, write. Whatever fails is the cell's, not the comparison's."""

import shutil
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from focalkit._runs import write_json_atomic, write_text_atomic
from focalkit.compare import together
from focalkit.compare._specs import with_values
from focalkit.compare.adjust import adjusted
from focalkit.compare.plan import Job, method_to_dict
from focalkit.compare.store import ERROR, Cell, Store, write_cell, write_outputs
from focalkit.errors import DataError, DivergedError, FocalkitError, ProcessDiedError
from focalkit.tasks import Source, Splits, open_task


@dataclass(frozen=True)
class Outcome:
    """What became of a job."""

    status: str
    seconds: float
    error: str = ""


def run(job: Job) -> Outcome:
    """Make the cell of `job`. A failure becomes a cell that says so; only an interruption comes out."""
    began = time.perf_counter()
    try:
        base = Store(job.out).cell(job.base, job.seed) if job.base else None
        if base is not None and base.status == "done":
            write_cell(job, lambda folder: _derive(job, base, folder))
        else:
            write_cell(job, lambda folder: _fit(job, folder))
    except ProcessDiedError:  # the next cell would fail by it too
        raise
    except Exception as error:
        message = str(error) if isinstance(error, FocalkitError) else f"{type(error).__name__}: {error}"
        autopsy = error.autopsy if isinstance(error, DivergedError) else None
        return failed(job, message, time.perf_counter() - began, traceback.format_exc(), autopsy)
    return Outcome("done", time.perf_counter() - began)


def failed(job: Job, error: str, seconds: float, trace: str = "", autopsy: Mapping[str, Any] | None = None) -> Outcome:
    """Write down that a cell could not be made; it is tried again by the next call."""
    record = {"status": "failed", "error": error, **_about(job)}

    def fill(folder: Path) -> dict[str, Any]:
        _begin(job, folder)
        write_text_atomic(folder / ERROR, f"{trace or error}".rstrip() + "\n")
        if autopsy is not None:
            write_json_atomic(folder / "autopsy.json", autopsy)
        return record

    write_cell(job, fill)
    return Outcome("failed", seconds, error)


@lru_cache(maxsize=1)
def read(task: str, source: Source, seed: int) -> Splits:
    """The data of a seed; kept for the next cell, which usually has the same seed."""
    return open_task(task).read(source, seed)


def _fit(job: Job, folder: Path) -> dict[str, Any]:
    splits = read(job.task, job.source, job.seed)
    if splits.fingerprint != job.fingerprint:
        raise DataError(job.source.path, ["changed since the comparison began; start over in another --out"])
    _begin(job, folder)
    method, cost, tuned = job.method, {}, {}
    if job.tune:
        from focalkit.compare.tune import tune

        began = time.perf_counter()
        trials = tune(job, read(job.task, job.source, job.tune_seed).without_test())
        tuned = {"values": trials.best, "trials": trials.count, "value": trials.value, "default": trials.default}
        method = with_values(method, trials.best)
        cost["tune_seconds"] = trials.seconds
        cost["tune_wait_seconds"] = time.perf_counter() - began
    began = time.perf_counter()
    fitted = together.fit(job, method, splits, job.seed, folder)
    cost["fit_seconds"] = time.perf_counter() - began
    began = time.perf_counter()
    facts = dict(fitted.facts)
    for part in ("val", "test"):
        outputs = adjusted(fitted.outputs(part), method.adjust, splits.class_counts, facts)
        write_outputs(folder / f"{part}.npz", outputs)
    cost["predict_seconds"] = time.perf_counter() - began
    cost["peak_memory_mb"] = _peak_memory_mb()
    fitted.save(folder)
    counts = {"classes": list(splits.classes), "class_counts": list(splits.class_counts), "sizes": dict(splits.sizes)}
    # subtle: some facts are known only when the parts have been looked at
    used = {"method": method_to_dict(method), "tuned": tuned, "facts": dict(fitted.facts), "cost": cost}
    return {"status": "done", **_about(job), **counts, **used}


def _derive(job: Job, base: Cell, folder: Path) -> dict[str, Any]:
    """The cell of a method that trains like another one, from that one's files."""
    _begin(job, folder)
    record = base.record
    for file in base.folder.iterdir():
        if file.is_file() and file.name not in ("run.json", "cell.json", "val.npz", "test.npz"):
            shutil.copy2(file, folder / file.name)
    for part, outputs in (("val", base.val), ("test", base.test)):
        changed = adjusted(outputs, job.method.adjust, record["class_counts"], record["facts"])
        write_outputs(folder / f"{part}.npz", changed)
    return {**record, **_about(job), "method": method_to_dict(job.method), "derived_from": job.base}


def _begin(job: Job, folder: Path) -> None:
    versions = {name: version(name) for name in ("focalkit", "torch", "numpy")}
    asked = method_to_dict(job.method)
    write_json_atomic(
        folder / "run.json",
        {
            "method": asked,
            **_about(job),
            "tune": job.tune,
            "versions": versions,
            "began": datetime.now(UTC).isoformat(),
        },
    )


def _about(job: Job) -> dict[str, Any]:
    budget = {"steps": job.budget.steps, "seconds": job.budget.seconds, "threads": job.budget.threads}
    return {"task": job.task, "name": job.method.name, "seed": job.seed, "budget": budget, "data": str(job.source.path)}


def _peak_memory_mb() -> float | None:
    """The most that this process has held so far, other cells it made before included."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


def job_among(job: Job, workers: int, threads: int) -> Job:
    """The job for one of so many workers, with so many threads each."""
    return replace(job, budget=replace(job.budget, threads=threads, beside=workers))
