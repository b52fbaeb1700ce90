"""Training on Lightning's Trainer: `train` a configuration into a run directory.

Names are loaded when first used, so that reading configurations needs neither torch nor Lightning.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from focalkit._config_io import config_from_dict as config_from_dict
    from focalkit._config_io import config_to_dict as config_to_dict
    from focalkit._config_io import load_config as load_config
    from focalkit.errors import DivergedError as DivergedError
    from focalkit.training._train import train as train

_HOME = {
    "DivergedError": "focalkit.errors",
    "config_from_dict": "focalkit._config_io",
    "config_to_dict": "focalkit._config_io",
    "load_config": "focalkit._config_io",
    "train": "focalkit.training._train",
}

__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
