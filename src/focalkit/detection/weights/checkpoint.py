"""Read the checkpoint of a training run into its model."""

from pathlib import Path

import torch
from torch import nn

from focalkit._runs import RunDir
from focalkit.config import ModelConfig
from focalkit.detection.build import build_detector
from focalkit.detection.models.detr.detector import AnyDetector
from focalkit.errors import ConfigError, InputError


def build_described(config: ModelConfig, num_classes: int, source: object) -> AnyDetector:
    """`build_detector` of a configuration that was read from `source`.

    Raises:
        ConfigError: There is no such detector; the message names the source.
    """
    try:
        return build_detector(config, num_classes)
    except InputError as error:
        raise ConfigError(f"{source}: {error}") from error


def load_checkpoint(model: nn.Module, run: RunDir) -> Path:
    """Load a run's best weights, or its last where there are no best; tensors only, no code is run from the file.

    Returns:
        The file read.

    Raises:
        ConfigError: No checkpoint, one that cannot be read, or one of another model.
    """
    files = [run.checkpoint("best"), run.checkpoint("last")]
    path = next((f for f in files if f.is_file()), None)
    if path is None:
        raise ConfigError(f"{run.path}: no checkpoint, expected {files[0]} or {files[1].name}; has the training begun?")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        weights = checkpoint["model"]
    except Exception as error:  # a damaged file can raise anything, in words that are of no help here
        after = "delete it, and last.ckpt is read instead" if path != files[1] and files[1].is_file() else "train again"
        raise ConfigError(
            f"{path} is damaged or not a checkpoint ({type(error).__name__}); restore it from a copy, or {after}"
        ) from error
    try:
        model.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path}: does not fit the model that {run.path / 'run.json'} describes: {error}") from error
    return path
