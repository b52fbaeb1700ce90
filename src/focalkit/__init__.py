"""focalkit: learning when almost everything is background.

The names of everyday use, each loaded from its place when it is first asked for: `import focalkit` costs nothing,
`focalkit.losses` loads torch alone. A new name goes into both lists below.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from focalkit import calibration as calibration
    from focalkit import compare as compare
    from focalkit import compat as compat
    from focalkit import config as config
    from focalkit import data as data
    from focalkit import detection as detection
    from focalkit import losses as losses
    from focalkit import metrics as metrics
    from focalkit import report as report
    from focalkit import testing as testing
    from focalkit import training as training
    from focalkit import weights as weights
    from focalkit.compare import Predictor as Predictor
    from focalkit.detection import Detector as Detector
    from focalkit.detection import retinanet as retinanet
    from focalkit.errors import BackendError as BackendError
    from focalkit.errors import ConfigError as ConfigError
    from focalkit.errors import DataError as DataError
    from focalkit.errors import FocalkitError as FocalkitError
    from focalkit.errors import InputError as InputError
    from focalkit.losses import LOSSES as LOSSES
    from focalkit.losses import BinaryCrossEntropy as BinaryCrossEntropy
    from focalkit.losses import CrossEntropy as CrossEntropy
    from focalkit.losses import SigmoidFocalLoss as SigmoidFocalLoss
    from focalkit.losses import SoftmaxFocalLoss as SoftmaxFocalLoss
    from focalkit.losses import binary_cross_entropy as binary_cross_entropy
    from focalkit.losses import build as build
    from focalkit.losses import cross_entropy as cross_entropy
    from focalkit.losses import prior_bias as prior_bias
    from focalkit.losses import sigmoid_focal_loss as sigmoid_focal_loss
    from focalkit.losses import softmax_focal_loss as softmax_focal_loss

_HOME = {
    # name -> module that defines it; None for a module of this package
    "BackendError": "errors",
    "BinaryCrossEntropy": "losses",
    "ConfigError": "errors",
    "CrossEntropy": "losses",
    "DataError": "errors",
    "Detector": "detection",
    "FocalkitError": "errors",
    "InputError": "errors",
    "LOSSES": "losses",
    "Predictor": "compare",
    "SigmoidFocalLoss": "losses",
    "SoftmaxFocalLoss": "losses",
    "binary_cross_entropy": "losses",
    "build": "losses",
    "calibration": None,
    "compare": None,
    "compat": None,
    "config": None,
    "cross_entropy": "losses",
    "data": None,
    "detection": None,
    "losses": None,
    "metrics": None,
    "prior_bias": "losses",
    "report": None,
    "retinanet": "detection",
    "sigmoid_focal_loss": "losses",
    "softmax_focal_loss": "losses",
    "testing": None,
    "training": None,
    "weights": None,
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
