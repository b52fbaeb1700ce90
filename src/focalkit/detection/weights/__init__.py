"""Weights of other libraries' RetinaNets, and of our own: read with their arithmetic, written back.

One file per library says how its weights are called and ordered and what they do not say.
"""

from focalkit.config import LayoutName as LayoutName
from focalkit.detection.weights._load import STYLES as STYLES
from focalkit.detection.weights._load import load_weights as load_weights
from focalkit.detection.weights._save import save_weights as save_weights
from focalkit.detection.weights._save import weights_as as weights_as

__all__ = ["STYLES", "LayoutName", "load_weights", "save_weights", "weights_as"]
