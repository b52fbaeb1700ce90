"""The watch on loading processes: those that have died, or do nothing for a minute, end the loading with the reason."""

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from focalkit.errors import FocalkitError

POLL, SILENT = 10.0, 60.0
"""Seconds between looks at workers that send nothing, and seconds of doing nothing after which they are given up."""

END: Any = object()


class LoadingError(FocalkitError):
    """A loading process has died, or has stopped doing anything."""


@contextmanager
def deaths_explained() -> Iterator[None]:
    """Makes a `LoadingError` of what DataLoader raises, at any point of the program, when a worker has died."""
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise LoadingError(_death(error)) from error


def next_batch(batches: Iterator[Any]) -> Any:
    """The next of a DataLoader's batches, or `END`.

    Raises:
        LoadingError: A worker is dead, or all are silent; they may be slow.
    """
    with watched(getattr(batches, "_workers", ())) as silent:
        while True:
            try:
                return next(batches, END)
            except RuntimeError as error:
                if silent.is_set() or "timed out" not in str(error):
                    raise


@contextmanager
def watched(workers: Sequence[Any]) -> Iterator[threading.Event]:
    """Within it, workers that are silent are killed, and what this breaks here becomes a `LoadingError`.

    A thread does this: a worker that freezes while it hands a batch over leaves this process in the middle of reading,
    where no timeout ends it. It lasts no longer than the `with`. The event is set when it has found silence.
    """
    over, silent = threading.Event(), threading.Event()
    thread = threading.Thread(target=_kill_silent, args=(workers, over, silent), name="watch", daemon=True)
    try:
        try:
            thread.start()
            yield silent
        finally:
            over.set()
            if thread.is_alive():
                thread.join()
    except Exception as error:
        if silent.is_set():
            raise _silence(workers) from error
        if "DataLoader worker" in str(error) or _cut_off(error, workers):
            raise LoadingError(_death(error, workers)) from error
        if "DataLoader timed out" in str(error):
            text = f"the loading processes have not answered for {SILENT / 2:.0f} s. --workers 0 loads without them"
            raise LoadingError(text) from error
        raise
    if silent.is_set():
        raise _silence(workers)


def _kill_silent(workers: Sequence[Any], over: threading.Event, silent: threading.Event) -> None:
    # subtle: looks are counted, not seconds, in which this process may have been stopped together with its workers
    before, quiet = None, 0
    while not over.wait(POLL):
        done = [_work_of(worker.pid) for worker in workers]
        before, quiet = done, quiet + 1 if done == before else 0
        if quiet * POLL >= (SILENT if None not in done else 10 * SILENT) - 2 * POLL:
            silent.set()
            for worker in workers:
                worker.kill()  # what does nothing does not listen either
            return


def _work_of(pid: int) -> object:
    """Something that changes while a process computes or reads; None where that is not known."""
    try:
        times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        counts = Path(f"/proc/{pid}/io").read_text() if os.access(f"/proc/{pid}/io", os.R_OK) else ""
    except OSError:
        return None
    return times, counts


def _cut_off(error: Exception, workers: Sequence[Any]) -> bool:
    """Whether a worker died while it handed a batch over: its connection breaks before DataLoader knows of its end."""
    if not isinstance(error, (OSError, EOFError)) or not workers:
        return False
    with suppress(RuntimeError):  # torch's word on the death, from a signal handler
        return bool(wait([worker.sentinel for worker in workers], timeout=5))
    return True


def _silence(workers: Sequence[Any]) -> LoadingError:
    for worker in workers:
        with suppress(RuntimeError):  # torch's word on workers that die, from a signal handler
            worker.join(1)
    return LoadingError(
        f"the loading processes have sent no batch and done nothing for {SILENT:.0f} s. Is the disk or the network of "
        "the data stuck? --workers 0 loads without them"
    )


def _death(error: Exception, workers: Sequence[Any] = ()) -> str:
    reason = str(error).strip().split("\n")[0].rstrip(".")
    if killed := [signal.Signals(-worker.exitcode).name for worker in workers if (worker.exitcode or 0) < 0]:
        reason = f"killed by {killed[0]}"
    return f"a loading process ended ({reason}). If memory ran out, fewer --workers need less, and 0 none"
