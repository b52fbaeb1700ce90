"""Every loss for learning under imbalance. Written by `scripts/loss_stubs.py`: do not edit."""

from typing import Literal

from torch import Generator, Tensor

from .._types import Backend, PerClass, Reduction, SoftTargets, Vector
from ._overlap import BoxLoss
from ._region_parts import Activation
from ._asymmetric import asymmetric_loss as asymmetric_loss
from ._asymmetric import asymmetric_softmax_loss as asymmetric_softmax_loss
from ._box_running import WIoUv3Loss as WIoUv3Loss
from ._box_variants import eiou_loss as eiou_loss
from ._box_variants import focaler_iou_loss as focaler_iou_loss
from ._box_variants import inner_iou_loss as inner_iou_loss
from ._box_variants import nwd_loss as nwd_loss
from ._box_variants import wiou_loss as wiou_loss
from ._boxes import ciou_loss as ciou_loss
from ._boxes import diou_loss as diou_loss
from ._boxes import giou_loss as giou_loss
from ._boxes import l1_loss as l1_loss
from ._boxes import smooth_l1_loss as smooth_l1_loss
from ._calibration_aware import dual_focal_loss as dual_focal_loss
from ._calibration_aware import flsd_loss as flsd_loss
from ._catalog import LOSSES as LOSSES
from ._catalog import LossSpec as LossSpec
from ._centerline import cldice_loss as cldice_loss
from ._compose import DeferredReweighting as DeferredReweighting
from ._compose import Sum as Sum
from ._contrastive import focal_infonce_loss as focal_infonce_loss
from ._contrastive import hard_contrastive_loss as hard_contrastive_loss
from ._cross_entropy import binary_cross_entropy as binary_cross_entropy
from ._cross_entropy import cross_entropy as cross_entropy
from ._dense import dense_sigmoid_focal_loss as dense_sigmoid_focal_loss
from ._distance import boundary_loss as boundary_loss
from ._distance import hausdorff_loss as hausdorff_loss
from ._distance import signed_distances as signed_distances
from ._distillation import distillation_loss as distillation_loss
from ._distillation import focal_distillation_loss as focal_distillation_loss
from ._equalization import equalization_loss as equalization_loss
from ._equalization import softmax_equalization_loss as softmax_equalization_loss
from ._equalization_stateful import EQLv2 as EQLv2
from ._equalization_stateful import EqualizedFocalLoss as EqualizedFocalLoss
from ._equalization_stateful import SeesawLoss as SeesawLoss
from ._federated import FederatedLoss as FederatedLoss
from ._focal import prior_bias as prior_bias
from ._focal import sigmoid_focal_loss as sigmoid_focal_loss
from ._focal import softmax_focal_loss as softmax_focal_loss
from ._focal_variants import reduced_focal_loss as reduced_focal_loss
from ._focal_variants import sigmoid_focal_loss_star as sigmoid_focal_loss_star
from ._ghm import GHMC as GHMC
from ._ghm import GHMR as GHMR
from ._lovasz import lovasz_hinge_loss as lovasz_hinge_loss
from ._lovasz import lovasz_softmax_loss as lovasz_softmax_loss
from ._mining import OHEM as OHEM
from ._mining import HardNegativeMining as HardNegativeMining
from ._module import LossModule as LossModule
from ._poly import poly1_cross_entropy as poly1_cross_entropy
from ._poly import poly1_focal_loss as poly1_focal_loss
from ._prior import balanced_softmax_loss as balanced_softmax_loss
from ._prior import ldam_loss as ldam_loss
from ._prior import logit_adjusted_loss as logit_adjusted_loss
from ._prior import vector_scaling_loss as vector_scaling_loss
from ._quality import distribution_focal_loss as distribution_focal_loss
from ._quality import gaussian_focal_loss as gaussian_focal_loss
from ._quality import quality_focal_loss as quality_focal_loss
from ._quality import varifocal_loss as varifocal_loss
from ._region import dice_loss as dice_loss
from ._region import focal_tversky_loss as focal_tversky_loss
from ._region import generalized_dice_loss as generalized_dice_loss
from ._region import tversky_loss as tversky_loss
from ._scheduled import AdaFocalLoss as AdaFocalLoss
from ._scheduled import CyclicalFocalLoss as CyclicalFocalLoss
from ._set_prediction import iou_aware_bce_loss as iou_aware_bce_loss
from ._set_prediction import matchability_aware_loss as matchability_aware_loss
from ._set_prediction import position_supervised_focal_loss as position_supervised_focal_loss
from ._spec import argument_names as argument_names
from ._spec import build as build
from ._spec import focal_arguments as focal_arguments
from ._spec import parse as parse
from ._spec import spec_of as spec_of
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

class AsymmetricLoss(LossModule):
    r"""Asymmetric loss on sigmoids (Ridnik et al., 2021, eq. 7), for many labels of which few are true.

    `asymmetric_loss` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    $$L_+ = -(1 - p)^{\gamma_+} \log p, \quad L_- = -p_m^{\gamma_-} \log(1 - p_m), \quad p_m = \max(p - m, 0)$$

    At equal gammas and margin 0 it is the focal loss without alpha.

    Args:
        gamma_pos: Focusing of the positives, at least 0; a number or a vector over the classes.
        gamma_neg: Focusing of the negatives, at least 0; a number or a vector over the classes.
        margin: m in [0, 1): negatives with p below it lose nothing.
        detach_modulator: Hold the modulating factor constant in the gradient, as the authors' code does.
        label_smoothing: s turns targets 1 and 0 into 1 - s/2 and s/2.

    The other arguments are those of `sigmoid_focal_loss`.

    Example:
        >>> asymmetric_loss(torch.zeros(1), torch.zeros(1))
        tensor(0.0245)
    """

    def __init__(
        self,
        *,
        gamma_pos: PerClass = 0.0,
        gamma_neg: PerClass = 4.0,
        margin: float = 0.05,
        detach_modulator: bool = False,
        label_smoothing: float = 0.0,
        class_weight: Vector | None = None,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = 'mean',
        backend: Backend = 'auto',
    ) -> None: ...

class AsymmetricSoftmaxLoss(LossModule):
    r"""Asymmetric loss on a softmax (Ridnik et al., 2021, the authors' single-label form).

    `asymmetric_softmax_loss` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    $$-\sum_c q_c w_c \log p_c, \quad w_y = (1 - p_y)^{\gamma_+}, \quad w_{c \ne y} = p_c^{\gamma_-}$$

    q is the label smoothed by s: 1 - s + s/K at y and s/K elsewhere. The weights follow the hard label. Without
    smoothing it is the softmax focal loss at gamma_pos.

    Args:
        gamma_pos: Focusing of the true class, at least 0; a number or a vector over the classes.
        gamma_neg: Focusing of the other classes, at least 0; a number or a vector over the classes.
        label_smoothing: s in [0, 1).

    The other arguments are those of `softmax_focal_loss`.

    Example:
        >>> asymmetric_softmax_loss(torch.zeros(1, 2), torch.tensor([0]))
        tensor(0.6607)
    """

    def __init__(
        self,
        *,
        gamma_pos: PerClass = 0.0,
        gamma_neg: PerClass = 4.0,
        label_smoothing: float = 0.1,
        class_weight: Vector | None = None,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = 'mean',
        backend: Backend = 'auto',
    ) -> None: ...

class BalancedSoftmaxLoss(LossModule):
    r"""Balanced softmax (Ren et al., 2020, eq. 4): cross-entropy of $x_c + \log n_c$.

    `balanced_softmax_loss` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    Args:
        class_counts: Training examples per class, at least 0.

    The other arguments are those of `softmax_focal_loss`.

    Example:
        >>> balanced_softmax_loss(torch.zeros(1, 2), torch.tensor([1]), class_counts=[3, 1])
        tensor(1.3863)
    """

    def __init__(
        self,
        *,
        class_counts: Vector,
        class_weight: Vector | None = None,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = 'mean',
        backend: Backend = 'auto',
    ) -> None: ...

class BinaryCrossEntropy(LossModule):
    r"""Cross-entropy of independent sigmoids, -alpha_t log p_t.

    `binary_cross_entropy` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    Args:
        logits: Scores before the sigmoid, any shape.
        targets: Floating or bool, shaped like `logits`, or class indices with -1 for background.
        alpha: Weight of positives in [0, 1], `1 - alpha` for negatives; a number or a vector over the classes.
        pos_weight: Factor on the positives alone, as in `F.binary_cross_entropy_with_logits`.
        label_smoothing: s turns targets 1 and 0 into 1 - s/2 and s/2.

    The other arguments are those of `sigmoid_focal_loss`.

    Example:
        >>> binary_cross_entropy(torch.zeros(1), torch.ones(1))
        tensor(0.6931)
    """

    def __init__(
        self,
        *,
        alpha: PerClass | None = None,
        pos_weight: PerClass | None = None,
        label_smoothing: float = 0.0,
        class_weight: Vector | None = None,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = 'mean',
        backend: Backend = 'auto',
    ) -> None: ...

class BoundaryLoss(LossModule):
    r"""Boundary loss: the probabilities weighted by the signed distance $\phi$ to the outline of the ground truth
    (Kervadec et al., 2019, eq. 5), averaged over the pixels. Below 0 where the prediction is good; the authors add it
    to a region loss.

    `boundary_loss` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    $$\frac{1}{n} \sum_q \phi(q) \, p(q)$$

    Args:
        logits: Scores (b, k, ...), the classes on `class_dim`; the axes after them are places.
        targets: Floating or bool, shaped like `logits`, above 1/2 in the mask; or class indices with the class axis
            missing, -1 is no class. Elements equal to `ignore_index` are left out of the sum and lie outside the mask.
        distances: What `signed_distances` gives of the targets, shaped like the logits, where the data set has it.
        activation: "sigmoid": a mask per class; "softmax": classes exclude each other.
        class_weight: Vector over the classes.
        weight: One per image and class, shaped like the unreduced loss or broadcasting up to it; or one per pixel, with
            as many axes as the logits.
        reduction: "none" ((b, k)), "sum", or "mean" over the valid numbers.
        normalizer: Number or 0-d tensor that divides the sum instead.

    Raises:
        ValueError, TypeError: Shapes, dtypes or values that cannot be meant.

    Example:
        >>> boundary_loss(torch.zeros(1, 1, 5), torch.tensor([[[0.0, 0.0, 1.0, 1.0, 1.0]]]))
        tensor(0.)
    """

    def __init__(
        self,
        *,
        activation: Activation = 'sigmoid',
        class_weight: Vector | None = None,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = 'mean',
        backend: Backend = 'auto',
    ) -> None: ...

class CIoULoss(LossModule):
    r"""The DIoU loss plus a v, v the squared difference of the aspect angles times 4 / pi^2 and a = v / (1 - IoU + v).

    `ciou_loss` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    a is held constant in the gradient, as the paper does. Arguments as in `giou_loss`.

    Example:
        >>> ciou_loss(torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 1.0, 3.0, 3.0]]))
        tensor(0.9683)
    """

    def __init__(
        self,
        *,
        reduction: Reduction = 'mean',
    ) -> None: ...

class ClDiceLoss(LossModule):
    r"""Soft clDice loss: 1 minus the harmonic mean of two shares: of the predicted centre line inside the mask, and of
    the mask's centre line inside the prediction (Shit et al., 2021, eq. 1 and 2, algorithm 2).

    `cldice_loss` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    The authors train with a `Sum` of it and a Dice loss.

    Args:
        logits: Scores (b, k, ...), the classes on `class_dim`; the axes after them are places.
        targets: Floating or bool, shaped like `logits`, or class indices with the class axis missing; -1 is no class.
            Elements equal to `ignore_index` are in no sum, and background where lines are thinned.
        iterations: How often a line is thinned, at least 0: about the radius of the thickest, in pixels.
        smooth: At least 0, added to numerator and denominator of both shares.
        activation: "sigmoid": a mask per class; "softmax": classes exclude each other.
        absent: What happens to classes that an image does not show: "count" them, or "skip" them as not valid.
        class_weight: Vector over the classes.
        weight: One per image and class, shaped like the unreduced loss or broadcasting up to it; or one per pixel, with
            as many axes as the logits: it multiplies every term of the sums.
        reduction: "none" ((b, k)), "sum", or "mean" over the valid numbers.
        normalizer: Number or 0-d tensor that divides the sum instead.

    Raises:
        ValueError, TypeError: Shapes, dtypes or values that cannot be meant.

    Example:
        >>> line = torch.tensor([[[0.0, 0.0, 1.0, 0.0, 0.0]]])
        >>> cldice_loss(20 * (2 * line - 1), line).abs() < 1e-6
        tensor(True)
    """

    def __init__(
        self,
        *,
        iterations: int = 3,
        smooth: float = 1.0,
        activation: Activation = 'sigmoid',
        absent: Literal['count', 'skip'] = 'count',
        class_weight: Vector | None = None,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = 'mean',
        backend: Backend = 'auto',
    ) -> None: ...

class CrossEntropy(LossModule):
    r"""Cross-entropy of a softmax, -log p_y.

    `cross_entropy` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    As `F.cross_entropy`, with these differences: the class axis is `class_dim`; a batch without rows gives 0 instead of
    NaN; and the mean with `class_weight` divides by the number of rows of non-zero weight, as class-balanced loss does
    (Cui et al., 2019), not by the sum of the weights.

    Args:
        logits: Scores before the softmax; classes on `class_dim`.
        targets: Class indices with the class axis missing, or dense rows shaped like `logits`.
        label_smoothing: s mixes the uniform distribution into the target: (1 - s) q + s / K.

    The other arguments are those of `softmax_focal_loss`.

    Example:
        >>> cross_entropy(torch.zeros(1, 2), torch.tensor([0]))
        tensor(0.6931)
    """

    def __init__(
        self,
        *,
        label_smoothing: float = 0.0,
        class_weight: Vector | None = None,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = 'mean',
        backend: Backend = 'auto',
    ) -> None: ...

class DIoULoss(LossModule):
    r"""1 - IoU + (distance of the centres)^2 / (diagonal of the enclosing box)^2, in [0, 2].

    `diou_loss` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    Arguments as in `giou_loss`.

    Example:
        >>> diou_loss(torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 1.0, 3.0, 3.0]]))
        tensor(0.9683)
    """

    def __init__(
        self,
        *,
        reduction: Reduction = 'mean',
    ) -> None: ...

class DiceLoss(LossModule):
    r"""Dice loss: $1 - \frac{2 \sum p t + s}{\sum p + \sum t + s}$, which is `tversky_loss` at 1/2, 1/2 and smooth s/2.

    `dice_loss` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    Args:
        logits: Scores (b, k, ...), the classes on `class_dim`.
        targets: Floating or bool, shaped like `logits`, or class indices with the class axis missing; -1 is no class.
            Elements equal to `ignore_index` are in no sum.
        smooth: s, at least 0, in numerator and denominator.
        batch: Sum over the batch as well, one number per class.
        activation: "sigmoid": a mask per class; "softmax": classes exclude each other.
        absent: What happens to classes that an image does not show: "count" them, or "skip" them as not valid.
        class_weight: Vector over the classes.
        weight: One per image and class, shaped like the unreduced loss or broadcasting up to it; or one per pixel, with
            as many axes as the logits: it multiplies every term of the sums, and 0 leaves a pixel out.
        reduction: "none", "sum", or "mean" over the valid numbers.
        normalizer: Number or 0-d tensor that divides the sum instead.

    Example:
        >>> dice_loss(torch.zeros(1, 1, 2), torch.tensor([[[1.0, 0.0]]]))
        tensor(0.3333)
    """

    def __init__(
        self,
        *,
        smooth: float = 1.0,
        batch: bool = False,
        activation: Activation = 'sigmoid',
        absent: Literal['count', 'skip'] = 'count',
        class_weight: Vector | None = None,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = 'mean',
        backend: Backend = 'auto',
    ) -> None: ...

class DistillationLoss(LossModule):
    r"""Knowledge distillation: $T^2 \, KL(q \| p)$ of softmaxes at temperature T (Hinton et al., 2015, sec. 2).

    `distillation_loss` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    Args:
        logits: The student's scores, the classes on `class_dim`.
        teacher_logits: The teacher's, of the same shape.
        temperature: T, greater than 0.
        weight: Broadcasts against the unreduced loss; what has weight 0 is not valid.
        class_dim: The class axis.
        reduction: "none" (one number per row), "sum", or "mean" over the valid rows.
        normalizer: Number or 0-d tensor that divides the sum instead.

    Example:
        >>> distillation_loss(torch.zeros(1, 2), torch.tensor([[4.0, 0.0]]))
        tensor(1.7751)
    """

    def __init__(
        self,
        *,
        temperature: float = 4.0,
        class_dim: int = 1,
        reduction: Reduction = 'mean',
        backend: Backend = 'auto',
    ) -> None: ...

class DistributionFocalLoss(LossModule):
    r"""Distribution focal loss (Li et al., 2020, eq. 6): a softmax over positions 0..n, taught its two nearest
    neighbours.

    `distribution_focal_loss` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    $$-((i + 1 - y) \log S_i + (y - i) \log S_{i+1}), \quad i \le y \le i + 1$$

    Args:
        logits: Scores of the n + 1 positions on `class_dim`.
        targets: Floating positions in [0, n], the shape of `logits` without `class_dim`.
        ignore_index: Value of `targets` that is not valid.
        weight, class_dim, reduction, normalizer, backend: As in `softmax_focal_loss`.

    Example:
        >>> distribution_focal_loss(torch.zeros(1, 4), torch.tensor([1.25]))
        tensor(1.3863)
    """

    def __init__(
        self,
        *,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = 'mean',
        backend: Backend = 'auto',
    ) -> None: ...

class DualFocalLoss(LossModule):
    r"""Dual focal loss on a softmax (Tao et al., 2023, eq. 6): $-(1 - p_y + p_j)^\gamma \log p_y$.

    `dual_focal_loss` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    $p_j$ is the largest probability strictly below $p_y$ (0 where there is none). The gradient goes through it.

    Args:
        targets: Class indices.
        gamma: Focusing parameter, at least 0; 0 is cross-entropy.

    The other arguments are those of `softmax_focal_loss`.

    Example:
        >>> dual_focal_loss(torch.zeros(1, 2), torch.tensor([0]))
        tensor(0.0217)
    """

    def __init__(
        self,
        *,
        gamma: float = 5.0,
        class_weight: Vector | None = None,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = 'mean',
        backend: Backend = 'auto',
    ) -> None: ...

class EIoULoss(LossModule):
    r"""EIoU, the DIoU loss plus the differences of the sides; Focal-EIoU at gamma 0.5 (Zhang et al., 2022).

    `eiou_loss` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    $$IoU^\gamma \left(1 - IoU + \frac{\rho^2}{C_w^2 + C_h^2} + \frac{(w - w_t)^2}{C_w^2} + \frac{(h - h_t)^2}{C_h^2}
    \right)$$

    rho is the distance of the centres, C the sides of the enclosing box. The factor is held constant in the gradient:
    with its own it would push boxes of IoU below gamma / (1 + gamma) away from their ground truth.

    Args:
        gamma: Exponent of the factor, at least 0; the paper's Focal-EIoU has 0.5, which lets well placed boxes count
            more. Divide by the sum of the factors, or mind that the loss becomes smaller.

    The other arguments are those of `giou_loss`.

    Example:
        >>> eiou_loss(torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 1.0, 3.0, 3.0]]))
        tensor(0.9683)
    """

    def __init__(
        self,
        *,
        gamma: float = 0.0,
        reduction: Reduction = 'mean',
    ) -> None: ...

class EqualizationLoss(LossModule):
    r"""Equalization loss on sigmoids (Tan et al., 2020, eq. 3 and 4): rare classes are no negatives of foreground rows.

    `equalization_loss` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    $$\sum_c w_c BCE_c, \quad w_c = 1 - E(r) \, T_\lambda(f_c) (1 - t_c)$$

    E is 1 for rows that hold an object, T is 1 for classes rarer than the threshold. The paper divides by the number of
    rows: pass it as `normalizer`.

    Args:
        frequency: Share of the training images that show each class, in [0, 1].
        threshold: lambda; 1.77e-3 for LVIS 0.5, 1.1e-3 for LVIS 1.0.

    The other arguments are those of `sigmoid_focal_loss`.

    Example:
        >>> equalization_loss(torch.zeros(1, 2), torch.tensor([0]), frequency=[0.5, 0.001], reduction="sum")
        tensor(0.6931)
    """

    def __init__(
        self,
        *,
        frequency: Vector,
        threshold: float = 0.00177,
        class_weight: Vector | None = None,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = 'mean',
        backend: Backend = 'auto',
    ) -> None: ...

class FLSDLoss(LossModule):
    r"""FLSD-53: softmax focal loss whose gamma depends on the sample (Mukhoti et al., 2020, sec. 4).

    `flsd_loss` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    gamma is `gamma_low` where p_y is below the threshold and `gamma_high` from there on, held constant in the gradient.

    Args:
        gamma_low: Focusing parameter of uncertain rows, at least 0.
        gamma_high: Focusing parameter of the others, at least 0.
        threshold: Probability in [0, 1].

    The other arguments are those of `softmax_focal_loss`.

    Example:
        >>> flsd_loss(torch.zeros(1, 2), torch.tensor([0]))
        tensor(0.0866)
    """

    def __init__(
        self,
        *,
        gamma_low: float = 5.0,
        gamma_high: float = 3.0,
        threshold: float = 0.2,
        class_weight: Vector | None = None,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = 'mean',
        backend: Backend = 'auto',
    ) -> None: ...

class FocalDistillationLoss(LossModule):
    r"""Adaptive distillation on sigmoids (Tang et al., 2019, eq. 6): $(1 - e^{-(KL + \beta H(q))})^\gamma \, KL(q \|
    p)$.

    `focal_distillation_loss` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    KL and the entropy H are those of each sigmoid, p the student's and q the teacher's. Examples that the student
    already copies, and on which the teacher is sure, are weighed down.

    Args:
        logits: The student's scores, any shape.
        teacher_logits: The teacher's, of the same shape.
        gamma: Focusing parameter, at least 0; 0 is plain distillation.
        beta: Weight of the teacher's entropy, at least 0.
        weight: Broadcasts against the unreduced loss; what has weight 0 is not valid.
        reduction: "none" (shape of `logits`), "sum", or "mean" over the valid elements.
        normalizer: Number or 0-d tensor that divides the sum instead.

    Example:
        >>> focal_distillation_loss(torch.zeros(1), torch.tensor([2.0]))
        tensor(0.0820)
    """

    def __init__(
        self,
        *,
        gamma: float = 2.0,
        beta: float = 1.0,
        reduction: Reduction = 'mean',
        backend: Backend = 'auto',
    ) -> None: ...

class FocalInfoNCELoss(LossModule):
    r"""Focal InfoNCE (Hou and Li, 2023, eq. 3): InfoNCE on $s_{ii}^2 / \tau$ and $s_{ij} (s_{ij} + m) / \tau$.

    `focal_infonce_loss` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    s are cosines. As published the positive term does not know the sign of its cosine, and a negative pair below -m/2
    is taken for a hard one; `one_sided=True` uses max(s, 0)^2 and max(s, -m/2) instead.

    Args:
        anchors: Embeddings (b, d); they are normalised here.
        partners: Embeddings (b, d); row i belongs to anchor i, all others are its negatives.
        temperature: tau, greater than 0.
        margin: m.
        one_sided: Ignore what lies beyond the turning points.
        weight: One per anchor; one of weight 0 is not valid (its embedding still serves as a negative).
        reduction: "none" (b,), "sum" or "mean".
        normalizer: Number or 0-d tensor that divides the sum instead.

    Example:
        >>> focal_infonce_loss(torch.eye(2), torch.eye(2), temperature=1.0)
        tensor(0.3133)
    """

    def __init__(
        self,
        *,
        temperature: float = 0.05,
        margin: float = 0.3,
        one_sided: bool = False,
        reduction: Reduction = 'mean',
        backend: Backend = 'auto',
    ) -> None: ...

class FocalTverskyLoss(LossModule):
    r"""Focal Tversky loss: (Tversky loss)^exponent, per image and class (Abraham and Khan, 2019, eq. 4).

    `focal_tversky_loss` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    Args:
        exponent: Greater than 0; the paper's 1/gamma, 3/4. 1 is `tversky_loss`.

    The other arguments are those of `tversky_loss`.

    Example:
        >>> focal_tversky_loss(torch.zeros(1, 1, 2), torch.tensor([[[1.0, 0.0]]]))
        tensor(0.3536)
    """

    def __init__(
        self,
        *,
        fp_weight: float = 0.3,
        fn_weight: float = 0.7,
        exponent: float = 0.75,
        smooth: float = 1.0,
        batch: bool = False,
        activation: Activation = 'sigmoid',
        absent: Literal['count', 'skip'] = 'count',
        class_weight: Vector | None = None,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = 'mean',
        backend: Backend = 'auto',
    ) -> None: ...

class FocalerIoULoss(LossModule):
    r"""Focaler-IoU: the IoU stretched over an interval, outside of which it teaches nothing (Zhang and Zhang, 2024).

    `focaler_iou_loss` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    $$1 - \min\left(1, \max\left(0, \frac{IoU - d}{u - d}\right)\right) + \text{penalty}$$

    Args:
        low: d in [0, 1): raise it where easy boxes matter.
        high: u in (0, 1], above `low`: lower it where hard boxes matter.
        base: Whose penalty is added: "iou" (none), "giou", "diou", "ciou" or "eiou".

    The other arguments are those of `giou_loss`.

    Example:
        >>> focaler_iou_loss(torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 1.0, 3.0, 3.0]]), base="iou")
        tensor(0.8496)
    """

    def __init__(
        self,
        *,
        low: float = 0.0,
        high: float = 0.95,
        base: BoxLoss = 'giou',
        reduction: Reduction = 'mean',
    ) -> None: ...

class GIoULoss(LossModule):
    r"""1 - GIoU, in [0, 2]: IoU minus the empty share of the enclosing box.

    `giou_loss` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    Args:
        pred: Boxes (..., 4), xyxy, in one unit of length.
        target: The same shape.
        weight: Broadcasts against the unreduced loss (...,); what has weight 0 is not valid.
        reduction: "none" (one number per box), "sum", or "mean" over the valid boxes.
        normalizer: Number or 0-d tensor that divides the sum instead.

    Example:
        >>> giou_loss(torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 1.0, 3.0, 3.0]]))
        tensor(1.0794)
    """

    def __init__(
        self,
        *,
        reduction: Reduction = 'mean',
    ) -> None: ...

class GaussianFocalLoss(LossModule):
    r"""Focal loss for heat maps with Gaussian peaks (Law and Deng, 2018, eq. 1; Zhou et al., 2019, eq. 1), on logits.

    `gaussian_focal_loss` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    $$-(1 - p)^\alpha \log p \text{ at peaks } (Y = 1), \quad -(1 - Y)^\beta p^\alpha \log(1 - p) \text{ elsewhere}$$

    The papers divide the sum by the number of peaks: `normalizer=(targets == 1).sum().clamp(min=1)`.

    Args:
        targets: Heat map Y in [0, 1], exactly 1 at the peaks; or class indices.
        alpha: Focusing parameter, at least 0.
        beta: How fast the loss falls towards a peak, at least 0.

    The other arguments are those of `sigmoid_focal_loss`.

    Example:
        >>> gaussian_focal_loss(torch.zeros(1), torch.tensor([0.5]))
        tensor(0.0108)
    """

    def __init__(
        self,
        *,
        alpha: float = 2.0,
        beta: float = 4.0,
        class_weight: Vector | None = None,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = 'mean',
        backend: Backend = 'auto',
    ) -> None: ...

class GeneralizedDiceLoss(LossModule):
    r"""Generalised Dice loss: one Dice over all classes, each weighted by the inverse square of its size, so that small
    ones count (Sudre et al., 2017, sec. 2.1), one number per image.

    `generalized_dice_loss` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    $$1 - \frac{2 \sum_c w_c \sum p_c t_c + s}{\sum_c w_c (\sum p_c + \sum t_c) + s}$$

    Args:
        smooth: s, at least 0. The weights add up to 1, so that s is counted in pixels, as in `dice_loss`; the paper has
            none.
        absent: The weight of classes that an image does not show, whose inverse size is infinite: that of the smallest
            class that is shown ("count"; equal weights where none is), or 0 ("skip").
        weight: One per image (b,); or one per pixel, with as many axes as the logits.

    The other arguments are those of `dice_loss`.

    Example:
        >>> generalized_dice_loss(torch.zeros(1, 2, 4), torch.tensor([[0, 1, 1, 1]]))
        tensor(0.4762)
    """

    def __init__(
        self,
        *,
        smooth: float = 1.0,
        activation: Activation = 'sigmoid',
        absent: Literal['count', 'skip'] = 'count',
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = 'mean',
        backend: Backend = 'auto',
    ) -> None: ...

class HardContrastiveLoss(LossModule):
    r"""Contrastive loss with hard negatives, debiased (Robinson et al., 2021, eq. 4 to 6).

    `hard_contrastive_loss` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    $$-\log \frac{e^+}{e^+ + N_g}, \quad N_g = \max\left(\frac{R - \tau^+ N e^+}{1 - \tau^+}, N e^{-1/\tau}\right),
    \quad R = \frac{\sum_j e_j^{\beta + 1}}{\frac{1}{N} \sum_j e_j^\beta}$$

    $e = e^{s / \tau}$ of cosines s. Each of the 2b embeddings is an anchor once; its N = 2b - 2 negatives are those of
    the other pairs.

    Args:
        anchors: Embeddings (b, d), b at least 2; they are normalised here.
        partners: Embeddings (b, d); row i belongs to anchor i.
        temperature: tau, greater than 0.
        beta: Concentration on hard negatives, at least 0.
        tau_plus: Prior probability that a negative is a positive, in [0, 1).
        weight: One per pair; one of weight 0 is no valid anchor.
        reduction: "none" (b,) (the mean of the pair's two), "sum" or "mean".
        normalizer: Number or 0-d tensor that divides the sum instead.

    Example:
        >>> hard_contrastive_loss(torch.eye(2), torch.eye(2))
        tensor(0.0756)
    """

    def __init__(
        self,
        *,
        temperature: float = 0.5,
        beta: float = 1.0,
        tau_plus: float = 0.1,
        reduction: Reduction = 'mean',
        backend: Backend = 'auto',
    ) -> None: ...

class HausdorffLoss(LossModule):
    r"""Hausdorff loss: squared errors weighted by how far they are from both outlines (Karimi and Salcudean, 2019,
    eq. 8).

    `hausdorff_loss` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    $$\frac{1}{n} \sum_q (p(q) - t(q))^2 \, (d_p(q)^\alpha + d_t(q)^\alpha)$$

    d is the distance to the nearest pixel on the other side of the outline: of the targets, and of the prediction cut
    at 1/2, which is held constant. A mask that is empty or everything has none, and d is 0.

    Args:
        alpha: At least 0; how much more far errors cost. The paper finds 1 to 3 good.

    The other arguments are those of `boundary_loss`.

    Example:
        >>> hausdorff_loss(torch.zeros(1, 1, 4), torch.tensor([[[1.0, 0.0, 0.0, 0.0]]]))
        tensor(0.9375)
    """

    def __init__(
        self,
        *,
        alpha: float = 2.0,
        activation: Activation = 'sigmoid',
        class_weight: Vector | None = None,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = 'mean',
        backend: Backend = 'auto',
    ) -> None: ...

class InnerIoULoss(LossModule):
    r"""Inner-IoU: the IoU of both boxes scaled about their centres, in the place of theirs (Zhang et al., 2023).

    `inner_iou_loss` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    $$1 - IoU(\text{scaled}) + \text{penalty}$$

    Args:
        ratio: Factor on the sides, greater than 0. Below 1 boxes that are nearly right teach more; above 1 boxes that
            miss one another meet. The paper tries 0.5 to 1.5; 1 is the base.
        base: Whose penalty is added: "iou" (none), "giou", "diou", "ciou" or "eiou".

    The other arguments are those of `giou_loss`.

    Example:
        >>> inner_iou_loss(torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 1.0, 3.0, 3.0]]))
        tensor(1.1797)
    """

    def __init__(
        self,
        *,
        ratio: float = 0.7,
        base: BoxLoss = 'giou',
        reduction: Reduction = 'mean',
    ) -> None: ...

class IoUAwareBCELoss(LossModule):
    r"""IoU-aware binary cross-entropy, IA-BCE (Align-DETR; LW-DETR, Chen et al., 2024): a target between the
    score and the quality.

    `iou_aware_bce_loss` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    $$BCE(p, t) \text{ for } q > 0, \quad t = \max(p^\alpha q^{1 - \alpha}, \text{floor}), \quad -p^\gamma \log(1 - p)
    \text{ for } q = 0$$

    t is held constant in the gradient; the weight $p^\gamma$ of the negatives is not, as in the authors' code.

    Args:
        targets: Quality q in [0, 1], the IoU of the matched pair at its class and 0 elsewhere; or class indices, whose
            quality is 1.
        alpha: Share of the score in the target, in [0, 1]; a number or a vector over the classes.
        gamma: Focusing parameter of the negatives, at least 0.
        floor: The smallest target of a positive, in [0, 1]; a number or a vector over the classes.

    The other arguments are those of `sigmoid_focal_loss`.

    Example:
        >>> iou_aware_bce_loss(torch.ones(1), torch.tensor([0.8]))
        tensor(0.5311)
    """

    def __init__(
        self,
        *,
        alpha: PerClass = 0.25,
        gamma: PerClass = 2.0,
        floor: PerClass = 0.01,
        class_weight: Vector | None = None,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = 'mean',
        backend: Backend = 'auto',
    ) -> None: ...

class L1Loss(LossModule):
    r"""|pred - target|, which is `smooth_l1_loss` at beta=0.

    `l1_loss` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    Example:
        >>> l1_loss(torch.tensor([2.0]), torch.tensor([0.0]))
        tensor(2.)
    """

    def __init__(
        self,
        *,
        reduction: Reduction = 'mean',
    ) -> None: ...

class LDAMLoss(LossModule):
    r"""Label-distribution-aware margin loss (Cao et al., 2019, eq. 12): cross-entropy of $s (x - m_y 1_y)$.

    `ldam_loss` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    $m_c = m_{max} (n_c / n_{min})^{-1/4}$. The paper's logits are cosines of normalised features and weights; its
    schedule is `DeferredReweighting`.

    Args:
        logits: Cosines in [-1, 1].
        class_counts: Training examples per class, greater than 0.
        max_margin: Margin of the rarest class, at least 0.
        scale: s, greater than 0.

    The other arguments are those of `softmax_focal_loss`.

    Example:
        >>> ldam_loss(torch.tensor([[0.5, 0.0]]), torch.tensor([0]), class_counts=[16, 1])
        tensor(0.0006)
    """

    def __init__(
        self,
        *,
        class_counts: Vector,
        max_margin: float = 0.5,
        scale: float = 30.0,
        class_weight: Vector | None = None,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = 'mean',
        backend: Backend = 'auto',
    ) -> None: ...

class LogitAdjustedLoss(LossModule):
    r"""Logit-adjusted cross-entropy (Menon et al., 2021, eq. 10): cross-entropy of $x_c + \tau \log \pi_c$.

    `logit_adjusted_loss` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    At tau 1 it is balanced softmax, at tau 0 cross-entropy.

    Args:
        class_counts: Training examples per class, at least 0; pi is their share.
        tau: Strength of the adjustment, at least 0.

    The other arguments are those of `softmax_focal_loss`.

    Example:
        >>> logit_adjusted_loss(torch.zeros(1, 2), torch.tensor([1]), class_counts=[3, 1])
        tensor(1.3863)
    """

    def __init__(
        self,
        *,
        class_counts: Vector,
        tau: float = 1.0,
        class_weight: Vector | None = None,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = 'mean',
        backend: Backend = 'auto',
    ) -> None: ...

class LovaszHingeLoss(LossModule):
    r"""Lovász hinge: the extension at the hinge errors $\max(0, 1 - x s)$, s = 1 in the mask and -1 outside (Berman et
    al., 2018, sec. 3.1), a mask per class.

    `lovasz_hinge_loss` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    Args:
        logits: Scores (b, k, ...), the classes on `class_dim`.
        targets: 0 and 1, floating or bool, shaped like `logits`; or class indices with the class axis missing, -1 is no
            class. Elements equal to `ignore_index` take no part.
        batch: One region of the whole batch for each class, instead of one per image.
        absent: What happens to classes that an image does not show: "count" them, which is the largest error of their
            pixels, or "skip" them as not valid.
        class_weight: Vector over the classes.
        weight: One per image and class, shaped like the unreduced loss or broadcasting up to it; or one per pixel, with
            as many axes as the logits: the pixel then counts as so many.
        reduction: "none" ((b, k), or (k,) with `batch`), "sum", or "mean" over the valid numbers.
        normalizer: Number or 0-d tensor that divides the sum instead.

    Raises:
        ValueError, TypeError: Shapes, dtypes or values that cannot be meant; targets strictly between 0 and 1.

    Example:
        >>> lovasz_hinge_loss(torch.tensor([[[2.0, -0.5, 0.5]]]), torch.tensor([[[1.0, 1.0, 0.0]]]))
        tensor(1.)
    """

    def __init__(
        self,
        *,
        batch: bool = False,
        absent: Literal['count', 'skip'] = 'count',
        class_weight: Vector | None = None,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = 'mean',
        backend: Backend = 'auto',
    ) -> None: ...

class LovaszSoftmaxLoss(LossModule):
    r"""Lovász-Softmax: the extension at the errors $1 - p$ in the mask and $p$ outside, for every class (Berman et al.,
    2018, sec. 3.2).

    `lovasz_softmax_loss` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    Args:
        activation: "softmax": classes exclude each other; "sigmoid": a mask per class.
        absent: As in `lovasz_hinge_loss`; the paper's code averages over the classes that are shown, "skip".

    The other arguments are those of `lovasz_hinge_loss`.

    Example:
        >>> lovasz_softmax_loss(torch.zeros(1, 2, 4), torch.tensor([[0, 1, 1, 1]]))
        tensor(0.5000)
    """

    def __init__(
        self,
        *,
        batch: bool = False,
        activation: Activation = 'softmax',
        absent: Literal['count', 'skip'] = 'skip',
        class_weight: Vector | None = None,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = 'mean',
        backend: Backend = 'auto',
    ) -> None: ...

class MatchabilityAwareLoss(LossModule):
    r"""Matchability-aware loss, MAL (Huang et al., 2025): matches of low quality still raise or lower a score.

    `matchability_aware_loss` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    $$BCE(p, q^\gamma) \text{ for } q > 0, \quad -\alpha p^\gamma \log(1 - p) \text{ for } q = 0$$

    Varifocal loss multiplies positives by q, which leaves poor matches without a gradient; MAL does not.

    Args:
        targets: Quality q in [0, 1], the IoU of the matched pair at its class and 0 elsewhere; or class indices, whose
            quality is 1.
        gamma: Focusing parameter, at least 0; a number or a vector over the classes.
        alpha: Weight of the negatives, at least 0; `None` is 1, as in the paper.
        detach_modulator: Hold the weight $p^\gamma$ constant in the gradient, as the authors' code does.

    The other arguments are those of `sigmoid_focal_loss`.

    Example:
        >>> matchability_aware_loss(torch.zeros(1), torch.tensor([0.8]))
        tensor(0.6931)
    """

    def __init__(
        self,
        *,
        gamma: PerClass = 1.5,
        alpha: PerClass | None = None,
        detach_modulator: bool = True,
        class_weight: Vector | None = None,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = 'mean',
        backend: Backend = 'auto',
    ) -> None: ...

class NWDLoss(LossModule):
    r"""1 - normalised Wasserstein distance of the boxes taken for Gaussians (Wang et al., 2021).

    `nwd_loss` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    $$1 - e^{-W / C}, \quad W^2 = \Delta x^2 + \Delta y^2 + (\Delta w^2 + \Delta h^2) / 4$$

    It falls with the distance in pixels whether or not the boxes overlap, which suits tiny objects. Unlike the IoU
    losses it depends on the unit of length, and far away its gradient fades: add it to another box loss.

    Args:
        constant: C, about the mean size of the objects in pixels, greater than 0; 12.8 is that of AI-TOD.

    The other arguments are those of `giou_loss`.

    Example:
        >>> nwd_loss(torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 1.0, 3.0, 3.0]]))
        tensor(0.1046)
    """

    def __init__(
        self,
        *,
        constant: float = 12.8,
        reduction: Reduction = 'mean',
    ) -> None: ...

class Poly1CrossEntropy(LossModule):
    r"""Poly-1 cross-entropy on a softmax (Leng et al., 2022, eq. 5): $-\log p_y + \epsilon (1 - p_y)$.

    `poly1_cross_entropy` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    Args:
        epsilon: Weight added to the first polynomial term; 0 is cross-entropy. The paper uses 1 and 2 for
            classification, -1 for detection.

    The other arguments are those of `softmax_focal_loss`.

    Example:
        >>> poly1_cross_entropy(torch.zeros(1, 2), torch.tensor([0]))
        tensor(1.1931)
    """

    def __init__(
        self,
        *,
        epsilon: float = 1.0,
        class_weight: Vector | None = None,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = 'mean',
        backend: Backend = 'auto',
    ) -> None: ...

class Poly1FocalLoss(LossModule):
    r"""Poly-1 focal loss on sigmoids (Leng et al., 2022, sec. 5): $\alpha_t (FL(p_t) + \epsilon (1 - p_t)^{\gamma +
    1})$.

    `poly1_focal_loss` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    Args:
        epsilon: Weight added to the first polynomial term; 0 is the focal loss.
        alpha: Weight of positives, `1 - alpha` for negatives, `None` for none; it multiplies both terms.
        gamma: Focusing parameter, at least 0; a number or a vector over the classes.

    The other arguments are those of `sigmoid_focal_loss`.

    Example:
        >>> poly1_focal_loss(torch.zeros(1), torch.ones(1))
        tensor(0.0746)
    """

    def __init__(
        self,
        *,
        epsilon: float = 1.0,
        alpha: PerClass | None = 0.25,
        gamma: PerClass = 2.0,
        class_weight: Vector | None = None,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = 'mean',
        backend: Backend = 'auto',
    ) -> None: ...

class PositionSupervisedFocalLoss(LossModule):
    r"""Position-supervised focal loss (Stable-DINO, Liu et al., 2023): $\alpha_t |t - p|^\gamma \, BCE(p, t)$.

    `position_supervised_focal_loss` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    t is a measure of the position alone, in the paper the IoU of the matched pair over the largest of its image:
    `targets / targets.amax(dim=(1, 2), keepdim=True).clamp(min=1e-8)` for (b, n, k). Without alpha it is the quality
    focal loss.

    Args:
        targets: Quality t in [0, 1], 0 at the classes that are not true; or class indices, whose quality is 1.
        alpha: Weight where t > 0, `1 - alpha` elsewhere; `None` for none.
        gamma: Focusing parameter, at least 0; a number or a vector over the classes.

    The other arguments are those of `sigmoid_focal_loss`.

    Example:
        >>> position_supervised_focal_loss(torch.zeros(1), torch.tensor([0.9]))
        tensor(0.0277)
    """

    def __init__(
        self,
        *,
        alpha: PerClass | None = 0.25,
        gamma: PerClass = 2.0,
        class_weight: Vector | None = None,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = 'mean',
        backend: Backend = 'auto',
    ) -> None: ...

class QualityFocalLoss(LossModule):
    r"""Quality focal loss on sigmoids (Li et al., 2020, eq. 4): $|t - p|^\beta \, BCE(p, t)$, smallest at p = t.

    `quality_focal_loss` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    On targets 0 and 1 it is the focal loss without alpha.

    Args:
        targets: Quality in [0, 1], such as the IoU at the true class and 0 elsewhere; or class indices.
        beta: Focusing parameter, at least 0; a number or a vector over the classes.

    The other arguments are those of `sigmoid_focal_loss`.

    Example:
        >>> quality_focal_loss(torch.zeros(1), torch.tensor([0.9]))
        tensor(0.1109)
    """

    def __init__(
        self,
        *,
        beta: PerClass = 2.0,
        class_weight: Vector | None = None,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = 'mean',
        backend: Backend = 'auto',
    ) -> None: ...

class ReducedFocalLoss(LossModule):
    r"""Reduced focal loss on sigmoids: cross-entropy below the threshold, focal above it (arXiv 1903.01347).

    `reduced_focal_loss` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    $$-f \log p_t, \quad f = 1 \text{ for } p_t < th, \quad f = \left(\frac{1 - p_t}{1 - th}\right)^\gamma \text{
    beyond}$$

    The paper's factor divides by th, which jumps at the threshold unless th is 1/2; `legacy=True` gives that form.

    Args:
        gamma: Focusing parameter, at least 0; a number or a vector over the classes.
        threshold: th, strictly between 0 and 1.
        legacy: Divide by th instead of 1 - th.

    The other arguments are those of `sigmoid_focal_loss`.

    Example:
        >>> reduced_focal_loss(torch.tensor([-1.0]), torch.ones(1))
        tensor(1.3133)
    """

    def __init__(
        self,
        *,
        gamma: PerClass = 2.0,
        threshold: float = 0.5,
        legacy: bool = False,
        class_weight: Vector | None = None,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = 'mean',
        backend: Backend = 'auto',
    ) -> None: ...

class SigmoidFocalLoss(LossModule):
    r"""Focal loss on independent sigmoids (Lin et al., 2017, eq. 5).

    `sigmoid_focal_loss` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    $$FL(p_t) = -\alpha_t (1 - p_t)^\gamma \log p_t$$

    Args:
        logits: Scores before the sigmoid, any shape.
        targets: Floating or bool, shaped like `logits`; or class indices (integer, class axis missing) with -1 for
            background. Elements equal to `ignore_index` are not valid: not in value, gradient and mean.
        alpha: Weight of positives in [0, 1], `1 - alpha` for negatives; `None` for no balancing. A number or a vector
            over the classes.
        gamma: Focusing parameter, at least 0; 0 gives (alpha-balanced) cross-entropy. A number or a vector over
            the classes.
        gamma_neg: Focusing parameter of the negatives; `None` takes `gamma`.
        pos_weight: Factor on the positives alone, as in `F.binary_cross_entropy_with_logits`; it multiplies beside
            alpha. A number or a vector over the classes.
        label_smoothing: s turns targets 1 and 0 into 1 - s/2 and s/2.
        soft_targets: Meaning of targets strictly between 0 and 1. "split": the expectation over hard labels;
            "mix": (1 - p_t)^gamma BCE with 1 - p_t = p + t - 2pt (torchvision); "exp": (1 - e^-BCE)^gamma BCE;
            "qfl": |t - p|^gamma BCE. Hard targets give the same under all four.
        class_weight: Vector over the classes, multiplies the columns; what has weight 0 is not valid.
        weight: Broadcasts against the unreduced loss; what has weight 0 is not valid.
        ignore_index: Value of `targets` that is not valid.
        class_dim: The class axis of `logits`; used with class indices and with vectors over classes.
        reduction: "none" (shape of `logits`), "sum", or "mean" over the valid elements.
        normalizer: Number or 0-d tensor that divides the sum instead, for example the number of positives.
        backend: "auto" chooses (`focalkit.kernels.explain` says what and why); "eager", "compiled" and "triton" ask for
            one.

    Raises:
        ValueError, TypeError: Shapes, dtypes or values that cannot be meant.
        BackendError: A backend that cannot run here.

    Example:
        >>> sigmoid_focal_loss(torch.zeros(1), torch.ones(1))
        tensor(0.0433)
    """

    def __init__(
        self,
        *,
        alpha: PerClass | None = 0.25,
        gamma: PerClass = 2.0,
        gamma_neg: PerClass | None = None,
        pos_weight: PerClass | None = None,
        label_smoothing: float = 0.0,
        soft_targets: SoftTargets = 'split',
        class_weight: Vector | None = None,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = 'mean',
        backend: Backend = 'auto',
    ) -> None: ...

class SigmoidFocalLossStar(LossModule):
    r"""FL*, the variant of the appendix (Lin et al., 2017): $-\alpha_t \log\sigma(\gamma u + \beta) / \gamma$.

    `sigmoid_focal_loss_star` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    u is the signed logit. gamma=1, beta=0 is cross-entropy; the paper's best is gamma=2, beta=1. fvcore's
    `sigmoid_focal_loss_star` is this with beta=0.

    Args:
        gamma: Slope, greater than 0; a number or a vector over the classes.
        beta: Shift of the signed logit; a number or a vector over the classes.

    The other arguments are those of `sigmoid_focal_loss`.

    Example:
        >>> sigmoid_focal_loss_star(torch.zeros(1), torch.ones(1))
        tensor(0.1566)
    """

    def __init__(
        self,
        *,
        alpha: PerClass | None = None,
        gamma: PerClass = 2.0,
        beta: PerClass = 1.0,
        class_weight: Vector | None = None,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = 'mean',
        backend: Backend = 'auto',
    ) -> None: ...

class SmoothL1Loss(LossModule):
    r"""d^2 / (2 beta) for |d| < beta, |d| - beta / 2 beyond; beta=0 is L1.

    `smooth_l1_loss` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    Args:
        pred: Any shape.
        target: The same shape.
        beta: Where the parabola meets the line, at least 0.
        weight: Broadcasts against the unreduced loss; what has weight 0 is not valid.
        reduction: "none" (shape of `pred`), "sum", or "mean" over the valid elements.
        normalizer: Number or 0-d tensor that divides the sum instead.

    Example:
        >>> smooth_l1_loss(torch.tensor([2.0]), torch.tensor([0.0]), beta=1.0)
        tensor(1.5000)
    """

    def __init__(
        self,
        *,
        beta: float = 1 / 9,
        reduction: Reduction = 'mean',
    ) -> None: ...

class SoftmaxEqualizationLoss(LossModule):
    r"""Softmax equalization loss (Tan et al., 2020, eq. 8 and 9): rare classes leave the denominator at random.

    `softmax_equalization_loss` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    $$-\log \frac{e^{x_y}}{\sum_k w_k e^{x_k}}, \quad w_k = 1 - \beta T_\lambda(f_k) (1 - 1[k = y]), \quad \beta \sim
    B(drop\_prob)$$

    Args:
        targets: Class indices.
        frequency: Share of the training examples of each class, in [0, 1].
        threshold: lambda: classes below it are rare.
        drop_prob: Probability in [0, 1] that a rare class leaves a row's denominator; the paper's gamma.
        generator: Source of the random numbers, on the device of the logits.

    The other arguments are those of `softmax_focal_loss`.

    Example:
        >>> x, y = torch.zeros(1, 2), torch.tensor([0])
        >>> softmax_equalization_loss(x, y, frequency=[0.9, 0.001], drop_prob=0.0)
        tensor(0.6931)
    """

    def __init__(
        self,
        *,
        frequency: Vector,
        threshold: float = 0.005,
        drop_prob: float = 0.9,
        generator: Generator | None = None,
        class_weight: Vector | None = None,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = 'mean',
        backend: Backend = 'auto',
    ) -> None: ...

class SoftmaxFocalLoss(LossModule):
    r"""Focal loss on a softmax: $-\alpha_y (1 - p_y)^\gamma \log p_y$ (Lin et al., 2017, footnote 1 and sec. 3.2).

    `softmax_focal_loss` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    Args:
        logits: Scores before the softmax; classes on `class_dim`, any number of other axes.
        targets: Class indices with the class axis missing, or dense rows shaped like `logits` (one-hot, mixed).
        gamma: Focusing parameter, at least 0; a number or a vector over the classes.
        alpha: Vector over the classes that multiplies the loss of rows of that class; `None` for none. A number raises:
            a softmax has no positive and negative side for it to balance.
        label_smoothing: s mixes the uniform distribution into the target: (1 - s) q + s / K.
        soft_targets: Meaning of rows that are not one-hot. "split": sum_c q_c FL_c; "mix": 1 - p_t = 1 - sum_c q_c p_c;
            "exp": (1 - e^-CE)^gamma CE; "qfl": (total variation of q and p)^gamma CE.
        class_weight: Vector over the classes, multiplies outside the modulator; what has weight 0 is not valid.
        weight: Broadcasts against the unreduced loss (the shape of the labels); what has weight 0 is not valid.
        ignore_index: Label of rows that are not valid; in dense targets any element equal to it marks its row.
        class_dim: The class axis of `logits`.
        reduction: "none" (shape of the labels), "sum", or "mean" over the valid rows.
        normalizer: Number or 0-d tensor that divides the sum instead.
        backend: "auto" or "eager".

    Raises:
        ValueError, TypeError: Shapes, dtypes or values that cannot be meant.

    Example:
        >>> softmax_focal_loss(torch.zeros(1, 2), torch.tensor([0]))
        tensor(0.1733)
    """

    def __init__(
        self,
        *,
        gamma: PerClass = 2.0,
        alpha: Vector | None = None,
        label_smoothing: float = 0.0,
        soft_targets: SoftTargets = 'split',
        class_weight: Vector | None = None,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = 'mean',
        backend: Backend = 'auto',
    ) -> None: ...

class TverskyLoss(LossModule):
    r"""Tversky loss: $1 - \frac{TP + s}{TP + a FP + b FN + s}$ (Salehi et al., 2017, eq. 2).

    `tversky_loss` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    Args:
        fp_weight: a, the price of false positives, at least 0.
        fn_weight: b, the price of false negatives, at least 0. (Public code calls these alpha and beta, in both
            orders.)
        smooth: s, at least 0.

    The other arguments are those of `dice_loss`. With both prices 1 this is the Jaccard (IoU) loss.

    Example:
        >>> tversky_loss(torch.zeros(1, 1, 2), torch.tensor([[[1.0, 0.0]]]))
        tensor(0.2500)
    """

    def __init__(
        self,
        *,
        fp_weight: float = 0.3,
        fn_weight: float = 0.7,
        smooth: float = 1.0,
        batch: bool = False,
        activation: Activation = 'sigmoid',
        absent: Literal['count', 'skip'] = 'count',
        class_weight: Vector | None = None,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = 'mean',
        backend: Backend = 'auto',
    ) -> None: ...

class UnifiedFocalLoss(LossModule):
    r"""Unified focal loss: $\lambda$ focal Tversky $+ (1 - \lambda)$ focal (Yeung et al., 2022, sec. 3.2), one number
    per image.

    `unified_focal_loss` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    The asymmetric form modulates the background's cross-entropy and the foreground's Tversky term only; the symmetric
    form modulates both of both. Tversky weighs false negatives with delta and false positives with 1 - delta.

    Args:
        logits: Scores (b, k, ...) of a softmax whose class 0 is the background; with one channel, the foreground's
            sigmoid score.
        targets: Class indices with 0 the background, or dense rows; with one channel 0 and 1, as integers without the
            class axis or dense.
        lambda_: Share of the Tversky half, in [0, 1].
        delta: Price of the foreground and of false negatives, in [0, 1].
        gamma: Focusing parameter, in [0, 1): the background's factor is (1 - p)^gamma, the foreground's Tversky loss is
            raised to 1 - gamma.
        symmetric: Use the symmetric form.
        smooth: Added to numerator and denominator of the Tversky index.
        weight: One per image (b,); or one per pixel, with as many axes as the logits and a class axis of size 1.
        ignore_index, class_dim, reduction, normalizer, backend: As in `dice_loss`.

    Example:
        >>> unified_focal_loss(torch.zeros(1, 1, 2), torch.tensor([[[1.0, 0.0]]]))
        tensor(0.4548)
    """

    def __init__(
        self,
        *,
        lambda_: float = 0.5,
        delta: float = 0.6,
        gamma: float = 0.5,
        symmetric: bool = False,
        smooth: float = 1e-06,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = 'mean',
        backend: Backend = 'auto',
    ) -> None: ...

class VarifocalLoss(LossModule):
    r"""Varifocal loss on sigmoids (Zhang et al., 2021, eq. 2): positives weighted by quality, only negatives modulated.

    `varifocal_loss` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    $$q \, BCE(p, q) \text{ for } q > 0, \quad -\alpha p^\gamma \log(1 - p) \text{ for } q = 0$$

    Args:
        targets: Quality q in [0, 1]; or class indices, whose quality is 1.
        alpha: Weight of the negatives, at least 0; a number or a vector over the classes.
        gamma: Focusing parameter of the negatives, at least 0.
        iou_weighted: Multiply positives by q.
        detach_modulator: Hold the weight $p^\gamma$ of negatives constant in the gradient, as RT-DETR and D-FINE do;
            VarifocalNet does not.

    The other arguments are those of `sigmoid_focal_loss`.

    Example:
        >>> varifocal_loss(torch.zeros(1), torch.tensor([0.8]))
        tensor(0.5545)
    """

    def __init__(
        self,
        *,
        alpha: PerClass = 0.75,
        gamma: PerClass = 2.0,
        iou_weighted: bool = True,
        detach_modulator: bool = False,
        class_weight: Vector | None = None,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = 'mean',
        backend: Backend = 'auto',
    ) -> None: ...

class VectorScalingLoss(LossModule):
    r"""Vector-scaling loss (Kini et al., 2021, eq. 2): cross-entropy of $x_c / \Delta_c + \tau \log \pi_c$.

    `vector_scaling_loss` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    $\Delta_c = (n_{max} / n_c)^\gamma$. At gamma 0 it is logit adjustment, at tau 0 CDT.

    Args:
        class_counts: Training examples per class, at least 0.
        gamma: Exponent of the multiplicative part, at least 0.
        tau: Strength of the additive part, at least 0.

    The other arguments are those of `softmax_focal_loss`.

    Example:
        >>> vector_scaling_loss(torch.zeros(1, 2), torch.tensor([1]), class_counts=[3, 1])
        tensor(1.3863)
    """

    def __init__(
        self,
        *,
        class_counts: Vector,
        gamma: float = 0.3,
        tau: float = 1.0,
        class_weight: Vector | None = None,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = 'mean',
        backend: Backend = 'auto',
    ) -> None: ...

class WIoULoss(LossModule):
    r"""Wise-IoU v1: 1 - IoU times a factor that grows with the distance of the centres (Tong et al., 2023).

    `wiou_loss` with remembered arguments; what belongs to a batch (`logits`, `targets`, `weight`,
    `normalizer`) is given to the call.

    $$e^{\rho^2 / (C_w^2 + C_h^2)} (1 - IoU)$$

    The sides C of the enclosing box are held constant in the gradient, so that boxes are not taught to spread.
    `WIoUv3Loss` adds the paper's dynamic focusing. Arguments as in `giou_loss`.

    Example:
        >>> wiou_loss(torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 1.0, 3.0, 3.0]]))
        tensor(0.9579)
    """

    def __init__(
        self,
        *,
        reduction: Reduction = 'mean',
    ) -> None: ...
