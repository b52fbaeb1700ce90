"""Which transcription in `tests/reference` belongs to which catalog line, applied to a batch of (b, k, s) inputs.

Each entry gives the unreduced loss as a flat list, in the order of the package's reduction="none".
"""

from collections.abc import Callable
from typing import Any

from mpmath import mpf
from torch import Tensor

from focalkit.testing._cases import required
from reference import classification as C
from reference import focal as F
from reference import masks as M
from reference import pairs as P

Given = dict[str, Any]


def dense(t: Tensor, b: int, c: int, s: int) -> float:
    """The target of one element, from dense targets or class indices."""
    return float(t[b, c, s]) if t.ndim == 3 else float(t[b, s] == c)


def elements(formula: Callable[..., mpf]) -> Callable[..., list[mpf]]:
    def apply(x: Tensor, t: Tensor, **given: Any) -> list[mpf]:
        b, k, s = x.shape
        return [
            formula(float(x[i, c, j]), dense(t, i, c, j), **given) for i in range(b) for c in range(k) for j in range(s)
        ]

    return apply


def rows(formula: Callable[..., mpf]) -> Callable[..., list[mpf]]:
    """Dense rows are the expectation over their classes."""

    def apply(x: Tensor, t: Tensor, **given: Any) -> list[mpf]:
        b, k, s = x.shape
        out = []
        for i in range(b):
            for j in range(s):
                row = x[i, :, j].tolist()
                if t.ndim == 2:
                    out.append(formula(row, t[i, j].item(), **given))
                else:
                    out.append(sum(mpf(float(t[i, c, j])) * formula(row, c, **given) for c in range(k)))
        return out

    return apply


def pairwise(formula: Callable[..., mpf]) -> Callable[..., list[mpf]]:
    def apply(x: Tensor, t: Tensor, **given: Any) -> list[mpf]:
        return [formula(a, b, **given) for a, b in zip(x.flatten().tolist(), t.flatten().tolist(), strict=True)]

    return apply


def boxes(formula: Callable[..., mpf]) -> Callable[..., list[mpf]]:
    def apply(x: Tensor, t: Tensor, **given: Any) -> list[mpf]:
        return [formula(a, b, **given) for a, b in zip(x.flatten(0, 1).tolist(), t.flatten(0, 1).tolist(), strict=True)]

    return apply


def regions(formula: Callable[..., mpf], exponent: float = 1.0) -> Callable[..., list[mpf]]:
    def apply(x: Tensor, t: Tensor, **given: Any) -> list[mpf]:
        b, k, s = x.shape
        out = []
        for i in range(b):
            for c in range(k):
                p = [F.sigmoid(float(x[i, c, j])) for j in range(s)]
                out.append(formula(p, [dense(t, i, c, j) for j in range(s)], **given) ** mpf(exponent))
        return out

    return apply


def generalized_dice(x: Tensor, t: Tensor, smooth: float) -> list[mpf]:
    b, k, s = x.shape
    return [
        M.generalized_dice(
            [[F.sigmoid(float(v)) for v in row] for row in x[i].tolist()],
            [[dense(t, i, c, j) for j in range(s)] for c in range(k)],
            smooth,
        )
        for i in range(b)
    ]


def lovasz(x: Tensor, t: Tensor, hinge: bool) -> list[mpf]:
    """Of every image and class."""
    b, k, s = x.shape
    out = []
    for i in range(b):
        for c in range(k):
            mask = [dense(t, i, c, j) for j in range(s)]
            if hinge:
                errors = [max(mpf(0), 1 - mpf(float(x[i, c, j])) * (2 * mask[j] - 1)) for j in range(s)]
            else:
                p = [F.softmax(x[i, :, j].tolist())[c] for j in range(s)]
                errors = [1 - a if inside else a for a, inside in zip(p, mask, strict=True)]
            out.append(M.lovasz(errors, mask))
    return out


def bce(x: float, t: float) -> mpf:
    return F.binary_cross_entropy(x, t)


def focal(x: float, t: float, gamma: float, alpha: float | None) -> mpf:
    on, off = (F.sigmoid_focal(x, hard, gamma, alpha) for hard in (1, 0))
    return mpf(t) * on + (1 - mpf(t)) * off


def star(x: float, t: float, gamma: float, beta: float) -> mpf:
    return mpf(t) * F.sigmoid_focal_star(x, 1, gamma, beta) + (1 - mpf(t)) * F.sigmoid_focal_star(x, 0, gamma, beta)


def equalization(x: Tensor, t: Tensor, *, frequency: list[float], threshold: float) -> list[mpf]:
    b, k, s = x.shape
    out = []
    for i in range(b):
        for c in range(k):
            for j in range(s):
                foreground = any(dense(t, i, d, j) > 0 for d in range(k))
                out.append(C.equalization(float(x[i, c, j]), dense(t, i, c, j), frequency[c], foreground, threshold))
    return out


def seesaw(x: Tensor, t: Tensor) -> list[mpf]:
    counts = [float((t == c).sum()) for c in range(x.shape[1])]  # the batch itself is the first to be counted
    return rows(C.seesaw)(x, t, counts=counts, p=0.8, q=2.0, eps=1e-2)


def ghm_c(x: Tensor, t: Tensor) -> list[mpf]:
    losses = elements(bce)(x, t)
    norms = elements(lambda a, b: abs(F.sigmoid(a) - mpf(b)))(x, t)
    return C.ghm(norms, losses, 10, valid=True)


def ghm_r(x: Tensor, t: Tensor) -> list[mpf]:
    parts = [P.ghm_r(float(d), 0.02) for d in (x - t).flatten()]
    return C.ghm([g for g, _ in parts], [loss for _, loss in parts], 10, valid=True)


def wiou_v3(x: Tensor, t: Tensor) -> list[mpf]:
    missing = [1 - P._areas(a, b)[0] for a, b in zip(x.flatten(0, 1).tolist(), t.flatten(0, 1).tolist(), strict=True)]
    mean = mpf(99) / 100 + sum(missing) / len(missing) / 100  # the running mean has seen this batch
    return boxes(P.wiou_v3)(x, t, alpha=1.9, delta=3.0, mean=mean)


def kd(x: Tensor, t: Tensor) -> list[mpf]:
    b, _, s = x.shape
    return [P.distillation(x[i, :, j].tolist(), t[i, :, j].tolist(), 4.0) for i in range(b) for j in range(s)]


def unified(x: Tensor, t: Tensor, gamma: float = 0.5, symmetric: bool = False) -> list[mpf]:
    b, _, s = x.shape
    return [
        P.unified_focal([x[i, :, j].tolist() for j in range(s)], t[i].tolist(), 0.5, 0.6, gamma, symmetric, 1e-6)
        for i in range(b)
    ]


def references(shape: tuple[int, int, int]) -> dict[str, Callable[[Tensor, Tensor], list[mpf]]]:
    """Spec -> the unreduced loss of a batch."""
    counts, frequency = required(shape)["class_counts"], required(shape)["frequency"]
    table: dict[str, tuple[Callable[..., list[mpf]], Given]] = {
        "ada_focal": (rows(F.softmax_focal), {"gamma": 1.0}),
        "asl": (elements(C.asymmetric), {"gamma_pos": 0.0, "gamma_neg": 4.0, "margin": 0.05}),
        "asl(gamma_pos=1.0, gamma_neg=0.5, margin=0.0)": (
            elements(C.asymmetric),
            {"gamma_pos": 1.0, "gamma_neg": 0.5, "margin": 0.0},
        ),
        "asl_softmax": (rows(C.asymmetric_softmax), {"gamma_pos": 0.0, "gamma_neg": 4.0, "smoothing": 0.1}),
        "asl_softmax(gamma_pos=1.0, gamma_neg=2.0, label_smoothing=0.2)": (
            rows(C.asymmetric_softmax),
            {"gamma_pos": 1.0, "gamma_neg": 2.0, "smoothing": 0.2},
        ),
        "balanced_softmax": (rows(C.balanced_softmax), {"counts": counts}),
        "bce": (elements(bce), {}),
        "boundary": (regions(M.boundary), {}),
        "ce": (rows(F.cross_entropy), {}),
        "ciou": (boxes(P.ciou), {}),
        "cldice": (regions(M.cldice), {"iterations": 3, "smooth": 1.0}),
        "cldice(iterations=1, smooth=0.5)": (regions(M.cldice), {"iterations": 1, "smooth": 0.5}),
        "cyclical_focal": (
            rows(C.cyclical),
            {"epoch": 0, "epochs": 9, "hc": 3.0, "pos": 2.0, "neg": 2.0, "f": 4.0, "s": 0.1},
        ),
        "dfl": (rows(C.distribution_focal), {}),
        "dice": (regions(P.dice), {"smooth": 1.0}),
        "diou": (boxes(P.diou), {}),
        "dual_focal": (rows(C.dual_focal), {"gamma": 5.0}),
        "dual_focal(gamma=0.5)": (rows(C.dual_focal), {"gamma": 0.5}),
        "eiou": (boxes(P.eiou), {"gamma": 0.0}),
        "eiou(gamma=0.5)": (boxes(P.eiou), {"gamma": 0.5}),
        "efl": (elements(C.equalized_focal), {"ratio": 1.0, "alpha": 0.25, "gamma": 2.0, "scale": 8.0}),
        "eql": (equalization, {"frequency": frequency, "threshold": 1.77e-3}),
        "eql(threshold=0.05)": (equalization, {"frequency": frequency, "threshold": 0.05}),
        "eqlv2": (elements(C.eqlv2_start), {"gamma": 12.0, "mu": 0.8, "alpha": 4.0}),
        "flsd": (rows(C.flsd), {"low": 5.0, "high": 3.0, "threshold": 0.2}),
        "focal": (elements(focal), {"gamma": 2.0, "alpha": 0.25}),
        "focal(gamma=0.5, alpha=None)": (elements(focal), {"gamma": 0.5, "alpha": None}),
        "focal_infonce": (lambda x, t: P.focal_infonce(x.tolist(), t.tolist(), 0.05, 0.3), {}),
        "focal_kd": (pairwise(P.focal_distillation), {"gamma": 2.0, "beta": 1.0}),
        "focal_kd(gamma=0.5, beta=0.0)": (pairwise(P.focal_distillation), {"gamma": 0.5, "beta": 0.0}),
        "focal_star": (elements(star), {"gamma": 2.0, "beta": 1.0}),
        "focal_tversky": (regions(P.tversky, 0.75), {"fp_weight": 0.3, "fn_weight": 0.7, "smooth": 1.0}),
        "focaler_iou": (boxes(P.focaler_iou), {"low": 0.0, "high": 0.95}),
        "focaler_iou(low=0.05, high=0.3)": (boxes(P.focaler_iou), {"low": 0.05, "high": 0.3}),
        "gaussian_focal": (elements(C.gaussian_focal), {"alpha": 2.0, "beta": 4.0}),
        "ghm_c": (ghm_c, {}),
        "generalized_dice": (generalized_dice, {"smooth": 1.0}),
        "generalized_dice(smooth=0.0)": (generalized_dice, {"smooth": 0.0}),
        "ghm_r": (ghm_r, {}),
        "giou": (boxes(P.giou), {}),
        "hausdorff": (regions(M.hausdorff), {"alpha": 2.0}),
        "hausdorff(alpha=1.0)": (regions(M.hausdorff), {"alpha": 1.0}),
        "hcl": (lambda x, t: P.hard_contrastive(x.tolist(), t.tolist(), 0.5, 1.0, 0.1), {}),
        "hcl(temperature=0.1, beta=0.5)": (
            lambda x, t: P.hard_contrastive(x.tolist(), t.tolist(), 0.1, 0.5, 0.1),
            {},
        ),
        "ia_bce": (elements(C.iou_aware_bce), {"alpha": 0.25, "gamma": 2.0, "floor": 0.01}),
        "ia_bce(alpha=0.5, gamma=1.0, floor=0.3)": (
            elements(C.iou_aware_bce),
            {"alpha": 0.5, "gamma": 1.0, "floor": 0.3},
        ),
        "inner_iou": (boxes(P.inner_iou), {"ratio": 0.7}),
        "inner_iou(ratio=1.25)": (boxes(P.inner_iou), {"ratio": 1.25}),
        "kd": (kd, {}),
        "l1": (pairwise(lambda a, b: abs(mpf(a) - mpf(b))), {}),
        "ldam": (rows(C.ldam), {"counts": counts, "max_margin": 0.5, "scale": 30.0}),
        "logit_adjusted(tau=0.7)": (rows(C.logit_adjusted), {"counts": counts, "tau": 0.7}),
        "logit_adjusted": (rows(C.logit_adjusted), {"counts": counts, "tau": 1.0}),
        "lovasz_hinge": (lovasz, {"hinge": True}),
        "lovasz_softmax": (lovasz, {"hinge": False}),
        "mal": (elements(C.matchability_aware), {"gamma": 1.5, "alpha": 1.0}),
        "mal(gamma=0.5, alpha=0.75)": (elements(C.matchability_aware), {"gamma": 0.5, "alpha": 0.75}),
        "nwd": (boxes(P.nwd), {"constant": 12.8}),
        "poly1_ce": (rows(C.poly1_ce), {"epsilon": 1.0}),
        "poly1_focal": (elements(C.poly1_focal), {"epsilon": 1.0, "alpha": 0.25, "gamma": 2.0}),
        "position_focal": (elements(C.position_supervised), {"alpha": 0.25, "gamma": 2.0}),
        "position_focal(gamma=0.5, alpha=0.75)": (elements(C.position_supervised), {"alpha": 0.75, "gamma": 0.5}),
        "qfl": (elements(C.quality_focal), {"beta": 2.0}),
        "reduced_focal": (elements(C.reduced_focal), {"gamma": 2.0, "threshold": 0.5, "legacy": False}),
        "reduced_focal(threshold=0.3)": (
            elements(C.reduced_focal),
            {"gamma": 2.0, "threshold": 0.3, "legacy": False},
        ),
        "reduced_focal(threshold=0.3, legacy=True)": (
            elements(C.reduced_focal),
            {"gamma": 2.0, "threshold": 0.3, "legacy": True},
        ),
        "seesaw": (seesaw, {}),
        "seql": (rows(C.softmax_equalization), {"frequency": frequency, "threshold": 0.005}),
        "smooth_l1": (pairwise(P.smooth_l1), {"beta": 1 / 9}),
        "softmax_focal": (rows(F.softmax_focal), {"gamma": 2.0}),
        "softmax_focal(gamma=0.5)": (rows(F.softmax_focal), {"gamma": 0.5}),
        "tversky": (regions(P.tversky), {"fp_weight": 0.3, "fn_weight": 0.7, "smooth": 1.0}),
        "unified_focal": (unified, {}),
        "unified_focal(gamma=0.2)": (unified, {"gamma": 0.2}),
        "unified_focal(symmetric=True)": (unified, {"symmetric": True}),
        "varifocal": (elements(C.varifocal), {"alpha": 0.75, "gamma": 2.0}),
        "vs": (rows(C.vector_scaling), {"counts": counts, "gamma": 0.3, "tau": 1.0}),
        "vs(gamma=0.5, tau=0.0)": (rows(C.vector_scaling), {"counts": counts, "gamma": 0.5, "tau": 0.0}),
        "wiou": (boxes(P.wiou), {}),
        "wiou_v3": (wiou_v3, {}),
    }

    def bound(apply: Callable[..., list[mpf]], given: Given) -> Callable[[Tensor, Tensor], list[mpf]]:
        return lambda x, t: apply(x, t, **given)

    return {spec: bound(apply, given) for spec, (apply, given) in table.items()}
