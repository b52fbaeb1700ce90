r"""Lovász losses (Berman et al., 2018, arXiv 1705.08790): the convex extension of the IoU loss of a set of errors.

The Jaccard loss of a set M of wrong pixels is |M| / |G or M| with the ground truth G. Sorted by their errors, the
largest first, every pixel adds what it adds to that loss when it joins the ones before; the sum of errors times these
steps is the Lovász extension. Pixels that are not valid join with weight 0, which changes no step. A class that an
image does not show has G empty, and its loss is the largest error of all pixels; or it is skipped.
"""

from typing import Literal

import torch
from torch import Tensor

from .._types import Backend, Reduction, Vector
from ._checks import check_backend, readable_any
from ._module import LossModule
from ._region_parts import Activation, Masks, masks, reduce_regions, share, weights_of_pixels


def lovasz_hinge_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    batch: bool = False,
    absent: Literal["count", "skip"] = "count",
    class_weight: Vector | None = None,
    weight: Tensor | None = None,
    ignore_index: int | None = -100,
    class_dim: int = 1,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Lovász hinge: the extension at the hinge errors $\max(0, 1 - x s)$, s = 1 in the mask and -1 outside (Berman et
    al., 2018, sec. 3.1), a mask per class.

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
    name = "lovasz_hinge_loss"
    check_backend(backend, name)
    pixels, weight = weights_of_pixels(weight, logits)
    given = masks(name, logits, targets, pixels, "sigmoid", ignore_index, class_dim, absent)
    errors = (1 - torch.where(given.t > 0, given.u, -given.u)).clamp(min=0)
    loss, here = _extension(name, errors, given, batch)
    return reduce_regions(loss, here, class_weight, weight, reduction, normalizer, name)


def lovasz_softmax_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    batch: bool = False,
    activation: Activation = "softmax",
    absent: Literal["count", "skip"] = "skip",
    class_weight: Vector | None = None,
    weight: Tensor | None = None,
    ignore_index: int | None = -100,
    class_dim: int = 1,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Lovász-Softmax: the extension at the errors $1 - p$ in the mask and $p$ outside, for every class (Berman et al.,
    2018, sec. 3.2).

    Args:
        activation: "softmax": classes exclude each other; "sigmoid": a mask per class.
        absent: As in `lovasz_hinge_loss`; the paper's code averages over the classes that are shown, "skip".

    The other arguments are those of `lovasz_hinge_loss`.

    Example:
        >>> lovasz_softmax_loss(torch.zeros(1, 2, 4), torch.tensor([[0, 1, 1, 1]]))
        tensor(0.5000)
    """
    name = "lovasz_softmax_loss"
    check_backend(backend, name)
    pixels, weight = weights_of_pixels(weight, logits)
    given = masks(name, logits, targets, pixels, activation, ignore_index, class_dim, absent)
    loss, here = _extension(name, torch.sigmoid(torch.where(given.t > 0, -given.u, given.u)), given, batch)
    return reduce_regions(loss, here, class_weight, weight, reduction, normalizer, name)


def _extension(name: str, errors: Tensor, given: Masks, batch: bool) -> tuple[Tensor, Tensor]:
    """The loss of every region, (b, k) or (k,), and which of them count."""
    if readable_any(lambda: (given.t > 0) & (given.t < 1), given.t):
        raise ValueError(
            f"{name}: targets must be 0 or 1, because the IoU is one of sets; got some between (smoothed or mixed "
            "targets go with dice_loss and tversky_loss)"
        )
    here = given.here.any(0) if batch else given.here
    errors, t, weight = (
        part.flatten(2) if part.ndim > 2 else part.unsqueeze(2) for part in (errors, given.t, given.weight)
    )
    if batch:
        errors, t, weight = (part.transpose(0, 1).flatten(1) for part in (errors, t, weight))
    order = errors.detach().argsort(-1, descending=True)
    errors, t, weight = (part.gather(-1, order) for part in (errors, t, weight))
    in_mask, outside = (weight * t).cumsum(-1), (weight * (1 - t)).cumsum(-1)
    total = in_mask[..., -1:]
    # subtle: the steps of (in_mask + outside) / (total + outside) in closed form, not as differences of near numbers
    before = total + outside - weight  # what a pixel outside finds; 0 for the first where the mask is empty
    step_outside = torch.where(before > 0, share(weight * (total - in_mask), before), total + outside)
    step = share(torch.where(t > 0, weight, step_outside), total + outside)
    return (errors * step).sum(-1), here


class LovaszHingeLoss(LossModule, function=lovasz_hinge_loss):
    """`lovasz_hinge_loss` with remembered arguments."""

    elementwise = False


class LovaszSoftmaxLoss(LossModule, function=lovasz_softmax_loss):
    """`lovasz_softmax_loss` with remembered arguments."""

    elementwise = False
