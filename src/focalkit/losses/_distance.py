"""Losses on the distance between outlines: boundary loss (Kervadec et al., 2019, arXiv 1812.07032), and Hausdorff loss
with distance transforms (Karimi and Salcudean, 2019, arXiv 1904.10030).

Distances are Euclidean, in pixels, exact, over all axes but the batch and the classes; they are computed of the targets
in every call, or once for a data set with `signed_distances`. What is left out: the growing weight of the boundary term
that both papers train with; multiply it in, or change the weights of a `Sum`.
"""

import torch
from torch import Tensor

from .._types import Backend, Reduction, Vector
from ._checks import check_backend, check_range
from ._module import LossModule
from ._region_parts import Activation, Masks, masks, of_pixels, reduce_regions, share, weights_of_pixels

LARGEST = 2**22
"""Elements of the largest temporary of a distance transform."""


def signed_distances(mask: Tensor) -> Tensor:
    """How far every pixel is from the outline of a mask: outside d to the nearest pixel inside, inside 1 - d to the
    nearest outside, as in the code of Kervadec et al.

    Args:
        mask: Bool (b, k, ...): a mask per image and class.

    Returns:
        float32, shaped like the mask; 0 in a mask that is empty or everything, which has no outline.

    Example:
        >>> signed_distances(torch.tensor([[[False, False, True, True, True]]]))
        tensor([[[ 2.,  1.,  0., -1., -2.]]])
    """
    outside, inside = _to_nearest(mask), _to_nearest(~mask)
    found = torch.where(mask, 1 - inside, outside)
    return torch.where(found.isinf(), 0.0, found)


def boundary_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    distances: Tensor | None = None,
    activation: Activation = "sigmoid",
    class_weight: Vector | None = None,
    weight: Tensor | None = None,
    ignore_index: int | None = -100,
    class_dim: int = 1,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Boundary loss: the probabilities weighted by the signed distance $\phi$ to the outline of the ground truth
    (Kervadec et al., 2019, eq. 5), averaged over the pixels. Below 0 where the prediction is good; the authors add it
    to a region loss.

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
    name = "boundary_loss"
    check_backend(backend, name)
    if distances is not None and distances.shape != logits.shape:
        raise ValueError(
            f"{name}: distances must be shaped like the logits {tuple(logits.shape)}, got {tuple(distances.shape)}"
        )
    pixels, weight = weights_of_pixels(weight, logits)
    given = masks(name, logits, targets, pixels, activation, ignore_index, class_dim)
    phi = signed_distances(given.t > 0.5) if distances is None else distances.movedim(class_dim, 1)
    loss = _mean_of_pixels(phi.to(given.u.dtype) * torch.sigmoid(given.u), given)
    return reduce_regions(loss, given.here, class_weight, weight, reduction, normalizer, name)


def hausdorff_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    alpha: float = 2.0,
    activation: Activation = "sigmoid",
    class_weight: Vector | None = None,
    weight: Tensor | None = None,
    ignore_index: int | None = -100,
    class_dim: int = 1,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Hausdorff loss: squared errors weighted by how far they are from both outlines (Karimi and Salcudean, 2019,
    eq. 8).

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
    name = "hausdorff_loss"
    check_backend(backend, name)
    check_range("alpha", alpha, 0)
    pixels, weight = weights_of_pixels(weight, logits)
    given = masks(name, logits, targets, pixels, activation, ignore_index, class_dim)
    error = given.t * torch.sigmoid(-given.u) - (1 - given.t) * torch.sigmoid(given.u)
    far = _to_outline(given.u > 0) ** alpha + _to_outline(given.t > 0.5) ** alpha
    loss = _mean_of_pixels(error.square() * far.to(error.dtype), given)
    return reduce_regions(loss, given.here, class_weight, weight, reduction, normalizer, name)


def _mean_of_pixels(values: Tensor, given: Masks) -> Tensor:
    """Weighted values over the number of valid pixels, (b, k)."""
    return share(of_pixels(values * given.weight), of_pixels((given.weight != 0).to(values.dtype)))


def _to_outline(mask: Tensor) -> Tensor:
    """From every pixel to the nearest on the other side; 0 where there is none."""
    found = _to_nearest(mask) + _to_nearest(~mask)
    return torch.where(found.isinf(), 0.0, found)


def _to_nearest(mask: Tensor) -> Tensor:
    """Euclidean distance of every pixel to the nearest in the mask of its image and class; infinite in an empty one.

    Squared distances are separable: along each axis in turn, the least of those so far plus the squared step.
    """
    squared = torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, torch.inf)
    for axis in range(2, mask.ndim):
        squared = _along_the_last(squared.movedim(axis, -1)).movedim(-1, axis)
    return squared.sqrt()


def _along_the_last(squared: Tensor) -> Tensor:
    if not squared.numel():
        return squared
    length = squared.shape[-1]
    place = torch.arange(length, device=squared.device, dtype=squared.dtype)
    steps = (place[:, None] - place).square()
    rows = squared.reshape(-1, length).split(max(1, LARGEST // length**2))
    return torch.cat([(row[:, None] + steps).amin(-1) for row in rows]).view(squared.shape)


class BoundaryLoss(LossModule, function=boundary_loss):
    """`boundary_loss` with remembered arguments."""

    elementwise = False


class HausdorffLoss(LossModule, function=hausdorff_loss):
    """`hausdorff_loss` with remembered arguments."""

    elementwise = False
