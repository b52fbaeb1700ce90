"""Measures of how good predictions are, on plain numbers and tensors; nothing here knows a model."""

from focalkit.metrics.coco import CocoResult as CocoResult
from focalkit.metrics.coco import coco_ap as coco_ap
from focalkit.metrics.matching import Matches as Matches
from focalkit.metrics.matching import best_f1_threshold as best_f1_threshold
from focalkit.metrics.matching import iou_matrix as iou_matrix
from focalkit.metrics.matching import match_detections as match_detections

__all__ = ["CocoResult", "Matches", "best_f1_threshold", "coco_ap", "iou_matrix", "match_detections"]
