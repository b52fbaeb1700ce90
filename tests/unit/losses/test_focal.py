"""Focal losses and cross-entropy against mpmath, in every corner of the number line."""

import math

import pytest
import torch
import torch.nn.functional as F

from focalkit import losses as L
from reference import focal as truth

EXTREMES = [-math.inf, -3.4e38, -1e4, -104.0, -88.0, -17.0, -1.0, 0.0, 1.0, 17.0, 88.0, 104.0, 1e4, 3.4e38]
LOGITS = [-300.0, -40.0, -17.0, -4.6, -1.0, 0.0, 0.3, 2.0, 12.0, 37.0, 250.0]
GAMMAS = [0.0, 0.5, 1.0, 2.0, 5.0]


def close(ours: torch.Tensor, expected: object, tol: float = 1e-12) -> bool:
    want = float(expected)  # type: ignore[arg-type]
    return abs(ours.item() - want) <= tol * abs(want) + 1e-300


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("t", [0, 1])
def test_sigmoid_focal_is_the_papers_formula(gamma, t):
    for x in LOGITS:
        logit = torch.tensor([x], dtype=torch.float64, requires_grad=True)
        loss = L.sigmoid_focal_loss(logit, torch.tensor([float(t)], dtype=torch.float64), gamma=gamma, alpha=None)
        loss.backward()
        assert close(loss, truth.sigmoid_focal(x, t, gamma))
        assert close(logit.grad, truth.sigmoid_focal_gradient(x, t, gamma), 1e-11)


def test_alpha_weighs_positives_and_its_complement_negatives():
    for t in (0, 1):
        ours = L.sigmoid_focal_loss(torch.tensor([0.7], dtype=torch.float64), torch.tensor([float(t)]), alpha=0.25)
        assert close(ours, truth.sigmoid_focal(0.7, t, 2.0, alpha=0.25))


@pytest.mark.parametrize("gamma", GAMMAS)
def test_softmax_focal_is_the_formula_at_any_confidence(gamma):
    for row in ([1.0, -2.0, 0.5], [45.0, 3.0, 0.0], [-30.0, 2.0, 9.0], [0.0, 0.0, 0.0]):
        for label in range(3):
            x = torch.tensor([row], dtype=torch.float64)
            want = truth.softmax_focal(row, label, gamma)
            assert close(L.softmax_focal_loss(x, torch.tensor([label]), gamma=gamma), want)
            hot = F.one_hot(torch.tensor([label]), 3).double()
            assert close(L.softmax_focal_loss(x, hot, gamma=gamma), want)


@pytest.mark.parametrize("form", ["split", "mix", "exp", "qfl"])
@pytest.mark.parametrize("gamma", GAMMAS)
def test_soft_targets_follow_the_named_form(form, gamma):
    for x in (-8.0, -2.0, 0.3, 2.0, 9.0):
        for t in (0.0, 0.1, 0.3, 0.9, 1.0):
            ours = L.sigmoid_focal_loss(
                torch.tensor([x], dtype=torch.float64),
                torch.tensor([t], dtype=torch.float64),
                gamma=gamma,
                alpha=None,
                soft_targets=form,
            )
            # t - p and 1 - e^-BCE subtract near equals: the last digits depend on the argument's own rounding
            assert close(ours, truth.soft_sigmoid_focal(x, t, gamma, form), 1e-11)


def test_star_is_the_appendix():
    for x in (-30.0, -1.0, 0.0, 2.5, 40.0):
        for t in (0, 1):
            target = torch.tensor([float(t)])
            ours = L.sigmoid_focal_loss_star(torch.tensor([x], dtype=torch.float64), target, gamma=2.0, beta=1.0)
            assert close(ours, truth.sigmoid_focal_star(x, t, 2.0, 1.0))


def test_cross_entropies_agree_with_torch():
    x, y = torch.randn(7, 4, 3, dtype=torch.float64), torch.randint(0, 4, (7, 3))
    y[0, 0] = -100
    assert torch.allclose(L.cross_entropy(x, y), F.cross_entropy(x, y), atol=1e-14)
    smoothed = F.cross_entropy(x, y, label_smoothing=0.1)
    assert torch.allclose(L.cross_entropy(x, y, label_smoothing=0.1), smoothed, atol=1e-14)
    t = torch.rand(7, 4, 3, dtype=torch.float64)
    assert torch.allclose(L.cross_entropy(x, t / t.sum(1, True)), F.cross_entropy(x, t / t.sum(1, True)), atol=1e-14)
    w = torch.rand(4, dtype=torch.float64)
    ours = L.cross_entropy(x, y, class_weight=w, reduction="sum")
    assert torch.allclose(ours, F.cross_entropy(x, y, weight=w, reduction="sum"), atol=1e-13)
    pos = torch.rand(4, 1, dtype=torch.float64) * 3
    ours = L.binary_cross_entropy(x, t, pos_weight=pos.flatten())
    assert torch.allclose(ours, F.binary_cross_entropy_with_logits(x, t, pos_weight=pos), atol=1e-14)


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_value_and_gradient_are_finite_for_every_logit(gamma, dtype):
    for value in EXTREMES:
        value = max(value, torch.finfo(dtype).min) if value != -math.inf else value
        value = min(value, torch.finfo(dtype).max)
        for targets in (torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]]), torch.tensor([0]), torch.tensor([1])):
            for function in (L.sigmoid_focal_loss, L.softmax_focal_loss):
                x = torch.tensor([[value, 0.0]], dtype=dtype, requires_grad=True)
                function(x, targets, gamma=gamma).backward()
                loss = function(x, targets, gamma=gamma, reduction="none")
                assert torch.isfinite(loss).all()
                assert torch.isfinite(x.grad).all()
                assert x.grad.dtype == dtype


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_inputs_are_computed_in_float32(dtype):
    x = torch.linspace(-12, 12, 97).to(dtype)
    t = (torch.arange(97) % 2).float()
    loss = L.sigmoid_focal_loss(x, t, reduction="none")
    assert loss.dtype == torch.float32
    exact = L.sigmoid_focal_loss(x.double(), t.double(), reduction="none")
    assert torch.allclose(loss.double(), exact, rtol=2e-6, atol=0)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_float32_gradient_is_exact_to_rounding(gamma):
    x = torch.linspace(-25, 25, 501, requires_grad=True)
    L.sigmoid_focal_loss(x, torch.ones(501), gamma=gamma, alpha=None, reduction="sum").backward()
    exact = torch.tensor([float(truth.sigmoid_focal_gradient(v, 1, gamma)) for v in x.tolist()])
    small = torch.finfo(torch.float32).tiny  # below it float32 has no digits to be right in
    assert ((x.grad - exact).abs() <= 1e-5 * exact.abs() + small).all()


@pytest.mark.parametrize("gamma", GAMMAS)
def test_can_be_differentiated_twice(gamma):
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    y = torch.tensor([0, 2, 1, 1])
    for function in (L.sigmoid_focal_loss, L.softmax_focal_loss):
        assert torch.autograd.gradcheck(lambda x, f=function: f(x, y, gamma=gamma), x)
        assert torch.autograd.gradgradcheck(lambda x, f=function: f(x, y, gamma=gamma), x)


def test_a_learnable_gamma_gets_its_gradient():
    x = torch.randn(4, 3, dtype=torch.float64)
    gamma = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64, requires_grad=True)
    y = torch.tensor([0, 2, -1, 1])
    assert torch.autograd.gradcheck(lambda g: L.sigmoid_focal_loss(x, y, gamma=g), gamma)


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("class_dim", [1, -1])
def test_class_indices_equal_the_one_hot(reduction, class_dim):
    x = torch.randn(5, 4, 6, dtype=torch.float64, requires_grad=True)
    k = x.shape[class_dim]
    labels = torch.randint(-1, k, (5, 6) if class_dim == 1 else (5, 4))
    labels[0, 0], labels[1] = -100, -1
    dense = F.one_hot(labels.clamp(min=0), k).double() * (labels >= 0).unsqueeze(-1)
    dense[0, 0] = -100
    dense = dense.movedim(-1, class_dim)
    weight = torch.rand(1, *[s if class_dim == -1 or d == 1 else 1 for d, s in enumerate(x.shape[1:])]).double()
    gamma, alpha, cw = torch.rand(k) * 3, torch.rand(k), torch.rand(k)
    cw[0] = 0
    for function, extra in (
        (L.sigmoid_focal_loss, {"gamma": gamma, "alpha": alpha, "gamma_neg": 1.0}),
        (L.binary_cross_entropy, {"pos_weight": 3.0}),
        (L.sigmoid_focal_loss, {"label_smoothing": 0.2}),
    ):
        common = {"class_dim": class_dim, "reduction": reduction, "weight": weight, "class_weight": cw}
        a, b = function(x, labels, **extra, **common), function(x, dense, **extra, **common)
        assert torch.allclose(a, b, atol=1e-13)
        (ga,), (gb,) = torch.autograd.grad(a.sum(), x), torch.autograd.grad(b.sum(), x)
        assert torch.allclose(ga, gb, atol=1e-13)


def test_smoothing_moves_both_targets_by_half_of_it():
    x = torch.tensor([[0.3, -1.2]], dtype=torch.float64)
    ours = L.binary_cross_entropy(x, torch.tensor([[1.0, 0.0]]), label_smoothing=0.2, reduction="none")
    for value, logit, t in zip(ours[0], (0.3, -1.2), (0.9, 0.1), strict=True):
        assert close(value, truth.binary_cross_entropy(logit, t))


def test_bool_targets_equal_float_targets():
    x, t = torch.randn(6, 3), torch.rand(6, 3) > 0.5
    assert torch.allclose(L.sigmoid_focal_loss(x, t), L.sigmoid_focal_loss(x, t.float()))


def test_ignored_elements_are_absent_even_where_their_logits_are_nan():
    x = torch.randn(6, 3)
    labels = torch.tensor([0, -100, 2, 1, -100, 1])
    keep = labels != -100
    bad = x.clone()
    bad[~keep] = float("nan")
    for function in (L.sigmoid_focal_loss, L.softmax_focal_loss, L.cross_entropy, L.binary_cross_entropy):
        leaf = bad.clone().requires_grad_()
        loss = function(leaf, labels)
        loss.backward()
        assert torch.allclose(loss, function(x[keep], labels[keep]))
        assert (leaf.grad[~keep] == 0).all()
        assert torch.isfinite(leaf.grad).all()


def test_a_normalizer_divides_the_sum():
    x, y = torch.randn(6, 3), torch.randint(-1, 3, (6,))
    total = L.sigmoid_focal_loss(x, y, reduction="sum")
    for n in (3, 2.5, torch.tensor(7)):
        assert torch.allclose(L.sigmoid_focal_loss(x, y, normalizer=n), total / n)


@pytest.mark.parametrize("backend", ["eager", "auto"])
def test_the_mean_over_the_one_row_that_counts_is_that_row(backend):
    x, y = torch.randn(3, 4), torch.tensor([-100, 2, -100])
    each = L.softmax_focal_loss(x, y, reduction="none")
    assert torch.allclose(L.softmax_focal_loss(x, y, backend=backend), each[1])
    with pytest.warns(UserWarning, match="with one channel, label 0 is its class"):
        one = L.sigmoid_focal_loss(x[:, :1], y.clamp(max=0), backend=backend)
    assert torch.allclose(one, L.sigmoid_focal_loss(x[1:2, :1], torch.ones(1, 1)))


def test_no_rows_is_zero():
    for function in (L.sigmoid_focal_loss, L.softmax_focal_loss):
        x = torch.zeros(0, 3, requires_grad=True)
        loss = function(x, torch.zeros(0, dtype=torch.long))
        loss.backward()
        assert loss == 0
        all_ignored = function(torch.zeros(2, 3), torch.full((2,), -100))
        assert all_ignored == 0


def test_the_first_step_of_a_detector_starts_where_the_prior_says():
    # 201,600 priors x 80 classes at the prior bias -4.595: the paper's stable start
    x = torch.full((1000, 80), L.prior_bias(0.01), dtype=torch.float64)
    per_negative = L.sigmoid_focal_loss(x, torch.full((1000,), -1))
    assert per_negative.item() * 201_600 * 80 == pytest.approx(12.16, abs=0.01)


def test_prior_bias_is_the_logit_of_the_prior():
    assert L.prior_bias(0.01) == pytest.approx(-4.595, abs=1e-3)
    assert L.prior_bias(0.1) == pytest.approx(-2.197, abs=1e-3)
    with pytest.raises(ValueError, match="strictly between 0 and 1, got 1"):
        L.prior_bias(1)


def test_labels_need_no_dense_copy_for_the_sum(monkeypatch):
    def refuse(*_: object) -> None:
        raise AssertionError("a one-hot was built")

    monkeypatch.setattr(torch, "arange", refuse)
    monkeypatch.setattr(F, "one_hot", refuse)
    L.sigmoid_focal_loss(torch.randn(2, 5, 3), torch.full((2, 5), -1), class_dim=-1, reduction="sum")


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_weights_and_normalizers_of_float64_leave_the_loss_float32(dtype):
    x, y = torch.zeros(4, 3, dtype=dtype), torch.tensor([0, 1, 2, 2])
    weight, count = torch.ones(4, 1, dtype=torch.float64), torch.tensor(2.0, dtype=torch.float64)
    for reduction in ("none", "sum", "mean"):
        assert L.sigmoid_focal_loss(x, y, weight=weight, reduction=reduction).dtype == torch.float32
        assert L.softmax_focal_loss(x, y, weight=weight[:, 0], reduction=reduction).dtype == torch.float32
    assert L.sigmoid_focal_loss(x, y, normalizer=count).dtype == torch.float32
    assert L.softmax_focal_loss(x, y, normalizer=count).dtype == torch.float32


@pytest.mark.parametrize("label", [156, 255])  # what -100 and -1 become in uint8
def test_labels_may_be_uint8(label):
    x = torch.randn(1, 256)
    y = torch.tensor([label])
    for name in ("ce", "focal", "dual_focal", "eql", "seql"):
        extra = {"frequency": [0.5] * 256} if "eql" in name else {}
        loss = L.build(name, **extra)
        assert loss(x, y.to(torch.uint8)) == loss(x, y) > 0, name


def test_star_is_finite_for_every_logit_of_background_rows():
    x = torch.tensor([[3.4e38]], requires_grad=True)
    loss = L.sigmoid_focal_loss_star(x, torch.tensor([-1]))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(x.grad).all()


@pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr Node:UserWarning")  # torch.func.linearize's own
def test_the_focal_term_can_be_differentiated_in_every_mode():
    x, t = torch.tensor([0.5], dtype=torch.float64), torch.ones(1, dtype=torch.float64)

    def loss(x, gamma=2.0):
        return L.sigmoid_focal_loss(x, t, gamma=gamma, alpha=0.25, reduction="sum")

    second = 0.0601126104
    forward, grad = torch.func.jacfwd, torch.func.grad
    assert torch.func.hessian(loss)(x).item() == pytest.approx(second, abs=1e-10)
    assert forward(forward(loss))(x).item() == pytest.approx(second, abs=1e-10)
    assert torch.func.jacrev(forward(loss))(x).item() == pytest.approx(second, abs=1e-10)
    _, tangent = torch.func.linearize(grad(loss), x)
    assert tangent(torch.ones_like(x)).item() == pytest.approx(second, abs=1e-10)
    at_zero, gamma = torch.zeros(1, dtype=torch.float64), torch.tensor(2.0, dtype=torch.float64)
    assert forward(lambda g: loss(at_zero, g))(gamma).item() == pytest.approx(-0.0300283134, abs=1e-10)
    # where the modulator is 0 in float64, too
    far = torch.func.jvp(
        lambda x: loss(x, 0.5), (torch.tensor([800.0], dtype=torch.float64),), (torch.ones(1).double(),)
    )
    assert far[1] == 0


@pytest.mark.parametrize("call", [L.sigmoid_focal_loss, L.softmax_focal_loss])
def test_a_tensor_gamma_goes_through_activation_checkpointing(call):
    x, y = torch.randn(4, 3, requires_grad=True), torch.tensor([0, 1, 2, 0])
    gamma = torch.tensor([0.5, 1.0, 2.0], requires_grad=True)
    torch.utils.checkpoint.checkpoint(lambda x, g: call(x, y, gamma=g), x, gamma, use_reentrant=False).backward()
    want = torch.autograd.grad(call(x, y, gamma=gamma), (x, gamma))
    assert torch.allclose(x.grad, want[0])
    assert torch.allclose(gamma.grad, want[1])
