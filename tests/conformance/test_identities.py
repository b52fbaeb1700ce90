"""The identities between losses that their papers and our documentation state."""

import pytest
import torch

from focalkit.losses import LOSSES, build
from focalkit.testing import case_of

SHAPE = (4, 3, 5)
COUNTS = "class_counts=[100.0, 10.0, 3.0]"

IDENTITIES = [
    ("focal(gamma=0.0, alpha=None)", "bce", "gamma 0 is cross-entropy"),
    ("focal(gamma=0.0, alpha=0.3)", "bce(alpha=0.3)", "gamma 0 is balanced cross-entropy"),
    ("softmax_focal(gamma=0.0)", "ce", "gamma 0 is cross-entropy on a softmax"),
    ("focal(gamma_neg=2.0)", "focal", "gamma_neg takes gamma"),
    ("poly1_ce(epsilon=0.0)", "ce", "poly epsilon 0 is cross-entropy"),
    ("poly1_focal(epsilon=0.0)", "focal", "poly epsilon 0 is focal"),
    ("asl(gamma_pos=2.0, gamma_neg=2.0, margin=0.0)", "focal(alpha=None)", "ASL at equal gammas, margin 0 is focal"),
    ("asl_softmax(gamma_pos=2.0, label_smoothing=0.0)", "softmax_focal", "ASL on a softmax without smoothing is focal"),
    ("focal_star(gamma=1.0, beta=0.0)", "bce", "FL* at gamma 1, beta 0 is cross-entropy"),
    ("reduced_focal(legacy=True)", "reduced_focal", "both factors agree at threshold 1/2"),
    (f"balanced_softmax({COUNTS})", f"logit_adjusted({COUNTS}, tau=1.0)", "balanced softmax is logit adjustment"),
    (f"logit_adjusted({COUNTS}, tau=0.0)", "ce", "logit adjustment at tau 0 is cross-entropy"),
    (f"vs({COUNTS}, gamma=0.0)", f"logit_adjusted({COUNTS})", "VS at gamma 0 is logit adjustment"),
    (f"ldam({COUNTS}, max_margin=0.0, scale=1.0)", "ce", "LDAM without margin and scale is cross-entropy"),
    ("focal_tversky(exponent=1.0)", "tversky", "focal Tversky at exponent 1 is Tversky"),
    ("tversky(fp_weight=0.5, fn_weight=0.5, smooth=0.5)", "dice(smooth=1.0)", "Tversky at 1/2, 1/2 is Dice"),
    ("efl(num_classes=3, scale=0.0)", "focal", "equalized focal at scale 0 is focal"),
    ("eql(frequency=[0.1, 0.1, 0.1])", "bce", "equalization without rare classes is cross-entropy"),
    ("seql(frequency=[0.1, 0.1, 0.1])", "ce", "softmax equalization without rare classes is cross-entropy"),
    ("seesaw(num_classes=3, p=0.0, q=0.0)", "ce", "seesaw at p = q = 0 is cross-entropy"),
    ("dual_focal(gamma=0.0)", "ce", "dual focal at gamma 0 is cross-entropy"),
    ("flsd(gamma_low=2.0, gamma_high=2.0)", "softmax_focal", "FLSD with one gamma is focal"),
    ("ada_focal(gamma_init=2.0)", "softmax_focal", "AdaFocal before its first update is focal"),
    ("smooth_l1(beta=0.0)", "l1", "smooth L1 at beta 0 is L1"),
    ("ghm_c(bins=1)", "bce", "GHM with one bin is cross-entropy"),
    ("position_focal(alpha=None)", "qfl", "position-supervised focal without alpha is quality focal"),
    ("inner_iou(ratio=1.0)", "giou", "Inner-IoU at ratio 1 is its base"),
    ("inner_iou(ratio=1.0, base='ciou')", "ciou", "Inner-IoU takes the penalty of its base"),
    ("focaler_iou(low=0.0, high=1.0)", "giou", "Focaler-IoU over the whole interval is its base"),
    ("focaler_iou(high=1.0, base='diou')", "diou", "Focaler-IoU takes the penalty of its base"),
    ("focal(label_smoothing=0.0)", "focal", "smoothing 0 is none"),
]


@pytest.mark.parametrize(("one", "other", "claim"), IDENTITIES, ids=[claim for *_, claim in IDENTITIES])
def test_identity(one, other, claim):
    kinds = [LOSSES[spec.split("(")[0]].targets for spec in (one, other)]
    samples = case_of(one if "labels" in kinds[:1] else other).samples
    if "labels" in kinds:
        samples = case_of("seesaw").samples
    for sample in samples:
        x, t = sample(SHAPE, torch.Generator().manual_seed(1))
        leaf = x.requires_grad_()
        a = build(one, reduction="none").double()(leaf, t)
        b = build(other, reduction="none").double()(leaf, t)
        assert torch.allclose(a, b, rtol=1e-12, atol=1e-14), claim
        (ga,), (gb,) = torch.autograd.grad(a.sum(), leaf), torch.autograd.grad(b.sum(), leaf)
        assert torch.allclose(ga, gb, rtol=1e-10, atol=1e-13), claim


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("form", ["split", "mix", "exp", "qfl"])
def test_hard_targets_are_the_same_under_every_soft_form(form, gamma):
    x, t = case_of("focal").samples[1](SHAPE, torch.Generator().manual_seed(2))
    a = build("focal", gamma=gamma, soft_targets=form, reduction="none")(x, t)
    assert torch.allclose(a, build("focal", gamma=gamma, reduction="none")(x, t), rtol=1e-11)
    x, y = case_of("softmax_focal").samples[0](SHAPE, torch.Generator().manual_seed(2))
    hot = torch.nn.functional.one_hot(y, 3).movedim(-1, 1).double()
    a = build("softmax_focal", gamma=gamma, soft_targets=form, reduction="none")(x, hot)
    assert torch.allclose(a, build("softmax_focal", gamma=gamma, reduction="none")(x, y), rtol=1e-11)


def test_quality_focal_on_hard_targets_is_focal_without_alpha():
    x, t = case_of("focal").samples[1](SHAPE, torch.Generator().manual_seed(3))
    assert torch.allclose(build("qfl")(x, t), build("focal(alpha=None)")(x, t), rtol=1e-12)


def test_a_softmax_over_two_classes_is_a_sigmoid_of_their_difference():
    x = torch.randn(50, 2, dtype=torch.float64)
    y = torch.randint(0, 2, (50,))
    u = (x[:, 1] - x[:, 0]).unsqueeze(1)
    ours = build("softmax_focal(gamma=0.5)")(x, y)
    assert torch.allclose(ours, build("focal(gamma=0.5, alpha=None)")(u, y.double().unsqueeze(1)), rtol=1e-12)


def test_split_soft_targets_are_the_mixture_of_the_hard_losses():
    x, lam = torch.randn(20, 4, dtype=torch.float64), 0.3
    a, b = torch.rand(20, 4) < 0.5, torch.rand(20, 4) < 0.5
    focal = build("focal(gamma=1.5)")
    mixed = focal(x, lam * a.double() + (1 - lam) * b.double())
    assert torch.allclose(mixed, lam * focal(x, a) + (1 - lam) * focal(x, b), rtol=1e-12)


def test_a_student_equal_to_its_teacher_loses_nothing():
    x = torch.randn(6, 5, dtype=torch.float64)
    for name in ("kd", "focal_kd"):
        assert build(name)(x, x).abs() < 1e-15
