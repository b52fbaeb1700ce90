"""How far confidence is from accuracy: expected calibration error in its forms, and its smooth version.

Not here: detections (`detection_calibration_error`); proper scores, which judge calibration and sharpness together.
"""

from typing import Literal

import torch
from torch import Tensor

from .._arrays import ArrayLike, Labelled, labelled
from .binning import Closed, Scheme, binned

Norm = Literal["l1", "l2", "max"]
GRID = 8192


def expected_calibration_error(
    probabilities: ArrayLike,
    labels: ArrayLike,
    bins: int = 15,
    scheme: Scheme = "uniform",
    norm: Norm = "l1",
    *,
    closed: Closed = "right",
) -> float:
    r"""Expected calibration error (Naeini et al., 2015; Guo et al., 2017).

    $$ECE = \sum_b \frac{n_b}{n} |acc_b - conf_b|$$

    The shapes say which one: (n,) with labels 0 and 1 compares the probability of class 1 with its frequency; (n, k)
    with class indices (n,) is the top-label error, of the largest probability against being right; (n, k) with 0 and 1
    (n, k) is the mean over the classes of their binary errors. `classwise_calibration_error` looks at every class of a
    softmax.

    Args:
        probabilities: In [0, 1].
        labels: Whole numbers.
        bins: Number of bins; `focalkit.metrics.binning` documents edges, ties and empty bins.
        scheme: "uniform" for bins of equal width, "quantile" for bins of equal mass.
        norm: "l1" as above; "max" for the largest gap of a bin (MCE); "l2" for the root mean square.
        closed: Which edge belongs to a bin: "right", or "left" as netcal and NumPy have it.

    Raises:
        ValueError: Probabilities outside [0, 1], no rows, shapes or labels that do not fit.

    Example:
        >>> round(expected_calibration_error([0.9, 0.9, 0.9, 0.2], [1, 1, 0, 0]), 3)
        0.225
    """
    data = labelled(probabilities, labels, name="probabilities", probabilities=True)
    if data.kind == "multi-label":
        return float(_classwise(data, bins, scheme, norm, closed).mean())
    return _error(*top_label(data), bins, scheme, norm, closed)


def classwise_calibration_error(
    probabilities: ArrayLike,
    labels: ArrayLike,
    bins: int = 15,
    scheme: Scheme = "uniform",
    norm: Norm = "l1",
    *,
    closed: Closed = "right",
    reduction: Literal["mean", "none"] = "mean",
) -> float | Tensor:
    """The binary calibration error of every class against the rest, and its mean over classes (Kull et al., 2019).

    Args:
        probabilities: (n, k) in [0, 1].
        labels: Class indices (n,), or 0 and 1 (n, k).
        bins, scheme, norm, closed: As in `expected_calibration_error`.
        reduction: "none" gives the vector (k,).

    Raises:
        ValueError: As `expected_calibration_error`; binary input, which has one class.

    Example:
        >>> round(classwise_calibration_error([[0.8, 0.2], [0.6, 0.4]], [0, 1]), 3)
        0.4
    """
    data = labelled(probabilities, labels, name="probabilities", probabilities=True)
    if data.kind == "binary":
        raise ValueError("class-wise calibration needs probabilities of shape (n, k); got (n,)")
    errors = _classwise(data, bins, scheme, norm, closed)
    return errors if reduction == "none" else float(errors.mean())


def smooth_calibration_error(probabilities: ArrayLike, labels: ArrayLike) -> float:
    r"""Smooth ECE (Błasiok & Nakkiran, 2023, arXiv 2309.12236): calibration error without bins.

    The residuals y - p are smoothed over p with a Gaussian kernel reflected at 0 and 1; the error is the L1 norm of the
    smoothed residual at the bandwidth that equals it. Unlike ECE it changes continuously with the probabilities, and
    there is nothing to choose. Computed on a grid of 8,192 cells.

    Args:
        probabilities: As `expected_calibration_error`: binary, top-label, or the mean over the classes of multi-label.
        labels: Likewise.

    Raises:
        ValueError: As `expected_calibration_error`.

    Example:
        >>> round(smooth_calibration_error([0.7] * 10, [1] * 7 + [0] * 3), 3)
        0.0
    """
    data = labelled(probabilities, labels, name="probabilities", probabilities=True)
    if data.kind == "multi-label":
        columns = zip(data.scores.unbind(1), data.labels.unbind(1), strict=True)
        errors = [_smooth(p, y) for p, y in columns]
        return sum(errors) / len(errors)
    return _smooth(*top_label(data))


def top_label(data: Labelled) -> tuple[Tensor, Tensor]:
    """Confidence and whether it was right: of class 1, or of the most probable class (ties: the first)."""
    if data.kind == "multi-class":
        confidence, chosen = data.scores.max(1)
        return confidence, chosen == data.labels
    return data.scores.flatten(), data.labels.flatten()


def _classwise(data: Labelled, bins: int, scheme: Scheme, norm: Norm, closed: Closed) -> Tensor:
    columns = zip(data.scores.unbind(1), data.one_hot.unbind(1), strict=True)
    return torch.tensor([_error(p, y, bins, scheme, norm, closed) for p, y in columns], dtype=torch.float64)


def _error(scores: Tensor, targets: Tensor, bins: int, scheme: Scheme, norm: Norm, closed: Closed) -> float:
    found = binned(scores, targets, bins, scheme, closed)
    share, gaps = found.counts.double() / found.counts.sum(), found.gaps
    match norm:
        case "l1":
            return float((share * gaps).sum())
        case "l2":
            return float((share * gaps.square()).sum().sqrt())
        case "max":
            return float(gaps.max())
        case _:
            raise ValueError(f'norm must be "l1", "l2" or "max", got {norm!r}')


def _smooth(scores: Tensor, targets: Tensor) -> float:
    """The fixed point of bandwidth -> norm of the smoothed residual, which falls with the bandwidth: bisection."""
    # subtle: a Gaussian reflected at both ends is a convolution of the even extension, which the real FFT of it does
    residual = (targets.double() - scores.double()) / len(scores)
    place = scores.double() * GRID - 0.5
    low = place.floor().clamp(0, GRID - 1)
    share = (place - low).clamp(0, 1)  # linear between the middles of two cells
    low = low.long()
    cells = torch.zeros(GRID, dtype=torch.float64)
    cells.index_add_(0, low, residual * (1 - share))
    cells.index_add_(0, (low + 1).clamp(max=GRID - 1), residual * share)
    spectrum = torch.fft.rfft(torch.cat([cells, cells.flip(0)]))
    frequency = torch.arange(len(spectrum), dtype=torch.float64) * torch.pi

    def norm(bandwidth: float) -> float:
        damped = spectrum * torch.exp(-0.5 * (frequency * bandwidth) ** 2)
        return float(torch.fft.irfft(damped, 2 * GRID)[:GRID].abs().sum())

    lowest, highest = 0.0, 1.0
    for _ in range(40):
        middle = (lowest + highest) / 2
        lowest, highest = (middle, highest) if norm(middle) > middle else (lowest, middle)
    return highest
