"""Boxes around objects: COCO, Pascal VOC and YOLO folders; a dense detector."""

from ._average_precision import best_threshold as best_threshold
from ._detection import MINI as MINI
from ._detection import PAPER as PAPER
from ._detection import TASK as TASK
from ._detection import Detection as Detection
