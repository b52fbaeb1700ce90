r"""Losses on the overlap of regions: Dice (Milletari et al., 2016, arXiv 1606.04797), Tversky (Salehi et al., 2017,
arXiv 1706.05721), focal Tversky (Abraham and Khan, 2019, arXiv 1810.07842), unified focal (Yeung et al., 2022, arXiv
2102.04525).

Logits are (b, k, ...): every axis but the batch and the classes is the region. The unreduced loss has one number per
image and class, (b, k), or (k,) with `batch=True`. The loss is written as (errors) / (everything), never as 1 -
index.
"""

from typing import Literal

import torch
from torch import Tensor

from .._numerics import focal_term, one_vs_rest, safe_pow
from .._reduce import as_weight, reduce
from .._types import Backend, Reduction, Vector
from ._checks import check_backend, check_choice, check_range, check_reduction, class_axis, vector
from ._module import LossModule
from ._sigmoid import Dense, dense_targets

Activation = Literal["sigmoid", "softmax"]


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
        absent: What happens to classes that an image does not show: "count" them, or "skip" them as absent.
        class_weight: Vector over the classes.
        weight: One per image and class, shaped like the unreduced loss or broadcasting up to it; or one per pixel, with
            as many axes as the logits: it multiplies every term of the sums, and 0 leaves a pixel out.
        reduction: "none", "sum", or "mean" over the numbers that count.
        normalizer: Number or 0-d tensor that divides the sum instead.

    Example:
        >>> dice_loss(torch.zeros(1, 1, 2), torch.tensor([[[1.0, 0.0]]]))
        tensor(0.3333)
    """
    check_backend(backend, "dice_loss")
    pixels, weight = _weights_of_pixels(weight, logits)
    errors, total, counted = _tversky_parts(
        "dice_loss", logits, targets, 0.5, 0.5, smooth / 2, batch, activation, absent, ignore_index, class_dim, pixels
    )
    loss = _share(errors, total)
    return _reduce(loss, counted, class_weight, weight, reduction, normalizer, "dice_loss")


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

    The other arguments are those of `dice_loss`.

    Example:
        >>> tversky_loss(torch.zeros(1, 1, 2), torch.tensor([[[1.0, 0.0]]]))
        tensor(0.2500)
    """
    check_backend(backend, "tversky_loss")
    pixels, weight = _weights_of_pixels(weight, logits)
    errors, total, counted = _tversky_parts(
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
    loss = _share(errors, total)
    return _reduce(loss, counted, class_weight, weight, reduction, normalizer, "tversky_loss")


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
    pixels, weight = _weights_of_pixels(weight, logits)
    errors, total, counted = _tversky_parts(
        name, logits, targets, fp_weight, fn_weight, smooth, batch, activation, absent, ignore_index, class_dim, pixels
    )
    loss = safe_pow(_share(errors, total), exponent)
    return _reduce(loss, counted, class_weight, weight, reduction, normalizer, name)


def unified_focal_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    lambda_: float = 0.5,
    delta: float = 0.6,
    gamma: float = 0.5,
    symmetric: bool = False,
    smooth: float = 1e-6,
    weight: Tensor | None = None,
    ignore_index: int | None = -100,
    class_dim: int = 1,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Unified focal loss: $\lambda$ focal Tversky $+ (1 - \lambda)$ focal (Yeung et al., 2022, sec. 3.2), one number
    per image.

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
    name = "unified_focal_loss"
    check_backend(backend, name)
    check_range("lambda_", lambda_, 0, 1)
    check_range("delta", delta, 0, 1)
    check_range("gamma", gamma, 0, 1 - 1e-6)
    check_range("smooth", smooth, 0)
    check_reduction(reduction, normalizer)
    pixels, weight = _weights_of_pixels(weight, logits)
    targets = _foreground(logits, targets, class_dim)
    x, t, counted, pixels, dim = _region(name, logits, targets, ignore_index, class_dim, pixels)
    if pixels is not None and pixels.shape[dim] != 1:
        raise ValueError(
            f"{name}: a weight of pixels needs a class axis of size 1 on axis {dim}, got {tuple(pixels.shape)}"
        )
    counted = counted.all(dim, keepdim=True)
    if x.shape[dim] == 1:
        u, t = torch.cat([-x, x], dim), torch.cat([1 - t, t], dim)
    else:
        u = one_vs_rest(x, dim)
    u, t = u.movedim(dim, 1).flatten(2), t.movedim(dim, 1).flatten(2)
    on = counted.movedim(dim, 1).flatten(2)
    t = torch.where(on, t, 0.0)

    back, fore = (focal_term(u[:, :1], gamma), focal_term(u[:, 1:], gamma if symmetric else 0.0))
    of_pixel = 1.0 if pixels is None else pixels.to(u.dtype).expand_as(counted).movedim(dim, 1).flatten(2)
    t_weighted = t * of_pixel
    focal = torch.cat([(1 - delta) * back * t_weighted[:, :1], delta * fore * t_weighted[:, 1:]], 1).sum((1, 2))
    focal = focal / on.sum((1, 2)).clamp(min=1)

    true_positives, false_negatives = (t_weighted * torch.sigmoid(u)).sum(2), (t_weighted * torch.sigmoid(-u)).sum(2)
    false_positives = torch.where(on, (1 - t) * torch.sigmoid(u) * of_pixel, 0.0).sum(2)
    errors = delta * false_negatives + (1 - delta) * false_positives
    tversky = _share(errors, true_positives + errors + smooth)
    raised = safe_pow(tversky, 1 - gamma)
    region = (raised if symmetric else torch.cat([tversky[:, :1], raised[:, 1:]], 1)).mean(1)

    loss = lambda_ * region + (1 - lambda_) * focal
    return reduce(loss, reduction=reduction, normalizer=normalizer, weight=weight, counted=on.any(2).squeeze(1))


def _region(
    name: str,
    logits: Tensor,
    targets: Tensor,
    ignore_index: int | None,
    class_dim: int,
    pixels: Tensor | None,
) -> Dense:
    if logits.ndim < 2:
        raise ValueError(
            f"{name}: expected logits (b, k, ...), got {tuple(logits.shape)}; add the missing axes with unsqueeze"
        )
    return dense_targets(name, logits, targets, ignore_index=ignore_index, class_dim=class_dim, weight=pixels)


def _weights_of_pixels(weight: Tensor | None, logits: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """`weight` as one of pixels and as one of the unreduced loss, of which it is either."""
    weight = None if weight is None else as_weight(weight, logits.device)
    of_pixels = weight is not None and weight.ndim == logits.ndim > 2
    return (weight, None) if of_pixels else (None, weight)


def _foreground(logits: Tensor, targets: Tensor, class_dim: int) -> Tensor:
    """Labels of one channel, 0 the background and 1 the foreground, as dense targets; all else as it is."""
    dim = class_axis(logits, class_dim, "unified_focal_loss")
    is_index = not targets.is_floating_point() and targets.dtype != torch.bool and targets.ndim == logits.ndim - 1
    return targets.unsqueeze(dim).to(logits.dtype) if is_index and logits.shape[dim] == 1 else targets


def _tversky_parts(
    name: str,
    logits: Tensor,
    targets: Tensor,
    fp_weight: float,
    fn_weight: float,
    smooth: float,
    batch: bool,
    activation: str,
    absent: str,
    ignore_index: int | None,
    class_dim: int,
    pixels: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """a FP + b FN, TP + a FP + b FN + s, and where they count, each (b, k) or (k,)."""
    check_range("fp_weight", fp_weight, 0)
    check_range("fn_weight", fn_weight, 0)
    check_range("smooth", smooth, 0)
    check_choice("activation", activation, ("sigmoid", "softmax"))
    check_choice("absent", absent, ("count", "skip"))
    x, t, counted, pixels, dim = _region(name, logits, targets, ignore_index, class_dim, pixels)
    u = one_vs_rest(x, dim) if activation == "softmax" else x
    axes = [d for d in range(x.ndim) if d != dim and (d != 0 or batch)]

    def total(values: Tensor) -> Tensor:
        values = values if pixels is None else values * pixels
        return values.sum(axes) if axes else values

    p = torch.where(counted, torch.sigmoid(u), 0.0)
    true_positives, false_negatives = total(p * t), total(torch.sigmoid(-u) * t)
    errors = fp_weight * total(p * (1 - t)) + fn_weight * false_negatives
    here = counted.any(axes) if axes else counted  # subtle: no axes would be all axes
    if absent == "skip":
        shown = t > 0
        here = here & (shown.any(axes) if axes else shown)
    return errors, true_positives + errors + smooth, here


def _share(part: Tensor, whole: Tensor) -> Tensor:
    """part / whole, and 0 with gradient 0 where both are 0."""
    return part / torch.where(whole > 0, whole, 1.0)


def _reduce(
    loss: Tensor,
    counted: Tensor,
    class_weight: Vector | None,
    weight: Tensor | None,
    reduction: str,
    normalizer: float | Tensor | None,
    name: str,
) -> Tensor:
    check_reduction(reduction, normalizer)
    if class_weight is not None:
        by_class = vector("class_weight", class_weight, loss.shape[-1], loss, name).view([1] * (loss.ndim - 1) + [-1])
        weight = by_class if weight is None else weight * by_class
    return reduce(loss, reduction=reduction, normalizer=normalizer, weight=weight, counted=counted)


class DiceLoss(LossModule, function=dice_loss):
    """`dice_loss` with remembered arguments."""

    elementwise = False


class TverskyLoss(LossModule, function=tversky_loss):
    """`tversky_loss` with remembered arguments."""

    elementwise = False


class FocalTverskyLoss(LossModule, function=focal_tversky_loss):
    """`focal_tversky_loss` with remembered arguments."""

    elementwise = False


class UnifiedFocalLoss(LossModule, function=unified_focal_loss):
    """`unified_focal_loss` with remembered arguments."""

    elementwise = False
