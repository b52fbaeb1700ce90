"""Starting one process per device, where torchrun or Slurm has not done it."""

import os
import socket
from collections.abc import Callable
from typing import Any

import torch
import torch.multiprocessing as mp

from focalkit.config import TrainConfig
from focalkit.errors import FocalkitError


def is_first_process() -> bool:
    """Whether this process is rank 0 of its job, as far as the environment tells; true without a launcher."""
    for name in ("RANK", "SLURM_PROCID"):
        if name in os.environ:
            return os.environ[name] == "0"
    return all(os.environ.get(name, "0") == "0" for name in ("LOCAL_RANK", "NODE_RANK", "GROUP_RANK"))


def several_to_start(config: TrainConfig) -> bool:
    """Whether `config` asks for more processes on this machine than a launcher has started: this one alone."""
    return config.devices > 1 and not {"LOCAL_RANK", "SLURM_PROCID"} & os.environ.keys()


def in_every_process(work: Callable[[Any], object], job: object, count: int) -> None:
    """Run `work(job)` in `count` new processes, each with its rank in the environment, and wait for all.

    The address of the first machine comes from MASTER_ADDR, MASTER_PORT and NODE_RANK where they are set, as for
    torchrun. The processes end when this one dies.

    Raises:
        FocalkitError: What `work` raised in one of them, if it was one of focalkit's; the others are ended.
    """
    messages = mp.get_context("spawn").SimpleQueue()
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "NODE_RANK": "0"}
    place |= {name: os.environ[name] for name in place if name in os.environ}
    try:
        mp.spawn(_child, args=(work, job, place, messages, count), nprocs=count)  # pyright: ignore[reportPrivateImportUsage]
    except mp.ProcessRaisedException as error:  # pyright: ignore[reportPrivateImportUsage]
        if not messages.empty():
            raise messages.get() from None
        raise FocalkitError(str(error)) from error


def _child(
    rank: int, work: Callable[[Any], object], job: object, place: dict[str, str], messages: Any, count: int
) -> None:
    os.environ.update(place, LOCAL_RANK=str(rank))
    if "OMP_NUM_THREADS" not in os.environ:  # the processes share the cores
        torch.set_num_threads(max(torch.get_num_threads() // count, 1))
    try:
        work(job)
    except FocalkitError as error:
        messages.put(FocalkitError(str(error)) if type(error).__init__ is not Exception.__init__ else error)
        raise


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
