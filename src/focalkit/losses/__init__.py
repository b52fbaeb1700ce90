"""Every loss for learning under imbalance, with one calling convention (see `LOSSES`, `build`)."""

from ._asymmetric import AsymmetricLoss as AsymmetricLoss
from ._asymmetric import AsymmetricSoftmaxLoss as AsymmetricSoftmaxLoss
from ._asymmetric import asymmetric_loss as asymmetric_loss
from ._asymmetric import asymmetric_softmax_loss as asymmetric_softmax_loss
from ._box_running import WIoUv3Loss as WIoUv3Loss
from ._box_variants import EIoULoss as EIoULoss
from ._box_variants import FocalerIoULoss as FocalerIoULoss
from ._box_variants import InnerIoULoss as InnerIoULoss
from ._box_variants import NWDLoss as NWDLoss
from ._box_variants import WIoULoss as WIoULoss
from ._box_variants import eiou_loss as eiou_loss
from ._box_variants import focaler_iou_loss as focaler_iou_loss
from ._box_variants import inner_iou_loss as inner_iou_loss
from ._box_variants import nwd_loss as nwd_loss
from ._box_variants import wiou_loss as wiou_loss
from ._boxes import CIoULoss as CIoULoss
from ._boxes import DIoULoss as DIoULoss
from ._boxes import GIoULoss as GIoULoss
from ._boxes import L1Loss as L1Loss
from ._boxes import SmoothL1Loss as SmoothL1Loss
from ._boxes import ciou_loss as ciou_loss
from ._boxes import diou_loss as diou_loss
from ._boxes import giou_loss as giou_loss
from ._boxes import l1_loss as l1_loss
from ._boxes import smooth_l1_loss as smooth_l1_loss
from ._calibration_aware import DualFocalLoss as DualFocalLoss
from ._calibration_aware import FLSDLoss as FLSDLoss
from ._calibration_aware import dual_focal_loss as dual_focal_loss
from ._calibration_aware import flsd_loss as flsd_loss
from ._catalog import LOSSES as LOSSES
from ._catalog import LossSpec as LossSpec
from ._centerline import ClDiceLoss as ClDiceLoss
from ._centerline import cldice_loss as cldice_loss
from ._compose import DeferredReweighting as DeferredReweighting
from ._compose import Sum as Sum
from ._contrastive import FocalInfoNCELoss as FocalInfoNCELoss
from ._contrastive import HardContrastiveLoss as HardContrastiveLoss
from ._contrastive import focal_infonce_loss as focal_infonce_loss
from ._contrastive import hard_contrastive_loss as hard_contrastive_loss
from ._cross_entropy import BinaryCrossEntropy as BinaryCrossEntropy
from ._cross_entropy import CrossEntropy as CrossEntropy
from ._cross_entropy import binary_cross_entropy as binary_cross_entropy
from ._cross_entropy import cross_entropy as cross_entropy
from ._dense import dense_sigmoid_focal_loss as dense_sigmoid_focal_loss
from ._distance import BoundaryLoss as BoundaryLoss
from ._distance import HausdorffLoss as HausdorffLoss
from ._distance import boundary_loss as boundary_loss
from ._distance import hausdorff_loss as hausdorff_loss
from ._distance import signed_distances as signed_distances
from ._distillation import DistillationLoss as DistillationLoss
from ._distillation import FocalDistillationLoss as FocalDistillationLoss
from ._distillation import distillation_loss as distillation_loss
from ._distillation import focal_distillation_loss as focal_distillation_loss
from ._equalization import EqualizationLoss as EqualizationLoss
from ._equalization import SoftmaxEqualizationLoss as SoftmaxEqualizationLoss
from ._equalization import equalization_loss as equalization_loss
from ._equalization import softmax_equalization_loss as softmax_equalization_loss
from ._equalization_stateful import EQLv2 as EQLv2
from ._equalization_stateful import EqualizedFocalLoss as EqualizedFocalLoss
from ._equalization_stateful import SeesawLoss as SeesawLoss
from ._federated import FederatedLoss as FederatedLoss
from ._focal import SigmoidFocalLoss as SigmoidFocalLoss
from ._focal import SoftmaxFocalLoss as SoftmaxFocalLoss
from ._focal import prior_bias as prior_bias
from ._focal import sigmoid_focal_loss as sigmoid_focal_loss
from ._focal import softmax_focal_loss as softmax_focal_loss
from ._focal_variants import ReducedFocalLoss as ReducedFocalLoss
from ._focal_variants import SigmoidFocalLossStar as SigmoidFocalLossStar
from ._focal_variants import reduced_focal_loss as reduced_focal_loss
from ._focal_variants import sigmoid_focal_loss_star as sigmoid_focal_loss_star
from ._ghm import GHMC as GHMC
from ._ghm import GHMR as GHMR
from ._lovasz import LovaszHingeLoss as LovaszHingeLoss
from ._lovasz import LovaszSoftmaxLoss as LovaszSoftmaxLoss
from ._lovasz import lovasz_hinge_loss as lovasz_hinge_loss
from ._lovasz import lovasz_softmax_loss as lovasz_softmax_loss
from ._mining import OHEM as OHEM
from ._mining import HardNegativeMining as HardNegativeMining
from ._module import LossModule as LossModule
from ._poly import Poly1CrossEntropy as Poly1CrossEntropy
from ._poly import Poly1FocalLoss as Poly1FocalLoss
from ._poly import poly1_cross_entropy as poly1_cross_entropy
from ._poly import poly1_focal_loss as poly1_focal_loss
from ._prior import BalancedSoftmaxLoss as BalancedSoftmaxLoss
from ._prior import LDAMLoss as LDAMLoss
from ._prior import LogitAdjustedLoss as LogitAdjustedLoss
from ._prior import VectorScalingLoss as VectorScalingLoss
from ._prior import balanced_softmax_loss as balanced_softmax_loss
from ._prior import ldam_loss as ldam_loss
from ._prior import logit_adjusted_loss as logit_adjusted_loss
from ._prior import vector_scaling_loss as vector_scaling_loss
from ._quality import DistributionFocalLoss as DistributionFocalLoss
from ._quality import GaussianFocalLoss as GaussianFocalLoss
from ._quality import QualityFocalLoss as QualityFocalLoss
from ._quality import VarifocalLoss as VarifocalLoss
from ._quality import distribution_focal_loss as distribution_focal_loss
from ._quality import gaussian_focal_loss as gaussian_focal_loss
from ._quality import quality_focal_loss as quality_focal_loss
from ._quality import varifocal_loss as varifocal_loss
from ._region import DiceLoss as DiceLoss
from ._region import FocalTverskyLoss as FocalTverskyLoss
from ._region import GeneralizedDiceLoss as GeneralizedDiceLoss
from ._region import TverskyLoss as TverskyLoss
from ._region import dice_loss as dice_loss
from ._region import focal_tversky_loss as focal_tversky_loss
from ._region import generalized_dice_loss as generalized_dice_loss
from ._region import tversky_loss as tversky_loss
from ._scheduled import AdaFocalLoss as AdaFocalLoss
from ._scheduled import CyclicalFocalLoss as CyclicalFocalLoss
from ._set_prediction import IoUAwareBCELoss as IoUAwareBCELoss
from ._set_prediction import MatchabilityAwareLoss as MatchabilityAwareLoss
from ._set_prediction import PositionSupervisedFocalLoss as PositionSupervisedFocalLoss
from ._set_prediction import iou_aware_bce_loss as iou_aware_bce_loss
from ._set_prediction import matchability_aware_loss as matchability_aware_loss
from ._set_prediction import position_supervised_focal_loss as position_supervised_focal_loss
from ._spec import argument_names as argument_names
from ._spec import build as build
from ._spec import focal_arguments as focal_arguments
from ._spec import parse as parse
from ._spec import spec_of as spec_of
from ._unified import UnifiedFocalLoss as UnifiedFocalLoss
from ._unified import unified_focal_loss as unified_focal_loss

__all__ = [
    "GHMC",
    "GHMR",
    "LOSSES",
    "OHEM",
    "AdaFocalLoss",
    "AsymmetricLoss",
    "AsymmetricSoftmaxLoss",
    "BalancedSoftmaxLoss",
    "BinaryCrossEntropy",
    "BoundaryLoss",
    "CIoULoss",
    "ClDiceLoss",
    "CrossEntropy",
    "CyclicalFocalLoss",
    "DIoULoss",
    "DeferredReweighting",
    "DiceLoss",
    "DistillationLoss",
    "DistributionFocalLoss",
    "DualFocalLoss",
    "EIoULoss",
    "EQLv2",
    "EqualizationLoss",
    "EqualizedFocalLoss",
    "FLSDLoss",
    "FederatedLoss",
    "FocalDistillationLoss",
    "FocalInfoNCELoss",
    "FocalTverskyLoss",
    "FocalerIoULoss",
    "GIoULoss",
    "GaussianFocalLoss",
    "GeneralizedDiceLoss",
    "HardContrastiveLoss",
    "HardNegativeMining",
    "HausdorffLoss",
    "InnerIoULoss",
    "IoUAwareBCELoss",
    "L1Loss",
    "LDAMLoss",
    "LogitAdjustedLoss",
    "LossModule",
    "LossSpec",
    "LovaszHingeLoss",
    "LovaszSoftmaxLoss",
    "MatchabilityAwareLoss",
    "NWDLoss",
    "Poly1CrossEntropy",
    "Poly1FocalLoss",
    "PositionSupervisedFocalLoss",
    "QualityFocalLoss",
    "ReducedFocalLoss",
    "SeesawLoss",
    "SigmoidFocalLoss",
    "SigmoidFocalLossStar",
    "SmoothL1Loss",
    "SoftmaxEqualizationLoss",
    "SoftmaxFocalLoss",
    "Sum",
    "TverskyLoss",
    "UnifiedFocalLoss",
    "VarifocalLoss",
    "VectorScalingLoss",
    "WIoULoss",
    "WIoUv3Loss",
    "argument_names",
    "asymmetric_loss",
    "asymmetric_softmax_loss",
    "balanced_softmax_loss",
    "binary_cross_entropy",
    "boundary_loss",
    "build",
    "ciou_loss",
    "cldice_loss",
    "cross_entropy",
    "dense_sigmoid_focal_loss",
    "dice_loss",
    "diou_loss",
    "distillation_loss",
    "distribution_focal_loss",
    "dual_focal_loss",
    "eiou_loss",
    "equalization_loss",
    "flsd_loss",
    "focal_arguments",
    "focal_distillation_loss",
    "focal_infonce_loss",
    "focal_tversky_loss",
    "focaler_iou_loss",
    "gaussian_focal_loss",
    "generalized_dice_loss",
    "giou_loss",
    "hard_contrastive_loss",
    "hausdorff_loss",
    "inner_iou_loss",
    "iou_aware_bce_loss",
    "l1_loss",
    "ldam_loss",
    "logit_adjusted_loss",
    "lovasz_hinge_loss",
    "lovasz_softmax_loss",
    "matchability_aware_loss",
    "nwd_loss",
    "parse",
    "poly1_cross_entropy",
    "poly1_focal_loss",
    "position_supervised_focal_loss",
    "prior_bias",
    "quality_focal_loss",
    "reduced_focal_loss",
    "sigmoid_focal_loss",
    "sigmoid_focal_loss_star",
    "signed_distances",
    "smooth_l1_loss",
    "softmax_equalization_loss",
    "softmax_focal_loss",
    "spec_of",
    "tversky_loss",
    "unified_focal_loss",
    "varifocal_loss",
    "vector_scaling_loss",
    "wiou_loss",
]
