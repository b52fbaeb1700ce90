"""Measures of how good predictions are, on plain numbers and tensors; nothing here knows a model."""

from focalkit.metrics.calibration_error import classwise_calibration_error as classwise_calibration_error
from focalkit.metrics.calibration_error import expected_calibration_error as expected_calibration_error
from focalkit.metrics.calibration_error import smooth_calibration_error as smooth_calibration_error
from focalkit.metrics.coco import CocoResult as CocoResult
from focalkit.metrics.coco import coco_ap as coco_ap
from focalkit.metrics.coco_rule import ApRule as ApRule
from focalkit.metrics.coco_rule import ap_by_rule as ap_by_rule
from focalkit.metrics.confusion import confusion_matrix as confusion_matrix
from focalkit.metrics.detection_calibration import box_features as box_features
from focalkit.metrics.detection_calibration import detection_calibration_error as detection_calibration_error
from focalkit.metrics.detection_calibration import matches_calibration_error as matches_calibration_error
from focalkit.metrics.detection_matches import DetectionMatches as DetectionMatches
from focalkit.metrics.detection_matches import match_coco as match_coco
from focalkit.metrics.detection_matches import select_images as select_images
from focalkit.metrics.error_kinds import ERROR_KINDS as ERROR_KINDS
from focalkit.metrics.error_kinds import ErrorKinds as ErrorKinds
from focalkit.metrics.error_kinds import error_kinds as error_kinds
from focalkit.metrics.error_kinds import kinds_of_detections as kinds_of_detections
from focalkit.metrics.interpolated import interpolated_precision as interpolated_precision
from focalkit.metrics.lrp_error import LRP as LRP
from focalkit.metrics.lrp_error import lrp as lrp
from focalkit.metrics.lrp_error import matches_lrp as matches_lrp
from focalkit.metrics.lvis import LvisResult as LvisResult
from focalkit.metrics.lvis import lvis_ap as lvis_ap
from focalkit.metrics.matching import Matches as Matches
from focalkit.metrics.matching import best_f1_threshold as best_f1_threshold
from focalkit.metrics.matching import iou_matrix as iou_matrix
from focalkit.metrics.matching import match_detections as match_detections
from focalkit.metrics.operating import operating_point as operating_point
from focalkit.metrics.operating import over_thresholds as over_thresholds
from focalkit.metrics.proper_scores import BrierDecomposition as BrierDecomposition
from focalkit.metrics.proper_scores import brier_decomposition as brier_decomposition
from focalkit.metrics.proper_scores import brier_score as brier_score
from focalkit.metrics.proper_scores import negative_log_likelihood as negative_log_likelihood
from focalkit.metrics.reliability import ReliabilityCurve as ReliabilityCurve
from focalkit.metrics.reliability import reliability_curve as reliability_curve

__all__ = [
    "ERROR_KINDS",
    "LRP",
    "ApRule",
    "BrierDecomposition",
    "CocoResult",
    "DetectionMatches",
    "ErrorKinds",
    "LvisResult",
    "Matches",
    "ReliabilityCurve",
    "ap_by_rule",
    "best_f1_threshold",
    "box_features",
    "brier_decomposition",
    "brier_score",
    "classwise_calibration_error",
    "coco_ap",
    "confusion_matrix",
    "detection_calibration_error",
    "error_kinds",
    "expected_calibration_error",
    "interpolated_precision",
    "iou_matrix",
    "kinds_of_detections",
    "lrp",
    "lvis_ap",
    "match_coco",
    "match_detections",
    "matches_calibration_error",
    "matches_lrp",
    "negative_log_likelihood",
    "operating_point",
    "over_thresholds",
    "reliability_curve",
    "select_images",
    "smooth_calibration_error",
]
