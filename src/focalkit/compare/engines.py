"""Where cells are made: in this process, in several processes, or on a Ray cluster. Three functions, one signature.

    engine(jobs, work, workers, started) -> iterator over (job, result)

`work(job)` is called once for each job and does not raise; `started(job)` is told when a job begins. Where a worker
dies (killed, out of memory), its job is tried once more; a job that kills two workers has the result None.
"""

import contextlib
import multiprocessing
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from focalkit.errors import ConfigError

J = TypeVar("J")
R = TypeVar("R")
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")
TRIES = 2
ACCEPTS_WITHIN, ANSWERS_WITHIN = 5.0, 20.0
"""Seconds for a cluster to accept a connection, and to answer."""


def serial(
    jobs: Sequence[J], work: Callable[[J], R], workers: int, started: Callable[[J], None]
) -> Iterator[tuple[J, R | None]]:
    """One after another, in this process."""
    for job in jobs:
        started(job)
        yield job, work(job)


def processes(
    jobs: Sequence[J], work: Callable[[J], R], workers: int, started: Callable[[J], None]
) -> Iterator[tuple[J, R | None]]:
    """In `workers` processes, which share the processors evenly.

    A program that calls this needs the usual `if __name__ == "__main__":`, since new processes import it.
    """
    waiting = deque((job, TRIES) for job in jobs)
    busy: dict[Any, tuple[Any, J, int]] = {}
    idle: list[tuple[Any, Any]] = []
    try:
        while waiting or busy:
            while waiting and len(busy) < workers:
                fresh = not idle
                connection, process = _worker(work, workers) if fresh else idle.pop()
                job, tries = waiting.popleft()
                try:
                    connection.send(job)
                except OSError:  # it died idle, which is no fault of the job's; a fresh one's end counts
                    connection.close()
                    process.join()
                    if tries > fresh:
                        waiting.appendleft((job, tries - fresh))
                    else:
                        yield job, None
                    continue
                busy[connection] = (process, job, tries - 1)
                started(job)
            for ready in wait(list(busy)):
                connection = next(c for c in busy if c is ready)
                process, job, tries = busy.pop(connection)
                try:
                    result = connection.recv()
                except (EOFError, OSError):  # the worker is gone
                    connection.close()
                    process.join()
                    if tries:
                        waiting.appendleft((job, tries))
                    else:
                        yield job, None
                    continue
                idle.append((connection, process))
                yield job, result
    finally:
        for connection, process in [*idle, *((c, p) for c, (p, _, _) in busy.items())]:
            connection.close()
            process.terminate()
            process.join()


def ray(
    jobs: Sequence[J], work: Callable[[J], R], workers: int, started: Callable[[J], None]
) -> Iterator[tuple[J, R | None]]:
    """On a Ray cluster: a running one (`RAY_ADDRESS`, all its processors), else a local one of `workers` processors.

    The machines of a cluster need focalkit, and the data and the comparison's directory under the same paths.
    """
    try:
        import ray as library  # pyright: ignore[reportMissingImports]
        from ray.exceptions import RayError  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ConfigError("--engine ray needs the package ray: pip install 'focalkit[ray]'") from error

    ours = not library.is_initialized()
    if ours:
        address = os.environ.get("RAY_ADDRESS")
        _require_cluster(address or "")
        local = {} if address else {"num_cpus": workers, "include_dashboard": False}
        try:
            library.init(address=address, log_to_driver=False, **local)
        except ConnectionError as error:
            raise ConfigError(f"--engine ray found no cluster at {address!r}: {error}") from error
    remote = library.remote(max_retries=TRIES - 1)(work)
    places = max(1, int(library.cluster_resources().get("CPU", workers)))
    waiting, futures = deque(jobs), {}
    try:
        while waiting or futures:
            while waiting and len(futures) < places:  # a job is said to have started when there is a place for it
                job = waiting.popleft()
                futures[remote.remote(job)] = job
                started(job)
            for future in library.wait(list(futures))[0]:
                job = futures.pop(future)
                try:
                    yield job, library.get(future)
                except RayError:
                    yield job, None
    finally:
        for future in futures:
            library.cancel(future, force=True)
        if ours:
            library.shutdown()


ENGINES: dict[str, Callable[..., Iterator[tuple[Any, Any]]]] = {
    "serial": serial,
    "processes": processes,
    "ray": ray,
}
"""Name -> engine."""


def processors() -> int:
    """How many processors this process may use."""
    with contextlib.suppress(AttributeError):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads_for(workers: int) -> int:
    """Threads of each of `workers` workers, so that together they do not ask for more processors than there are.

    OMP_NUM_THREADS, where it is set, is the most that one worker takes.
    """
    share = max(1, processors() // max(1, workers))
    said = os.environ.get("OMP_NUM_THREADS", "")
    return min(share, int(said)) if said.isdigit() and int(said) else share


def _require_cluster(address: str) -> None:
    """Look whether a cluster answers at HOST:PORT: Ray itself tries for minutes before it says that none does.

    Raises:
        ConfigError: None does.
    """
    none = f"--engine ray found no cluster at {address!r}"
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():  # "auto", "local", or nothing
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ACCEPTS_WITHIN).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(f"{none}: {error}") from error
    if address.startswith("ray://"):  # its client gives up by itself
        return
    check = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        subprocess.run(check, check=True, capture_output=True, timeout=ANSWERS_WITHIN)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"{none}: something listens there, but does not answer as Ray does") from error


def _worker(work: Callable[[Any], Any], workers: int) -> tuple[Any, Any]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, work), daemon=True)
    # subtle: OpenMP reads these once, when its first library loads; a spawned process inherits them before any import
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, str(threads_for(workers))))
    try:
        process.start()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    theirs.close()
    return ours, process


def _serve(connection: Connection, work: Callable[[Any], Any]) -> None:
    """The life of a worker: jobs in, results out, until the other end closes or is gone."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    while True:
        try:
            job = connection.recv()
            connection.send(work(job))
        except (EOFError, OSError):
            return
