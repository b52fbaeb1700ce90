"""How sure a study's numbers are: bootstrap intervals over the images that judge."""

import torch
from torch import Tensor

from ..metrics import DetectionMatches
from ..metrics.binning import bin_index

BINS = 25
"""Of D-ECE, as in `detection_calibration_error`."""


def study_intervals(
    before: DetectionMatches, after: DetectionMatches, cuts: Tensor, *, times: int = 1000, seed: int = 0
) -> dict[str, list[float]]:
    """95 % bootstrap intervals, drawing whole images: of the fall of D-ECE, and of precision and recall at the cuts.

    Percentile intervals for the last two. D-ECE is a sum of absolute values, which noise enlarges, most where scores
    are calibrated; a resample is as much noisier than the images as these are than the truth, so its interval is the
    basic one, reflected at the estimate, which takes that off.

    Args:
        before: Matched at IoU .5, with the detector's scores.
        after: The same with calibrated scores.
        cuts: (k,) of calibrated scores.
        times: Resamples.
        seed: Of the resampling.

    Returns:
        "D-ECE fall", "precision", "recall": the two ends; NaN where undefined.
    """
    n = len(before.image_ids)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.stack(
        [torch.bincount(torch.randint(n, (n,), generator=generator), minlength=n) for _ in range(times)]
    ).double()
    once = torch.ones(1, n, dtype=torch.float64)
    fall, falls = (_d_ece(before, of) - _d_ece(after, of) for of in (once, drawn))
    rows = after.counted
    kept = rows.scores >= cuts[rows.labels]
    said, hits = (drawn @ torch.bincount(rows.images[of], minlength=n).double() for of in (kept, kept & rows.correct))
    boxes = drawn @ torch.bincount(rows.truth_images, minlength=n).double()
    values = {"D-ECE fall": 2 * fall - falls, "precision": hits / said, "recall": hits / boxes}
    tails = torch.tensor([0.025, 0.975], dtype=torch.float64)
    return {name: torch.nanquantile(found, tails).tolist() for name, found in values.items()}


def _d_ece(matches: DetectionMatches, drawn: Tensor) -> Tensor:
    """D-ECE of every resample (times,)."""
    rows, n = matches.counted, len(matches.image_ids)
    cell = rows.images * BINS + bin_index(rows.scores, torch.linspace(0, 1, BINS + 1, dtype=torch.float64))
    gaps = torch.bincount(cell, weights=rows.correct.double() - rows.scores, minlength=n * BINS).view(n, BINS)
    counts = torch.bincount(rows.images, minlength=n).double()
    return (drawn @ gaps).abs().sum(1) / (drawn @ counts)
