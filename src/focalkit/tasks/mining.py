"""Losses on hard items that a method can name as text: mining wraps another loss, which text cannot."""

from torch import Tensor, nn

from focalkit.losses import OHEM, BinaryCrossEntropy, CrossEntropy, HardNegativeMining


def ohem(keep: int | float = 0.5) -> OHEM:
    """Cross-entropy of the hardest items of a batch, a number or a share (Shrivastava et al., 2016)."""
    return OHEM(CrossEntropy(), keep=keep)


def hard_negative_mining(ratio: float = 3.0) -> "HardNegatives":
    """Cross-entropy of the rare one of two classes and of the `ratio` hardest others for each (Liu et al., 2016)."""
    return HardNegatives(ratio)


class HardNegatives(nn.Module):
    """See `hard_negative_mining`. Logits (b, 2), labels (b,) of 0 and 1; 1 is the class to be found."""

    def __init__(self, ratio: float) -> None:
        super().__init__()
        self.mining = HardNegativeMining(BinaryCrossEntropy(class_dim=-1), ratio, min_negatives=1)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The mean over the positives of the batch."""
        if logits.shape[1] != 2:
            raise ValueError(f"hard negatives need a class to be found and one other, got {logits.shape[1]} classes")
        return self.mining(logits[:, 1:] - logits[:, :1], labels - 1)
