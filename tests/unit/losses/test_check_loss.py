"""`check_loss` on losses that are not the package's own."""

import pytest
import torch

from focalkit.testing import check_loss


class Usual(torch.nn.Module):
    """A focal loss as it is usually written: no weight, no normalizer."""

    reduction = "mean"

    def forward(self, logits, targets):
        bce = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        loss = (1 - torch.exp(-bce)) ** 2 * bce
        return loss if self.reduction == "none" else getattr(loss, self.reduction)()


def sample(shape, rng):
    t = (torch.rand(shape, generator=rng) < 0.5).double()
    return torch.randn(shape, dtype=torch.float64, generator=rng), t


def test_a_loss_with_other_conventions_is_checked_with_the_properties_it_claims():
    claimed = [
        "permutation of the batch",
        "inputs are kept",
        "gradcheck and gradgradcheck",
        "forward mode",
        "vmap and grad",
    ]
    assert len(check_loss(Usual(), sample=sample, properties=claimed)) == len(claimed)
    with pytest.raises(AssertionError, match="Usual, a weight multiplies: TypeError"):
        check_loss(Usual(), sample=sample, properties=["a weight multiplies"])


@pytest.mark.parametrize(
    ("error", "words", "call"),
    [
        (TypeError, "put a function into a module", lambda: check_loss(torch.nn.functional.mse_loss, sample=sample)),
        (ValueError, "needs sample=", lambda: check_loss(Usual())),
        (ValueError, 'did you mean "vmap and grad"', lambda: check_loss("focal", properties=["vmap and gradd"])),
    ],
)
def test_what_cannot_be_checked_says_why(error, words, call):
    with pytest.raises(error, match=words):
        call()
