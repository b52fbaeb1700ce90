"""Other libraries' focal losses under their own signatures and with their own numbers, so that moving over is an
import.

    from focalkit.compat.torchvision import sigmoid_focal_loss     # was: from torchvision.ops import sigmoid_focal_loss

Each module documents where its library surprises. The numbers are those of float32 and float64 inputs; gradients are
finite and half inputs are computed in float32, also where the library's are not. What replaces each call is in
`docs/losses/migration.md`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import asl as asl
    from . import detectron2 as detectron2
    from . import keras as keras
    from . import kornia as kornia
    from . import mmdet as mmdet
    from . import monai as monai
    from . import smp as smp
    from . import torchvision as torchvision

__all__ = ["asl", "detectron2", "keras", "kornia", "mmdet", "monai", "smp", "torchvision"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; there are {', '.join(__all__)}")
