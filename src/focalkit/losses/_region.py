"""Losses on the overlap of regions: Dice (Milletari et al., 2016, arXiv 1606.04797), generalised Dice (Sudre et al.,
2017, arXiv 1707.03237), Tversky (Salehi et al., 2017, arXiv 1706.05721), focal Tversky (Abraham and Khan, 2019, arXiv
1810.07842).

Every loss is written as (errors) / (everything), never as 1 - index.
"""

from typing import Literal

import torch
from torch import Tensor

from .._numerics import safe_pow
from .._reduce import reduce
from .._types import Backend, Reduction, Vector
from ._checks import check_backend, check_range, check_reduction
from ._module import LossModule
from ._region_parts import Activation, masks, of_pixels, reduce_regions, share, tversky_parts, weights_of_pixels


def dice_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    smooth: float = 1.0,
    batch: bool = False,
    activation: Activation = "sigmoid",
    absent: Literal["count", "skip"] = "count",
    class_weight: Vector | None = None,
    weight: Tensor | None = None,
    ignore_index: int | None = -100,
    class_dim: int = 1,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Dice loss: $1 - \frac{2 \sum p t + s}{\sum p + \sum t + s}$, which is `tversky_loss` at 1/2, 1/2 and smooth s/2.

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
    check_backend(backend, "dice_loss")
    pixels, weight = weights_of_pixels(weight, logits)
    errors, total, valid = tversky_parts(
        "dice_loss", logits, targets, 0.5, 0.5, smooth / 2, batch, activation, absent, ignore_index, class_dim, pixels
    )
    loss = share(errors, total)
    return reduce_regions(loss, valid, class_weight, weight, reduction, normalizer, "dice_loss")


def generalized_dice_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    smooth: float = 1.0,
    activation: Activation = "sigmoid",
    absent: Literal["count", "skip"] = "count",
    weight: Tensor | None = None,
    ignore_index: int | None = -100,
    class_dim: int = 1,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Generalised Dice loss: one Dice over all classes, each weighted by the inverse square of its size, so that small
    ones count (Sudre et al., 2017, sec. 2.1), one number per image.

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
    name = "generalized_dice_loss"
    check_backend(backend, name)
    check_range("smooth", smooth, 0)
    check_reduction(reduction, normalizer)
    pixels, weight = weights_of_pixels(weight, logits)
    u, t, of_pixel, here = masks(name, logits, targets, pixels, activation, ignore_index, class_dim, absent)
    p, not_p = torch.sigmoid(u), torch.sigmoid(-u)
    size = of_pixels(of_pixel * t)
    errors = of_pixels(of_pixel * (p * (1 - t) + not_p * t))
    everything = of_pixels(of_pixel * p) + size
    least = torch.where(size > 0, size, torch.inf).amin(1, keepdim=True)
    of_class = torch.where(size > 0, least / size, 1.0 if absent == "count" else 0.0).square()
    of_class = share(of_class, of_class.sum(1, keepdim=True))
    loss = share((of_class * errors).sum(1), (of_class * everything).sum(1) + smooth)
    return reduce(loss, reduction=reduction, normalizer=normalizer, weight=weight, valid=here.any(1))


def tversky_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    fp_weight: float = 0.3,
    fn_weight: float = 0.7,
    smooth: float = 1.0,
    batch: bool = False,
    activation: Activation = "sigmoid",
    absent: Literal["count", "skip"] = "count",
    class_weight: Vector | None = None,
    weight: Tensor | None = None,
    ignore_index: int | None = -100,
    class_dim: int = 1,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Tversky loss: $1 - \frac{TP + s}{TP + a FP + b FN + s}$ (Salehi et al., 2017, eq. 2).

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
    check_backend(backend, "tversky_loss")
    pixels, weight = weights_of_pixels(weight, logits)
    errors, total, valid = tversky_parts(
        "tversky_loss",
        logits,
        targets,
        fp_weight,
        fn_weight,
        smooth,
        batch,
        activation,
        absent,
        ignore_index,
        class_dim,
        pixels,
    )
    loss = share(errors, total)
    return reduce_regions(loss, valid, class_weight, weight, reduction, normalizer, "tversky_loss")


def focal_tversky_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    fp_weight: float = 0.3,
    fn_weight: float = 0.7,
    exponent: float = 0.75,
    smooth: float = 1.0,
    batch: bool = False,
    activation: Activation = "sigmoid",
    absent: Literal["count", "skip"] = "count",
    class_weight: Vector | None = None,
    weight: Tensor | None = None,
    ignore_index: int | None = -100,
    class_dim: int = 1,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Focal Tversky loss: (Tversky loss)^exponent, per image and class (Abraham and Khan, 2019, eq. 4).

    Args:
        exponent: Greater than 0; the paper's 1/gamma, 3/4. 1 is `tversky_loss`.

    The other arguments are those of `tversky_loss`.

    Example:
        >>> focal_tversky_loss(torch.zeros(1, 1, 2), torch.tensor([[[1.0, 0.0]]]))
        tensor(0.3536)
    """
    name = "focal_tversky_loss"
    check_backend(backend, name)
    check_range("exponent", exponent, 1e-6, hint="exponent=1 is the Tversky loss")
    pixels, weight = weights_of_pixels(weight, logits)
    errors, total, valid = tversky_parts(
        name, logits, targets, fp_weight, fn_weight, smooth, batch, activation, absent, ignore_index, class_dim, pixels
    )
    loss = safe_pow(share(errors, total), exponent)
    return reduce_regions(loss, valid, class_weight, weight, reduction, normalizer, name)


class DiceLoss(LossModule, function=dice_loss):
    """`dice_loss` with remembered arguments."""

    elementwise = False


class GeneralizedDiceLoss(LossModule, function=generalized_dice_loss):
    """`generalized_dice_loss` with remembered arguments."""

    elementwise = False


class TverskyLoss(LossModule, function=tversky_loss):
    """`tversky_loss` with remembered arguments."""

    elementwise = False


class FocalTverskyLoss(LossModule, function=focal_tversky_loss):
    """`focal_tversky_loss` with remembered arguments."""

    elementwise = False
