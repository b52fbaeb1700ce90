"""What all calibrators ask of the rows they are fitted on."""

import torch
from torch import Tensor

from .._arrays import ArrayLike, Labelled, labelled

SUSPICIOUS_ROWS = 10


def calibration_set(logits: ArrayLike, labels: ArrayLike) -> Labelled:
    """Checked logits and labels of two classes at least.

    Raises:
        ValueError: As `labelled`; one class only; probabilities where logits belong.
    """
    data = labelled(logits, labels)
    _refuse_probabilities(data)
    seen = data.labels.unique()
    if len(seen) < 2:
        raise ValueError(
            f"all {data.labels.numel()} labels are {int(seen[0])}: one class alone determines no calibration; "
            "give rows of every class"
        )
    return data


def one_vs_rest_log_odds(data: Tensor, softmax: bool) -> Tensor:
    """Log-odds of each class against the rest: the logits themselves for sigmoids, z_c - logsumexp of the others."""
    z = data.double()
    if not softmax:
        return z
    log_p = torch.log_softmax(z, -1)
    top = log_p.argmax(-1, keepdim=True)
    # subtle: for the largest class 1 - p is summed from the others; for the rest it is at least 1/2
    rest = torch.logsumexp(log_p.scatter(-1, top, -torch.inf), -1, keepdim=True)
    return log_p - torch.log1p(-log_p.exp().clamp(max=0.5)).scatter(-1, top, rest)


def _refuse_probabilities(data: Labelled) -> None:
    s = data.scores
    if bool((s < 0).any()) or bool((s > 1).any()):
        return
    if data.kind == "multi-class":
        looks = bool(((s.sum(1) - 1).abs() < 1e-3).all())
        remedy = "torch.log(probabilities)"
    else:
        looks = s.numel() >= SUSPICIOUS_ROWS and int(((s > 0) & (s < 1)).sum()) > 0
        remedy = "torch.logit(probabilities)"
    if looks:
        raise ValueError(
            f"these look like probabilities: all values lie in [0, 1]"
            f"{' and rows sum to 1' if data.kind == 'multi-class' else ''}; expected logits, pass {remedy}"
        )
