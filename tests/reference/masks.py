"""Losses on masks in mpmath, from their papers. A mask is a list of numbers along one axis."""

from collections.abc import Callable, Sequence
from itertools import pairwise

from mpmath import mpf, sqrt

Row = Sequence[float]


def generalized_dice(p: Sequence[Sequence[mpf]], t: Sequence[Row], smooth: float) -> mpf:
    """Sudre et al. (2017), section 2.1, over the classes of an image, with weights that add up to 1; a class that is
    not shown has the largest weight of the others."""
    sizes = [sum(mpf(v) for v in row) for row in t]
    least = min((size for size in sizes if size), default=mpf(1))
    weights = [1 / (size or least) ** 2 for size in sizes]
    weights = [w / sum(weights) for w in weights]
    hit = sum(w * sum(a * mpf(b) for a, b in zip(x, y, strict=True)) for w, x, y in zip(weights, p, t, strict=True))
    both = sum(w * (sum(x) + size) for w, x, size in zip(weights, p, sizes, strict=True))
    return 1 - (2 * hit + mpf(smooth)) / (both + mpf(smooth))


def jaccard(wrong: set[int], mask: set[int]) -> mpf:
    """Berman et al. (2018), equation 4: of the set of mispredicted pixels."""
    return mpf(len(wrong)) / len(wrong | mask) if wrong else mpf(0)


def lovasz(errors: Sequence[mpf], t: Row) -> mpf:
    """Berman et al. (2018), definition 1: the Lovász extension of `jaccard`, by its sets."""
    mask = {i for i, v in enumerate(t) if v}
    order = sorted(range(len(t)), key=lambda i: errors[i], reverse=True)
    prefixes = [set(order[:i]) for i in range(len(t) + 1)]
    steps = [jaccard(b, mask) - jaccard(a, mask) for a, b in pairwise(prefixes)]
    return sum((errors[i] * step for i, step in zip(order, steps, strict=True)), mpf(0))


def nearest(place: int, mask: Sequence[bool]) -> mpf:
    return min(sqrt(mpf(place - i) ** 2) for i, inside in enumerate(mask) if inside)


def boundary(p: Sequence[mpf], t: Row) -> mpf:
    """Kervadec et al. (2019), equation 5, distances to the nearest pixel across the outline, one less inside."""
    mask = [bool(v) for v in t]
    if all(mask) or not any(mask):
        return mpf(0)
    outside = [not v for v in mask]
    phi = [1 - nearest(i, outside) if inside else nearest(i, mask) for i, inside in enumerate(mask)]
    return sum(a * b for a, b in zip(phi, p, strict=True)) / len(p)


def hausdorff(p: Sequence[mpf], t: Row, alpha: float) -> mpf:
    """Karimi and Salcudean (2019), equation 8."""

    def field(mask: list[bool]) -> list[mpf]:
        if all(mask) or not any(mask):
            return [mpf(0)] * len(mask)
        return [nearest(i, [v != inside for v in mask]) for i, inside in enumerate(mask)]

    fields = field([a > 0.5 for a in p]), field([bool(v) for v in t])
    far = [d_p ** mpf(alpha) + d_t ** mpf(alpha) for d_p, d_t in zip(*fields, strict=True)]
    return sum((a - mpf(b)) ** 2 * f for a, b, f in zip(p, t, far, strict=True)) / len(p)


def skeleton(mask: Sequence[mpf], iterations: int) -> list[mpf]:
    """Shit et al. (2021), algorithm 1: of a mask with one axis."""

    def each(row: Sequence[mpf], choose: Callable[[Sequence[mpf]], mpf]) -> list[mpf]:
        return [choose(row[max(i - 1, 0) : i + 2]) for i in range(len(row))]

    row, line = list(mask), [mpf(0)] * len(mask)
    for _ in range(iterations + 1):
        opened = each(each(row, min), max)
        line = [v + (1 - v) * max(a - b, mpf(0)) for v, a, b in zip(line, row, opened, strict=True)]
        row = each(row, min)
    return line


def cldice(p: Sequence[mpf], t: Row, iterations: int, smooth: float) -> mpf:
    """Shit et al. (2021), equations 1 and 2, algorithm 2."""
    s, truth = mpf(smooth), [mpf(v) for v in t]
    line_p, line_t = skeleton(p, iterations), skeleton(truth, iterations)
    precision = (sum(a * b for a, b in zip(line_p, truth, strict=True)) + s) / (sum(line_p) + s)
    sensitivity = (sum(a * b for a, b in zip(line_t, p, strict=True)) + s) / (sum(line_t) + s)
    return 1 - 2 * precision * sensitivity / (precision + sensitivity)
