"""What a loss takes as a parameter: numbers, numpy's, vectors, parameters to be learned. And what it refuses."""

import inspect
import math
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from focalkit import losses as L
from focalkit.errors import ConfigError
from focalkit.kernels import cpu, explain
from focalkit.testing import case_of

ROOT = Path(__file__).parents[3]
SHAPE = (3, 4, 2)
X, Y = torch.zeros(4, 3), torch.tensor([0, 1, 2, 0])
MODULES = {name: line for name, line in L.LOSSES.items() if issubclass(line.module, L.LossModule)}
NUMBERS = [
    (name, key)
    for name, line in MODULES.items()
    for key, default in line.module.defaults.items()
    if isinstance(default, float)
]


def inputs(name):
    x, t = case_of(name).samples[0](SHAPE, torch.Generator().manual_seed(1))
    return x, t


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize(("name", "key"), [(n, k) for n, k in NUMBERS if k != "drop_prob"])
def test_numbers_of_numpy_are_numbers(name, key, kind):
    case, default = case_of(name), MODULES[name].module.defaults[key]
    if kind is np.int64 and default != int(default):
        return
    value = kind(default)
    x, t = inputs(name)
    as_module = case.build(SHAPE, **{key: value}).double()
    assert isinstance(getattr(as_module, key), int | float)
    want = case.build(SHAPE, **{key: value.item()}).double()(x, t)
    assert torch.equal(as_module(x, t), want)
    function = MODULES[name].function
    given = {k: v for k, v in as_module.arguments().items() if k in inspect.signature(function).parameters}
    torch.testing.assert_close(function(x, t, **(given | {key: value})), want)


@pytest.mark.parametrize("key", ["alpha", "gamma", "gamma_neg", "pos_weight", "class_weight"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_arrays_of_numpy_are_vectors(key, dtype):
    array = np.array([0, 1, 1], dtype=dtype)
    want = L.sigmoid_focal_loss(X, Y, **{key: array.tolist()})
    assert torch.equal(L.sigmoid_focal_loss(X, Y, **{key: array}), want)
    loss = L.SigmoidFocalLoss(**{key: array})
    assert torch.equal(loss(X, Y), want)
    assert loss.state_dict()[key].tolist() == array.tolist()
    assert f"{key}=[0.0, 1.0, 1.0]" in repr(loss)


@pytest.mark.parametrize("name", L.LOSSES)
def test_weights_of_numpy_and_lists_are_weights(name):
    x, t = inputs(name)
    loss = case_of(name).build(SHAPE).double()
    loss.eval()
    loss.reduction = "none"
    weight = torch.linspace(0, 2, loss(x, t).numel()).view_as(loss(x, t))
    loss.reduction = "sum"
    want = loss(x, t, weight=weight)
    for given in (weight.numpy(), weight.tolist()):
        torch.testing.assert_close(loss(x, t, weight=given), want)
    with pytest.raises(TypeError, match="weight must be a tensor, or an array or a list of numbers, got 'a'"):
        loss(x, t, weight="a")
    with pytest.raises(TypeError, match="weight must be real"):
        loss(x, t, weight=weight.to(torch.complex64))


def test_counts_of_numpy_are_counts():
    counts = np.bincount(np.array([0, 0, 1, 2]))
    want = L.balanced_softmax_loss(X, Y, class_counts=[2, 1, 1])
    assert torch.equal(L.balanced_softmax_loss(X, Y, class_counts=counts), want)
    assert torch.equal(L.BalancedSoftmaxLoss(class_counts=counts)(X, Y), want)
    assert L.ldam_loss(X, Y, class_counts=counts) == L.ldam_loss(X, Y, class_counts=[2, 1, 1])
    assert "class_weight=[1.0, 2.0, 3.0]" in repr(L.CrossEntropy(class_weight=np.array([1.0, 2.0, 3.0])))


# a position in a schedule or a switch has no gradient, smoothing follows from the labels, `high` is at its end here
CANNOT_BE_LEARNED = {"threshold", "drop_prob", "label_smoothing", "margin", "max_margin", "scale", "tau_plus", "high"}


@pytest.mark.parametrize(("name", "key"), [(n, k) for n, k in NUMBERS if k not in CANNOT_BE_LEARNED])
def test_a_parameter_of_a_module_learns(name, key):
    case = case_of(name)
    x, t = inputs(name)
    start = torch.nn.Parameter(torch.tensor(MODULES[name].module.defaults[key] + 0.05, dtype=torch.float64))
    loss = case.build(SHAPE, **{key: start}).double()
    assert [k for k, _ in loss.named_parameters()] == [key]
    assert key in loss.state_dict()
    value = loss(x, t)
    assert value.item() == pytest.approx(case.build(SHAPE, **{key: start.item()}).double()(x, t).item(), rel=1e-9)
    (gradient,) = torch.autograd.grad(value, start)
    h = 1e-6
    higher, lower = (case.build(SHAPE, **{key: start.item() + s * h}).double()(x, t) for s in (1, -1))
    assert gradient.item() == pytest.approx(((higher - lower) / (2 * h)).item(), rel=1e-4, abs=1e-7)


def test_learning_gamma_is_the_gradient_of_the_formula():
    loss = L.SigmoidFocalLoss(gamma=torch.nn.Parameter(torch.tensor(2.0)))
    loss(torch.zeros(1), torch.ones(1)).backward()
    assert loss.gamma.grad.item() == pytest.approx(-0.0300283134, abs=1e-8)
    vector = L.SigmoidFocalLoss(alpha=torch.nn.Parameter(torch.full((3,), 0.25)))
    vector(X, Y).backward()
    assert vector.alpha.grad.shape == (3,)


def test_a_softmax_takes_gamma_as_a_0d_tensor():
    got = L.softmax_focal_loss(torch.zeros(1, 2), torch.tensor([0]), gamma=torch.tensor(2.0))
    assert got.item() == pytest.approx(0.1732867951, abs=1e-8)


@pytest.mark.parametrize("name", L.LOSSES)
def test_a_divisor_that_divides_by_nothing_is_refused(name):
    x, t = inputs(name)
    loss = case_of(name).build(SHAPE).double()
    for bad in (0, -1.0, math.nan, torch.tensor(0), torch.tensor(-2.0)):
        with pytest.raises(ValueError, match="normalizer must be greater than 0"):
            loss(x, t, normalizer=bad)


@pytest.mark.parametrize("name", [n for n, line in MODULES.items() if "label_smoothing" in line.module.defaults])
@pytest.mark.parametrize("bad", [1.5, -0.5, math.nan])
def test_smoothing_is_a_share(name, bad):
    x, t = inputs(name)
    with pytest.raises(ValueError, match="label_smoothing must be between 0 and 1"):
        case_of(name).build(SHAPE, label_smoothing=bad).double()(x, t)


@pytest.mark.parametrize(("name", "key"), NUMBERS)
def test_nan_is_no_parameter(name, key):
    x, t = inputs(name)
    with pytest.raises(ValueError, match=key):
        case_of(name).build(SHAPE, **{key: math.nan}).double()(x, t)


@pytest.mark.parametrize("name", [n for n, line in MODULES.items() if "class_weight" in line.module.defaults])
def test_class_weights_are_real_numbers(name):
    x, t = inputs(name)
    for bad, error, words in (
        (torch.tensor([1.0, math.nan, 1.0, 1.0]), ValueError, "class_weight has NaN"),
        (torch.ones(4, dtype=torch.complex64), TypeError, "class_weight must be real"),
        (np.ones(4, dtype=complex), TypeError, "class_weight must be real"),
    ):
        with pytest.raises(error, match=words):
            MODULES[name].function(x, t, **case_of(name).build(SHAPE).arguments() | {"class_weight": bad})


@pytest.mark.parametrize("name", [name for name in L.LOSSES if case_of(name).has_ignore])
def test_no_ignore_index_leaves_nothing_out(name):
    case = case_of(name)
    for sample in case.samples:
        x, t = sample(SHAPE, torch.Generator().manual_seed(1))
        loss = case.build(SHAPE, ignore_index=None).double()
        torch.testing.assert_close(loss(x, t), case.build(SHAPE).double()(x, t))
        if name not in ("dfl",) and not t.is_floating_point():
            with pytest.raises(ValueError, match=r"labels must be 0\.\."):
                loss(x, torch.where(t == t.view(-1)[-1], -100, t))
        with pytest.raises((TypeError, ConfigError), match="ignore_index must be an integer, or None"):
            case.build(SHAPE, ignore_index=1.5).double()(x, t)


def test_no_ignore_index_is_none_in_texts_and_messages():
    loss = L.SigmoidFocalLoss(ignore_index=None)
    assert repr(loss) == "SigmoidFocalLoss(ignore_index=None)"
    assert L.spec_of(loss) == "focal(ignore_index=None)"
    for call in (loss, L.CrossEntropy(ignore_index=None), L.DiceLoss(ignore_index=None)):
        with pytest.raises(ValueError, match=r"classes(, -1 for background)?, got -100;"):
            call(X, torch.tensor([0, 1, -100, 2]))
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\], got -100"):
        loss(X, X - 100)


@pytest.mark.skipif(cpu.library(torch.float32, True) is None, reason="focalkit was installed without a compiler")
def test_no_ignore_index_and_numbers_of_numpy_keep_the_handwritten_kernels():
    for loss, targets in ((L.sigmoid_focal_loss, Y), (L.sigmoid_focal_loss, X), (L.softmax_focal_loss, Y)):
        for given in ({"ignore_index": None}, {"gamma": np.float32(2)}, {"gamma": np.int64(1)}):
            assert explain(loss, X, targets, **given).module == "cpu"
            torch.testing.assert_close(loss(X, targets, **given), loss(X, targets, backend="eager", **given))


@pytest.mark.parametrize("backend", ["eager", "auto"])
@pytest.mark.parametrize("factor", [3.0, [1.0, 3.0, 0.5]])
def test_pos_weight_multiplies_the_positives_alone(factor, backend):
    x = torch.linspace(-3, 3, 12).view(4, 3).requires_grad_()
    labels, call = torch.tensor([0, -1, 2, 1]), {"reduction": "sum", "backend": backend}
    dense = (labels.view(4, 1) == torch.arange(3)).float()
    got = L.sigmoid_focal_loss(x, dense, gamma=0.0, alpha=None, pos_weight=factor, **call)
    exact = torch.nn.functional.binary_cross_entropy_with_logits(
        x, dense, pos_weight=torch.tensor(factor), reduction="sum"
    )
    torch.testing.assert_close(got, exact)
    torch.testing.assert_close(torch.autograd.grad(got, x), torch.autograd.grad(exact, x))
    # beside alpha: alpha_t is .25 * factor for positives and .75 for negatives
    of_positive = L.sigmoid_focal_loss(x, dense, reduction="none") * dense
    exact = L.sigmoid_focal_loss(x, dense, reduction="sum") + ((torch.tensor(factor) - 1) * of_positive).sum()
    for targets in (dense, labels):
        torch.testing.assert_close(L.sigmoid_focal_loss(x, targets, pos_weight=factor, **call), exact)
    levels = [x.t().reshape(1, 3, 4, 1)], [labels.view(1, 1, 4, 1)]
    torch.testing.assert_close(
        L.dense_sigmoid_focal_loss(*levels, num_classes=3, pos_weight=factor, backend=backend), exact
    )
    module = L.SigmoidFocalLoss(pos_weight=factor, backend=backend)
    torch.testing.assert_close(module.native_layout(3)(*levels), exact)
    for form in ("mix", "exp", "qfl"):
        torch.testing.assert_close(L.sigmoid_focal_loss(x, dense, soft_targets=form, pos_weight=factor, **call), exact)
    with pytest.raises(ValueError, match="pos_weight must be at least 0"):
        L.sigmoid_focal_loss(x, dense, pos_weight=-1.0)


def test_smoothing_in_asymmetric_loss_is_that_of_the_targets():
    x, t = torch.linspace(-3, 3, 12).view(4, 3), (torch.arange(12).view(4, 3) % 4 == 0).float()
    got = L.asymmetric_loss(x, t, label_smoothing=0.2, reduction="none")
    torch.testing.assert_close(got, L.asymmetric_loss(x, t * 0.8 + 0.1, reduction="none"))
    torch.testing.assert_close(L.AsymmetricLoss(label_smoothing=0.2)(x, t), got.mean())


@pytest.mark.parametrize("loss", [L.sigmoid_focal_loss, L.binary_cross_entropy, L.dice_loss, L.EQLv2(1), L.GHMC()])
def test_zeros_for_one_channel_are_said_to_be_positives(loss):
    x, zeros = torch.full((3, 1), -4.0), torch.tensor([0, 0, 0])
    with pytest.warns(UserWarning, match=r"label 0 is its class \(a positive\).*targets\.unsqueeze"):
        loss(x, zeros)
    loss(x, torch.tensor([0, -1, -1]))  # a detector of one class: no warning
    loss(x, zeros.unsqueeze(1).float())


def test_dense_zeros_for_one_channel_are_negatives():
    got = L.binary_cross_entropy(torch.tensor([[-4.0]]), torch.tensor([[0.0]]))
    assert got.item() == pytest.approx(0.0181499279, abs=1e-8)


def test_one_channel_of_the_unified_loss_has_background_zero():
    x, y = torch.randn(2, 1, 5), torch.randint(0, 2, (2, 5))
    torch.testing.assert_close(L.unified_focal_loss(x, y), L.unified_focal_loss(x, y.unsqueeze(1).float()))


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p.clamp(1e-6, 1 - 1e-6),
        lambda p: p[:, [0, 1]],
        lambda p: p[:, 0:2],
        lambda p: torch.cat([p, p], 1)[:, :2],
        lambda p: torch.nn.functional.interpolate(p.unsqueeze(0).unsqueeze(0), scale_factor=2, mode="bilinear")[0, 0],
        lambda p: torch.nn.functional.avg_pool1d(p.unsqueeze(0), 1)[0],
    ],
    ids=["clamp", "index", "slice", "cat", "interpolate", "pool"],
)
def test_probabilities_are_noticed_behind_operations_that_keep_them(change):
    p = change(torch.randn(4, 3, requires_grad=True).sigmoid())
    with pytest.raises(ValueError, match=r"come out of sigmoid\(\)"):
        L.sigmoid_focal_loss(p, torch.zeros_like(p))


def test_scores_made_of_probabilities_pass():
    p = torch.randn(4, 3, requires_grad=True).sigmoid()
    L.sigmoid_focal_loss(torch.logit(p) * 2, torch.zeros_like(p))


def test_a_generator_has_no_text():
    loss = L.SoftmaxEqualizationLoss(frequency=[0.5, 0.5], generator=torch.Generator())
    with pytest.raises(ConfigError, match="generator"):
        L.spec_of(loss)
    gamma = L.SigmoidFocalLoss(gamma=torch.nn.Parameter(torch.tensor(1.5)))
    assert L.spec_of(gamma) == "focal(gamma=1.5)"


def test_signatures_and_docstrings_are_those_of_the_functions():
    signature = inspect.signature(L.SigmoidFocalLoss)
    shown = {p.name: p.default for p in signature.parameters.values()}
    assert list(shown)[:2] == ["alpha", "gamma"]
    assert (shown["alpha"], shown["gamma"], shown["reduction"]) == (0.25, 2.0, "mean")
    assert not {"weight", "normalizer"} & set(shown)
    for line in MODULES.values():
        assert "Example:" in inspect.getdoc(line.module)
        assert inspect.getdoc(line.function).splitlines()[0] in inspect.getdoc(line.module)


def test_the_stub_for_editors_is_up_to_date(capsys):
    script = runpy.run_path(str(ROOT / "scripts" / "loss_stubs.py"))
    assert script["main"](["--check"]) == 0, capsys.readouterr().out


def test_a_subclass_of_a_loss_is_a_loss():
    class Mine(L.SigmoidFocalLoss):
        """With another default."""

    assert Mine(gamma=1.0)(X, Y) == L.sigmoid_focal_loss(X, Y, gamma=1.0)


def test_softmax_equalization_compiles_with_changing_shapes():
    loss = L.SoftmaxEqualizationLoss(frequency=[0.9, 0.05, 0.001], drop_prob=1.0)
    torch.compiler.reset()
    fast = torch.compile(loss, backend="eager")
    for n in (3, 5, 9):
        x, y = torch.randn(n, 3), torch.randint(0, 3, (n,))
        torch.testing.assert_close(fast(x, y), loss(x, y))
