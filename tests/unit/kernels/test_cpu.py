"""The kernels written by hand in C++: the same losses as the definition, for every form of input."""

import logging
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

import focalkit.losses as L
from focalkit.kernels import build, cpu, dispatch, explain

# where it could be there and is not, it should be
pytestmark = pytest.mark.skipif(
    cpu.instructions() is None or (build.compiler() is None and cpu.library(torch.float32, True) is None),
    reason="no C++ for this processor, or focalkit was installed without a compiler",
)
COMPILER = pytest.mark.skipif(build.compiler() is None, reason="needs a C++ compiler")
INF, NAN = torch.inf, torch.nan


@pytest.fixture(autouse=True)
def by_hand(monkeypatch):
    """Calls must reach the code under test, not Inductor."""
    monkeypatch.setattr(torch, "compile", None)
    assert cpu.library(torch.float32, True) is not None, "the C++ is not compiled: python src/focalkit/kernels/build.py"


def outcome(function, logits, targets, backend, **arguments):
    tensors = [logits] if isinstance(logits, torch.Tensor) else logits
    leaves = [x.detach().clone(memory_format=torch.preserve_format).requires_grad_() for x in tensors]
    value = function(leaves[0] if isinstance(logits, torch.Tensor) else leaves, targets, backend=backend, **arguments)
    return value.detach(), torch.autograd.grad(value, leaves)


def no_worse_than_eager(function, logits, targets, **arguments):
    """Value and gradient against float64: at most an epsilon of the largest number worse than eager in this dtype."""
    tensors = [logits] if isinstance(logits, torch.Tensor) else logits
    wide = [x.double() for x in tensors]
    wide = wide[0] if isinstance(logits, torch.Tensor) else wide
    value, gradients = outcome(function, logits, targets, "compiled", **arguments)
    plain, slopes = outcome(function, logits, targets, "eager", **arguments)
    truth, exact = outcome(function, wide, targets, "eager", **arguments)
    assert value.dtype == plain.dtype
    assert abs(value - truth) <= abs(plain - truth) + 3e-7 * abs(truth)
    for g, s, e in zip(gradients, slopes, exact, strict=True):
        assert g.dtype == s.dtype
        assert (g - e).abs().max() <= (s - e).abs().max() + 4 * 1.2e-7 * e.abs().max()


def some(*shape, dtype=torch.float32, spread=5.0, seed=0):
    return (torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * spread - 1).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("numbers", [{}, {"gamma": 1.3, "alpha": None}, {"gamma": 1.0, "gamma_neg": 4.0}])
def test_every_exponent_and_kind_of_target(dtype, numbers):
    x = some(203, 29, dtype=dtype)
    labels = torch.arange(203) % 31 - 1
    labels[labels == 29] = -100
    soft = torch.rand(203, 29, generator=torch.Generator().manual_seed(1))
    soft[7], soft[9:150] = -100.0, 0.0
    for targets in (labels, (soft > 0.9).float(), soft > 0.9, soft, soft.bfloat16()):
        for reduction in ({}, {"reduction": "sum", "normalizer": 3.0}):
            no_worse_than_eager(L.sigmoid_focal_loss, x, targets, **numbers, **reduction)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_all_levels_of_a_detector_go_in_one_call(layout):
    logits, labels = [], []
    for h, w in ((61, 47), (13, 1), (1, 1)):
        logits.append(some(2, 3 * 7, h, w, seed=h).to(memory_format=layout))
        y = torch.full((2, 3, h, w), -1)
        y.view(-1)[::11], y.view(-1)[3::50] = 6, -2
        labels.append(y)
    for kind in (torch.int8, torch.int16, torch.int32, torch.int64):
        given = [y.to(kind) for y in labels]
        no_worse_than_eager(L.dense_sigmoid_focal_loss, logits, given, num_classes=7, ignore_index=-2)
    _, gradients = outcome(L.dense_sigmoid_focal_loss, logits, labels, "compiled", num_classes=7, ignore_index=-2)
    for g, x in zip(gradients, logits, strict=True):
        assert all(a == b for a, b, n in zip(g.stride(), x.stride(), x.shape, strict=True) if n > 1)


def test_large_tensors_are_cut_without_losing_anything():
    x = some(2, 5, 40_000, spread=3.0)
    labels = torch.full((2, 40_000), -1, dtype=torch.int32)
    labels[:, ::997], labels[1, 39_990:] = 4, -100
    for dim in (1, 2):
        logits = x if dim == 1 else x.transpose(1, 2).contiguous()
        no_worse_than_eager(L.sigmoid_focal_loss, logits, labels, class_dim=dim, reduction="sum")
        no_worse_than_eager(L.softmax_focal_loss, logits, labels.clamp(min=0), class_dim=dim, reduction="sum")
    no_worse_than_eager(L.sigmoid_focal_loss, x, (x > 9).float(), reduction="sum")


def test_the_classes_of_a_plane_are_cut_without_losing_anything():
    x, labels = some(2, 90, 1501, spread=3.0), torch.full((2, 1501), -1)
    labels[0, ::7] = torch.arange(215) % 90
    for absent in (0, 3):
        labels[1, :absent] = -100
        no_worse_than_eager(L.sigmoid_focal_loss, x, labels, class_dim=1, reduction="mean")


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_planes_of_few_classes_are_cut_without_losing_anything(dtype, classes):
    x, labels = some(2, classes, 150_001, spread=3.0, dtype=dtype), torch.full((2, 150_001), -1, dtype=torch.int8)
    labels[:, ::97], labels[1, 149_990:] = classes - 1, -100
    no_worse_than_eager(L.sigmoid_focal_loss, x, labels, reduction="mean")


@pytest.mark.parametrize("classes", [1, 4, 20])
def test_labels_of_few_classes_take_no_memory_to_speak_of(classes):
    here = Path("/proc/self")
    try:
        (here / "clear_refs").write_text("5")  # forget the peak so far
    except OSError:
        pytest.skip("the peak of a process is told by Linux")

    def read(name):
        line = next(line for line in (here / "status").read_text().splitlines() if line.startswith(name))
        return int(line.split()[1]) * 1024

    x = torch.zeros(1, classes, 2000, 8000 // classes, dtype=torch.bfloat16, requires_grad=True)
    labels = torch.full((1, 1, 2000, 8000 // classes), -1, dtype=torch.int8)
    before = read("VmRSS")
    (here / "clear_refs").write_text("5")
    L.dense_sigmoid_focal_loss([x], [labels], num_classes=classes, backend="compiled").backward()
    assert read("VmHWM") - before <= 1.2 * x.nbytes


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("classes", [1, 2, 20, 129, 1300])
@pytest.mark.parametrize("gamma", [2.0, 1.3])
def test_rows_of_a_softmax(dtype, classes, gamma):
    labels = torch.arange(75) % classes
    labels[5] = -100
    no_worse_than_eager(L.softmax_focal_loss, some(75, classes, dtype=dtype), labels, gamma=gamma)
    planes = some(3, classes, 5, 5, dtype=dtype)
    no_worse_than_eager(L.softmax_focal_loss, planes, labels.view(3, 5, 5), gamma=gamma)


ROWS = [
    ([-400.0, 3.0, 0.0, 1.0], 0),
    ([-INF, 3.0, 0.0, 1.0], 0),
    ([0.5, -INF, 0.0, 1.0], 0),
    ([0.5, -INF, -INF, -INF], 0),
    ([900.0, 0.0, -3.0, 1.0], 0),
    ([-INF, -INF, -INF, -INF], 1),
    ([0.0, INF, 0.0, 1.0], 1),
    ([0.0, INF, 0.0, 1.0], 0),
    ([3e38, -3e38, 0.0, 1.0], 1),
    ([0.0, NAN, 0.0, 1.0], 0),
    ([0.0, NAN, 0.0, 1.0], -100),
    ([INF, -INF, 0.0, 1.0], -100),
]


@pytest.mark.parametrize(("row", "label"), ROWS)
@pytest.mark.parametrize("width", [4, 200])
def test_infinities_and_nan_do_what_the_definition_says(row, label, width):
    usual = torch.linspace(-2, 2, 20).view(5, 4)
    logits = torch.cat([usual, torch.tensor([row]), usual.flip(1)])
    logits = torch.cat([logits, torch.linspace(-3, 3, 11 * (width - 4)).view(11, -1)], 1)
    labels = torch.tensor([0, 1, 2, 3, 0, label, 1, 2, 3, 0, 1])
    dense = torch.zeros(11, width).index_put((torch.arange(11), labels.clamp(min=0)), torch.ones(11))
    dense[5] = -100.0 if label == -100 else dense[5]
    for function, targets in (
        (L.softmax_focal_loss, labels),
        (L.sigmoid_focal_loss, labels),
        (L.sigmoid_focal_loss, dense),
    ):
        fused, plain = (outcome(function, logits, targets, b, reduction="sum") for b in ("compiled", "eager"))
        torch.testing.assert_close(fused[0], plain[0], equal_nan=True, rtol=1e-6, atol=0)
        same = ~torch.isnan(logits[5]).any() if function is L.softmax_focal_loss else True  # NaN spoils its whole row
        for i in range(11):
            if i != 5 or same or label == -100:
                torch.testing.assert_close(fused[1][0][i], plain[1][0][i], rtol=3e-6, atol=1e-6)


@pytest.mark.parametrize("shape", [(500, 20, 2), (70, 3, 31), (4, 700, 3), (90, 5, 100), (3, 17, 32), (6, 1, 40)])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.6])
def test_slices_of_every_size_and_share_of_labels(shape, share):
    x, generator = some(*shape, spread=3.0), torch.Generator().manual_seed(2)
    chosen = torch.rand(shape[0], shape[2], generator=generator)
    labels = torch.randint(shape[1], chosen.shape, generator=generator)
    labels = torch.where(chosen < share, labels, torch.where(chosen < share * 1.1, -100, -1))
    for reduction in ("sum", "mean"):
        no_worse_than_eager(L.sigmoid_focal_loss, x, labels, class_dim=1, reduction=reduction)
    labels[-1, -1] = shape[1]
    with pytest.raises(ValueError, match=f"got {shape[1]}"):
        L.sigmoid_focal_loss(x, labels, class_dim=1, backend="compiled")


def test_a_nan_stays_one_whatever_its_bits():
    garbage = torch.tensor([-1, 0x7FC00001], dtype=torch.int32).view(torch.float32)
    for nan in garbage:
        logits = torch.linspace(-2, 2, 800).view(2, 400).clone()
        logits[1, 3] = nan
        for x, labels in ((logits, torch.tensor([1, 2])), (logits.view(80, 10), torch.arange(80) % 10)):
            for function in (L.softmax_focal_loss, L.sigmoid_focal_loss):
                value, _ = outcome(function, x, labels, "compiled", reduction="sum")
                assert value.isnan()


@pytest.mark.parametrize("empty", [0, 1, 2])
def test_a_level_may_be_empty(empty):
    sizes = [5, 4, 3]
    sizes[empty] = 0
    logits = [some(1, 3 * 2, n, n, seed=n) for n in sizes]
    labels = [torch.full((1, 3, n, n), -1) for n in sizes]
    value, gradients = outcome(L.dense_sigmoid_focal_loss, logits, labels, "compiled", num_classes=2)
    plain, slopes = outcome(L.dense_sigmoid_focal_loss, logits, labels, "eager", num_classes=2)
    torch.testing.assert_close(value, plain)
    torch.testing.assert_close(gradients, slopes)


@pytest.mark.parametrize("ignore_index", [0, 1])
@pytest.mark.parametrize("kind", [torch.float32, torch.bool])
def test_a_truth_may_be_the_ignored_value_but_never_of_bool_targets(ignore_index, kind):
    targets = torch.zeros(2000, 3)
    targets[::300] = 1.0
    for reduction in ("sum", "mean"):
        no_worse_than_eager(
            L.sigmoid_focal_loss, some(2000, 3), targets.to(kind), ignore_index=ignore_index, reduction=reduction
        )


@pytest.mark.parametrize("ignore_index", [257, -1001])
def test_an_ignored_target_is_rounded_as_the_targets_are(ignore_index):
    x, t = some(40, 6), torch.rand(40, 6, generator=torch.Generator().manual_seed(2)).bfloat16()
    t[::3] = ignore_index
    no_worse_than_eager(L.sigmoid_focal_loss, x, t, ignore_index=ignore_index)


def test_views_that_are_negated_when_read_are_read_so():
    x, labels, weight = some(40, 6), torch.arange(40) % 6, torch.rand(40)
    for function, arguments in ((L.sigmoid_focal_loss, {}), (L.cross_entropy, {"weight": weight})):
        plain = function(-x, labels, **arguments)
        torch.testing.assert_close(function(torch._neg_view(x), labels, **arguments), plain)
    torch.testing.assert_close(L.cross_entropy(-x, labels, weight=torch._neg_view(-weight)), plain)


def test_numbers_as_numpy_and_python_have_them_are_taken():
    x, labels = some(50, 4), torch.arange(50) % 4
    no_worse_than_eager(L.sigmoid_focal_loss, x, labels, ignore_index=np.int64(3))
    value, _ = outcome(L.sigmoid_focal_loss, x, labels, "compiled", reduction="sum", normalizer=1e-45)
    assert value == torch.inf


def test_far_from_zero_the_gradient_keeps_its_digits():
    x = torch.cat([-torch.logspace(-30, 2, 200), torch.logspace(-30, 2, 200)])
    for targets in (torch.zeros(400), torch.ones(400)):
        _, (fused,) = outcome(L.sigmoid_focal_loss, x, targets, "compiled", gamma=0.0, alpha=None, reduction="sum")
        _, (exact,) = outcome(
            L.sigmoid_focal_loss, x.double(), targets, "eager", gamma=0.0, alpha=None, reduction="sum"
        )
        torch.testing.assert_close(fused.double(), exact, rtol=1e-6, atol=2e-45)  # subnormal numbers included


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("function", [L.sigmoid_focal_loss, L.binary_cross_entropy])
def test_no_sum_leans_to_one_side(function, dtype):
    errors = []
    for seed in range(100):
        x, t = some(300, 1, dtype=dtype, seed=seed), torch.zeros(300, 1)
        value, exact = function(x, t, backend="compiled"), function(x.double(), t, backend="eager")
        errors.append((value.double() - exact) / exact)
    assert abs(sum(errors)) / 100 <= 2e-8
    assert max(map(abs, errors)) <= 3e-7


@pytest.mark.parametrize(("low", "high"), [(-60, -15), (-15, -1.5), (-1.5, 1.5), (1.5, 15), (15, 60)])
@pytest.mark.parametrize("backend", ["compiled", "eager"])
def test_no_single_gradient_is_off_by_more_than_five_epsilon(low, high, backend):
    x = torch.linspace(low, high, 200_001)
    t = torch.zeros_like(x)
    _, (gradient,) = outcome(L.sigmoid_focal_loss, x, t, backend, reduction="sum")
    _, (exact,) = outcome(L.sigmoid_focal_loss, x.double(), t.double(), "eager", reduction="sum")
    seen = exact.abs() > 1e-32
    assert ((gradient - exact) / exact).abs()[seen].max() <= 5 * torch.finfo(torch.float32).eps


def test_the_number_of_threads_changes_no_bit():
    x, labels = some(3, 9 * 80, 31, 33), torch.full((3, 9, 31, 33), -1)
    labels[:, 2, 3:9] = 17
    threads = torch.get_num_threads()
    seen = []
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            seen.append(outcome(L.dense_sigmoid_focal_loss, [x], [labels], "compiled", num_classes=80))
    finally:
        torch.set_num_threads(threads)
    for value, gradients in seen[1:]:
        assert torch.equal(value, seen[0][0])
        assert torch.equal(gradients[0], seen[0][1][0])


def test_no_gradient_is_written_where_none_is_wanted():
    x, t = some(50, 20), torch.zeros(50, 20)
    with torch.no_grad():
        value = L.sigmoid_focal_loss(x, t, backend="compiled")
    torch.testing.assert_close(value, L.sigmoid_focal_loss(x, t, backend="eager"))


@pytest.mark.parametrize("classes", [5, 40, 300])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("planes", [False, True])
def test_rows_of_a_softmax_shifted_and_weighted(classes, dtype, planes):
    generator = torch.Generator().manual_seed(4)
    labels, x = torch.arange(72) % classes, some(72, classes, dtype=dtype)
    rows = torch.rand(72, generator=generator)
    by_class = torch.rand(classes, generator=generator)
    labels[5], rows[9], rows[11], by_class[2] = -100, 0.0, -0.5, 0.0
    x[5], x[9] = NAN, NAN
    if planes:
        x, labels, rows = x.view(2, 36, classes).permute(0, 2, 1).contiguous(), labels.view(2, 36), rows.view(2, 36)
    counts = torch.arange(classes) * 7
    counts[labels.unique().clamp(min=0)] += 1  # class 0 has no prior, unless a label says so
    for function, arguments in (
        (L.cross_entropy, {"weight": rows}),
        (L.cross_entropy, {"weight": rows, "class_weight": by_class}),
        (L.softmax_focal_loss, {"weight": rows[:1] if planes else rows, "alpha": by_class, "gamma": 1.5}),
        (L.balanced_softmax_loss, {"weight": rows, "class_counts": counts}),
        (L.logit_adjusted_loss, {"weight": rows, "class_counts": counts, "tau": 0.7, "reduction": "sum"}),
    ):
        clean = x if arguments["weight"].shape == labels.shape else x.nan_to_num(1.0)
        assert explain(function, clean, labels, **arguments).module == "cpu"
        no_worse_than_eager(function, clean, labels, **arguments)


def test_a_class_that_never_occurred_takes_no_part():
    x, labels = some(50, 6), torch.arange(50) % 5 + 1
    x.requires_grad_()
    value = L.balanced_softmax_loss(x, labels, class_counts=[0, 1, 2, 3, 4, 5], backend="compiled")
    (gradient,) = torch.autograd.grad(value, x)
    assert not gradient[:, 0].any()
    shifted = x[:, 1:] + torch.tensor([1.0, 2, 3, 4, 5]).log()
    torch.testing.assert_close(value, torch.nn.functional.cross_entropy(shifted, labels - 1))


@pytest.mark.parametrize("numbers", [{}, {"alpha": 0.3}, {"pos_weight": 7.0}, {"alpha": 0.9, "pos_weight": 2.0}])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_cross_entropy_of_sigmoids_is_the_focal_loss_without_focus(numbers, dtype):
    x, soft = some(203, 29, dtype=dtype), torch.rand(203, 29, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(203) % 31 - 1
    labels[labels == 29] = -100
    for targets in (labels, soft > 0.9, soft):
        assert explain(L.binary_cross_entropy, x, targets, **numbers).module == "cpu"
        no_worse_than_eager(L.binary_cross_entropy, x, targets, **numbers)
    each = {"weight": torch.ones(1, 29)}  # of elements, even if they are those of a row
    assert explain(L.binary_cross_entropy, x, soft, **each).module != "cpu"


VECTORS = {
    "alpha": lambda k, r: {"alpha": torch.rand(k, generator=r), "gamma": 1.5},
    "class weight": lambda k, r: {"class_weight": torch.rand(k, generator=r)},
    "all": lambda k, r: {"alpha": torch.rand(k, generator=r), "class_weight": torch.rand(k, generator=r)},
    "absent": lambda k, r: {"class_weight": (torch.arange(k) % 3 != 1).float() * 2, "alpha": None},
}


@pytest.mark.parametrize("shape", [(300, 1), (300, 3), (41, 80), (3, 1300), (2, 6, 5, 7), (2, 90, 20, 30), (3, 5, 700)])
@pytest.mark.parametrize("vectors", VECTORS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_vectors_over_the_classes_of_every_layout(shape, vectors, dtype):
    generator = torch.Generator().manual_seed(9)
    k, places = shape[1], (shape[0], *shape[2:])
    arguments = VECTORS[vectors](k, generator)
    x = some(*shape, dtype=dtype)
    labels = torch.randint(-1, k, places, generator=generator)
    labels[torch.rand(places, generator=generator) < 0.8] = -1
    labels.view(-1)[::13] = -100
    soft = torch.rand(shape, generator=generator) * (torch.rand(shape, generator=generator) < 0.01)
    soft.view(-1)[::101] = -100.0
    for memory in (torch.contiguous_format, torch.channels_last)[: 1 + (len(shape) == 4)]:
        given = x.to(memory_format=memory)
        for targets in (labels, soft, soft > 0.5):
            for reduction in ("mean", "sum"):
                call = {"reduction": reduction, **arguments}
                assert explain(L.sigmoid_focal_loss, given, targets, **call).module == "cpu"
                no_worse_than_eager(L.sigmoid_focal_loss, given, targets, **call)
    turned = x.movedim(1, -1).contiguous()
    no_worse_than_eager(L.sigmoid_focal_loss, turned, labels, class_dim=-1, **arguments)
    numbers = {"class_dim": -1, "pos_weight": torch.rand(k, generator=generator) * 9}
    no_worse_than_eager(L.binary_cross_entropy, turned, soft.movedim(1, -1), **numbers)


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("side", [1, 3, 40])
def test_a_class_of_weight_zero_is_absent_whatever_its_logits(dense, side):
    x, labels = some(4, 5, side, side), torch.full((4, side, side), -1)
    labels[0, 0, 0], labels[1, 0, 0] = 2, 3
    targets = torch.nn.functional.one_hot(labels + 1, 6)[..., 1:].movedim(-1, 1).float() if dense else labels
    class_weight = torch.tensor([1.0, 2.0, 0.0, 0.5, 3.0])
    x[:, 2] = NAN
    value, (gradient,) = outcome(L.sigmoid_focal_loss, x, targets, "compiled", class_weight=class_weight)
    plain, (slope,) = outcome(L.sigmoid_focal_loss, x, targets, "eager", class_weight=class_weight)
    torch.testing.assert_close(value, plain)
    torch.testing.assert_close(gradient, slope)
    assert not gradient[:, 2].any()


def test_levels_take_an_alpha_for_each_class():
    alpha = torch.tensor([0.9, 0.1, 0.5, 0.25])
    levels = [some(2, 3 * 4, side, side + 1, seed=side) for side in (9, 3, 1)]
    labels = [torch.randint(-1, 4, (2, 3, side, side + 1)) for side in (9, 3, 1)]
    assert explain(L.dense_sigmoid_focal_loss, levels, labels, num_classes=4, alpha=alpha).module == "cpu"
    no_worse_than_eager(L.dense_sigmoid_focal_loss, levels, labels, num_classes=4, alpha=alpha, normalizer=3.0)


def test_explain_names_it():
    x, t = torch.zeros(2**20), torch.zeros(2**20)
    assert "C++ written for this loss" in explain("focal", x, t).reason
    assert "C++ written for this loss" in explain("softmax_focal", (2**18, 4), (2**18,)).reason
    assert "C++ written" not in explain("focal", x.double(), t.double()).reason


def test_another_source_is_another_library(tmp_path, monkeypatch):
    changed = tmp_path / "focal.cpp"
    changed.write_text(build.SOURCE.read_text(encoding="utf-8") + "// changed\n", encoding="utf-8")
    variants = product(build.INSTRUCTIONS, (False, True), (False, True))
    seen = {variant: build.place(*variant) for variant in variants}
    assert len(set(seen.values())) == len(seen)
    monkeypatch.setattr(build, "SOURCE", changed)
    assert not set(seen.values()) & {build.place(*variant) for variant in seen}


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Builds something that takes no time, in a folder of its own."""
    small = tmp_path / "small.cpp"
    small.write_text('extern "C" int twice(int n) { return 2 * n; }\n', encoding="utf-8")
    monkeypatch.setattr(build, "SOURCE", small)
    monkeypatch.setattr(build, "FOLDER", tmp_path / "libraries")


@COMPILER
@pytest.mark.usefixtures("elsewhere")
def test_building_again_compiles_only_what_is_not_there_and_removes_what_is_old(tmp_path, monkeypatch):
    calls, real = [], subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda command, **how: (calls.append(command), real(command, **how))[1])
    compiler = build.compiler()
    first = build.build(compiler)
    assert len(calls) == len(first) == 4 * len(build.INSTRUCTIONS)
    old = tmp_path / "libraries" / "focal-AVX2-float32-gamma-2-0123456789ab.so"
    old.touch()
    assert build.build(compiler) == first
    assert len(calls) == len(first)
    assert sorted((tmp_path / "libraries").iterdir()) == first
    monkeypatch.setattr(build, "FLAGS", ("--no-such-flag",))
    with pytest.raises(subprocess.CalledProcessError) as failure:
        build.build(compiler)
    assert "no-such-flag" in failure.value.stderr
    assert sorted((tmp_path / "libraries").iterdir()) == first  # and the old ones are still there


@pytest.fixture
def compile_with(tmp_path, monkeypatch, elsewhere):
    """Builds with a compiler that is this shell script."""

    def compiled(script, options=""):
        shell = tmp_path / "some compiler"
        shell.write_bytes(b"#!/bin/sh\n" + script)
        shell.chmod(0o755)
        monkeypatch.setenv("CXX", f"'{shell}'{options}")
        return build.build(build.compiler())

    return compiled


@COMPILER
def test_a_compiler_may_be_of_the_days_before_the_levels_of_x86_64_and_come_with_options(compile_with):
    real = build.compiler()
    script = f"""for a in "$@"; do case "$a" in -march=x86-64-v*) exit 1; esac; done
test "$1" = -O0 || exit 1; for out; do :; done; exec {real} "$@\""""
    assert len(compile_with(script.encode(), " -O0")) == 4 * len(build.INSTRUCTIONS)


def test_whatever_bytes_a_compiler_says_it_fails_as_compilers_do(compile_with):
    with pytest.raises(subprocess.CalledProcessError) as failure:
        compile_with(b"printf '\\377 no' >&2; exit 1")
    assert "no" in failure.value.stderr


def test_two_installations_at_a_time_do_not_meet(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "FOLDER", tmp_path)
    for variant in product(build.INSTRUCTIONS, (False, True), (False, True)):
        build.place(*variant).touch()
    old, unlink = tmp_path / "focal-old.so", Path.unlink
    old.touch()

    def late(path, **how):
        unlink(path)
        unlink(path, **how)

    monkeypatch.setattr(Path, "unlink", late)
    assert old not in build.build("no compiler is needed")
    assert not old.exists()


@pytest.mark.skipif(cpu.instructions() != "AVX512", reason="an older processor, or another kind")
def test_an_older_processor_gets_the_code_for_it():
    script = """import torch
from focalkit.kernels import cpu
print(cpu.instructions(), cpu.library(torch.float32, True) is not None)"""
    for capability, expected in {"avx2": "AVX2 True", "default": "None False"}.items():
        env = os.environ | {"ATEN_CPU_CAPABILITY": capability}
        run = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
        assert run.stdout.strip() == expected


def test_a_broken_library_is_said_once_and_done_without(tmp_path, monkeypatch, caplog):
    broken = tmp_path / "focal.so"
    broken.write_text("no library")
    monkeypatch.setattr(build, "place", lambda *_: broken)
    cpu.library.cache_clear()
    dispatch._machine.cache_clear()
    try:
        x, labels = some(40, 6), torch.arange(40) % 6
        with caplog.at_level(logging.WARNING, "focalkit.kernels"):
            for _ in range(2):
                fused, plain = (outcome(L.softmax_focal_loss, x, labels, b) for b in ("auto", "eager"))
        # of each library, which here are all the same file
        assert sum("Installing it again may help" in r.message for r in caplog.records) == 4
        torch.testing.assert_close(fused, plain)
        assert "written for this loss" not in explain(L.softmax_focal_loss, x, labels).reason
    finally:
        cpu.library.cache_clear()
        dispatch._machine.cache_clear()


def test_it_runs_on_the_threads_of_torch_or_without():
    assert cpu._fork()
    x, labels = some(700, 200), torch.full((700,), 3)
    team = outcome(L.sigmoid_focal_loss, x, labels, "compiled")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu, "_fork", lambda: None)
        alone = outcome(L.sigmoid_focal_loss, x, labels, "compiled")
    assert torch.equal(team[0], alone[0])
    assert torch.equal(team[1][0], alone[1][0])
