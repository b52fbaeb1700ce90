"""Boxes around objects: COCO, Pascal VOC and YOLO folders; a dense detector."""

from ._average_precision import best_threshold as best_threshold
from ._detection import ATSS as ATSS
from ._detection import BY_DETECTOR as BY_DETECTOR
from ._detection import DEIM as DEIM
from ._detection import DFINE as DFINE
from ._detection import FCOS as FCOS
from ._detection import GFL as GFL
from ._detection import MINI as MINI
from ._detection import NOT_COMPARED as NOT_COMPARED
from ._detection import PAPER as PAPER
from ._detection import RTDETRV2 as RTDETRV2
from ._detection import RTDETRV2_MINI as RTDETRV2_MINI
from ._detection import RTMDET as RTMDET
from ._detection import TASK as TASK
from ._detection import VFNET as VFNET
from ._detection import Detection as Detection
