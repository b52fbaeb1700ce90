"""Losses on hard anchors that a method can name as text: mining wraps another loss, which text cannot."""

from typing import Literal

from focalkit.losses import OHEM, BinaryCrossEntropy, HardNegativeMining

Reduction = Literal["sum", "mean"]


def hard_negative_mining(ratio: float = 3.0, class_dim: int = -1, reduction: Reduction = "sum") -> HardNegativeMining:
    """Cross-entropy of all positives and of the `ratio` hardest negatives for each (Liu et al., 2016, sec. 2.2)."""
    return HardNegativeMining(BinaryCrossEntropy(class_dim=class_dim), ratio, reduction=reduction)


def ohem(keep: int = 1024, class_dim: int = -1, reduction: Reduction = "sum") -> OHEM:
    """Cross-entropy of the `keep` hardest anchors of a batch (Shrivastava et al., 2016)."""
    return OHEM(BinaryCrossEntropy(class_dim=class_dim), keep=keep, reduction=reduction)
