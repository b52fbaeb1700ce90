"""Dense detection from exchangeable parts: priors, assigner, coder, head, criterion, postprocess, and RetinaNet.

Importing this package loads torch only; torchvision is loaded when a part that needs it is used.
"""

from typing import TYPE_CHECKING, Any

from focalkit.detection.boxes.anchors import AnchorGrid as AnchorGrid
from focalkit.detection.boxes.center_size import CenterSizeCoder as CenterSizeCoder
from focalkit.detection.boxes.deltas import DeltaXYWH as DeltaXYWH
from focalkit.detection.boxes.points import DistanceCoder as DistanceCoder
from focalkit.detection.boxes.points import DistributionCoder as DistributionCoder
from focalkit.detection.boxes.points import PlainDistanceCoder as PlainDistanceCoder
from focalkit.detection.boxes.points import PointGrid as PointGrid
from focalkit.detection.boxes.points import square_grid as square_grid
from focalkit.detection.boxes.quality import AssignedQuality as AssignedQuality
from focalkit.detection.boxes.quality import Centerness as Centerness
from focalkit.detection.boxes.quality import PredictedIoU as PredictedIoU
from focalkit.detection.boxes.side_scale import SideScale as SideScale
from focalkit.detection.boxes.whole_image import WholeImage as WholeImage
from focalkit.detection.build import build_criterion as build_criterion
from focalkit.detection.build import build_detector as build_detector
from focalkit.detection.build import build_retinanet as build_retinanet
from focalkit.detection.build import retinanet as retinanet
from focalkit.detection.build import with_own_losses as with_own_losses
from focalkit.detection.criterion import DetectionCriterion as DetectionCriterion
from focalkit.detection.inference.detections import Detections as Detections
from focalkit.detection.inference.postprocess import DensePostprocess as DensePostprocess
from focalkit.detection.matches import Matches as Matches
from focalkit.detection.matches import Positives as Positives
from focalkit.detection.matching.atss import ATSSAssigner as ATSSAssigner
from focalkit.detection.matching.center import CenterAssigner as CenterAssigner
from focalkit.detection.matching.fcos import PointAssigner as PointAssigner
from focalkit.detection.matching.heat_map import GaussianHeatMap as GaussianHeatMap
from focalkit.detection.matching.hungarian import HungarianMatcher as HungarianMatcher
from focalkit.detection.matching.libraries import Detectron2Assigner as Detectron2Assigner
from focalkit.detection.matching.libraries import MMDetAssigner as MMDetAssigner
from focalkit.detection.matching.libraries import TorchvisionAssigner as TorchvisionAssigner
from focalkit.detection.matching.max_iou import MaxIoUAssigner as MaxIoUAssigner
from focalkit.detection.matching.predicted.dynamic_k import DynamicSoftLabelAssigner as DynamicSoftLabelAssigner
from focalkit.detection.matching.predicted.dynamic_k import SimOTAAssigner as SimOTAAssigner
from focalkit.detection.matching.predicted.hard import HardExamples as HardExamples
from focalkit.detection.matching.predicted.task_aligned import TaskAlignedAssigner as TaskAlignedAssigner
from focalkit.detection.matching.predicted.task_aligned import dual_assigners as dual_assigners
from focalkit.detection.matching.sample import BalancedSampler as BalancedSampler
from focalkit.detection.matching.sample import Sampled as Sampled
from focalkit.detection.models.backbones import BACKBONES as BACKBONES
from focalkit.detection.models.backbones import build_backbone as build_backbone
from focalkit.detection.models.backbones import resolve_backbone as resolve_backbone
from focalkit.detection.models.center_neck import CenterNeck as CenterNeck
from focalkit.detection.models.detr.decoder import SetHead as SetHead
from focalkit.detection.models.detr.denoising import ContrastiveDenoising as ContrastiveDenoising
from focalkit.detection.models.detr.detector import SetDetector as SetDetector
from focalkit.detection.models.detr.fine_decoder import FineHead as FineHead
from focalkit.detection.models.detr.hybrid_encoder import HybridEncoder as HybridEncoder
from focalkit.detection.models.fpn import FPN as FPN
from focalkit.detection.models.head import RetinaNetHead as RetinaNetHead
from focalkit.detection.models.point_head import PointHead as PointHead
from focalkit.detection.models.retinanet import RetinaNet as RetinaNet
from focalkit.detection.models.rtmdet.head import RTMDetHead as RTMDetHead
from focalkit.detection.models.rtmdet.neck import CSPNeXtPAFPN as CSPNeXtPAFPN
from focalkit.detection.recipes import DETECTORS as DETECTORS
from focalkit.detection.recipes import Recipe as Recipe
from focalkit.detection.refinement_terms import DistillationTerm as DistillationTerm
from focalkit.detection.refinement_terms import SideTerm as SideTerm
from focalkit.detection.set_criterion import SetCriterion as SetCriterion
from focalkit.detection.terms import BoxTerm as BoxTerm
from focalkit.detection.terms import ClassTerm as ClassTerm
from focalkit.detection.terms import DistributionTerm as DistributionTerm
from focalkit.detection.terms import HeatMapTerm as HeatMapTerm
from focalkit.detection.terms import QualityClassTerm as QualityClassTerm
from focalkit.detection.terms import QualityTerm as QualityTerm
from focalkit.detection.terms import TermSum as TermSum
from focalkit.detection.terms import side_distribution_loss as side_distribution_loss
from focalkit.detection.types import BACKGROUND as BACKGROUND
from focalkit.detection.types import IGNORE as IGNORE
from focalkit.detection.types import Assignment as Assignment
from focalkit.detection.types import Denoising as Denoising
from focalkit.detection.types import DenseOutputs as DenseOutputs
from focalkit.detection.types import DetectionTarget as DetectionTarget
from focalkit.detection.types import Refinement as Refinement
from focalkit.detection.types import flatten_level as flatten_level
from focalkit.detection.weights import load_weights as load_weights
from focalkit.detection.weights import save_weights as save_weights
from focalkit.images import fit_size as fit_size
from focalkit.images import pad_batch as pad_batch
from focalkit.images import read_image as read_image
from focalkit.images import resize as resize
from focalkit.images import to_unit as to_unit

if TYPE_CHECKING:
    from focalkit.detection.inference.compiled import compiled as compiled
    from focalkit.detection.inference.compiled import folded as folded
    from focalkit.detection.inference.detector import Detector as Detector
    from focalkit.detection.inference.tiles import TiledDetector as TiledDetector
    from focalkit.detection.inference.tta import AugmentedDetector as AugmentedDetector

__all__ = [
    "BACKBONES",
    "BACKGROUND",
    "DETECTORS",
    "FPN",
    "IGNORE",
    "ATSSAssigner",
    "AnchorGrid",
    "AssignedQuality",
    "Assignment",
    "AugmentedDetector",
    "BalancedSampler",
    "BoxTerm",
    "CSPNeXtPAFPN",
    "CenterAssigner",
    "CenterNeck",
    "CenterSizeCoder",
    "Centerness",
    "ClassTerm",
    "ContrastiveDenoising",
    "DeltaXYWH",
    "Denoising",
    "DenseOutputs",
    "DensePostprocess",
    "DetectionCriterion",
    "DetectionTarget",
    "Detections",
    "Detector",
    "Detectron2Assigner",
    "DistanceCoder",
    "DistillationTerm",
    "DistributionCoder",
    "DistributionTerm",
    "DynamicSoftLabelAssigner",
    "FineHead",
    "GaussianHeatMap",
    "HardExamples",
    "HeatMapTerm",
    "HungarianMatcher",
    "HybridEncoder",
    "MMDetAssigner",
    "Matches",
    "MaxIoUAssigner",
    "PlainDistanceCoder",
    "PointAssigner",
    "PointGrid",
    "PointHead",
    "Positives",
    "PredictedIoU",
    "QualityClassTerm",
    "QualityTerm",
    "RTMDetHead",
    "Recipe",
    "Refinement",
    "RetinaNet",
    "RetinaNetHead",
    "Sampled",
    "SetCriterion",
    "SetDetector",
    "SetHead",
    "SideScale",
    "SideTerm",
    "SimOTAAssigner",
    "TaskAlignedAssigner",
    "TermSum",
    "TiledDetector",
    "TorchvisionAssigner",
    "WholeImage",
    "build_backbone",
    "build_criterion",
    "build_detector",
    "build_retinanet",
    "compiled",
    "dual_assigners",
    "fit_size",
    "flatten_level",
    "folded",
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


_LATE = {
    "AugmentedDetector": "inference.tta",
    "Detector": "inference.detector",
    "TiledDetector": "inference.tiles",
    "compiled": "inference.compiled",
    "folded": "inference.compiled",
}


def __getattr__(name: str) -> Any:
    if name in _LATE:
        import importlib

        return getattr(importlib.import_module(f"focalkit.detection.{_LATE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
