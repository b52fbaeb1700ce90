"""Weights, gradients and the optimiser's state divided over the processes (torch's FSDP2, `fully_shard`)."""

from collections.abc import Iterator
from typing import Any

import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from focalkit.detection.models.detr.detector import AnyDetector


def sharding(ranks: int) -> ModelParallelStrategy:
    """Lightning's strategy; its checkpoints are whole files that the first process writes, as those of other runs."""
    return ModelParallelStrategy(data_parallel_size=ranks, tensor_parallel_size=1, save_distributed_checkpoint=False)


def shard(model: AnyDetector, mesh: Any) -> None:
    """Divide a detector over a one-dimensional device mesh: backbone, neck, and the rest as one.

    Each part is gathered for its forward pass and stays whole until its backward pass. Weights that lie in
    channels_last are laid out anew, for only contiguous ones can be divided.
    """
    model.to(memory_format=torch.contiguous_format)
    for part in (model.backbone, model.neck, model):
        fully_shard(part, mesh=mesh, reshard_after_forward=False)


def gather(model: nn.Module) -> None:
    """Make every part whole; all processes call it. Forward passes without gradients then exchange nothing."""
    for part in _parts(model):
        part.unshard()


def divide(model: nn.Module) -> None:
    """Undo `gather`."""
    for part in _parts(model):
        part.reshard()


def whole(value: Tensor) -> Tensor:
    """A tensor of all processes; itself where it is not divided."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def _parts(model: nn.Module) -> Iterator[FSDPModule]:
    return (module for module in model.modules() if isinstance(module, FSDPModule))
