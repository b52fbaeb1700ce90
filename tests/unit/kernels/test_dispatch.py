"""What "auto" takes, and that it says why."""

import dataclasses
import re

import pytest
import torch

import focalkit.losses as L
from focalkit.errors import BackendError
from focalkit.kernels import build, cpu, dispatch, explain
from focalkit.kernels.call import SigmoidCall, SoftmaxCall
from focalkit.kernels.operands import CROSS_ENTROPY, mixture

NATIVE = frozenset((dtype, squared) for dtype in cpu.LOGITS for squared in (False, True))
FULL = dispatch.Machine(NATIVE, {}, triton=True)


@pytest.fixture(autouse=True)
def usual(monkeypatch):
    monkeypatch.setattr(dispatch, "SMALL", 2**14)
    monkeypatch.setattr(dispatch, "CHUNKED", 2**18)


@pytest.fixture
def everything(monkeypatch):
    """A machine that has all there can be."""
    monkeypatch.setattr(dispatch, "machine", lambda: FULL)


def ask(size, **arguments):
    return explain("asl", (size,), (size,), targets_dtype=torch.float32, **arguments)


@pytest.mark.usefixtures("everything")
def test_auto_goes_by_size():
    assert ask(100).backend == "eager"
    assert ask(2**17).backend == "eager"
    assert ask(2**18).backend == "chunked"
    assert ask(2**20).backend == "compiled"
    assert "2,097,152 elements" in str(ask(2**21))


@pytest.mark.usefixtures("everything")
def test_a_gpu_takes_the_kernel_written_for_it():
    given = {"targets_dtype": torch.float32, "device": "cuda"}
    assert explain("focal", (2**20,), (2**20,), **given).backend == "triton"
    assert explain("focal", (2**20,), (2**20,), dtype=torch.float64, **given).backend == "compiled"
    levels = [torch.zeros(2, 18, 50, 50)]
    labels = [torch.zeros(2, 9, 50, 50, dtype=torch.int8)]
    assert explain(L.dense_sigmoid_focal_loss, levels, labels, num_classes=2, device="cuda").backend == "triton"
    assert explain("softmax_focal", (10_000, 20), (10_000,), device="cuda").backend == "triton"
    assert explain("softmax_focal", (10_000, 9000), (10_000,), device="cuda").backend == "compiled"
    assert explain("asl", (2**21,), (2**21,), targets_dtype=torch.float32, device="cuda").backend == "compiled"
    assert explain("asl", (2**19,), (2**19,), targets_dtype=torch.float32, device="cuda").backend == "eager"


def test_the_choice_is_a_function_of_its_arguments():
    labels, size = torch.zeros(2**15, dtype=torch.long), torch.Size((2**15, 32))
    term = lambda x, **_: x  # noqa: E731
    given = {"targets": (labels,), "dims": (1,)}
    softmax = SoftmaxCall(term=term, focal=CROSS_ENTROPY, **given)
    sigmoid = SigmoidCall(positive=term, negative=term, mixed=mixture(term, term, None), dense=False, **given)
    bare = dispatch.Machine(frozenset(), {"cpu": "none here", "cuda": "none there"})
    for call, device, machine, module in (
        (softmax, "cpu", FULL, "cpu"),
        (softmax, "cpu", bare, "chunked"),
        (softmax, "cuda", FULL, "cuda"),
        (softmax, "cuda", bare, "call"),
        (sigmoid, "cpu", FULL, "inductor"),
        (sigmoid, "cpu", bare, "chunked"),
        (sigmoid, "cuda", FULL, "inductor"),
        (sigmoid, "meta", FULL, "call"),
    ):
        choices = {dispatch.choose(call, [size], torch.device(device), on=machine) for _ in range(2)}
        assert [c.module for c in choices] == [module]


def test_no_compiler_is_the_reason_for_chunks(monkeypatch):
    monkeypatch.setenv("CXX", "/no/such/compiler")
    choice = ask(2**21)
    assert choice.backend == "chunked"
    assert "no C++ compiler found (/no/such/compiler" in choice.reason
    with pytest.raises(BackendError, match="no C\\+\\+ compiler"):
        L.asymmetric_loss(torch.zeros(4), torch.zeros(4), backend="compiled")


@pytest.mark.parametrize(
    ("loss", "logits", "targets", "arguments", "why"),
    [
        ("dice", torch.zeros(2, 3, 8), torch.zeros(2, 8).long(), {}, "no single pass"),
        ("focal", torch.zeros(2, 3), torch.zeros(2, 3), {"reduction": "none"}, "nothing to save"),
        ("focal", torch.zeros(2, 3), torch.zeros(2, 3, requires_grad=True), {}, "requires a gradient"),
        ("ce", torch.zeros(2, 3), torch.full((2, 3), 1 / 3), {}, "dense rows"),
        ("ce", (2, 3), (2,), {"label_smoothing": 0.1}, "smoothed labels"),
        ("focal", torch.zeros(20_000, 3), torch.zeros(20_000, 3), {"weight": torch.ones(20_000, 1)}, "chunks"),
    ],
)
def test_it_says_why_not(loss, logits, targets, arguments, why):
    choice = explain(L.LOSSES[loss].function, logits, targets, **arguments)
    assert choice.backend == "eager"
    assert re.search(why, choice.reason)


def test_what_eager_alone_can_do_is_refused_when_demanded():
    x = torch.zeros(20, 3)
    with pytest.raises(BackendError, match="nothing to save"):
        L.sigmoid_focal_loss(x, x, reduction="none", backend="compiled")
    with pytest.raises(BackendError, match="smoothed labels"):
        L.softmax_focal_loss(x, torch.zeros(20).long(), label_smoothing=0.1, backend="compiled")
    with pytest.raises(BackendError, match="requires a gradient"):
        L.sigmoid_focal_loss(x, torch.zeros(20, 3, requires_grad=True), backend="compiled")
    with pytest.raises(BackendError, match="runs on CUDA devices"):
        L.sigmoid_focal_loss(x, x, backend="triton")
    with pytest.raises(BackendError, match=r"no handwritten kernel|triton is not installed"):
        explain("asl", x, x, backend="triton", device="cuda")


@pytest.mark.usefixtures("no_compiler")
def test_a_fused_loss_takes_the_single_pass_and_no_other_does(monkeypatch):
    monkeypatch.setattr(dispatch, "CHUNKED", 1)
    wanted = {"regions", "boxes", "deltas", "embeddings", "teacher", "positions", "background + classes"}
    counts = {"balanced_softmax", "logit_adjusted", "vs", "ldam"}
    for spec in L.LOSSES.values():
        if spec.function is None or spec.targets in wanted:
            continue
        labels = spec.targets in ("classes", "labels")
        targets = torch.zeros(4000, dtype=torch.long) if labels else torch.zeros(4000, 8)
        arguments = {"class_counts": [3] * 8} if spec.name in counts else {}
        choice = explain(spec.function, torch.zeros(4000, 8), targets, **arguments)
        assert (choice.backend == "chunked") == spec.fused, spec.name


@pytest.mark.skipif(cpu.library(torch.float32, True) is None, reason="focalkit was installed without a compiler")
def test_what_came_compiled_is_taken_at_every_size(monkeypatch):
    here = dispatch.machine()
    monkeypatch.setattr(dispatch, "machine", lambda: dataclasses.replace(here, broken={"cpu": "no Python.h"}))
    for n in (1, 2**22):
        choice = explain("focal", (n,), (n,), targets_dtype=torch.float32)
        assert str(choice) == "compiled: C++ written for this loss, which came compiled with focalkit"
    assert explain("asl", (2**20,), (2**20,), targets_dtype=torch.float32).backend == "chunked"


@pytest.mark.usefixtures("no_compiler")
def test_without_any_compiler_large_calls_are_chunked():
    assert [explain("focal", (n, 4), (n,)).backend for n in (1, 2**15, 2**16)] == ["eager", "eager", "chunked"]


def test_on_the_cpu_rows_of_a_softmax_are_never_compiled_by_inductor(monkeypatch):
    monkeypatch.setattr(dispatch, "machine", lambda: FULL)
    assert explain("poly1_ce", (2**12, 8), (2**12,)).backend == "eager"
    assert explain("poly1_ce", (2**20, 8), (2**20,)).backend == "chunked"
    assert explain("poly1_ce", (2**20, 8), (2**20,), backend="compiled").module == "inductor"


@pytest.mark.parametrize("mode", ["context", "default", "function"])
@pytest.mark.parametrize("name", ["focal", "softmax_focal", "asl"])
def test_a_default_device_or_a_function_mode_changes_nothing(mode, name, monkeypatch):
    monkeypatch.setattr(dispatch, "SMALL", 1)
    monkeypatch.setattr(dispatch, "CHUNKED", 1)
    loss, x, y = L.LOSSES[name].function, torch.randn(60, 5), torch.arange(60) % 5
    before, plain = explain(loss, x, y), loss(x, y, backend="eager")
    weight = torch.arange(5.0)

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            return func(*args, **kwargs or {})

    x.requires_grad_()
    context = {"context": lambda: torch.device("meta"), "function": Watch}.get(mode, lambda: torch.device("cpu"))()
    if mode == "default":
        torch.set_default_device("meta")
    try:
        with context if mode != "default" else torch.enable_grad():
            assert explain(loss, x, y) == before
            values = loss(x, y), loss(x, y, class_weight=weight)
            values[0].backward()
    finally:
        torch.set_default_device(None)
    torch.testing.assert_close(values[0].detach(), plain)
    torch.testing.assert_close(values[1].detach(), loss(x.detach(), y, class_weight=weight, backend="eager"))
    assert x.grad.device == x.device


def test_explain_changes_no_state_and_takes_shapes():
    labels, x = torch.tensor([1, 1, 2, 2]), torch.randn(4, 4)
    for module in (L.GHMC(momentum=0.5), L.EQLv2(4), L.EqualizedFocalLoss(4), L.SeesawLoss(4)):
        before = {key: value.clone() for key, value in module.state_dict().items()}
        assert explain(module, x, labels) == explain(module, (4, 4), (4,))
        assert explain(module, x, labels).reason == "this loss has no single pass"
        for key, value in module.state_dict().items():
            assert torch.equal(value, before[key])
    counts = {"class_counts": [3, 1, 2, 4]}
    shapes = explain("balanced_softmax(class_counts=[3, 1, 2, 4])", (4, 4), (4,))
    assert shapes == explain(L.balanced_softmax_loss, (4, 4), (4,), **counts)
    assert shapes == explain(L.balanced_softmax_loss, x, labels, **counts)
    assert explain(torch.nn.CrossEntropyLoss(), x, labels).backend == "eager"


def test_there_is_one_finder_of_a_compiler(monkeypatch):
    from focalkit.cli import doctor

    for cxx in ("/no/such/compiler", "sh -c"):
        monkeypatch.setenv("CXX", cxx)
        found = build.compiler()
        assert (doctor._compiler() is None) == (found is None)
        assert ("cpu" in dispatch.machine().broken) == (found is None)
