"""The properties, one function each: `check_x(case, sample, shape, rng)` raises AssertionError where it fails."""

import copy
import inspect
import io
import math
import pickle
from collections.abc import Callable

import torch
import torch.utils.checkpoint
from torch import Generator, Tensor, nn

from ..losses import LossModule, build, spec_of
from ._cases import Case, Sample, Shape


def _close(a: Tensor, b: Tensor, what: str, rtol: float = 1e-9, atol: float = 1e-11) -> None:
    assert a.shape == b.shape, f"{what}: shapes {tuple(a.shape)} and {tuple(b.shape)}"
    if not torch.allclose(a.double(), b.double(), rtol=rtol, atol=atol):
        worst = (a.double() - b.double()).abs().max().item()
        raise AssertionError(f"{what}: differs by up to {worst:.3g}")


def _quiet(case: Case, shape: Shape, **arguments: object) -> nn.Module:
    """The loss in evaluation mode, so that no statistic moves between two calls."""
    return case.build(shape, **arguments).double().eval()


def _gradient(loss: nn.Module, x: Tensor, t: Tensor, **call: Tensor) -> Tensor:
    leaf = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(loss(leaf, t, **call).sum(), leaf)
    return g


def check_reductions(case: Case, sample: Sample, shape: Shape, rng: Generator) -> None:
    """ "sum" is the sum of "none", "mean" its mean, and a normalizer divides the sum."""
    x, t = sample(shape, rng)
    each = _quiet(case, shape, reduction="none")(x, t)
    total = _quiet(case, shape, reduction="sum")
    _close(each.sum(), total(x, t), "sum")
    _close(each.mean(), _quiet(case, shape, reduction="mean")(x, t), "mean")
    for normalizer in (3.0, torch.tensor(7)):
        _close(each.sum() / normalizer, total(x, t, normalizer=normalizer), "normalizer")


def check_weight(case: Case, sample: Sample, shape: Shape, rng: Generator) -> None:
    """A weight multiplies the unreduced loss."""
    x, t = sample(shape, rng)
    loss = _quiet(case, shape, reduction="none")
    each = loss(x, t)
    weight = torch.rand(each.shape, dtype=torch.float64, generator=rng) + 0.1
    _close(loss(x, t, weight=weight), each * weight, "weight")
    _close(loss(x, t, weight=torch.tensor(3.0)), each * 3, "weight, a 0-d tensor")
    for axis in range(each.ndim):
        narrow = weight.select(axis, 0).unsqueeze(axis)
        _close(loss(x, t, weight=narrow), each * narrow, f"weight {tuple(narrow.shape)}")


def check_weight_never_enlarges(case: Case, sample: Sample, shape: Shape, rng: Generator) -> None:
    """A weight of another shape is refused, or has a meaning of its own; it never turns N losses into N x N."""
    x, t = sample(shape, rng)
    loss = _quiet(case, shape, reduction="none")
    each = loss(x, t)
    n, *rest = each.shape
    wrong = [(*each.shape, 1), (*each.shape, n), (1, *each.shape), (n + 1, *rest)]
    wrong += [(n,)] * bool(rest) + [(n, 1)] * (not rest)
    for size in wrong:
        got, message = None, ""
        try:
            got = loss(x, t, weight=torch.full(size, 2.0))
        except ValueError as error:
            message = str(error)
        if got is not None:
            assert got.shape == each.shape, f"weight {size} made {tuple(got.shape)} of {tuple(each.shape)}"
        else:
            assert f"weight of shape {size}" in message, f"the message {message!r} does not name weight {size}"


def check_zero_weight_is_absence(case: Case, sample: Sample, shape: Shape, rng: Generator) -> None:
    """Rows of weight 0 change nothing: not the value, not the mean's denominator, not the gradient."""
    if not case.separate_rows:
        return
    x, t = sample((shape[0] + 2, *shape[1:]), rng)
    n = len(x)
    present = torch.arange(n) % 2 == 0
    each = _quiet(case, shape, reduction="none")(x, t)
    weight = present.double().view(-1, *[1] * (each.ndim - 1))
    for reduction in ("sum", "mean"):
        loss = _quiet(case, shape, reduction=reduction)
        with_zeros = loss(x, t, weight=weight)
        if case.kind == "embeddings":  # an absent anchor still serves as a negative
            _close(with_zeros, getattr(each[present], reduction)(), reduction)
            continue
        _close(with_zeros, loss(x[present], t[present]), reduction)
        assert (_gradient(loss, x, t, weight=weight)[~present] == 0).all(), "gradient of absent rows"


def check_ignored_is_absence(case: Case, sample: Sample, shape: Shape, rng: Generator) -> None:
    """Ignored rows change nothing, whatever their logits are."""
    if not case.has_ignore:
        return
    x, t = sample((shape[0] + 2, *shape[1:]), rng)
    present = torch.arange(len(x)) % 2 == 0
    t = torch.where(present.view(-1, *[1] * (t.ndim - 1)), t, -100)
    bad = x.clone()
    bad[~present] = math.nan
    for reduction in ("sum", "mean"):
        loss = _quiet(case, shape, reduction=reduction)
        _close(loss(bad, t), loss(x[present], t[present]), reduction)
        gradient = _gradient(loss, bad, t)
        assert (gradient[~present] == 0).all(), "gradient of ignored rows"
        _close(gradient[present], _gradient(loss, x[present], t[present]), "gradient of the others")


def check_empty(case: Case, sample: Sample, shape: Shape, rng: Generator) -> None:
    """No rows give 0, and a gradient of the right shape."""
    if case.kind == "embeddings":
        return
    x, t = sample(shape, rng)
    loss = _quiet(case, shape)
    assert loss(x[:0], t[:0]) == 0, "mean over nothing"
    assert _gradient(loss, x[:0], t[:0]).shape == x[:0].shape


def check_permutation(case: Case, sample: Sample, shape: Shape, rng: Generator) -> None:
    """Rows may come in any order."""
    x, t = sample(shape, rng)
    order = torch.randperm(len(x), generator=rng)
    loss = _quiet(case, shape, reduction="none")
    each = loss(x, t)
    _close(each[order] if case.separate_rows else each, loss(x[order], t[order]), "permuted")


def check_parts(case: Case, sample: Sample, shape: Shape, rng: Generator) -> None:
    """A loss that says it is elementwise gives a batch in parts what it gives the whole, in training too."""
    loss = case.build(shape, reduction="none").double()
    if not getattr(loss, "elementwise", False):
        return
    x, t = sample(shape, rng)
    each = loss(x, t)
    _close(torch.cat([loss(x[:1], t[:1]), loss(x[1:], t[1:])]), each, "parts of the batch")
    if case.has_axes:
        parts = [loss(x[..., i : i + 1], t[..., i : i + 1]) for i in range(shape[2])]
        _close(torch.cat(parts, -1), each, "parts of the other axis")


def check_axes(case: Case, sample: Sample, shape: Shape, rng: Generator) -> None:
    """Further axes may be folded, and the classes may be the last axis."""
    if not case.has_axes:
        return
    x, t = sample((shape[0], shape[1], 4), rng)
    loss = _quiet(case, shape)
    if case.kind != "places":  # whose axes are directions
        _close(loss(x, t), loss(x.unflatten(2, (2, 2)), t.unflatten(-1, (2, 2))), "two spatial axes")
    if hasattr(loss, "class_dim"):
        moved = t.movedim(1, -1) if t.shape == x.shape else t
        _close(loss(x, t), _quiet(case, shape, class_dim=-1)(x.movedim(1, -1), moved), "class_dim=-1")


def check_one_class(case: Case, sample: Sample, shape: Shape, rng: Generator) -> None:
    """One class is allowed."""
    if case.kind == "positions" or not case.has_axes:
        return
    one = (shape[0], 1, shape[2])
    x, t = sample(one, rng)
    loss = _quiet(case, one)
    assert torch.isfinite(loss(x, t)), "value with one class"
    assert torch.isfinite(_gradient(loss, x, t)).all(), "gradient with one class"


def check_low_precision(case: Case, sample: Sample, shape: Shape, rng: Generator) -> None:
    """float16 and bfloat16 inputs give what float64 gives on the same numbers, as float32."""
    x, t = sample(shape, rng)
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        low = x.to(dtype)
        second = t.to(dtype) if t.is_floating_point() else t
        exact = second.double() if t.is_floating_point() else t
        loss = case.build(shape, reduction="none").eval()
        value = loss(low, second)
        assert value.dtype == torch.float32, f"{dtype} gives {value.dtype}"
        want = _quiet(case, shape, reduction="none")
        _close(value, want(low.double(), exact), f"{dtype}", rtol=3e-5, atol=2e-6)
        gradient = _gradient(loss, low, second)
        assert gradient.dtype == dtype, f"gradient of {dtype} is {gradient.dtype}"
        eps = {torch.float16: 2e-3, torch.bfloat16: 1.6e-2, torch.float32: 1e-4}[dtype]
        _close(gradient, _gradient(want, low.double(), exact), f"gradient in {dtype}", rtol=eps, atol=1e-5)


def check_autocast(case: Case, sample: Sample, shape: Shape, rng: Generator) -> None:
    """Under autocast the loss is computed as without it."""
    x, t = sample(shape, rng)
    x, t = x.float(), t.float() if t.is_floating_point() else t
    loss = case.build(shape).eval()
    want = loss(x, t)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = loss(x, t)
    assert got.dtype == torch.float32, f"autocast gives {got.dtype}"
    _close(got, want, "autocast", rtol=1e-6, atol=1e-7)


def check_no_value_is_read(case: Case, sample: Sample, shape: Shape, rng: Generator) -> None:
    """Nothing waits for a device: tensors without values (device "meta") pass through forward and backward."""
    x, t = sample(shape, rng)
    loss = case.build(shape).to("meta")
    leaf = x.to("meta").requires_grad_()
    loss(leaf, t.to("meta")).backward()
    assert leaf.grad is not None, "no gradient"
    assert leaf.grad.shape == x.shape, "gradient shape"


def check_gradients(case: Case, sample: Sample, shape: Shape, rng: Generator) -> None:
    """The gradient, and the gradient of the gradient, are those of the value."""
    if not case.differentiable:
        return
    x, t = sample((2, shape[1], 2), rng)
    loss = _quiet(case, shape, reduction="sum")
    leaf = x.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, t), leaf), "gradcheck"
    assert torch.autograd.gradgradcheck(lambda x: loss(x, t), leaf), "gradgradcheck"


def check_forward_mode(case: Case, sample: Sample, shape: Shape, rng: Generator) -> None:
    """Derivatives in forward mode, and forward over reverse, are those in reverse mode."""
    x, t = sample((2, shape[1], 2), rng)
    loss = _quiet(case, shape, reduction="sum")
    along = torch.randn(x.shape, dtype=x.dtype, generator=rng)
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf, t), leaf, create_graph=True)
    forward = torch.func.jvp(lambda x: loss(x, t), (x,), (along,))[1]
    _close(forward, (gradient * along).sum(), "jvp")
    if gradient.requires_grad:  # not where the loss is linear
        (want,) = torch.autograd.grad((gradient * along).sum(), leaf)
        twice = torch.func.jvp(torch.func.grad(lambda x: loss(x, t)), (x,), (along,))[1]
        _close(twice, want, "jvp of grad", rtol=1e-7)


def check_checkpoint(case: Case, sample: Sample, shape: Shape, rng: Generator) -> None:
    """Activation checkpointing changes nothing."""
    x, t = sample(shape, rng)
    loss = _quiet(case, shape)
    leaf = x.clone().requires_grad_()
    torch.utils.checkpoint.checkpoint(loss, leaf, t, use_reentrant=False).backward()
    assert leaf.grad is not None, "no gradient"
    _close(leaf.grad, _gradient(loss, x, t), "gradient under checkpointing")


def check_inputs_are_kept(case: Case, sample: Sample, shape: Shape, rng: Generator) -> None:
    """Nothing is written to the inputs."""
    x, t = sample(shape, rng)
    before = x.clone(), t.clone()
    _gradient(case.build(shape).double(), x, t)
    assert torch.equal(x, before[0]), "first argument"
    assert torch.equal(t, before[1]), "second argument"


def check_module_is_function(case: Case, sample: Sample, shape: Shape, rng: Generator) -> None:
    """The module gives what its function gives with the same arguments."""
    x, t = sample(shape, rng)
    loss = case.build(shape)
    if not isinstance(loss, LossModule):
        return
    function = type(loss).function
    given = {k: v for k, v in loss.arguments().items() if isinstance(v, Tensor) or v != loss.defaults[k]}
    _close(loss(x, t), function(x, t, **given), "module and function")
    for key, parameter in inspect.signature(function).parameters.items():
        if key in loss.defaults:
            assert loss.defaults[key] is parameter.default, f"default of {key}"


def check_round_trips(case: Case, sample: Sample, shape: Shape, rng: Generator) -> None:
    """Pickle, deepcopy, state_dict and the spec bring back the same loss, its state included."""
    x, t = sample(shape, rng)
    loss = case.build(shape).double()
    loss(x.clone().requires_grad_(), t)  # whatever has a state has one now
    loss.eval()
    want = loss(x, t)
    stored = io.BytesIO()
    torch.save(loss.state_dict(), stored)
    stored.seek(0)
    restored = _quiet(case, shape)
    restored.load_state_dict(torch.load(stored, weights_only=True))
    _close(restored(x, t), want, "state_dict")
    _close(copy.deepcopy(loss)(x, t), want, "deepcopy")
    _close(pickle.loads(pickle.dumps(loss))(x, t), want, "pickle")
    if isinstance(loss, LossModule):
        _close(build(spec_of(loss)).double()(x, t), want, "spec", rtol=1e-6)


def check_state(case: Case, sample: Sample, shape: Shape, rng: Generator) -> None:
    """Buffers move in training with gradients on, and at no other time."""
    x, t = sample(shape, rng)
    loss = case.build(shape).double()

    def state() -> list[Tensor]:
        return [b.clone() for b in loss.buffers()]

    def same(a: list[Tensor], b: list[Tensor]) -> bool:
        return all(torch.equal(p, q) for p, q in zip(a, b, strict=True))

    start = state()
    with torch.no_grad():
        loss(x, t)
    assert same(start, state()), "no_grad moved a statistic"
    loss.eval()(x, t)
    assert same(start, state()), "evaluation moved a statistic"


def check_compile(case: Case, sample: Sample, shape: Shape, rng: Generator) -> None:
    """torch.compile traces it as one graph, with the same value and gradient."""
    x, t = sample(shape, rng)
    loss = _quiet(case, shape)
    torch.compiler.reset()
    fast = torch.compile(loss, fullgraph=True, backend="eager", dynamic=False)
    leaf, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    value, want = fast(leaf, t), loss(other, t)
    _close(value, want, "compiled value")
    _close(torch.autograd.grad(value, leaf)[0], torch.autograd.grad(want, other)[0], "compiled gradient")


def check_vmap(case: Case, sample: Sample, shape: Shape, rng: Generator) -> None:
    """torch.func's vmap and grad give what a loop over backward gives."""
    draws = [sample(shape, rng) for _ in range(3)]
    x, t = (torch.stack(part) for part in zip(*draws, strict=True))
    loss = _quiet(case, shape)
    together = torch.func.vmap(torch.func.grad(loss), randomness="same")(x, t)
    _close(together, torch.stack([_gradient(loss, a, b) for a, b in draws]), "vmap of grad")


def check_extremes(case: Case, sample: Sample, shape: Shape, rng: Generator) -> None:
    """Every finite first argument, and -inf, has a finite value and gradient."""
    x, t = sample(shape, rng)
    second = t.float() if t.is_floating_point() else t
    for value in (-math.inf, -3.4e38, -1e5, -104.0, -89.0, -17.0, 0.0, 17.0, 89.0, 104.0, 1e5, 3.4e38):
        if not case.has_axes and not -1e5 <= value <= 1e5:
            continue  # lengths and cosines: beyond, their squares overflow
        low = x.float()
        low.view(-1)[:: max(low.numel() // 3, 1)] = value
        loss = case.build(shape, reduction="none").eval()
        assert torch.isfinite(loss(low, second)).all(), f"value at {value:g}"
        assert torch.isfinite(_gradient(loss, low, second)).all(), f"gradient at {value:g}"
        whole = case.build(shape).eval()  # a reduction may take another road than the elements
        assert torch.isfinite(whole(low, second)).all(), f"reduced value at {value:g}"
        assert torch.isfinite(_gradient(whole, low, second)).all(), f"reduced gradient at {value:g}"
    same = torch.zeros_like(x).float()
    assert torch.isfinite(_gradient(case.build(shape).eval(), same, second)).all(), "gradient at all zeros"


def check_bad_arguments(case: Case, sample: Sample, shape: Shape, rng: Generator) -> None:
    """What cannot be meant raises, and the message says what is allowed."""
    x, t = sample(shape, rng)
    known = inspect.signature(type(case.build(shape))).parameters

    def refuses(error: type[Exception] | tuple[type[Exception], ...], words: str, call: Callable[[], object]) -> None:
        message = None
        try:
            call()
        except error as caught:
            message = str(caught)
        assert message is not None, f"accepted what should raise ({words})"
        assert words in message, f"the message {message!r} does not say {words!r}"

    def run(**arguments: object) -> Tensor:
        return case.build(shape, **arguments)(x, t)

    refuses(Exception, "mean", lambda: run(reduction="avg"))
    refuses(ValueError, "normalizer", lambda: case.build(shape, reduction="none")(x, t, normalizer=2.0))
    refuses((ValueError, TypeError), "", lambda: case.build(shape)(x, t[..., :1, None]))
    for name in {"gamma", "gamma_pos", "gamma_neg", "temperature"}.difference(case.fixed):
        default = known[name].default if name in known else None
        if isinstance(default, float):
            refuses(Exception, name, lambda name=name: run(**{name: -1.0}))
    if "class_weight" in known and "class_weight" not in case.fixed:
        refuses(Exception, "class_weight", lambda: run(class_weight=[1.0] * (shape[1] + 1)))
    if "backend" in known:
        refuses(Exception, "backend", lambda: run(backend="fast"))
    if case.kind in ("binary", "classes", "labels"):
        refuses(TypeError, "floating", lambda: case.build(shape)(x.long(), t))
        labels = torch.full((shape[0], shape[2]), shape[1])
        refuses(ValueError, f"0..{shape[1] - 1}", lambda: case.build(shape)(x, labels))
        if t.is_floating_point():
            refuses(ValueError, "NaN", lambda: case.build(shape)(x, t * math.nan))
        made = x.clone().requires_grad_().sigmoid()
        refuses(ValueError, "probabilities", lambda: case.build(shape)(made, t))
