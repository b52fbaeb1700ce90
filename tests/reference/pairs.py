"""Losses on pairs of things in mpmath, from their papers: boxes, deltas, embeddings, students and teachers, regions."""

from collections.abc import Sequence

from mpmath import atan, exp, log, mpf, pi, sqrt

from reference.focal import sigmoid, softmax

Row = Sequence[float]


def smooth_l1(a: float, b: float, beta: float) -> mpf:
    d = abs(mpf(a) - mpf(b))
    return d * d / (2 * mpf(beta)) if d < beta else d - mpf(beta) / 2


def _areas(a: Row, b: Row) -> tuple[mpf, mpf, mpf, mpf]:
    """IoU, union, and width and height of the enclosing box."""
    a, b = [mpf(v) for v in a], [mpf(v) for v in b]  # type: ignore[assignment]
    w = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    h = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h
    return w * h / union, union, max(a[2], b[2]) - min(a[0], b[0]), max(a[3], b[3]) - min(a[1], b[1])


def giou(a: Row, b: Row) -> mpf:
    """Rezatofighi et al. (2019), equation 5."""
    iou, union, w, h = _areas(a, b)
    return 1 - (iou - (w * h - union) / (w * h))


def diou(a: Row, b: Row) -> mpf:
    """Zheng et al. (2020), equation 7."""
    iou, _, w, h = _areas(a, b)
    dx = (mpf(a[0]) + a[2] - b[0] - b[2]) / 2
    dy = (mpf(a[1]) + a[3] - b[1] - b[3]) / 2
    return 1 - iou + (dx * dx + dy * dy) / (w * w + h * h)


def ciou(a: Row, b: Row) -> mpf:
    """Zheng et al. (2020), equations 8 to 11."""
    iou = _areas(a, b)[0]
    angle = [atan((mpf(c[2]) - c[0]) / (mpf(c[3]) - c[1])) for c in (a, b)]
    v = 4 / pi**2 * (angle[1] - angle[0]) ** 2
    return diou(a, b) + v * v / (1 - iou + v)


def eiou(a: Row, b: Row, gamma: float) -> mpf:
    """Zhang et al. (2022): EIoU, and Focal-EIoU, its product with IoU^gamma."""
    iou, _, w, h = _areas(a, b)
    dw, dh = (mpf(a[2]) - a[0]) - (mpf(b[2]) - b[0]), (mpf(a[3]) - a[1]) - (mpf(b[3]) - b[1])
    return iou ** mpf(gamma) * (diou(a, b) + dw**2 / w**2 + dh**2 / h**2)


def focaler_iou(a: Row, b: Row, low: float, high: float) -> mpf:
    """Zhang and Zhang (2024): Focaler-GIoU = GIoU loss + IoU - stretched IoU."""
    iou = _areas(a, b)[0]
    d, u = mpf(low), mpf(high)
    stretched = mpf(0) if iou < d else mpf(1) if iou > u else (iou - d) / (u - d)
    return giou(a, b) + iou - stretched


def inner_iou(a: Row, b: Row, ratio: float) -> mpf:
    """Zhang et al. (2023): Inner-GIoU = GIoU loss + IoU - IoU of the inner boxes."""

    def inner(box: Row) -> list[mpf]:
        x, y = (mpf(box[0]) + box[2]) / 2, (mpf(box[1]) + box[3]) / 2
        w, h = (mpf(box[2]) - box[0]) * mpf(ratio), (mpf(box[3]) - box[1]) * mpf(ratio)
        return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]

    return giou(a, b) + _areas(a, b)[0] - _areas(inner(a), inner(b))[0]  # type: ignore[arg-type]


def wiou(a: Row, b: Row) -> mpf:
    """Tong et al. (2023): Wise-IoU v1."""
    iou, _, w, h = _areas(a, b)
    dx, dy = (mpf(a[0]) + a[2] - b[0] - b[2]) / 2, (mpf(a[1]) + a[3] - b[1] - b[3]) / 2
    return exp((dx**2 + dy**2) / (w**2 + h**2)) * (1 - iou)


def wiou_v3(a: Row, b: Row, alpha: float, delta: float, mean: mpf) -> mpf:
    """Tong et al. (2023): Wise-IoU v3 at a running mean of 1 - IoU."""
    beta = (1 - _areas(a, b)[0]) / mpf(mean)
    return beta / (mpf(delta) * mpf(alpha) ** (beta - mpf(delta))) * wiou(a, b)


def nwd(a: Row, b: Row, constant: float) -> mpf:
    """Wang et al. (2021): 1 - normalised Gaussian Wasserstein distance of (cx, cy, w / 2, h / 2)."""
    first, second = (
        [(mpf(c[0]) + c[2]) / 2, (mpf(c[1]) + c[3]) / 2, (mpf(c[2]) - c[0]) / 2, (mpf(c[3]) - c[1]) / 2] for c in (a, b)
    )
    return 1 - exp(-sqrt(sum((u - v) ** 2 for u, v in zip(first, second, strict=True))) / mpf(constant))


def ghm_r(d: float, mu: float) -> tuple[mpf, mpf]:
    """Li, Liu and Wang (2019), equations 10 and 11: gradient norm and authentic smooth L1."""
    length = sqrt(mpf(d) ** 2 + mpf(mu) ** 2)
    return abs(mpf(d)) / length, length - mpf(mu)


def distillation(student: Row, teacher: Row, temperature: float) -> mpf:
    """Hinton et al. (2015), section 2: T^2 KL."""
    p = softmax([mpf(x) / temperature for x in student])
    q = softmax([mpf(x) / temperature for x in teacher])
    return mpf(temperature) ** 2 * sum(b * log(b / a) for a, b in zip(p, q, strict=True))


def focal_distillation(x: float, y: float, gamma: float, beta: float) -> mpf:
    """Tang et al. (2019), equation 6, on one sigmoid."""
    p, q = sigmoid(x), sigmoid(y)
    kl = q * log(q / p) + (1 - q) * log((1 - q) / (1 - p))
    entropy = -q * log(q) - (1 - q) * log(1 - q)
    return (1 - exp(-(kl + mpf(beta) * entropy))) ** mpf(gamma) * kl


def cosine(a: Row, b: Row) -> mpf:
    dot = sum(mpf(x) * mpf(y) for x, y in zip(a, b, strict=True))
    return dot / sqrt(sum(mpf(x) ** 2 for x in a)) / sqrt(sum(mpf(y) ** 2 for y in b))


def focal_infonce(anchors: Sequence[Row], partners: Sequence[Row], temperature: float, margin: float) -> list[mpf]:
    """Hou and Li (2023), equation 3."""
    out = []
    for i, a in enumerate(anchors):
        terms = []
        for j, b in enumerate(partners):
            s = cosine(a, b)
            terms.append(exp((s * s if i == j else s * (s + mpf(margin))) / mpf(temperature)))
        out.append(-log(terms[i] / sum(terms)))
    return out


def hard_contrastive(
    anchors: Sequence[Row], partners: Sequence[Row], temperature: float, beta: float, tau_plus: float
) -> list[mpf]:
    """Robinson et al. (2021), equations 4 to 6; each pair's two anchors averaged."""
    both, b, t = [*anchors, *partners], len(anchors), mpf(temperature)
    out = []
    for i, a in enumerate(both):
        e = [exp(cosine(a, other) / t) for j, other in enumerate(both) if j % b != i % b]
        own = exp(cosine(a, both[(i + b) % (2 * b)]) / t)
        n = len(e)
        reweighted = sum(v ** (mpf(beta) + 1) for v in e) / (sum(v ** mpf(beta) for v in e) / n)
        total = max((reweighted - mpf(tau_plus) * n * own) / (1 - mpf(tau_plus)), n * exp(-1 / t))
        out.append(-log(own / (own + total)))
    return [(out[i] + out[i + b]) / 2 for i in range(b)]


def tversky(p: Sequence[mpf], t: Row, fp_weight: float, fn_weight: float, smooth: float) -> mpf:
    """Salehi et al. (2017), equation 2: 1 - TI."""
    hit = sum(a * mpf(b) for a, b in zip(p, t, strict=True))
    false = sum(a * (1 - mpf(b)) for a, b in zip(p, t, strict=True))
    missed = sum((1 - a) * mpf(b) for a, b in zip(p, t, strict=True))
    s = mpf(smooth)
    return 1 - (hit + s) / (hit + mpf(fp_weight) * false + mpf(fn_weight) * missed + s)


def dice(p: Sequence[mpf], t: Row, smooth: float) -> mpf:
    hit = sum(a * mpf(b) for a, b in zip(p, t, strict=True))
    return 1 - (2 * hit + mpf(smooth)) / (sum(p) + sum(mpf(b) for b in t) + mpf(smooth))


def unified_focal(
    rows: Sequence[Row],
    labels: Sequence[int],
    lambda_: float,
    delta: float,
    gamma: float,
    symmetric: bool,
    smooth: float,
) -> mpf:
    """Yeung et al. (2022), section 3.2, on one image given as its pixels' logits; class 0 is the background."""
    p, classes = [softmax(r) for r in rows], len(rows[0])
    focal = mpf(0)
    for prob, y in zip(p, labels, strict=True):
        factor = (1 - prob[y]) ** mpf(gamma) if y == 0 or symmetric else 1
        focal -= (1 - mpf(delta) if y == 0 else mpf(delta)) * factor * log(prob[y])
    region = mpf(0)
    for c in range(classes):
        one = tversky([v[c] for v in p], [float(y == c) for y in labels], 1 - delta, delta, smooth)
        region += one ** (1 - mpf(gamma)) if c > 0 or symmetric else one
    return mpf(lambda_) * region / classes + (1 - mpf(lambda_)) * focal / len(rows)
