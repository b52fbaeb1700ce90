"""Focal loss on sigmoids and on a softmax (Lin et al., 2017, arXiv 1708.02002).

Soft targets have five inequivalent public definitions; `soft_targets` names four of them (see `docs/losses/focal.md`).
Not here: the maths of a single logit (`_focal_terms.py`), the native-layout detection form (`_dense.py`), FL* and
reduced focal (`_focal_variants.py`), quality targets (`_quality.py`).
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from .._numerics import focal_term, safe_pow
from .._types import Backend, PerClass, Reduction, SoftTargets, Vector
from ..kernels.dispatch import single_pass
from ..kernels.operands import Focal
from ._checks import check_backend, check_choice, check_range, is_number, number
from ._dense import dense_sigmoid_focal_loss
from ._focal_terms import check_focal, focal_negative, focal_of, focal_parameters, focal_positive, soft_focal
from ._module import LossModule
from ._sigmoid import sigmoid_loss
from ._softmax import row_cross_entropy, softmax_loss

SOFT_TARGETS = ("split", "mix", "exp", "qfl")


def prior_bias(prior_prob: float = 0.01) -> float:
    """The bias -log((1 - pi) / pi), with which a sigmoid starts at probability pi (Lin et al., 2017, sec. 4.1).

    Example:
        >>> round(prior_bias(0.01), 4)
        -4.5951
    """
    if not 0 < prior_prob < 1:
        raise ValueError(f"prior_prob must lie strictly between 0 and 1, got {prior_prob!r}; the paper uses 0.01")
    return -math.log((1 - prior_prob) / prior_prob)


@single_pass
def sigmoid_focal_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    alpha: PerClass | None = 0.25,
    gamma: PerClass = 2.0,
    gamma_neg: PerClass | None = None,
    pos_weight: PerClass | None = None,
    label_smoothing: float = 0.0,
    soft_targets: SoftTargets = "split",
    class_weight: Vector | None = None,
    weight: Tensor | None = None,
    ignore_index: int | None = -100,
    class_dim: int = 1,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Focal loss on independent sigmoids (Lin et al., 2017, eq. 5).

    $$FL(p_t) = -\alpha_t (1 - p_t)^\gamma \log p_t$$

    Args:
        logits: Scores before the sigmoid, any shape.
        targets: Floating or bool, shaped like `logits`; or class indices (integer, class axis missing) with -1 for
            background. Elements equal to `ignore_index` are not valid: not in value, gradient and mean.
        alpha: Weight of positives in [0, 1], `1 - alpha` for negatives; `None` for no balancing. A number or a vector
            over the classes.
        gamma: Focusing parameter, at least 0; 0 gives (alpha-balanced) cross-entropy. A number or a vector over
            the classes.
        gamma_neg: Focusing parameter of the negatives; `None` takes `gamma`.
        pos_weight: Factor on the positives alone, as in `F.binary_cross_entropy_with_logits`; it multiplies beside
            alpha. A number or a vector over the classes.
        label_smoothing: s turns targets 1 and 0 into 1 - s/2 and s/2.
        soft_targets: Meaning of targets strictly between 0 and 1. "split": the expectation over hard labels;
            "mix": (1 - p_t)^gamma BCE with 1 - p_t = p + t - 2pt (torchvision); "exp": (1 - e^-BCE)^gamma BCE;
            "qfl": |t - p|^gamma BCE. Hard targets give the same under all four.
        class_weight: Vector over the classes, multiplies the columns; what has weight 0 is not valid.
        weight: Broadcasts against the unreduced loss; what has weight 0 is not valid.
        ignore_index: Value of `targets` that is not valid.
        class_dim: The class axis of `logits`; used with class indices and with vectors over classes.
        reduction: "none" (shape of `logits`), "sum", or "mean" over the valid elements.
        normalizer: Number or 0-d tensor that divides the sum instead, for example the number of positives.
        backend: "auto" chooses (`focalkit.kernels.explain` says what and why); "eager", "compiled" and "triton" ask for
            one.

    Raises:
        ValueError, TypeError: Shapes, dtypes or values that cannot be meant.
        BackendError: A backend that cannot run here.

    Example:
        >>> sigmoid_focal_loss(torch.zeros(1), torch.ones(1))
        tensor(0.0433)
    """
    name = "sigmoid_focal_loss"
    check_backend(backend)
    check_focal(alpha, gamma, gamma_neg, pos_weight)
    check_choice("soft_targets", soft_targets, SOFT_TARGETS)

    def soft(
        x: Tensor,
        t: Tensor,
        *,
        pos_weight: float | Tensor,
        neg_weight: float | Tensor,
        gamma: float | Tensor,
        gamma_neg: float | Tensor,
        factor: float | Tensor,
    ) -> Tensor:
        return (t * pos_weight * factor + (1 - t) * neg_weight) * soft_focal(
            x, t, t * gamma + (1 - t) * gamma_neg, soft_targets
        )

    return sigmoid_loss(
        name,
        logits,
        targets,
        focal_positive,
        focal_negative,
        soft=None if soft_targets == "split" else soft,
        per_class=focal_parameters(alpha, gamma, gamma_neg, pos_weight),
        label_smoothing=label_smoothing,
        class_weight=class_weight,
        weight=weight,
        ignore_index=ignore_index,
        class_dim=class_dim,
        reduction=reduction,
        normalizer=normalizer,
        backend=backend,
        focal=focal_of,
    )


@single_pass
def softmax_focal_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    gamma: PerClass = 2.0,
    alpha: Vector | None = None,
    label_smoothing: float = 0.0,
    soft_targets: SoftTargets = "split",
    class_weight: Vector | None = None,
    weight: Tensor | None = None,
    ignore_index: int | None = -100,
    class_dim: int = 1,
    reduction: Reduction = "mean",
    normalizer: float | Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Focal loss on a softmax: $-\alpha_y (1 - p_y)^\gamma \log p_y$ (Lin et al., 2017, footnote 1 and sec. 3.2).

    Args:
        logits: Scores before the softmax; classes on `class_dim`, any number of other axes.
        targets: Class indices with the class axis missing, or dense rows shaped like `logits` (one-hot, mixed).
        gamma: Focusing parameter, at least 0; a number or a vector over the classes.
        alpha: Vector over the classes that multiplies the loss of rows of that class; `None` for none. A number raises:
            a softmax has no positive and negative side for it to balance.
        label_smoothing: s mixes the uniform distribution into the target: (1 - s) q + s / K.
        soft_targets: Meaning of rows that are not one-hot. "split": sum_c q_c FL_c; "mix": 1 - p_t = 1 - sum_c q_c p_c;
            "exp": (1 - e^-CE)^gamma CE; "qfl": (total variation of q and p)^gamma CE.
        class_weight: Vector over the classes, multiplies outside the modulator; what has weight 0 is not valid.
        weight: Broadcasts against the unreduced loss (the shape of the labels); what has weight 0 is not valid.
        ignore_index: Label of rows that are not valid; in dense targets any element equal to it marks its row.
        class_dim: The class axis of `logits`.
        reduction: "none" (shape of the labels), "sum", or "mean" over the valid rows.
        normalizer: Number or 0-d tensor that divides the sum instead.
        backend: "auto" or "eager".

    Raises:
        ValueError, TypeError: Shapes, dtypes or values that cannot be meant.

    Example:
        >>> softmax_focal_loss(torch.zeros(1, 2), torch.tensor([0]))
        tensor(0.1733)
    """
    name = "softmax_focal_loss"
    check_backend(backend)
    check_range("gamma", gamma, 0, hint="gamma=0 is cross-entropy, larger values focus more")
    check_choice("soft_targets", soft_targets, SOFT_TARGETS)
    if is_number(alpha) or (isinstance(alpha, Tensor) and alpha.ndim == 0):
        raise ValueError(
            f"alpha must be a vector over the classes in a softmax loss, got the number {float(alpha):g}. Public code "
            "reads a number in two ways: weight 1 - alpha for class 0 and alpha for the rest (Detectron), or alpha for "
            "every class (mmcv). Write out the vector you mean, or use alpha=None"
        )
    return softmax_loss(
        name,
        logits,
        targets,
        lambda u, *, gamma: focal_term(u, gamma),
        soft=None if soft_targets == "split" else soft_rows(soft_targets),
        per_class={"gamma": gamma},
        alpha=alpha,
        label_smoothing=label_smoothing,
        class_weight=class_weight,
        weight=weight,
        ignore_index=ignore_index,
        class_dim=class_dim,
        reduction=reduction,
        normalizer=normalizer,
        backend=backend,
        focal=Focal(gamma=number(gamma), gamma_neg=number(gamma)) if is_number(gamma) else None,
    )


def soft_rows(form: str) -> Callable[..., Tensor]:
    """The rule for dense softmax targets that are not one-hot: (modulator of the row) * (its cross-entropy)."""

    def rows(u: Tensor, q: Tensor, dim: int, *, gamma: float | Tensor) -> Tensor:
        ce = row_cross_entropy(u, q, dim)
        if form == "exp":
            base = -torch.expm1(-ce)
        elif form == "mix":
            base = (q * torch.sigmoid(-u)).sum(dim)
        else:
            base = (q * torch.sigmoid(-u) - (1 - q) * torch.sigmoid(u)).abs().sum(dim) / 2
        exponent = (q * gamma).sum(dim) if isinstance(gamma, Tensor) else gamma
        return safe_pow(base, exponent) * ce

    return rows


class SigmoidFocalLoss(LossModule, function=sigmoid_focal_loss):
    """`sigmoid_focal_loss` with remembered arguments."""

    def native_layout(self, num_classes: int) -> Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor] | None:
        """The sum over a detector's levels as its head gives them, see `dense_sigmoid_focal_loss`.

        Returns:
            (logits per level, labels per level) -> 0-d, or None where the arguments have no such form: smoothed labels,
            a gamma of the negatives, weights of classes, or values that train; or where a subclass or a hook has
            changed the call.
        """
        kept = self.arguments()
        if type(self).forward is not LossModule.forward or self._forward_hooks or self._forward_pre_hooks:
            return None
        values = (kept[name] for name in ("alpha", "gamma", "pos_weight"))
        trained = any(isinstance(value, Tensor) and value.requires_grad for value in values)
        if trained or kept["label_smoothing"] or kept["gamma_neg"] is not None or kept["class_weight"] is not None:
            return None
        taken = {name: kept[name] for name in ("alpha", "gamma", "pos_weight", "ignore_index", "backend")}
        return partial(dense_sigmoid_focal_loss, num_classes=num_classes, **taken)


class SoftmaxFocalLoss(LossModule, function=softmax_focal_loss):
    """`softmax_focal_loss` with remembered arguments."""
