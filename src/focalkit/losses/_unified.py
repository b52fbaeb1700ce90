"""Unified focal loss (Yeung et al., 2022, arXiv 2102.04525): focal and focal Tversky under one gamma."""

import torch
from torch import Tensor

from .._numerics import focal_term, one_vs_rest, safe_pow
from .._reduce import reduce
from .._types import Backend, Reduction
from ._checks import check_backend, check_range, check_reduction, class_axis
from ._module import LossModule
from ._region_parts import region, share, weights_of_pixels


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
    pixels, weight = weights_of_pixels(weight, logits)
    targets = _foreground(logits, targets, class_dim)
    x, t, valid, pixels, dim = region(name, logits, targets, ignore_index, class_dim, pixels)
    if pixels is not None and pixels.shape[dim] != 1:
        raise ValueError(
            f"{name}: a weight of pixels needs a class axis of size 1 on axis {dim}, got {tuple(pixels.shape)}"
        )
    valid = valid.all(dim, keepdim=True)
    if x.shape[dim] == 1:
        u, t = torch.cat([-x, x], dim), torch.cat([1 - t, t], dim)
    else:
        u = one_vs_rest(x, dim)
    u, t = u.movedim(dim, 1).flatten(2), t.movedim(dim, 1).flatten(2)
    on = valid.movedim(dim, 1).flatten(2)
    t = torch.where(on, t, 0.0)

    back, fore = (focal_term(u[:, :1], gamma), focal_term(u[:, 1:], gamma if symmetric else 0.0))
    of_pixel = 1.0 if pixels is None else pixels.to(u.dtype).expand_as(valid).movedim(dim, 1).flatten(2)
    t_weighted = t * of_pixel
    focal = torch.cat([(1 - delta) * back * t_weighted[:, :1], delta * fore * t_weighted[:, 1:]], 1).sum((1, 2))
    focal = focal / on.sum((1, 2)).clamp(min=1)

    true_positives, false_negatives = (t_weighted * torch.sigmoid(u)).sum(2), (t_weighted * torch.sigmoid(-u)).sum(2)
    false_positives = torch.where(on, (1 - t) * torch.sigmoid(u) * of_pixel, 0.0).sum(2)
    errors = delta * false_negatives + (1 - delta) * false_positives
    tversky = share(errors, true_positives + errors + smooth)
    raised = safe_pow(tversky, 1 - gamma)
    overlap = (raised if symmetric else torch.cat([tversky[:, :1], raised[:, 1:]], 1)).mean(1)

    loss = lambda_ * overlap + (1 - lambda_) * focal
    return reduce(loss, reduction=reduction, normalizer=normalizer, weight=weight, valid=on.any(2).squeeze(1))


def _foreground(logits: Tensor, targets: Tensor, class_dim: int) -> Tensor:
    """Labels of one channel, 0 the background and 1 the foreground, as dense targets; all else as it is."""
    dim = class_axis(logits, class_dim, "unified_focal_loss")
    is_index = not targets.is_floating_point() and targets.dtype != torch.bool and targets.ndim == logits.ndim - 1
    return targets.unsqueeze(dim).to(logits.dtype) if is_index and logits.shape[dim] == 1 else targets


class UnifiedFocalLoss(LossModule, function=unified_focal_loss):
    """`unified_focal_loss` with remembered arguments."""

    elementwise = False
