"""Starting one process per device, where torchrun or Slurm has not done it."""

import multiprocessing
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException, spawn

from focalkit.config import TrainConfig
from focalkit.data.loading import STOPPING, WHOSE, leave_signals_to_parent
from focalkit.errors import FocalkitError, ProcessDiedError

GRACE = 5.0
"""Seconds in which processes end by themselves after one has failed, before they are ended."""


class LeavingError(ProcessDiedError):
    """This process ends its job, because of a failure that the others do not share; the message says which."""


@contextmanager
def lost_peers_explained() -> Iterator[None]:
    """Makes a `ProcessDiedError` of what torch raises in a process when another one of its job is no longer there."""
    try:
        yield
    except RuntimeError as error:
        said = str(error).strip().split("\n")[0]
        if not isinstance(error, dist.DistError) and "gloo" not in said and "by peer" not in said:
            raise
        raise ProcessDiedError(
            f"another process of this job has ended, or its machine cannot be reached ({said}); what it said last tells"
            " why"
        ) from error


def is_first_process() -> bool:
    """Whether this process is rank 0 of its job, as far as the environment tells; true without a launcher."""
    for name, told in (("RANK", "RANK" in os.environ), ("SLURM_PROCID", _is_task_of_slurm())):
        if told:
            return os.environ[name] == "0"
    return all(os.environ.get(name, "0") == "0" for name in ("LOCAL_RANK", "NODE_RANK", "GROUP_RANK"))


def several_to_start(config: TrainConfig) -> bool:
    """Whether `config` asks for more processes on this machine than a launcher has started: this one alone."""
    return config.runtime.devices > 1 and not is_launched()


def is_launched() -> bool:
    """Whether this process is one of those that torchrun, Slurm or focalkit's launcher has started."""
    return "LOCAL_RANK" in os.environ or _is_task_of_slurm()


def _is_task_of_slurm() -> bool:
    """Whether srun has started it. Of Slurm's variables a batch script has some too, and a shell of srun's has all."""
    shell = os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive")  # as Lightning tells it
    return {"SLURM_PROCID", "SLURM_STEP_NUM_TASKS"} <= os.environ.keys() and not shell


def started_together() -> int:
    """Processes that torchrun or srun has started as one job, on all machines; 1 for a process on its own."""
    name = "WORLD_SIZE" if "LOCAL_RANK" in os.environ else "SLURM_STEP_NUM_TASKS"
    return int(os.environ.get(name, "1")) if is_launched() else 1


def in_every_process(work: Callable[[Any], object], job: object, count: int) -> None:
    """Run `work(job)` in `count` new processes, each with its rank in the environment, and wait for all.

    The address of the first machine comes from MASTER_ADDR, MASTER_PORT and NODE_RANK where they are set, as for
    torchrun. The processes end when this one dies, is asked to stop, or one of them fails.

    Raises:
        FocalkitError: What `work` raised in one of them, if it was one of focalkit's; ProcessDiedError where one was
            killed.
        SystemExit: This process got SIGTERM.
    """
    messages = mp.get_context("spawn").SimpleQueue()
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "NODE_RANK": "0"}
    place |= {name: os.environ[name] for name in place if name in os.environ}
    with _signals_blocked():  # the children start like that, and listen to this process alone
        context: Any = spawn(_child, (work, job, place, messages, count), nprocs=count, join=False)
    try:
        while not context.join(grace_period=GRACE):
            pass
    except (ProcessRaisedException, ProcessExitedException) as error:
        if not messages.empty():
            raise messages.get() from None
        raise _failure(error, [process.exitcode for process in context.processes]) from error
    finally:
        for process in context.processes:
            process.kill()
            process.join()


def _failure(error: Exception, exits: list[int | None]) -> Exception:
    """What ended the job. A process that is killed makes the others fail, so it is the cause."""
    for rank, status in enumerate(exits):
        if status is not None and status < 0:
            return ProcessDiedError(
                f"process {rank} of {len(exits)} was killed by {signal.Signals(-status).name}; the others were ended."
                " If memory ran out, a smaller --batch-size, more --accumulate or fewer --workers need less"
            )
    said = str(error).strip()
    unforeseen = RuntimeError(f"{said.splitlines()[-1]} (in one of {len(exits)} processes)")
    unforeseen.add_note(said)
    return unforeseen


@contextmanager
def _signals_blocked() -> Iterator[None]:
    if not WHOSE:
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _child(
    rank: int, work: Callable[[Any], object], job: object, place: dict[str, str], messages: Any, count: int
) -> None:
    leave_signals_to_parent(128 + signal.SIGTERM)
    # subtle: a spawned process would spawn its loading processes too, which takes them seconds to start
    multiprocessing.set_start_method(multiprocessing.get_all_start_methods()[0], force=True)
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        del os.environ[name]  # they tell of the process that started this one
    os.environ.update(place, LOCAL_RANK=str(rank))
    if "OMP_NUM_THREADS" not in os.environ:  # the processes share the cores
        torch.set_num_threads(max(torch.get_num_threads() // count, 1))
    try:
        work(job)
    except FocalkitError as error:
        if isinstance(error, ProcessDiedError) and not isinstance(error, LeavingError):
            raise  # of another process, whose end this one's parent knows more of
        messages.put(FocalkitError(str(error)) if type(error).__init__ is not Exception.__init__ else error)
        raise


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
