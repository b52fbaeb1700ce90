"""Probabilities that can be trusted: maps from a network's logits or scores to calibrated probabilities.

Needs torch alone; isotonic calibration uses scikit-learn.
"""

from focalkit.calibration._focal import focal_to_posterior as focal_to_posterior
from focalkit.calibration._scores import BetaCalibration as BetaCalibration
from focalkit.calibration._scores import HistogramBinning as HistogramBinning
from focalkit.calibration._scores import IsotonicCalibration as IsotonicCalibration
from focalkit.calibration._scores import PlattScaling as PlattScaling
from focalkit.calibration._temperature import TemperatureScaling as TemperatureScaling
from focalkit.calibration._vector import VectorScaling as VectorScaling

__all__ = [
    "BetaCalibration",
    "HistogramBinning",
    "IsotonicCalibration",
    "PlattScaling",
    "TemperatureScaling",
    "VectorScaling",
    "focal_to_posterior",
]
