"""Proper scores of probabilities: best, in expectation, when the probabilities are the true ones."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .._arrays import ArrayLike, labelled
from .binning import Scheme, binned


@dataclass(frozen=True)
class BrierDecomposition:
    """The Brier score as the sum `reliability - resolution + uncertainty + within`.

    Attributes:
        score: The Brier score.
        reliability: Squared distance of confidence from frequency, over bins: 0 is calibrated.
        resolution: Squared distance of the bins' frequencies from the base rate: the larger the better.
        uncertainty: Variance of the labels.
        within: What differences inside a bin add (Stephenson et al., 2008); 0 where each bin holds one value.
    """

    score: float
    reliability: float
    resolution: float
    uncertainty: float
    within: float


def brier_score(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Mean squared distance of probabilities from what happened (Brier, 1950): 0 is best.

    Binary: (p - y)^2, at most 1. Multi-class: summed over the classes, at most 2 (scikit-learn's for more than two
    classes). Multi-label: the mean over the classes.

    Args:
        probabilities: (n,) or (n, k) in [0, 1].
        labels: 0 and 1, or class indices.

    Raises:
        ValueError: Probabilities outside [0, 1], no rows, shapes or labels that do not fit.

    Example:
        >>> round(brier_score([0.9, 0.2], [1, 0]), 4)
        0.025
    """
    data = labelled(probabilities, labels, name="probabilities", probabilities=True)
    squared = (data.scores.double() - data.one_hot.double()).square()
    return float(squared.sum(1).mean() if data.kind == "multi-class" else squared.mean())


def brier_decomposition(
    probabilities: ArrayLike, labels: ArrayLike, bins: int | None = None, scheme: Scheme = "quantile"
) -> BrierDecomposition:
    """Murphy's decomposition (1973) with the terms within bins (Stephenson et al., 2008), so that the sum is exact.

    Args:
        probabilities, labels: As in `brier_score`; a softmax's classes are summed, those of multi-label averaged.
        bins: None groups equal probabilities, the decomposition of Murphy; a number bins them first, which continuous
            scores need for the parts to mean something.
        scheme: See `expected_calibration_error`.

    Raises:
        ValueError: As `brier_score`.

    Example:
        >>> parts = brier_decomposition([0.8, 0.8, 0.8, 0.2], [1, 1, 0, 0])
        >>> round(parts.reliability - parts.resolution + parts.uncertainty, 4) == round(parts.score, 4)
        True
    """
    data = labelled(probabilities, labels, name="probabilities", probabilities=True)
    p, y = (t.reshape(len(data.scores), -1).double() for t in (data.scores, data.one_hot))
    parts = torch.stack([_parts(p[:, c], y[:, c], bins, scheme) for c in range(p.shape[1])])
    score, reliability, resolution, uncertainty, within = (
        parts.sum(0) if data.kind == "multi-class" else parts.mean(0)
    ).tolist()
    return BrierDecomposition(score, reliability, resolution, uncertainty, within)


def negative_log_likelihood(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Mean -log of the probability of what happened: 0 is best; infinite where that was given probability 0.

    Multi-label: the mean over rows and classes.

    Args:
        probabilities, labels: As in `brier_score`.

    Raises:
        ValueError: As `brier_score`.

    Example:
        >>> round(negative_log_likelihood([[0.5, 0.25, 0.25]], [0]), 4)
        0.6931
    """
    data = labelled(probabilities, labels, name="probabilities", probabilities=True)
    p = data.scores.double()
    if data.kind == "multi-class":
        return float(-p.gather(1, data.labels[:, None]).log().mean())
    return float(-torch.where(data.labels == 1, p.log(), torch.log1p(-p)).mean())


def _parts(p: Tensor, y: Tensor, bins: int | None, scheme: Scheme) -> Tensor:
    if bins is None:
        values, index = p.unique(return_inverse=True)
        counts = torch.bincount(index, minlength=len(values)).double()
        confidence, accuracy = values, torch.bincount(index, weights=y) / counts
    else:
        found = binned(p, y, bins, scheme)
        some = found.counts > 0
        index = (some.long().cumsum(0) - 1)[found.index]
        counts = found.counts[some].double()
        confidence, accuracy = found.confidence[some], found.accuracy[some]
    n, rate = len(p), y.mean()
    reliability = (counts * (confidence - accuracy).square()).sum() / n
    resolution = (counts * (accuracy - rate).square()).sum() / n
    apart = p - confidence[index]
    within = apart.square().mean() - 2 * (apart * (y - accuracy[index])).mean()
    return torch.stack([(p - y).square().mean(), reliability, resolution, rate * (1 - rate), within])
