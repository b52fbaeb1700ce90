"""Lightning's Trainer and DataModule for one run."""

import importlib.util
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins import LayerSync
from lightning.pytorch.strategies import DDPStrategy, Strategy
from torch import nn
from torch.utils.data import DataLoader

from focalkit.config import TrainConfig
from focalkit.data import DetectionBatch, DetectionData
from focalkit.detection.models.synced_norm import synced_norms
from focalkit.errors import ConfigError
from focalkit.training.checkpoint import WholeFiles
from focalkit.training.loaders import train_loader, val_loader
from focalkit.training.shard import sharding

NEVER = 10**9
WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"  # Lightning sets it where algorithms are to be deterministic


class DetectionLoaders(L.LightningDataModule):
    """The two loaders, made when Lightning knows which process this is.

    In training each process pads its own images to their largest. Padding is background, so where sizes differ the
    losses depend a little on which images share a process; where they are one size, any number of processes computes
    the same. In validation only images of one padded size share a batch.
    """

    def __init__(
        self, train: DetectionData, val: DetectionData, config: TrainConfig, *, fill: Sequence[float], start_step: int
    ) -> None:
        super().__init__()
        self.train_data, self.val_data, self.config, self.fill, self.start_step = train, val, config, fill, start_step

    def train_dataloader(self) -> DataLoader:
        return train_loader(self.train_data, self.config, fill=self.fill, start_step=self.start_step, **self._place())

    def val_dataloader(self) -> DataLoader:
        return val_loader(self.val_data, self.config, fill=self.fill, **self._place())

    def transfer_batch_to_device(
        self, batch: DetectionBatch, device: torch.device, dataloader_idx: int
    ) -> DetectionBatch:
        return batch.to(device, non_blocking=True)

    def _place(self) -> dict[str, int]:
        assert self.trainer is not None
        return {"rank": self.trainer.global_rank, "world": self.trainer.world_size}


def build_trainer(
    config: TrainConfig, out: Path, callbacks: list[Callback], *, epochs: int, start_step: int
) -> L.Trainer:
    """A Trainer that writes nothing by itself: checkpoints, metrics and display are `callbacks`.

    Raises:
        ConfigError: The devices, the precision or the logger asked for are not available here.
    """
    on_gpu = config.runtime.accelerator != "cpu" and torch.cuda.is_available()
    check_devices(config)
    ranks = config.runtime.devices * config.runtime.num_nodes
    return L.Trainer(
        accelerator="gpu" if on_gpu else "cpu",
        devices=config.runtime.devices,
        num_nodes=config.runtime.num_nodes,
        strategy=_strategy(config) if ranks > 1 else "auto",
        precision=config.runtime.precision,
        max_epochs=epochs,
        accumulate_grad_batches=config.accumulate,
        gradient_clip_val=config.optim.clip_norm,
        check_val_every_n_epoch=config.evaluate_every,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        deterministic="warn" if config.runtime.deterministic else None,
        logger=build_logger(config, out, start_step),
        callbacks=callbacks,
        plugins=[WholeFiles(), *([SyncedNorms(on_gpu)] if ranks > 1 else [])],
        enable_checkpointing=False,
        enable_model_summary=False,
        log_every_n_steps=NEVER,
        default_root_dir=out,
    )


def _strategy(config: TrainConfig) -> Strategy:
    if config.runtime.strategy == "fsdp":
        return sharding(config.runtime.devices * config.runtime.num_nodes)
    return DDPStrategy(gradient_as_bucket_view=True)


class SyncedNorms(LayerSync):
    """Lightning's hook for `synced_norms`."""

    def __init__(self, on_gpu: bool) -> None:
        self.on_gpu = on_gpu

    def apply(self, model: nn.Module) -> nn.Module:
        return synced_norms(model, on_gpu=self.on_gpu)

    def revert(self, model: nn.Module) -> nn.Module:
        return model


@contextmanager
def algorithms_kept() -> Iterator[None]:
    """After the block torch chooses its algorithms as before it, whatever `deterministic` has set."""
    enabled, warn_only = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    benchmark, workspace = torch.backends.cudnn.benchmark, os.environ.get(WORKSPACE)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
        torch.backends.cudnn.benchmark = benchmark
        if workspace is None:
            os.environ.pop(WORKSPACE, None)


def check_devices(config: TrainConfig) -> None:
    """Raises ConfigError where this machine lacks what `config` asks for."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if config.runtime.accelerator == "gpu" and not gpus:
        raise ConfigError("accelerator is gpu, but torch finds no GPU here; `focalkit doctor` shows what it finds")
    on_gpu = config.runtime.accelerator != "cpu" and gpus > 0
    if on_gpu and config.runtime.devices > gpus:
        raise ConfigError(f"devices is {config.runtime.devices}, but torch finds {gpus} GPU{'s' * (gpus != 1)} here")
    if config.runtime.precision == "16-mixed" and not on_gpu:
        raise ConfigError("precision 16-mixed needs a GPU; on a CPU use bf16-mixed or 32")


def build_logger(config: TrainConfig, out: Path, start_step: int) -> Logger | bool:
    """The experiment tracker; `False` for none. `metrics.jsonl` is written in any case.

    Raises:
        ConfigError: The package it needs is not installed.
    """
    package = config.runtime.logger
    if package == "none":
        return False
    if package == "csv":
        from lightning.pytorch.loggers import CSVLogger

        # a file that is there would be written over: what follows a resumption has its own
        return CSVLogger(out, name="", version=f"csv-from-{start_step}" if start_step else "csv")
    if importlib.util.find_spec(package) is None:
        raise ConfigError(
            f"the logger {config.runtime.logger} needs the package {package}: pip install {package}, or --logger csv"
        )
    if package == "tensorboard":
        from lightning.pytorch.loggers import TensorBoardLogger

        # what lies beyond the step that a run resumes from is hidden
        return TensorBoardLogger(out, name="", version="tensorboard", purge_step=start_step + 1 if start_step else None)
    if package == "wandb":
        from lightning.pytorch.loggers import WandbLogger

        return WandbLogger(name=out.name, project="focalkit", save_dir=out)
    from lightning.pytorch.loggers import MLFlowLogger

    return MLFlowLogger(experiment_name="focalkit", run_name=out.name, save_dir=str(out / "mlruns"))
