"""Several processes of one job, which find each other as those that torchrun or Slurm has started do.

They are copies of this process: they start at once, and what a test has patched is patched in them.
"""

import multiprocessing
import os
import socket
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Launcher = Callable[[int, int, int], dict[str, str]]


@dataclass(frozen=True)
class Failed:
    """What a process ended with instead of a value: an exception, or a signal."""

    kind: str
    message: str


def torchrun(rank: int, count: int, port: int) -> dict[str, str]:
    """What torchrun tells its processes."""
    ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GROUP_RANK": 0, "TORCHELASTIC_RUN_ID": "none"}
    return {name: str(value) for name, value in (ranks | place).items()}


def slurm(rank: int, count: int, port: int) -> dict[str, str]:
    """What srun tells its tasks; the port follows from the job's number."""
    ranks = {"SLURM_PROCID": rank, "SLURM_LOCALID": rank, "SLURM_NTASKS": count, "SLURM_NTASKS_PER_NODE": count}
    place = {"SLURM_NODEID": 0, "SLURM_NNODES": 1, "SLURM_NODELIST": "127.0.0.1"}
    place |= {"SLURM_STEP_NUM_TASKS": count}
    job = {"SLURM_JOB_ID": 70000 + port - 15000, "SLURM_JOB_NAME": "train"}
    return {name: str(value) for name, value in (ranks | place | job).items()}


def in_ranks(count: int, work: Callable[[int], Any], launcher: Launcher = torchrun, within: float = 60) -> list[Any]:
    """What `work(rank)` returns in each of `count` processes, or a `Failed`.

    Raises:
        TimeoutError: One of them is still running after `within` seconds; all are killed.
    """
    port, context = free_port(), multiprocessing.get_context("fork")
    started = []
    for rank in range(count):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_run, args=(work, rank, launcher(rank, count, port), theirs))
        with warnings.catch_warnings():  # Python 3.12 warns of threads that the copy would lack; nobody waits for them
            warnings.simplefilter("ignore", DeprecationWarning)
            process.start()
        theirs.close()
        started.append((process, ours))
    until = time.monotonic() + within
    try:
        return [_result(process, pipe, until) for process, pipe in started]
    finally:
        for process, _ in started:
            process.kill()
            process.join()


def _run(work: Callable[[int], Any], rank: int, variables: dict[str, str], pipe: Any) -> None:
    os.environ.update(variables)
    try:
        pipe.send(work(rank))
    except BaseException as error:
        pipe.send(Failed(type(error).__name__, str(error)))
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _result(process: Any, pipe: Any, until: float) -> Any:
    if not pipe.poll(max(until - time.monotonic(), 0)):
        raise TimeoutError(f"process {process.name} has not ended")
    try:
        return pipe.recv()
    except EOFError:
        process.join()
        return Failed("exit", str(process.exitcode))


def free_port() -> int:
    """From 15000 on and below 25000, where a Slurm job's number can lead."""
    while True:
        with socket.socket() as probe:
            port = 15000 + int.from_bytes(os.urandom(2)) % 10000
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
