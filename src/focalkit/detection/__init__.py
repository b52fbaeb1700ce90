"""Dense detection from exchangeable parts: priors, assigner, coder, head, criterion, postprocess, and RetinaNet.

Importing this package loads torch only; torchvision is loaded when a part that needs it is used.
"""

from typing import TYPE_CHECKING, Any

from focalkit.detection._images import fit_size as fit_size
from focalkit.detection._images import pad_batch as pad_batch
from focalkit.detection._images import read_image as read_image
from focalkit.detection._images import resize as resize
from focalkit.detection._images import to_unit as to_unit
from focalkit.detection._types import BACKGROUND as BACKGROUND
from focalkit.detection._types import IGNORE as IGNORE
from focalkit.detection._types import Assignment as Assignment
from focalkit.detection._types import DenseOutputs as DenseOutputs
from focalkit.detection._types import DetectionTarget as DetectionTarget
from focalkit.detection._types import flatten_level as flatten_level
from focalkit.detection.assign import MaxIoUAssigner as MaxIoUAssigner
from focalkit.detection.assign_compat import Detectron2Assigner as Detectron2Assigner
from focalkit.detection.assign_compat import MMDetAssigner as MMDetAssigner
from focalkit.detection.assign_compat import TorchvisionAssigner as TorchvisionAssigner
from focalkit.detection.atss import ATSSAssigner as ATSSAssigner
from focalkit.detection.backbones import BACKBONES as BACKBONES
from focalkit.detection.backbones import build_backbone as build_backbone
from focalkit.detection.backbones import resolve_backbone as resolve_backbone
from focalkit.detection.build import build_criterion as build_criterion
from focalkit.detection.build import with_own_losses as with_own_losses
from focalkit.detection.centernet import CenterAssigner as CenterAssigner
from focalkit.detection.centernet import CenterNeck as CenterNeck
from focalkit.detection.centernet import CenterSizeCoder as CenterSizeCoder
from focalkit.detection.centernet import GaussianHeatMap as GaussianHeatMap
from focalkit.detection.coder import DeltaXYWH as DeltaXYWH
from focalkit.detection.criterion import DetectionCriterion as DetectionCriterion
from focalkit.detection.detections import Detections as Detections
from focalkit.detection.fcos import PointAssigner as PointAssigner
from focalkit.detection.fpn import FPN as FPN
from focalkit.detection.gfl import side_distribution_loss as side_distribution_loss
from focalkit.detection.head import RetinaNetHead as RetinaNetHead
from focalkit.detection.point_head import PointHead as PointHead
from focalkit.detection.points import DistanceCoder as DistanceCoder
from focalkit.detection.points import DistributionCoder as DistributionCoder
from focalkit.detection.points import PointGrid as PointGrid
from focalkit.detection.points import square_grid as square_grid
from focalkit.detection.postprocess import DensePostprocess as DensePostprocess
from focalkit.detection.priors import AnchorGrid as AnchorGrid
from focalkit.detection.relatives import build_detector as build_detector
from focalkit.detection.retinanet import RetinaNet as RetinaNet
from focalkit.detection.retinanet import build_retinanet as build_retinanet
from focalkit.detection.retinanet import retinanet as retinanet
from focalkit.detection.sample import BalancedSampler as BalancedSampler
from focalkit.detection.weights import load_weights as load_weights
from focalkit.detection.weights import save_weights as save_weights

if TYPE_CHECKING:
    from focalkit.detection.detector import Detector as Detector
    from focalkit.detection.tiles import TiledDetector as TiledDetector
    from focalkit.detection.tta import AugmentedDetector as AugmentedDetector

__all__ = [
    "BACKBONES",
    "BACKGROUND",
    "FPN",
    "IGNORE",
    "ATSSAssigner",
    "AnchorGrid",
    "Assignment",
    "AugmentedDetector",
    "BalancedSampler",
    "CenterAssigner",
    "CenterNeck",
    "CenterSizeCoder",
    "DeltaXYWH",
    "DenseOutputs",
    "DensePostprocess",
    "DetectionCriterion",
    "DetectionTarget",
    "Detections",
    "Detector",
    "Detectron2Assigner",
    "DistanceCoder",
    "DistributionCoder",
    "GaussianHeatMap",
    "MMDetAssigner",
    "MaxIoUAssigner",
    "PointAssigner",
    "PointGrid",
    "PointHead",
    "RetinaNet",
    "RetinaNetHead",
    "TiledDetector",
    "TorchvisionAssigner",
    "build_backbone",
    "build_criterion",
    "build_detector",
    "build_retinanet",
    "fit_size",
    "flatten_level",
    "load_weights",
    "pad_batch",
    "read_image",
    "resize",
    "resolve_backbone",
    "retinanet",
    "save_weights",
    "side_distribution_loss",
    "square_grid",
    "to_unit",
    "with_own_losses",
]


_LATE = {"AugmentedDetector": "tta", "Detector": "detector", "TiledDetector": "tiles"}


def __getattr__(name: str) -> Any:
    if name in _LATE:
        import importlib

        return getattr(importlib.import_module(f"focalkit.detection.{_LATE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
