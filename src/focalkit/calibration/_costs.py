"""Decisions where mistakes cost differently: Bayes' rule on calibrated probabilities, and factors tuned on rows."""

import torch
from torch import Tensor

from .._arrays import ArrayLike, as_float, like

ROUNDS = 20


def minimum_cost_decisions(probabilities: ArrayLike, costs: ArrayLike) -> ArrayLike:
    """The decision of least expected cost for each row; right where the probabilities are.

    Args:
        probabilities: (n, k), rows summing to 1.
        costs: (k, d): `costs[label][decision]`; d may exceed k, for instance by a decision to reject.

    Returns:
        (n,) indices of decisions; of equally cheap ones the first.

    Raises:
        ValueError: Shapes that do not fit, costs that are not finite.

    Example:
        >>> minimum_cost_decisions(torch.tensor([[0.8, 0.2]]), [[0.0, 1.0], [10.0, 0.0]])   # 2.0 against 0.8
        tensor([1])
    """
    p, c = as_float(probabilities, "probabilities"), torch.as_tensor(costs, dtype=torch.float64)
    if p.ndim != 2 or c.ndim != 2 or c.shape[0] != p.shape[1]:
        raise ValueError(f"expected probabilities (n, k) and costs (k, d), got {tuple(p.shape)} and {tuple(c.shape)}")
    if not bool(c.isfinite().all()):
        raise ValueError(f"costs must be finite numbers, got {c.tolist()}")
    return like((p.double() @ c).argmin(1), probabilities)


def class_factors(probabilities: Tensor, labels: Tensor, costs: Tensor) -> tuple[Tensor, float, float]:
    """Factors (k,) whose largest product with the probabilities is cheapest on these rows; the mean cost before, after.

    One class at a time: with the others fixed, a row goes to the class from a certain factor on, so all factors are
    tried in one sweep. No step raises the cost; the end is a minimum in every single factor, not of all together.
    """
    n, k = probabilities.shape
    if not bool(((probabilities >= 0) & (probabilities <= 1)).all()):
        raise ValueError("costs of several classes need probabilities in [0, 1]")
    log_p, log_factor = probabilities.clamp(min=1e-300).log(), torch.zeros(k, dtype=torch.float64)

    def mean_cost(factor: Tensor) -> float:
        return float(costs[labels, (log_p + factor).argmax(1)].mean())

    before = cost = mean_cost(log_factor)
    for _ in range(ROUNDS):
        at_start = cost
        for c in range(k):
            others = (log_p + log_factor).index_fill(1, torch.tensor(c), -torch.inf)
            rest, other = others.max(1)
            needed = rest - log_p[:, c]  # the row goes to c where log_factor[c] exceeds this
            order = needed.argsort()
            ranked = needed[order]
            change = torch.zeros(n + 1, dtype=torch.float64)
            change[1:] = (costs[labels, c] - costs[labels, other])[order].cumsum(0)
            change[1:-1].masked_fill_(ranked[1:] == ranked[:-1], torch.inf)  # equal rows go together
            at = int(change.argmin())
            low = ranked[at - 1] if at else ranked[0] - 2
            high = ranked[at] if at < n else ranked[-1] + 2
            tried = log_factor.index_fill(0, torch.tensor(c), float((low + high) / 2))
            if (found := mean_cost(tried)) < cost:
                log_factor, cost = tried, found
        if cost == at_start:
            break
    return (log_factor - log_factor.mean()).exp(), before, cost
