"""focalkit: learning when almost everything is background.

The names of everyday use, each loaded from its place when it is first asked for: `import focalkit` costs nothing,
`focalkit.losses` loads torch alone, `focalkit.detection` loads torchvision too. A new name goes into both lists below.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from focalkit import data as data
    from focalkit import detection as detection
    from focalkit import losses as losses
    from focalkit import metrics as metrics
    from focalkit import report as report
    from focalkit import training as training
    from focalkit.errors import BackendError as BackendError
    from focalkit.errors import ConfigError as ConfigError
    from focalkit.errors import DataError as DataError
    from focalkit.errors import FocalkitError as FocalkitError
    from focalkit.errors import InputError as InputError

_HOME = {
    # name -> module that defines it; None for a module of this package
    "BackendError": "errors",
    "ConfigError": "errors",
    "DataError": "errors",
    "FocalkitError": "errors",
    "InputError": "errors",
    "data": None,
    "detection": None,
    "losses": None,
    "metrics": None,
    "report": None,
    "training": None,
}
__all__ = sorted(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'focalkit' has no attribute {name!r}")
    home = _HOME[name]
    value = importlib.import_module(f"focalkit.{home or name}")
    if home is not None:
        value = getattr(value, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
