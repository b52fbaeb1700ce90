"""Fits that the processes of one job share: the first one makes the comparison, the others join in every fit."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from focalkit.compare.engines import threads_for
from focalkit.compare.methods import Method
from focalkit.compare.plan import Job
from focalkit.errors import ConfigError, DataError, FocalkitError, ProcessDiedError
from focalkit.tasks import Fitted, Splits, open_task

ALIKE = (FocalkitError, ValueError, TypeError, ArithmeticError)
"""Failures that follow from the method and the data, at the same place in every process."""
PATIENCE = timedelta(days=7)
"""The others wait so long while the first one reads data or writes results; one that has died is found at once."""
AGREED_WITHIN = timedelta(seconds=60)
"""A process that has failed waits so long for the others to say that they have too."""


@dataclass(frozen=True)
class Asked:
    """A fit that the first process begins."""

    job: Job
    method: Method
    seed: int
    test: bool
    """Whether the test part is there."""


def fit(job: Job, method: Method, splits: Splits, seed: int, folder: Path) -> Fitted:
    """Fit a method, together with the other processes of the job where there are any.

    Raises:
        FocalkitError, ValueError, TypeError, ArithmeticError: The method cannot be fitted; all processes know.
        ProcessDiedError: Another process has ended, or this one has failed alone, as where memory runs out, and ends.
    """
    if count() > 1:
        _tell(Asked(job, method, seed, splits.test is not None))
    return _fit(job, method, splits, seed, folder)


def follow() -> None:
    """What the processes after the first do: join in every fit until there are no more.

    Raises:
        ProcessDiedError: Another process has ended or could not go on, or this one has failed alone.
    """
    from focalkit.compare.cell import read

    while (asked := _tell(None)) is not None:
        if isinstance(asked, str):
            raise ProcessDiedError(f"process 0 of {count()} could not go on: {asked}")
        job, splits, problem = asked.job, None, ""
        try:
            splits = read(job.task, job.source, asked.seed)
            if splits.fingerprint != job.fingerprint:
                raise DataError(job.source.path, ["are other data than those of the first process"])
        except (FocalkitError, OSError) as error:
            problem = str(error)
        with TemporaryDirectory() as folder:
            try:
                given = splits if asked.test or splits is None else splits.without_test()
                _fit(job, asked.method, given, asked.seed, Path(folder), problem)
            except ProcessDiedError:
                raise
            except ALIKE:  # the first process says it
                continue


@contextmanager
def leading() -> Iterator[None]:
    """What the first process does: inside, it makes the comparison; at the end the others are told that, or why not."""
    if count() == 1:
        yield
        return
    _line()
    try:
        yield
    except ProcessDiedError:  # no one is there to be told
        raise
    except Exception as error:
        _tell(str(error) if isinstance(error, FocalkitError) else f"{type(error).__name__}: {error}")
        raise
    _tell(None)


def count() -> int:
    """Processes that share every fit."""
    import torch.distributed as dist

    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def is_first() -> bool:
    """Whether this process makes the comparison, and does not follow."""
    import torch.distributed as dist

    return count() == 1 or dist.get_rank() == 0


def check_shared(task: str, engine: str, jobs: int) -> None:
    """Raises ConfigError where the fits of a task cannot be shared, or several would run at the same time."""
    if not getattr(open_task(task), "shares_fits", False):
        raise ConfigError(
            f"several processes share a fit of images of one class each; the task {task!r} has no such fit:"
            " --jobs N makes N fits at the same time, and `focalkit train --devices N` divides a detector's"
        )
    if jobs > 1 or engine == "ray":
        raise ConfigError("the processes share every fit, so there is one fit at a time: leave out --jobs and --engine")


def _fit(job: Job, method: Method, splits: Splits | None, seed: int, folder: Path, problem: str = "") -> Fitted:
    task, budget, n = open_task(job.task), job.budget, count()
    if n == 1:
        assert splits is not None
        return task.fit(method, splits, budget, seed, folder)
    import torch.distributed as dist

    from focalkit.training.launch import lost_peers_explained

    problems: list[str] = [""] * n
    with lost_peers_explained():
        dist.all_gather_object(problems, problem, group=_line())
        for rank, said in enumerate(problems):
            if said:
                raise DataError(job.source.path, [f"process {rank}: {said}"])
        votes: Any = dist.new_group(backend="gloo", timeout=AGREED_WITHIN)
    assert splits is not None
    shared = replace(budget, threads=threads_for(n))
    fitted, failure = _tried(lambda: task.fit(method, splits, shared, seed, folder))
    try:
        with lost_peers_explained():
            said = f"{type(failure).__name__}: {failure}" if failure else ""
            dist.all_gather_object(problems, said, group=votes)
            dist.destroy_process_group(votes)
    except ProcessDiedError:
        if failure is not None:
            raise _leaving(failure) from failure
        raise
    if failure is not None:
        raise failure
    for rank, said in enumerate(problems):
        if said:
            raise FocalkitError(f"process {rank}: {said}")
    assert fitted is not None
    return fitted


def _tried(fit: Callable[[], Fitted]) -> tuple[Fitted | None, Exception | None]:
    """What a fit gives, or the failure that all processes can be expected to meet."""
    from focalkit.training.launch import lost_peers_explained

    try:
        with lost_peers_explained():
            return fit(), None
    except ProcessDiedError:
        raise
    except ALIKE as error:
        return None, error
    except Exception as error:  # the others may be in the middle of a step: nothing can be agreed with them
        raise _leaving(error) from error


def _leaving(error: Exception) -> ProcessDiedError:
    import torch.distributed as dist

    from focalkit.training.launch import LeavingError

    return LeavingError(f"process {dist.get_rank()} of {count()} has failed: {type(error).__name__}: {error}")


def _tell(what: Asked | str | None) -> Any:
    """From the first process to the others; returns it there."""
    import torch.distributed as dist

    from focalkit.training.launch import lost_peers_explained

    message: list[Any] = [what]
    with lost_peers_explained():
        dist.broadcast_object_list(message, 0, group=_line())
    return message[0]


def _line() -> Any:
    """The group in which the processes talk between fits; all make it before the first one begins its work."""
    import torch.distributed as dist

    return _line_of(dist.group.WORLD)


@lru_cache(maxsize=1)
def _line_of(world: object) -> Any:
    import torch.distributed as dist

    return dist.new_group(backend="gloo", timeout=PATIENCE)
