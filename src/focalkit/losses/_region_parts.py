"""What the losses on regions share: their arguments, the sums over a region, the reduction.

Logits are (b, k, ...): every axis but the batch and the classes is the region. The unreduced loss has one number per
image and class, (b, k), or (k,) with `batch=True`.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from .._numerics import one_vs_rest
from .._reduce import as_weight, reduce
from .._types import Vector
from ._checks import check_choice, check_range, check_reduction, vector
from ._sigmoid import Dense, dense_targets

Activation = Literal["sigmoid", "softmax"]


def region(
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


def weights_of_pixels(weight: Tensor | None, logits: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """`weight` as one of pixels and as one of the unreduced loss, of which it is either."""
    weight = None if weight is None else as_weight(weight, logits.device)
    of_pixels = weight is not None and weight.ndim == logits.ndim > 2
    return (weight, None) if of_pixels else (None, weight)


class Masks(NamedTuple):
    """Regions as images, the classes on axis 1.

    Attributes:
        u: (b, k, ...) signed logits: the probability of the class is sigmoid(u).
        t: (b, k, ...) the targets, 0 where they are not valid.
        weight: (b, k, ...) of pixels, 1 without one; 0 where they are not valid.
        here: (b, k) whether any pixel is valid, and with `absent="skip"` shows the class.
    """

    u: Tensor
    t: Tensor
    weight: Tensor
    here: Tensor


def masks(
    name: str,
    logits: Tensor,
    targets: Tensor,
    pixels: Tensor | None,
    activation: str,
    ignore_index: int | None,
    class_dim: int,
    absent: str = "count",
) -> Masks:
    """The arguments of a loss on regions, checked."""
    check_choice("activation", activation, ("sigmoid", "softmax"))
    check_choice("absent", absent, ("count", "skip"))
    x, t, valid, pixels, dim = region(name, logits, targets, ignore_index, class_dim, pixels)
    u = one_vs_rest(x, dim) if activation == "softmax" else x
    weight = valid.to(x.dtype) if pixels is None else torch.where(valid, pixels.to(x.dtype), 0.0)
    u, t, valid, weight = (part.movedim(dim, 1) for part in (u, t, valid, weight))
    here = valid & (t > 0) if absent == "skip" else valid
    return Masks(u, t, weight, here.flatten(2).any(2) if here.ndim > 2 else here)


def of_pixels(values: Tensor) -> Tensor:
    """(b, k, ...) summed over the region: (b, k)."""
    return values.flatten(2).sum(2) if values.ndim > 2 else values


def tversky_parts(
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
    given = masks(name, logits, targets, pixels, activation, ignore_index, class_dim, absent)

    def total(values: Tensor) -> Tensor:
        values = of_pixels(values * given.weight)
        return values.sum(0) if batch else values

    p = torch.sigmoid(given.u)
    true_positives, false_negatives = total(p * given.t), total(torch.sigmoid(-given.u) * given.t)
    errors = fp_weight * total(p * (1 - given.t)) + fn_weight * false_negatives
    return errors, true_positives + errors + smooth, given.here.any(0) if batch else given.here


def share(part: Tensor, whole: Tensor) -> Tensor:
    """part / whole, and 0 with gradient 0 where both are 0."""
    return part / torch.where(whole > 0, whole, 1.0)


def reduce_regions(
    loss: Tensor,
    valid: Tensor,
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
    return reduce(loss, reduction=reduction, normalizer=normalizer, weight=weight, valid=valid)
