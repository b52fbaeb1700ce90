"""Losses as text: there and back, and what a typo is told."""

import pytest
import torch
from torch import nn

from focalkit import losses as L
from focalkit.errors import ConfigError


class Scaled(nn.Module):
    """A loss of a user's own."""

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        self.gain = gain


def test_a_spec_builds_the_module_with_its_arguments():
    loss = L.build("focal(gamma=0.5, alpha=None)", class_dim=-1, reduction="sum")
    assert isinstance(loss, L.SigmoidFocalLoss)
    assert (loss.gamma, loss.alpha, loss.class_dim, loss.reduction) == (0.5, None, -1, "sum")
    x, y = torch.randn(2, 3, 4), torch.randint(-1, 4, (2, 3))
    want = L.sigmoid_focal_loss(x, y, gamma=0.5, alpha=None, class_dim=-1, reduction="sum")
    assert torch.equal(loss(x, y), want)


@pytest.mark.parametrize(
    "spec", ["focal", "focal(gamma=0.5)", "softmax_focal(alpha=[0.1, 0.25])", "smooth_l1(beta=0.0)"]
)
def test_there_and_back(spec):
    assert L.spec_of(L.build(spec)) == spec


def test_a_users_loss_needs_no_registration():
    loss = L.build(f"{__name__}:Scaled(gain=2)")
    assert isinstance(loss, Scaled)
    assert loss.gain == 2


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("fokal", r'unknown loss .fokal. \(did you mean "focal"\?\)'),
        ("focal(gama=2)", r'no argument .gama. \(did you mean "gamma"\?\)'),
        ("focal(2)", "named literal arguments"),
        ("focal(gamma=open('x'))", "named literal arguments"),
        ("focal(**{'gamma': 2})", "named literal arguments"),
        ("focal(gamma=2", "named literal arguments"),
        ("", "named literal arguments"),
        ("no_such_pkg.mod:Loss", "cannot import the loss"),
        ("focal(reduction='avg')", "cannot build the loss"),
    ],
)
def test_what_cannot_be_read_says_why(spec, message):
    with pytest.raises(ConfigError, match=message):
        L.build(spec)


def test_a_loss_says_whether_it_looks_at_more_than_one_element():
    together = {name for name, line in L.LOSSES.items() if not line.elementwise}
    regions = {
        "dice",
        "generalized_dice",
        "tversky",
        "focal_tversky",
        "unified_focal",
        "lovasz_hinge",
        "lovasz_softmax",
    }
    regions |= {"boundary", "hausdorff", "cldice"}
    pairs = {"focal_infonce", "hcl"}
    assert together == regions | pairs | {"ghm_c", "ghm_r", "eqlv2", "efl", "seesaw", "wiou_v3"}
    assert L.Sum({"focal": 1.0, "bce": 1.0}).elementwise
    assert not L.Sum({"focal": 1.0, "dice": 1.0}).elementwise
    assert not L.OHEM(L.CrossEntropy(), keep=1).elementwise
    assert L.DeferredReweighting(L.CrossEntropy(), [1.0, 2.0], 3).elementwise


@pytest.mark.parametrize("name", ["ghm_c", "eqlv2", "efl", "seesaw"])
def test_statistics_of_a_batch_are_not_those_of_its_parts(name):
    needs = {} if name == "ghm_c" else {"num_classes": 3}
    x, y = torch.linspace(-3, 3, 24).view(8, 3), torch.tensor([0, 1, 2, 0, 1, 0, 0, 0])
    whole, parts = (L.build(name, reduction="none", **needs) for _ in range(2))
    assert not torch.allclose(torch.cat([parts(x[:4], y[:4]), parts(x[4:], y[4:])]), whole(x, y))
