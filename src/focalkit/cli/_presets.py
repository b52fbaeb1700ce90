"""The presets as flags, and the one that is taken where none is asked for."""

from typing import Literal

from focalkit.config import PRESETS, TrainConfig

PresetName = Literal[
    "cpu-small", "deim-s", "dfine-l", "dfine-m", "dfine-s", "dfine-small", "paper", "rtdetrv2", "rtdetrv2-small",
    "rtmdet-small", "rtmdet-tiny", "default",
]  # fmt: skip


def preset_here() -> tuple[PresetName, str]:
    """The preset for this machine, and why."""
    return ("default", "a GPU was found") if has_gpu() else ("cpu-small", "no GPU was found")


def preset(name: str | None) -> TrainConfig:
    """The settings of a preset; of "default" and None, those of `TrainConfig`."""
    return PRESETS[name]() if name in PRESETS else TrainConfig()


def has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
