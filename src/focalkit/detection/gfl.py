"""Generalized focal loss for box sides (Li et al., 2020, arXiv 2006.04388): the four distributions of a prior.

The other parts of GFL are `quality.iou` as the class target, `quality_focal_loss`, `DistributionCoder`, `ATSSAssigner`.
"""

from torch import Tensor

from focalkit.losses import distribution_focal_loss


def side_distribution_loss(scores: Tensor, positions: Tensor, *, weight: Tensor | None = None) -> Tensor:
    """Distribution focal loss of every prior, the mean of its four sides, summed over the priors.

    Args:
        scores: (p, 4 * bins).
        positions: (p, 4), in 0 .. bins - 1, as `DistributionCoder.encode` gives them.
        weight: (p,); weight 0 is absence.

    Example:
        >>> side_distribution_loss(torch.zeros(1, 4 * 4), torch.full((1, 4), 1.25))
        tensor(1.3863)
    """
    by_side = scores.unflatten(-1, (4, scores.shape[-1] // 4))
    weight = None if weight is None else weight[:, None]
    return distribution_focal_loss(by_side, positions, weight=weight, class_dim=-1, reduction="sum") / 4
