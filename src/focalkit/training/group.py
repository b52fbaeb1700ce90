"""The process group of a job whose trainings are not Lightning's, as torchrun, Slurm or focalkit's launcher tell it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from focalkit.errors import ConfigError
from focalkit.training.launch import is_launched, lost_peers_explained


@contextmanager
def process_group(devices: int) -> Iterator[int]:
    """Inside, torch.distributed has a group of this job's processes; yields the rank of this one, 0 where it is alone.

    Args:
        devices: Processes of this machine, one a GPU where there are GPUs.

    Raises:
        ConfigError: A launcher has started another number of them, or there are fewer GPUs.
        ProcessDiedError: Another one of them has ended.
    """
    rank, local, world, here = _place(devices)
    if here != devices:
        raise ConfigError(f"{here} processes were started on this machine, and --devices is {devices}: make them equal")
    if world == 1:
        yield 0
        return
    on_gpu = torch.cuda.is_available()
    if on_gpu and devices > torch.cuda.device_count():
        raise ConfigError(f"devices is {devices}, but torch finds {torch.cuda.device_count()} GPUs here")
    if on_gpu:
        torch.cuda.set_device(local)
    with lost_peers_explained():
        dist.init_process_group("nccl" if on_gpu else "gloo", rank=rank, world_size=world)
        yield rank
        dist.destroy_process_group()  # not after a failure: it would wait for the others


def _place(devices: int) -> tuple[int, int, int, int]:
    """Rank, rank on this machine, and how many processes there are in all and on this machine."""
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    if not is_launched():
        return 0, 0, 1, 1
    if TorchElasticEnvironment.detect():
        known = TorchElasticEnvironment()
        return known.global_rank(), known.local_rank(), known.world_size(), int(os.environ["LOCAL_WORLD_SIZE"])
    if SLURMEnvironment.detect():
        known, nodes = SLURMEnvironment(auto_requeue=False), int(os.environ.get("SLURM_NNODES", "1"))
        os.environ |= {"MASTER_ADDR": known.main_address, "MASTER_PORT": str(known.main_port)}
        return known.global_rank(), known.local_rank(), known.world_size(), known.world_size() // nodes
    local = int(os.environ.get("LOCAL_RANK", "0"))
    return local, local, devices, devices
