"""Definitions of calibration, transcribed from the papers; slow and plain."""

import mpmath as mp


def focal_minimiser(eta, gamma, alpha=0.5):
    """The p that minimises eta a (1-p)^g (-log p) + (1-eta) (1-a) p^g (-log(1-p)): where a network ends that is trained
    with binary focal loss and the true posterior eta. Found as the root of the derivative in the logit."""
    eta, gamma, alpha = mp.mpf(eta), mp.mpf(gamma), mp.mpf(alpha)

    def derivative(logit):
        p, q = 1 / (1 + mp.exp(-logit)), 1 / (1 + mp.exp(logit))
        positive = alpha * eta * (gamma * q ** (gamma - 1) * mp.log(p) - q**gamma / p)
        negative = (1 - alpha) * (1 - eta) * (p**gamma / q - gamma * p ** (gamma - 1) * mp.log(q))
        return positive + negative

    low, high = mp.mpf(-30), mp.mpf(30)
    while high - low > mp.mpf(10) ** -15:
        middle = (low + high) / 2
        low, high = (middle, high) if derivative(middle) < 0 else (low, middle)
    return 1 / (1 + mp.exp(-low))


def softmax_focal_minimiser(eta, gamma):
    """The class probabilities that minimise sum_c eta_c (1-p_c)^g (-log p_c) on the simplex, by Lagrange's conditions:
    eta_c (g (1-p_c)^(g-1) log p_c - (1-p_c)^g / p_c) is the same number, negative, for all classes."""
    eta, gamma = [mp.mpf(e) for e in eta], mp.mpf(gamma)

    def slope(e, p):
        return e * ((1 - p) ** gamma / p - gamma * (1 - p) ** (gamma - 1) * mp.log(p))

    def share(e, level):
        low, high = mp.mpf(10) ** -20, 1 - mp.mpf(10) ** -20
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if slope(e, middle) > level else (low, middle)
        return low

    low, high = mp.mpf(10) ** -8, mp.mpf(10) ** 8
    for _ in range(55):
        level = mp.sqrt(low * high)
        low, high = (level, high) if sum(share(e, level) for e in eta) > 1 else (low, level)
    return [share(e, low) for e in eta]
