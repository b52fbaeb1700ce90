"""Chunks give what the eager definition gives, value and gradient."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import focalkit.losses as L
from focalkit.kernels import chunked, explain

OTHERS = [torch.float16, torch.bfloat16, torch.float64]
COUNTS = torch.tensor([40, 7, 0, 1, 9, 100, 3])
K = len(COUNTS)
SIGMOID = {
    "focal": {},
    "focal gamma 0.5": {"gamma": 0.5, "alpha": None},
    "focal gamma 1.3, gamma_neg 3": {"gamma": 1.3, "gamma_neg": 3.0},
    "focal vectors": {"gamma": torch.linspace(0, 3, K), "alpha": torch.linspace(0.1, 0.9, K)},
    "focal smoothed": {"label_smoothing": 0.1},
    "focal mix": {"soft_targets": "mix"},
    "bce": {"pos_weight": 3.0},
    "asl": {},
    "asl detached": {"detach_modulator": True, "margin": 0.0},
    "poly1_focal": {"epsilon": -0.5},
    "qfl": {},
    "varifocal": {},
    "gaussian_focal": {},
    "focal_star": {},
    "reduced_focal": {},
}
SOFTMAX = {
    "softmax_focal": {},
    "softmax_focal vectors": {"gamma": torch.linspace(0, 3, K), "alpha": torch.linspace(0.1, 0.9, K)},
    "ce": {},
    "poly1_ce": {"epsilon": 2.0},
    "balanced_softmax": {"class_counts": COUNTS},
    "logit_adjusted": {"class_counts": COUNTS, "tau": 0.7},
}


def outcome(name, logits, targets, dtype, backend, **arguments):
    # copied: a float64 tensor is its own .to(float64)
    x = logits.detach().clone().to(dtype).requires_grad_()
    value = L.LOSSES[name.split()[0]].function(x, targets, backend=backend, **arguments)
    (gradient,) = torch.autograd.grad(value, x)
    assert gradient.dtype == dtype
    # the stride of an axis of size 1 means nothing
    if backend == "auto":
        assert all(a == b for a, b, n in zip(gradient.stride(), x.stride(), x.shape, strict=True) if n > 1)
    return value, gradient.double()


def check(name, logits, targets, dtype, **arguments):
    """The single pass is as close to float64 as eager in the same dtype is, up to a rounding."""
    logits = logits.to(dtype)
    assert explain(L.LOSSES[name.split()[0]].function, logits, targets, **arguments).backend == "chunked"
    value, gradient = outcome(name, logits, targets, dtype, "auto", **arguments)
    plain, slope = outcome(name, logits, targets, dtype, "eager", **arguments)
    truth, exact = outcome(name, logits, targets, torch.float64, "eager", **arguments)
    assert value.dtype == plain.dtype
    unit = torch.finfo(value.dtype).eps
    assert abs(value - truth) <= abs(plain - truth) + 2 * unit * abs(truth)
    # float64 is measured against itself; float32 is multiplied by 1 / n where eager divides by n
    rounding = (4 * unit + (torch.finfo(dtype).eps / 2 if dtype != value.dtype else 0)) * exact.abs().max()
    assert (gradient - exact).abs().max() <= (slope - exact).abs().max() + rounding


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 4


@pytest.mark.usefixtures("no_compiler")
@pytest.mark.parametrize(("name", "dtype"), [*((n, torch.float32) for n in SIGMOID), *(("focal", d) for d in OTHERS)])
def test_sigmoid_losses_are_as_exact_as_eager(name, dtype):
    logits, hot = numbers(40, K), numbers(40, K, seed=1) > 5
    labels = torch.randint(-1, K, (40,), generator=torch.Generator().manual_seed(2))
    labels[7] = -100
    soft = torch.where(hot, numbers(40, K, seed=3).sigmoid(), 0.0)
    soft[5] = -100
    for targets in (hot, soft, labels.to(torch.int8)):
        check(name, logits, targets, dtype, **SIGMOID[name])


@pytest.mark.usefixtures("no_compiler")
@pytest.mark.parametrize(
    ("name", "dtype"), [*((n, torch.float32) for n in SOFTMAX), *(("softmax_focal", d) for d in OTHERS)]
)
def test_softmax_losses_are_as_exact_as_eager(name, dtype):
    labels = torch.randint(0, K, (3, 11), generator=torch.Generator().manual_seed(2))
    labels[labels == 2] = 1  # a class without examples has no prior
    labels[1, 4] = -100
    logits = numbers(3, K, 11)
    logits[0, 6, 3] = -torch.inf
    labels[0, 3] = 0
    check(name, logits, labels, dtype, **SOFTMAX[name])
    check(name, logits.movedim(1, -1), labels, dtype, class_dim=-1, **SOFTMAX[name])


@pytest.mark.usefixtures("no_compiler")
@pytest.mark.parametrize(
    "arguments",
    [
        {"reduction": "sum"},
        {"normalizer": 7},
        {"normalizer": torch.tensor(3.0, dtype=torch.float64)},
        {"class_weight": torch.linspace(0, 1, K)},
        {"weight": (numbers(6, 1, 5) > 0).float()},
        {"weight": numbers(6, K, 5).abs()},
    ],
    ids=str,
)
@pytest.mark.parametrize("dense", [True, False])
def test_reductions_and_weights_are_those_of_eager(arguments, dense):
    labels = torch.randint(-1, K, (6, 5), generator=torch.Generator().manual_seed(2))
    labels[0, 0] = -100
    hot = (numbers(6, K, 5, seed=1) > 5).float()
    hot[3] = -100
    check("focal", numbers(6, K, 5), hot if dense else labels, torch.float32, **arguments)


@pytest.mark.usefixtures("no_compiler")
@pytest.mark.filterwarnings("ignore:.*with one channel")
@settings(max_examples=12, deadline=None)
@given(
    shape=st.lists(st.integers(1, 5), min_size=2, max_size=4),
    order=st.randoms(use_true_random=False),
    grain=st.sampled_from([1, 7, 64]),
    rows=st.booleans(),
)
def test_every_layout_and_every_cut_gives_the_same(shape, order, grain, rows):
    axes = list(range(len(shape)))
    order.shuffle(axes)
    logits = numbers(*shape).permute(axes)
    labels = torch.randint(0, logits.shape[1], logits.movedim(1, -1).shape[:-1])
    before, chunked.SIZE = chunked.SIZE, grain
    try:
        check("softmax_focal" if rows else "focal", logits, labels, torch.float32)
    finally:
        chunked.SIZE = before


@pytest.mark.usefixtures("no_compiler")
@pytest.mark.parametrize("name", ["focal", "bce"])
def test_extreme_logits_are_as_eager(name):
    for extreme in (0.0, 1e4, 3e38, -3e38, torch.inf, -torch.inf):
        for hot in (True, False):
            logits, labels = torch.full((64, 3), -2.0), torch.full((64,), -1)
            logits[0, 1] = extreme
            labels[0] = 1 if hot else -1
            labels[1] = -100
            logits[1] = torch.nan
            value, gradient = outcome(name, logits, labels, torch.float32, "auto")
            plain, slope = outcome(name, logits, labels, torch.float32, "eager")
            torch.testing.assert_close(value, plain, rtol=3e-7, atol=0)
            torch.testing.assert_close(gradient, slope, rtol=1e-5, atol=1e-9)


@pytest.mark.usefixtures("no_compiler")
def test_cancellation_takes_the_pass_with_labels():
    # one sure positive: its background loss is 5e3, its own 0; what is left is 63 tiny numbers
    logits, labels = torch.full((64, 1), -16.0), torch.full((64,), -1)
    logits[0], labels[0] = 5e3, 0
    check("focal", logits, labels, torch.float32, reduction="sum")


@pytest.mark.usefixtures("no_compiler")
def test_nothing_in_nothing_out():
    x = torch.zeros(0, 4, requires_grad=True)
    assert L.sigmoid_focal_loss(x, torch.zeros(0, 4)).item() == 0
    assert L.dense_sigmoid_focal_loss([torch.zeros(0, 4, 2, 2)], [torch.zeros(0, 2, 2, 2).long()], num_classes=2) == 0


@pytest.mark.usefixtures("no_compiler")
def test_a_view_of_repeated_memory_gets_the_gradient_of_every_element():
    row = numbers(1, K).requires_grad_()
    targets = (numbers(50, K, seed=1) > 3).float()
    (fused,) = torch.autograd.grad(L.sigmoid_focal_loss(row.expand(50, K), targets), row)
    (plain,) = torch.autograd.grad(L.sigmoid_focal_loss(row.expand(50, K), targets, backend="eager"), row)
    torch.testing.assert_close(fused, plain)


@pytest.mark.usefixtures("no_compiler")
def test_labels_that_do_not_lie_dense_are_read_right():
    labels = torch.randint(-1, K, (40, 6), generator=torch.Generator().manual_seed(2))[:, ::2]
    check("focal", numbers(40, K, 3), labels, torch.float32)


@pytest.mark.usefixtures("no_compiler")
@pytest.mark.parametrize("name", ["focal", "focal mix", "bce", "asl", "qfl", "varifocal", "gaussian_focal"])
def test_dense_targets_that_are_nearly_all_zero_give_what_eager_gives(name):
    shape = (6, K, 9, 5)
    logits, targets = numbers(*shape), torch.zeros(shape)
    targets.view(-1)[torch.arange(5) * 97 + 5] = torch.tensor([1.0, 0.5, 1.0, 1e-6, 1.0])
    check(name, logits, targets == 1, torch.float32, **SIGMOID[name])
    targets.view(-1)[torch.arange(4) * 31 + 2] = -100
    logits.view(-1)[2] = 3e38
    check(name, logits, targets, torch.float32, **SIGMOID[name])


@pytest.mark.usefixtures("no_compiler")
def test_a_nan_that_is_ignored_among_zeros_is_not_seen():
    x, t = numbers(64, K), torch.zeros(64, K)
    x[2, 1], t[2, 1] = torch.nan, -100
    fused, slope = outcome("focal", x, t, torch.float32, "auto")
    plain, exact = outcome("focal", x, t, torch.float32, "eager")
    torch.testing.assert_close(fused, plain)
    torch.testing.assert_close(slope, exact)
    assert slope[2, 1] == 0
    assert outcome("focal", x, torch.zeros(64, K), torch.float32, "auto")[0].isnan()


@pytest.mark.usefixtures("no_compiler")
def test_dense_targets_are_read_as_they_lie():
    logits, targets = numbers(4, K, 9, 5), torch.zeros(4, K, 9, 5)
    targets.view(-1)[torch.arange(9) * 61 + 3] = 1
    last = logits.contiguous(memory_format=torch.channels_last)
    for x, t in (
        (last, targets),
        (logits, targets.to(memory_format=torch.channels_last)),
        (last[:, :3], targets[:, :3]),
    ):
        check("focal", x, t, torch.float32)
    check("focal", logits.view(-1)[1:], targets.view(-1)[1:], torch.float32)
    check("focal", logits, targets, torch.float32, ignore_index=1)
    check("focal", logits, targets, torch.float32, ignore_index=0)


@pytest.mark.usefixtures("no_compiler")
@pytest.mark.parametrize("name", ["focal gamma 0.5", "bce", "asl", "poly1_focal", "focal_star", "reduced_focal"])
def test_background_logits_far_below_zero_cost_nothing(name):
    logits, labels = numbers(64, K), torch.full((64,), -1)
    logits[3, 2], logits[4, 1], logits[5] = -1e37, -torch.inf, -torch.finfo(torch.float32).max
    value, gradient = outcome(name, logits, labels, torch.float32, "auto", **SIGMOID[name])
    plain, slope = outcome(name, logits, labels, torch.float32, "eager", **SIGMOID[name])
    torch.testing.assert_close(value, plain, rtol=1e-6, atol=0)
    torch.testing.assert_close(gradient, slope, rtol=1e-5, atol=1e-9)


@pytest.mark.usefixtures("no_compiler")
def test_unsigned_labels_of_every_width_are_taken_and_checked():
    x = torch.randn(300, 3)
    for kind in (torch.uint8, torch.uint16, torch.uint32, torch.uint64):
        labels = torch.ones(300, dtype=kind)
        torch.testing.assert_close(L.sigmoid_focal_loss(x, labels), L.sigmoid_focal_loss(x, labels.long()))
        labels[5] = 7
        with pytest.raises(ValueError, match="got 7"):
            L.sigmoid_focal_loss(x, labels)


@pytest.fixture
def small_grain(monkeypatch):
    """Small tensors are cut."""
    monkeypatch.setattr(chunked, "SIZE", 2048)


def background(rows=1201):
    """Logits of a detector's first steps, not a whole number of blocks, and hardly a positive."""
    x, labels = numbers(rows, K) * 0.4 - 4.6, torch.full((rows,), -1)
    labels[[7, 300, rows - 1]] = torch.tensor([2, 0, K - 1])
    x[300, 0] = 1.2  # as background it would cost much
    return x, labels


@pytest.mark.usefixtures("no_compiler", "small_grain")
@pytest.mark.parametrize(
    "name", ["focal", "focal gamma 1.3, gamma_neg 3", "bce", "asl", "poly1_focal", "reduced_focal"]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_background_with_some_far_above_the_rest_is_as_exact_as_eager(name, dtype):
    x, labels = background()
    x[[3, 500, 900, 1200]], x[7], x[11, 2] = 1.6, 9.0, 30.0
    labels[40:43] = -100
    check(name, x, labels, dtype, **SIGMOID[name])
    x[41] = torch.nan  # ignored; its whole chunk takes the slower way
    check(name, x, labels, dtype, **SIGMOID[name])
    hot = (labels[:, None] == torch.arange(K)).to(dtype)
    hot[41], hot[9, 1] = -100, 0.5
    check(name, x, hot, dtype, **SIGMOID[name])


@pytest.mark.usefixtures("no_compiler", "small_grain")
@pytest.mark.parametrize("extreme", [torch.nan, torch.inf, -torch.inf, 3e38, 1e5])
@pytest.mark.parametrize("row", [0, 555, 1200])
def test_extremes_of_the_background_are_those_of_eager(extreme, row):
    x, labels = background()
    x[row, 3] = extreme
    value, gradient = outcome("focal", x, labels, torch.float32, "auto", reduction="sum")
    plain, slope = outcome("focal", x, labels, torch.float32, "eager", reduction="sum")
    torch.testing.assert_close(value, plain, rtol=1e-6, atol=0, equal_nan=True)
    torch.testing.assert_close(gradient, slope, rtol=1e-5, atol=1e-9, equal_nan=True)


@pytest.mark.usefixtures("no_compiler", "small_grain")
def test_the_value_alone_is_the_same():
    x, labels = background()
    assert L.sigmoid_focal_loss(x, labels) == L.sigmoid_focal_loss(x.requires_grad_(), labels)


@pytest.mark.parametrize("name", ["focal", "asl", "bce"])
def test_labels_of_minus_one_are_left_out_where_they_are_ignored(name):
    torch.manual_seed(0)
    x = torch.randn(9000, 20, dtype=torch.float64, requires_grad=True)
    labels = torch.full((9000,), -1)
    labels[:100] = torch.arange(100) % 20
    found = []
    for backend in ("auto", "eager"):
        loss = L.build(name, ignore_index=-1, backend=backend)(x, labels)
        found.append((loss.item(), torch.autograd.grad(loss, x)[0]))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-9)
    torch.testing.assert_close(found[0][1], found[1][1])
    assert not found[0][1][100:].any()
