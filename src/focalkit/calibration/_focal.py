"""From what focal loss teaches a network to say back to the posterior probability (Charoenphakdee et al., 2021).

Focal loss is classification-calibrated but not strictly proper: where the true posterior is 0.9, its minimiser at
gamma 2 is 0.69. The map between the two has a closed form.

Not here: losses with other modulators (asymmetric, poly, varifocal), whose minimisers need maps of their own.
"""

from typing import Literal

import torch
from torch import Tensor

from .._arrays import ArrayLike, like
from .._types import PerClass


def focal_to_posterior(
    probabilities: ArrayLike,
    gamma: PerClass,
    alpha: PerClass | None = None,
    *,
    kind: Literal["auto", "sigmoid", "softmax"] = "auto",
) -> ArrayLike:
    r"""The posterior whose focal-loss minimiser is `probabilities` (Charoenphakdee et al., 2021, arXiv 2011.09172).

    With $r(p) = -p \log p / (1 - p)$, for independent sigmoids

    $$\frac{\eta}{1 - \eta} = \frac{p^{\gamma + 1} (1 + \gamma r(1 - p))}{(1 - p)^{\gamma + 1} (1 + \gamma r(p))}$$

    and for a softmax $\eta_c \propto p_c / ((1 - p_c)^\gamma (1 + \gamma r(p_c)))$. Needs no data. It is exact for a
    network that minimises the loss; what over-fitting or a shift of the data did is for a calibrator, which composes
    with it. Ranking is kept: by every sigmoid, and within a row of a softmax.

    With `alpha` the shift that the weights made in the classes' odds is undone too: the odds are divided by
    alpha / (1 - alpha), or the class probabilities by alpha_c. Leave it out where scores should stay as the weighted
    loss wants them, for instance because alpha repaired a sampling of the training data.

    Args:
        probabilities: In [0, 1], after sigmoid or softmax, of any shape; the classes are the last axis.
        gamma: The loss's, at least 0; for sigmoids also one per class. 0 changes nothing.
        alpha: The loss's: for sigmoids in (0, 1), one number or one per class; for a softmax one positive number per
            class. None: none was used, or its effect should stay.
        kind: "auto" takes a softmax where every row of the last axis sums to 1, else sigmoids. For two classes both
            formulas agree.

    Returns:
        Probabilities of the same shape and form, differentiable; float32, or float64 for float64.

    Raises:
        ValueError: A probability outside [0, 1] (logits, perhaps), a negative gamma, an alpha out of range.

    Example:
        >>> focal_to_posterior(torch.tensor([0.6942, 0.5]), gamma=2.0)
        tensor([0.9000, 0.5000])
        >>> focal_to_posterior(torch.tensor([[0.601, 0.285, 0.114]]), gamma=2.0)
        tensor([[0.8003, 0.1497, 0.0500]])
    """
    p = probabilities if isinstance(probabilities, Tensor) else torch.as_tensor(probabilities)
    if not p.is_floating_point():
        p = p.double()
    p = p if p.dtype in (torch.float32, torch.float64) else p.float()
    g = torch.as_tensor(gamma, dtype=p.dtype, device=p.device)
    a = None if alpha is None else torch.as_tensor(alpha, dtype=p.dtype, device=p.device)
    softmax = kind == "softmax" or (kind == "auto" and _rows_sum_to_one(p))
    _check(p, g, a, softmax)
    return like(softmax_posterior(p, g, a) if softmax else sigmoid_posterior(p, g, a), probabilities)


def sigmoid_posterior(p: Tensor, gamma: Tensor, alpha: Tensor | None = None) -> Tensor:
    """The binary map, elementwise and unchecked: what exported networks trace."""
    q = 1 - p
    # subtle: the powers may underflow for a large gamma; their ratio does not, and the common factor cancels
    largest = torch.maximum(p, q).detach()
    positive = (p / largest) ** (gamma + 1) * (1 + gamma * _r(q, p))
    negative = (q / largest) ** (gamma + 1) * (1 + gamma * _r(p, q))
    if alpha is not None:
        positive, negative = positive * (1 - alpha), negative * alpha
    return positive / (positive + negative)


def softmax_posterior(p: Tensor, gamma: Tensor, alpha: Tensor | None = None) -> Tensor:
    """The multi-class map over the last axis, unchecked."""
    top = p.argmax(-1, keepdim=True)
    # subtle: 1 - p of the largest is the sum of the others, which keeps the digits that 1 - p loses near 1
    others = p.scatter(-1, top, 0).sum(-1, keepdim=True)
    q = (1 - p).scatter(-1, top, others)
    certain = others == 0
    ratio = torch.where(certain, 1, others) / q.scatter(-1, top, 1)
    ratio = ratio.scatter(-1, top, 1).masked_fill(certain, 1)
    h = p * ratio**gamma / (1 + gamma * _r(p, q))
    if alpha is not None:
        h = h / alpha
    return h / h.sum(-1, keepdim=True)


def _r(p: Tensor, q: Tensor) -> Tensor:
    """-p log p / q with q = 1 - p; 0 at p = 0 and 1 at q = 0, where the gradient is taken to be 0."""
    small, inside = q < 1e-4, p > 0
    # subtle: near p = 1 the series of -log(1 - q) / q keeps value and gradient where dividing by q would overflow;
    # torch.where passes a NaN of the side not taken into the gradient, so that side gets a harmless argument
    series = p * (1 + q * (1 / 2 + q * (1 / 3 + q / 4)))
    safe = torch.where(small | ~inside, 0.5, p)
    return torch.where(small, series, torch.where(inside, -safe * safe.log() / torch.where(small, 0.5, q), 0))


def _rows_sum_to_one(p: Tensor) -> bool:
    if p.ndim == 0 or p.shape[-1] < 2 or not p.numel():
        return False
    return bool((p.detach().sum(-1) - 1).abs().max() <= 1e-4)


def _check(p: Tensor, gamma: Tensor, alpha: Tensor | None, softmax: bool) -> None:
    if p.numel() and not bool(((p >= 0) & (p <= 1)).all()):
        raise ValueError(
            f"expected probabilities in [0, 1], got values from {float(p.min()):g} to {float(p.max()):g}; "
            "logits become probabilities with torch.sigmoid or torch.softmax"
        )
    if not bool(((gamma >= 0) & gamma.isfinite()).all()):
        raise ValueError(f"gamma must be finite and at least 0, got {gamma.tolist()}")
    if softmax and gamma.ndim:
        raise ValueError(f"a softmax has one gamma, got {gamma.numel()} of them")
    if alpha is None:
        return
    if softmax:
        if alpha.ndim != 1 or len(alpha) != p.shape[-1] or not bool((alpha > 0).all()):
            raise ValueError(f"alpha of a softmax must be {p.shape[-1]} positive numbers, got {alpha.tolist()}")
    elif not bool(((alpha > 0) & (alpha < 1)).all()):
        raise ValueError(f"alpha must lie strictly between 0 and 1, got {alpha.tolist()}")
