"""The focal loss and cross-entropy in mpmath, one number at a time, from the equations of Lin et al. (2017).

Written from the paper with probabilities, at 250 digits, and not from the package's log-space code.
"""

from collections.abc import Sequence

from mpmath import exp, log, mp, mpf

mp.dps = 250


def sigmoid(x: float) -> mpf:
    return 1 / (1 + exp(-mpf(x)))


def softmax(row: Sequence[float]) -> list[mpf]:
    powers = [exp(mpf(x)) for x in row]
    return [p / sum(powers) for p in powers]


def cross_entropy(row: Sequence[float], label: int) -> mpf:
    return -log(softmax(row)[label])


def binary_cross_entropy(x: float, t: float) -> mpf:
    p = sigmoid(x)
    return -mpf(t) * log(p) - (1 - mpf(t)) * log(1 - p)


def sigmoid_focal(x: float, t: int, gamma: float, alpha: float | None = None) -> mpf:
    """Equations 2, 4 and 5."""
    p = sigmoid(x)
    p_t = p if t == 1 else 1 - p
    alpha_t = mpf(1) if alpha is None else mpf(alpha) if t == 1 else 1 - mpf(alpha)
    return -alpha_t * (1 - p_t) ** mpf(gamma) * log(p_t)


def sigmoid_focal_gradient(x: float, t: int, gamma: float) -> mpf:
    """Appendix B: y (1 - p_t)^gamma (gamma p_t log p_t + p_t - 1), y in {1, -1}."""
    p = sigmoid(x)
    p_t = p if t == 1 else 1 - p
    return (1 if t == 1 else -1) * (1 - p_t) ** mpf(gamma) * (mpf(gamma) * p_t * log(p_t) + p_t - 1)


def soft_sigmoid_focal(x: float, t: float, gamma: float, form: str) -> mpf:
    """The four readings of a target between 0 and 1 (alpha off)."""
    p, t = sigmoid(x), mpf(t)
    bce = -t * log(p) - (1 - t) * log(1 - p)
    if form == "split":
        return -t * (1 - p) ** gamma * log(p) - (1 - t) * p**gamma * log(1 - p)
    base = {"mix": p + t - 2 * p * t, "exp": 1 - exp(-bce), "qfl": abs(t - p)}[form]
    return base**gamma * bce


def softmax_focal(row: Sequence[float], label: int, gamma: float) -> mpf:
    p = softmax(row)[label]
    return -((1 - p) ** mpf(gamma)) * log(p)


def sigmoid_focal_star(x: float, t: int, gamma: float, beta: float) -> mpf:
    """Appendix A: x_t = y x; p_t* = sigmoid(gamma x_t + beta); FL* = -log(p_t*) / gamma."""
    x_t = mpf(x) if t == 1 else -mpf(x)
    return -log(sigmoid(mpf(gamma) * x_t + mpf(beta))) / mpf(gamma)
