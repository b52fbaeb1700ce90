"""clDice (Shit et al., 2021, arXiv 2003.07311): the overlap of masks with each other's centre lines, for what is long
and thin (vessels, roads, cracks). A gap in a thin line costs as much as it does in a thick one.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from .._types import Backend, Reduction, Vector
from ._checks import check_backend, check_range
from ._module import LossModule
from ._region_parts import Activation, masks, of_pixels, reduce_regions, share, weights_of_pixels


def cldice_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    iterations: int = 3,
    smooth: float = 1.0,
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
    r"""Soft clDice loss: 1 minus the harmonic mean of two shares: of the predicted centre line inside the mask, and of
    the mask's centre line inside the prediction (Shit et al., 2021, eq. 1 and 2, algorithm 2).

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
    name = "cldice_loss"
    check_backend(backend, name)
    check_range("smooth", smooth, 0)
    if isinstance(iterations, bool) or not isinstance(iterations, int) or iterations < 0:
        raise ValueError(f"{name}: iterations must be a whole number of at least 0, got {iterations!r}")
    pixels, weight = weights_of_pixels(weight, logits)
    u, t, of_pixel, here = masks(name, logits, targets, pixels, activation, ignore_index, class_dim, absent)
    p = torch.where(of_pixel != 0, torch.sigmoid(u), 0.0)
    predicted, true = (of_pixel * _centerline(mask, iterations) for mask in (p, t))
    outside = share(of_pixels(predicted * (1 - t)), of_pixels(predicted) + smooth)
    missed = share(of_pixels(true * torch.sigmoid(-u)), of_pixels(true) + smooth)
    precision, sensitivity = 1 - outside, 1 - missed
    total = precision + sensitivity
    loss = share(precision * missed + sensitivity * outside, total)
    loss = torch.where(total > 0, loss, 1.0)
    return reduce_regions(loss, here, class_weight, weight, reduction, normalizer, name)


def _centerline(mask: Tensor, iterations: int) -> Tensor:
    """Soft skeleton of (b, k, ...): what opening takes away, of the mask thinned again and again (algorithm 1)."""
    line = (mask - _opened(mask)).clamp(min=0)
    for _ in range(iterations):
        mask = _thinned(mask)
        more = (mask - _opened(mask)).clamp(min=0)
        line = line + (more - line * more).clamp(min=0)
    return line


def _opened(mask: Tensor) -> Tensor:
    """Thinned, then the largest of the neighbours, along all axes at once."""
    mask = _thinned(mask)
    for axis in range(2, mask.ndim):
        mask = _of_three(mask, axis, torch.maximum)
    return mask


def _thinned(mask: Tensor) -> Tensor:
    """The least of a pixel and its neighbours along each axis."""
    least = mask
    for axis in range(2, mask.ndim):
        least = torch.minimum(least, _of_three(mask, axis, torch.minimum))
    return least


def _of_three(mask: Tensor, axis: int, choose: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """`choose` among a pixel and its two neighbours along an axis; at the edge there is one."""
    n = mask.shape[axis]
    first, last = mask.narrow(axis, 0, min(n, 1)), mask.narrow(axis, max(n - 1, 0), min(n, 1))
    before = torch.cat([first, mask.narrow(axis, 0, max(n - 1, 0))], axis)
    after = torch.cat([mask.narrow(axis, min(n, 1), max(n - 1, 0)), last], axis)
    return choose(choose(before, mask), after)


class ClDiceLoss(LossModule, function=cldice_loss):
    """`cldice_loss` with remembered arguments."""

    elementwise = False
