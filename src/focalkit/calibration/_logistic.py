"""Logistic regression on a few features: a damped Newton method that ends where its gradient vanishes.

Not here: penalties for selecting features, or more than some dozen features.
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

STEPS = 100


def fit_logistic(features: Tensor, targets: Tensor, *, ridge: float = 1e-6, center: Tensor | None = None) -> Tensor:
    """Coefficients that minimise mean cross-entropy + ridge / (2 n) |coefficients - center|^2.

    The objective is convex and, by the ridge, has one minimum even where the classes can be separated.

    Args:
        features: (n, d) float64; the intercept is a column of ones.
        targets: (n,) float64 in [0, 1].
        ridge: At least 0.
        center: (d,), where the ridge pulls to; None for 0.

    Returns:
        (d,) float64.
    """
    n, d = features.shape
    start = torch.zeros(d, dtype=torch.float64) if center is None else center.double()
    pull = ridge / n

    def objective(w: Tensor) -> Tensor:
        u = features @ w
        # cross-entropy of a soft target t: softplus(u) - t u
        return (-logsigmoid(-u) - targets * u).mean() + pull / 2 * (w - start).square().sum()

    w, value, damping = start.clone(), objective(start), 1e-12
    for _ in range(STEPS):
        p = torch.sigmoid(features @ w)
        gradient = features.T @ (p - targets) / n + pull * (w - start)
        hessian = (features * (p * (1 - p))[:, None]).T @ features / n + pull * torch.eye(d, dtype=torch.float64)
        scale = hessian.diagonal().clamp(min=1e-12)
        if float(gradient.abs().max()) < 1e-12:
            break
        while damping < 1e12:
            step = torch.linalg.solve(hessian + torch.diag(damping * scale), gradient)
            tried = objective(w - step)
            if bool(tried <= value):
                break
            damping *= 10
        else:
            break
        small = float((value - tried).abs()) <= 1e-16 * float(value.abs()) and damping < 1e-6
        w, value, damping = w - step, tried, max(damping / 10, 1e-12)
        if small:
            break
    return w
