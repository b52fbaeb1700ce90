"""Cuts with a guarantee: on new rows, precision (or recall) is at least the target, with a stated confidence.

Precision is Learn-then-Test (Angelopoulos et al., 2021, arXiv 2110.01052): cuts at numbers of rows fixed beforehand
are tested with the exact binomial test at the error divided by their number, and the lowest cut that passes is taken.
Given the first score below the cut, the rows above it are independent draws from their distribution, so the number of
positives among them is binomial and the test exact, whatever the scores; ties and a precision that is not monotone do
no harm. Recall is an order statistic of the positives' scores and needs a single test.

Assumes independent rows from the distribution that new rows come from. The detections of one image are not independent,
which makes the guarantee approximate for detectors.
"""

import math

import torch
from torch import Tensor

from ._sweep import Sweep

TESTS = 32


def guaranteed_precision(whole: Sweep, target: float, confidence: float) -> tuple[float, str]:
    """The cut, NaN where the rows cannot give it, and why."""
    error = (1 - confidence) / TESTS
    least = math.ceil(math.log(error) / math.log(target))  # all right: target^n <= error
    if whole.kept[-1] < least:
        return math.nan, (
            f"{int(whole.kept[-1])} rows cannot show a precision of {target:g} with {confidence:.0%} confidence: "
            f"{least} are needed even if all are right"
        )
    numbers = torch.logspace(math.log(least), math.log(int(whole.kept[-1])), TESTS, base=math.e, dtype=torch.float64)
    best, best_value = -1, math.nan
    for number in numbers.round().long().unique().tolist():
        # the cut keeps the rows that score more than the row ranked `number + 1`; all rows where there is none
        at = int(torch.searchsorted(whole.kept, number, right=True)) - 1
        if at < 0:
            continue
        hits, kept = int(whole.hits[at]), int(whole.kept[at])
        if at > best and binomial_tail(hits, kept, target) <= error:
            best, best_value = at, _just_above(whole.scores, at)
    if best < 0:
        return math.nan, f"no cut shows a precision of {target:g} with {confidence:.0%} confidence on these rows"
    hits, kept = int(whole.hits[best]), int(whole.kept[best])
    return best_value, (
        f"precision at least {target:g} with {confidence:.0%} confidence: {hits} of {kept} rows are right "
        f"(exact binomial test at {TESTS} cuts, Learn-then-Test)"
    )


def guaranteed_recall(positive_scores: Tensor, target: float, confidence: float) -> tuple[float, str]:
    """The cut, NaN where the rows cannot give it, and why."""
    n, error = len(positive_scores), 1 - confidence
    least = math.ceil(math.log(error) / math.log(target))
    if n < least:
        return math.nan, (
            f"{n} positives cannot show a recall of {target:g} with {confidence:.0%} confidence: {least} are needed"
        )
    # the largest j with P(Binomial(n, 1 - target) <= j - 1) <= error: the j-th smallest score is a cut
    low, high = 1, n
    while low < high:
        middle = (low + high + 1) // 2
        if 1 - binomial_tail(middle, n, 1 - target) <= error:
            low = middle
        else:
            high = middle - 1
    value = float(positive_scores.double().sort().values[low - 1])
    return value, (
        f"recall at least {target:g} with {confidence:.0%} confidence: {n - low + 1} of {n} positives are kept "
        "(exact binomial test of an order statistic)"
    )


def binomial_tail(hits: int, n: int, p: float) -> float:
    """P(Binomial(n, p) >= hits), to about 1e-7 relative for n up to 10^7."""
    if hits <= 0:
        return 1.0
    if hits <= n * p:  # the shorter sum is below
        return 1.0 - binomial_tail(n - hits + 1, n, 1 - p)
    last = min(n, hits + 50 * math.isqrt(n) + 100)
    k = torch.arange(hits, last + 1, dtype=torch.float64)
    total = torch.tensor(float(n + 1), dtype=torch.float64)
    log = torch.lgamma(total) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1) + k * math.log(p)
    log = log + (n - k) * math.log1p(-p)
    return min(1.0, float(torch.logsumexp(log, 0).exp()))


def _just_above(scores: Tensor, at: int) -> float:
    """A cut that keeps what scores more than the next lower score, as the test assumed."""
    if at + 1 == len(scores):
        return float(scores[at])
    return float(torch.nextafter(scores[at + 1], scores[at]).double())
