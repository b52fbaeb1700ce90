"""Sigmoid and softmax losses in mpmath, from their papers, one element or one row at a time.

x is a logit, t a target in [0, 1]; row is a list of logits, y a class index, q a list of target weights.
"""

from collections.abc import Sequence

from mpmath import exp, log, mpf, sqrt

from reference.focal import sigmoid, softmax

Row = Sequence[float]


def asymmetric(x: float, t: float, gamma_pos: float, gamma_neg: float, margin: float) -> mpf:
    """Ridnik et al. (2021), equations 5 to 7; a target between 0 and 1 is the mean of the two."""
    p = sigmoid(x)
    p_m = max(p - mpf(margin), mpf(0))
    shifted = mpf(0) if p_m == 0 else -(p_m ** mpf(gamma_neg)) * log(1 - p_m)
    return -mpf(t) * (1 - p) ** mpf(gamma_pos) * log(p) + (1 - mpf(t)) * shifted


def asymmetric_softmax(row: Row, y: int, gamma_pos: float, gamma_neg: float, smoothing: float) -> mpf:
    """The authors' single-label loss: smoothed targets, weights by the hard label."""
    p, k = softmax(row), len(row)
    total = mpf(0)
    for c in range(k):
        q = mpf(smoothing) / k + (1 - mpf(smoothing) if c == y else 0)
        weight = (1 - p[c]) ** mpf(gamma_pos) if c == y else p[c] ** mpf(gamma_neg)
        total -= q * weight * log(p[c])
    return total


def poly1_ce(row: Row, y: int, epsilon: float) -> mpf:
    """Leng et al. (2022), equation 5."""
    p = softmax(row)[y]
    return -log(p) + mpf(epsilon) * (1 - p)


def poly1_focal(x: float, t: float, epsilon: float, alpha: float, gamma: float) -> mpf:
    """Leng et al. (2022), section 5: focal loss plus epsilon (1 - p_t)^(gamma + 1)."""

    def hard(p_t: mpf, a: mpf) -> mpf:
        return a * (-((1 - p_t) ** mpf(gamma)) * log(p_t) + mpf(epsilon) * (1 - p_t) ** (mpf(gamma) + 1))

    p = sigmoid(x)
    return mpf(t) * hard(p, mpf(alpha)) + (1 - mpf(t)) * hard(1 - p, 1 - mpf(alpha))


def reduced_focal(x: float, t: float, gamma: float, threshold: float, legacy: bool) -> mpf:
    """Cross-entropy below the threshold, focal above; the factor is continuous at it unless `legacy`."""

    def hard(p_t: mpf) -> mpf:
        th = mpf(threshold)
        factor = 1 if p_t < th else ((1 - p_t) / (th if legacy else 1 - th)) ** mpf(gamma)
        return -factor * log(p_t)

    p = sigmoid(x)
    return mpf(t) * hard(p) + (1 - mpf(t)) * hard(1 - p)


def quality_focal(x: float, t: float, beta: float) -> mpf:
    """Li et al. (2020), equation 4."""
    p, t = sigmoid(x), mpf(t)
    return -(abs(t - p) ** mpf(beta)) * ((1 - t) * log(1 - p) + t * log(p))


def varifocal(x: float, q: float, alpha: float, gamma: float) -> mpf:
    """Zhang et al. (2021), equation 2."""
    p, q = sigmoid(x), mpf(q)
    if q > 0:
        return -q * (q * log(p) + (1 - q) * log(1 - p))
    return -mpf(alpha) * p ** mpf(gamma) * log(1 - p)


def matchability_aware(x: float, q: float, gamma: float, alpha: float) -> mpf:
    """Huang et al. (2025), the matchability-aware loss."""
    p, q = sigmoid(x), mpf(q)
    if q > 0:
        goal = q ** mpf(gamma)
        return -goal * log(p) - (1 - goal) * log(1 - p)
    return -mpf(alpha) * p ** mpf(gamma) * log(1 - p)


def iou_aware_bce(x: float, q: float, alpha: float, gamma: float, floor: float) -> mpf:
    """Chen et al. (2024), LW-DETR's form of Cai et al. (2023)."""
    p, q = sigmoid(x), mpf(q)
    if q > 0:
        t = max(p ** mpf(alpha) * q ** (1 - mpf(alpha)), mpf(floor))
        return -t * log(p) - (1 - t) * log(1 - p)
    return -(p ** mpf(gamma)) * log(1 - p)


def position_supervised(x: float, t: float, alpha: float, gamma: float) -> mpf:
    """Liu et al. (2023), Stable-DINO's position-supervised loss."""
    return (mpf(alpha) if t > 0 else 1 - mpf(alpha)) * quality_focal(x, t, gamma)


def task_aligned(x: float, t: float, gamma: float) -> mpf:
    """Feng et al. (2021), TOOD's classification loss, at an aligned target t; the paper's sums over positives (t > 0)
    and negatives."""
    s, t = sigmoid(x), mpf(t)
    if t > 0:
        return abs(t - s) ** mpf(gamma) * -(t * log(s) + (1 - t) * log(1 - s))
    return s ** mpf(gamma) * -log(1 - s)


def gaussian_focal(x: float, y: float, alpha: float, beta: float) -> mpf:
    """Law and Deng (2018), equation 1."""
    p, y = sigmoid(x), mpf(y)
    if y == 1:
        return -((1 - p) ** mpf(alpha)) * log(p)
    return -((1 - y) ** mpf(beta)) * p ** mpf(alpha) * log(1 - p)


def distribution_focal(row: Row, y: float) -> mpf:
    """Li et al. (2020), equation 6."""
    p = softmax(row)
    i = min(int(y), len(row) - 2)
    return -((i + 1 - mpf(y)) * log(p[i]) + (mpf(y) - i) * log(p[i + 1]))


def balanced_softmax(row: Row, y: int, counts: Row) -> mpf:
    """Ren et al. (2020), equation 4: n_y e^x_y / sum n_j e^x_j."""
    powers = [mpf(n) * exp(mpf(x)) for x, n in zip(row, counts, strict=True)]
    return -log(powers[y] / sum(powers))


def logit_adjusted(row: Row, y: int, counts: Row, tau: float) -> mpf:
    """Menon et al. (2021), equation 10."""
    total = sum(mpf(n) for n in counts)
    powers = [exp(mpf(x) + mpf(tau) * log(mpf(n) / total)) for x, n in zip(row, counts, strict=True)]
    return -log(powers[y] / sum(powers))


def vector_scaling(row: Row, y: int, counts: Row, gamma: float, tau: float) -> mpf:
    """Kini et al. (2021), equation 2, with Delta_c = (n_max / n_c)^gamma."""
    total, most = sum(mpf(n) for n in counts), max(mpf(n) for n in counts)
    powers = [
        exp(mpf(x) / (most / mpf(n)) ** mpf(gamma) + mpf(tau) * log(mpf(n) / total))
        for x, n in zip(row, counts, strict=True)
    ]
    return -log(powers[y] / sum(powers))


def ldam(row: Row, y: int, counts: Row, max_margin: float, scale: float) -> mpf:
    """Cao et al. (2019), equation 12; margins n^(-1/4) scaled so that the largest is max_margin."""
    raw = [1 / sqrt(sqrt(mpf(n))) for n in counts]
    margins = [r * mpf(max_margin) / max(raw) for r in raw]
    powers = [exp(mpf(scale) * (mpf(x) - (margins[y] if c == y else 0))) for c, x in enumerate(row)]
    return -log(powers[y] / sum(powers))


def equalization(x: float, t: float, frequency: float, foreground: bool, threshold: float) -> mpf:
    """Tan et al. (2020), equations 3 and 4."""
    p, t = sigmoid(x), mpf(t)
    rare = frequency < threshold
    return -t * log(p) - (1 - t) * (0 if foreground and rare else 1) * log(1 - p)


def softmax_equalization(row: Row, y: int, frequency: Row, threshold: float) -> mpf:
    """Tan et al. (2020), equations 8 and 9, at beta = 1."""
    powers = [exp(mpf(x)) for x in row]
    kept = [p for c, p in enumerate(powers) if c == y or frequency[c] >= threshold]
    return -log(powers[y] / sum(kept))


def eqlv2_start(x: float, t: float, gamma: float, mu: float, alpha: float) -> mpf:
    """Tan et al. (2021), equations 5 to 7, before any gradient: every ratio is 100."""
    f = 1 / (1 + exp(-mpf(gamma) * (100 - mpf(mu))))
    p, t = sigmoid(x), mpf(t)
    return -t * (1 + mpf(alpha) * (1 - f)) * log(p) - (1 - t) * f * log(1 - p)


def seesaw(row: Row, y: int, counts: Row, p: float, q: float, eps: float) -> mpf:
    """Wang et al. (2021), equations 4 to 6."""
    prob = softmax(row)
    n = [max(mpf(c), mpf(1)) for c in counts]
    total = mpf(0)
    for j, x in enumerate(row):
        mitigation = (n[j] / n[y]) ** mpf(p) if n[j] < n[y] else mpf(1)
        ratio = prob[j] / max(prob[y], mpf(eps))
        compensation = ratio ** mpf(q) if ratio > 1 else mpf(1)
        total += (1 if j == y else mitigation * compensation) * exp(mpf(x))
    return -log(exp(mpf(row[y])) / total)


def flsd(row: Row, y: int, low: float, high: float, threshold: float) -> mpf:
    """Mukhoti et al. (2020), section 4: gamma 5 below p = 0.2, 3 from there on."""
    p = softmax(row)[y]
    return -((1 - p) ** mpf(low if p < threshold else high)) * log(p)


def dual_focal(row: Row, y: int, gamma: float) -> mpf:
    """Tao et al. (2023), equation 6."""
    p = softmax(row)
    below = max([v for v in p if v < p[y]], default=mpf(0))
    return -((1 - p[y] + below) ** mpf(gamma)) * log(p[y])


def cyclical(row: Row, y: int, epoch: int, epochs: int, hc: float, pos: float, neg: float, f: float, s: float) -> mpf:
    """Smith (2022), equations 3 to 5."""
    done = mpf(f) * epoch
    xi = 1 - done / (epochs - 1) if done < epochs - 1 else (done / (epochs - 1) - 1) / (mpf(f) - 1)
    p = softmax(row)[y]
    return -xi * (1 + p) ** mpf(hc) * log(p) + (1 - xi) * asymmetric_softmax(row, y, pos, neg, s)


def equalized_focal(x: float, t: float, ratio: float, alpha: float, gamma: float, scale: float) -> mpf:
    """Li et al. (2022), equations 5 and 6, with the gradient ratio of the class given."""
    gamma_j = mpf(gamma) + mpf(scale) * (1 - mpf(ratio))
    p = sigmoid(x)
    p_t, a = (p, mpf(alpha)) if t == 1 else (1 - p, 1 - mpf(alpha))
    return -a * gamma_j / mpf(gamma) * (1 - p_t) ** gamma_j * log(p_t)


def ghm(norms: Sequence[mpf], losses: Sequence[mpf], bins: int, valid: bool) -> list[mpf]:
    """Li, Liu and Wang (2019), equations 8 and 9: each loss times N / (R M)."""
    index = [min(int(g * bins), bins - 1) for g in norms]
    filled = len(set(index)) if valid else bins
    return [loss * len(norms) / (index.count(i) * mpf(filled)) for i, loss in zip(index, losses, strict=True)]
