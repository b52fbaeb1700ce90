"""Every loss for learning under imbalance, with one calling convention (see `LOSSES`, `build`)."""

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
from ._catalog import LOSSES as LOSSES
from ._catalog import LossSpec as LossSpec
from ._cross_entropy import BinaryCrossEntropy as BinaryCrossEntropy
from ._cross_entropy import CrossEntropy as CrossEntropy
from ._cross_entropy import binary_cross_entropy as binary_cross_entropy
from ._cross_entropy import cross_entropy as cross_entropy
from ._focal import SigmoidFocalLoss as SigmoidFocalLoss
from ._focal import SigmoidFocalLossStar as SigmoidFocalLossStar
from ._focal import SoftmaxFocalLoss as SoftmaxFocalLoss
from ._focal import prior_bias as prior_bias
from ._focal import sigmoid_focal_loss as sigmoid_focal_loss
from ._focal import sigmoid_focal_loss_star as sigmoid_focal_loss_star
from ._focal import softmax_focal_loss as softmax_focal_loss
from ._module import LossModule as LossModule
from ._spec import build as build
from ._spec import parse as parse
from ._spec import spec_of as spec_of

__all__ = [
    "LOSSES",
    "BinaryCrossEntropy",
    "CIoULoss",
    "CrossEntropy",
    "DIoULoss",
    "GIoULoss",
    "L1Loss",
    "LossModule",
    "LossSpec",
    "SigmoidFocalLoss",
    "SigmoidFocalLossStar",
    "SmoothL1Loss",
    "SoftmaxFocalLoss",
    "binary_cross_entropy",
    "build",
    "ciou_loss",
    "cross_entropy",
    "diou_loss",
    "giou_loss",
    "l1_loss",
    "parse",
    "prior_bias",
    "sigmoid_focal_loss",
    "sigmoid_focal_loss_star",
    "smooth_l1_loss",
    "softmax_focal_loss",
    "spec_of",
]
