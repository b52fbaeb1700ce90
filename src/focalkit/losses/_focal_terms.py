"""Focal loss of a single logit on a sigmoid: what the losses of the family and the native-layout form share."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .._numerics import focal_term, safe_pow, softplus
from .._types import PerClass
from ..kernels.operands import Focal
from ._checks import check_range


def focal_positive(
    x: Tensor, *, pos_weight: float | Tensor, factor: float | Tensor, gamma: float | Tensor, **_: float | Tensor
) -> Tensor:
    return pos_weight * factor * focal_term(x, gamma)


def focal_negative(x: Tensor, *, neg_weight: float | Tensor, gamma_neg: float | Tensor, **_: float | Tensor) -> Tensor:
    return neg_weight * focal_term(-x, gamma_neg)


def focal_parameters(
    alpha: PerClass | None, gamma: PerClass, gamma_neg: PerClass | None = None, factor: PerClass | None = None
) -> dict[str, PerClass]:
    """What `focal_positive` and `focal_negative` take; `factor` multiplies the positives."""
    return {
        "pos_weight": 1.0 if alpha is None else alpha,
        "neg_weight": 1.0 if alpha is None else complement(alpha),
        "gamma": gamma,
        "gamma_neg": gamma if gamma_neg is None else gamma_neg,
        "factor": 1.0 if factor is None else factor,
    }


def focal_of(
    pos_weight: float | Tensor,
    neg_weight: float | Tensor,
    gamma: float | Tensor,
    gamma_neg: float | Tensor,
    factor: float | Tensor,
) -> Focal | None:
    """The same for handwritten kernels."""
    return Focal.of(pos_weight * factor, neg_weight, gamma, gamma_neg)


def check_focal(
    alpha: PerClass | None, gamma: PerClass, gamma_neg: PerClass | None = None, pos_weight: PerClass | None = None
) -> None:
    if alpha is not None:
        check_range("alpha", alpha, 0, 1, "it is the weight of positives; alpha=None switches balancing off")
    check_range("gamma", gamma, 0, hint="gamma=0 is cross-entropy, larger values focus more")
    if gamma_neg is not None:
        check_range("gamma_neg", gamma_neg, 0, hint="gamma_neg=None takes gamma")
    if pos_weight is not None:
        check_range("pos_weight", pos_weight, 0)


def complement(alpha: PerClass) -> PerClass:
    if isinstance(alpha, Sequence):
        return [1 - a for a in alpha]
    return 1 - alpha


def soft_focal(x: Tensor, t: Tensor, gamma: float | Tensor, form: str) -> Tensor:
    """Modulator times BCE for targets in [0, 1], without alpha (losses that differ only between 0 and 1)."""
    bce = t * softplus(-x) + (1 - t) * softplus(x)
    one_minus_p, p = torch.sigmoid(-x), torch.sigmoid(x)
    if form == "mix":
        base = t * one_minus_p + (1 - t) * p
    elif form == "exp":
        base = -torch.expm1(-bce)
    else:
        # subtle: t - p without subtracting p from 1.
        base = (t * one_minus_p - (1 - t) * p).abs()
    return safe_pow(base, gamma) * bce
