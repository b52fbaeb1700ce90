"""Probabilities that can be trusted: maps from a network's logits or scores to calibrated probabilities.

Needs torch alone; isotonic calibration uses scikit-learn.
"""

from focalkit.calibration._applied import AppliedCalibration as AppliedCalibration
from focalkit.calibration._costs import minimum_cost_decisions as minimum_cost_decisions
from focalkit.calibration._detection import DetectionCalibration as DetectionCalibration
from focalkit.calibration._focal import focal_to_posterior as focal_to_posterior
from focalkit.calibration._operating import detection_thresholds as detection_thresholds
from focalkit.calibration._scores import BetaCalibration as BetaCalibration
from focalkit.calibration._scores import HistogramBinning as HistogramBinning
from focalkit.calibration._scores import IsotonicCalibration as IsotonicCalibration
from focalkit.calibration._scores import PlattScaling as PlattScaling
from focalkit.calibration._study import DETECTION_MEASURES as DETECTION_MEASURES
from focalkit.calibration._study import DetectionStudy as DetectionStudy
from focalkit.calibration._study import calibrate_detections as calibrate_detections
from focalkit.calibration._study import calibrate_results as calibrate_results
from focalkit.calibration._temperature import TemperatureScaling as TemperatureScaling
from focalkit.calibration._thresholds import Thresholds as Thresholds
from focalkit.calibration._thresholds import choose_thresholds as choose_thresholds
from focalkit.calibration._vector import VectorScaling as VectorScaling

__all__ = [
    "DETECTION_MEASURES",
    "AppliedCalibration",
    "BetaCalibration",
    "DetectionCalibration",
    "DetectionStudy",
    "HistogramBinning",
    "IsotonicCalibration",
    "PlattScaling",
    "TemperatureScaling",
    "Thresholds",
    "VectorScaling",
    "calibrate_detections",
    "calibrate_results",
    "choose_thresholds",
    "detection_thresholds",
    "focal_to_posterior",
    "minimum_cost_decisions",
]
