"""What a fused loss on a GPU asks of the device: memory, waiting, streams, graphs, compilations."""

import contextlib

import pytest
import torch

import focalkit.losses as L

pytestmark = pytest.mark.gpu

K = 24


@contextlib.contextmanager
def no_waiting():
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def levels(device, side=64, dtype=torch.float32, layout=torch.contiguous_format):
    generator = torch.Generator().manual_seed(side)
    sides = [max(side >> i, 1) for i in range(5)]
    maps = [torch.randn(2, 3 * K, s, s, generator=generator) * 2 - 3 for s in sides]
    labels = [torch.randint(-1, K, (2, 3, s, s), generator=generator).to(device) for s in sides]
    return [x.to(device, dtype).contiguous(memory_format=layout).requires_grad_() for x in maps], labels


def native(maps, labels, normalizer=None, **arguments):
    return L.dense_sigmoid_focal_loss(maps, labels, num_classes=K, normalizer=normalizer, **arguments)


def calls(device):
    """Name -> (loss of leaves, leaves): each kernel and each way to divide."""
    maps, labels = levels(device)
    x, t = torch.randn(3000, K, device=device).requires_grad_(), torch.rand(3000, K, device=device).round()
    y, count = torch.randint(K, (3000,), device=device), torch.tensor(7.0, device=device)
    low = x.detach().half().requires_grad_()
    return {
        "levels": (lambda: native(maps, labels, count), maps),
        "labels": (lambda: L.sigmoid_focal_loss(x, y), [x]),
        "dense": (lambda: L.sigmoid_focal_loss(x, t), [x]),
        "bool": (lambda: L.sigmoid_focal_loss(x, t > 0, reduction="sum"), [x]),
        "softmax": (lambda: L.softmax_focal_loss(x, y), [x]),
        "float16": (lambda: L.sigmoid_focal_loss(low, y, reduction="sum", normalizer=count), [low]),
        "number": (lambda: L.softmax_focal_loss(x, y, reduction="sum", normalizer=3.0), [x]),
        "compiled": (lambda: L.asymmetric_loss(x, t, backend="compiled"), [x]),
    }


NAMES = ["levels", "labels", "dense", "bool", "softmax", "float16", "number", "compiled"]


@pytest.mark.parametrize("name", NAMES)
def test_neither_pass_waits_for_the_device(device, name):
    loss, leaves = calls(device)[name]
    wanted = torch.autograd.grad(loss() * 3, leaves)
    with no_waiting():
        got = torch.autograd.grad(loss() * 3, leaves)
    assert all(map(torch.equal, got, wanted))


@pytest.mark.parametrize("name", NAMES)
def test_a_cuda_graph_captures_both_passes(device, name):
    loss, leaves = calls(device)[name]
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            torch.autograd.grad(loss(), leaves)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        value = loss()
        got = torch.autograd.grad(value, leaves)
    with torch.no_grad():
        for leaf in leaves:
            leaf.mul_(0.5)
    graph.replay()
    again = loss()
    assert torch.equal(value, again)
    assert all(map(torch.equal, got, torch.autograd.grad(again, leaves)))


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_of_ones_own_gives_the_same(device, name):
    loss, leaves = calls(device)[name]
    wanted = torch.autograd.grad(loss(), leaves)
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        got = torch.autograd.grad(loss(), leaves)
    aside.synchronize()
    assert all(map(torch.equal, got, wanted))


def test_the_second_device_computes_on_itself(device):
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two CUDA devices")
    wanted = torch.autograd.grad(native(*(first := levels(device))), first[0])
    maps, labels = levels(torch.device("cuda:1"))
    got = torch.autograd.grad(native(maps, labels) * torch.tensor(1.0, device="cuda:1"), maps)
    assert all(torch.equal(a.cpu(), b.cpu()) for a, b in zip(got, wanted, strict=True))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_peak_is_the_gradient(device, dtype, layout):
    maps, labels = levels(device, 256, dtype, layout)
    size = sum(x.nbytes for x in maps)
    native(maps, labels)  # loads the kernels
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    value = native(maps, labels, torch.tensor(7.0, device=device))
    kept = torch.cuda.memory_allocated() - before
    value.backward()
    assert kept <= 1.05 * size
    assert torch.cuda.max_memory_allocated() - before <= 1.2 * size
    assert all(x.grad.stride() == x.stride() for x in maps)


def test_the_graph_can_be_gone_through_again_and_differentiated_twice(device):
    maps, labels = levels(device, 16)
    value = native(maps, labels) * 3
    first = torch.autograd.grad(value, maps, retain_graph=True)
    kept = [g.clone() for g in first]
    assert all(map(torch.equal, torch.autograd.grad(value, maps), kept))
    assert all(map(torch.equal, first, kept))
    slopes = torch.autograd.grad(native(maps, labels), maps, create_graph=True)
    plain = torch.autograd.grad(native(maps, labels, backend="eager"), maps, create_graph=True)
    ours, theirs = (torch.autograd.grad(sum((g**2).sum() for g in gs), maps) for gs in (slopes, plain))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_and_a_gradient_scaler_lose_nothing(device, dtype):
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(8, 3 * K, 1).to(device)
    features, labels = torch.randn(2, 8, 32, 32, device=device), torch.randint(-1, K, (2, 3, 32, 32), device=device)
    layer.bias.data.fill_(-6.0)
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.0)

    def gradients(backend):
        optimizer.zero_grad()
        with torch.autocast(device.type, dtype):
            value = native([layer(features)], [labels], torch.tensor(100.0, device=device), backend=backend)
        assert value.dtype == torch.float32
        scaler.scale(value).backward()
        scaler.unscale_(optimizer)
        found = [p.grad.clone() for p in layer.parameters()]
        scaler.step(optimizer)
        scaler.update()
        return found

    for a, b in zip(gradients("auto"), gradients("eager"), strict=True):
        torch.testing.assert_close(a, b, rtol=2e-2, atol=2e-2 * float(b.abs().max()))


def test_new_image_sizes_compile_nothing(device):
    from torch._dynamo.utils import counters

    from focalkit.kernels import triton_kernels

    def built():
        names = ("label_tiles", "label_rows", "dense_targets", "softmax_rows", "scale_all")
        kernels = [getattr(triton_kernels, name) for name in names]
        sizes = [len(cache[0]) for kernel in kernels for cache in kernel.device_caches.values()]
        return sizes, counters["stats"]["unique_graphs"]

    def both(side):
        maps, labels = levels(device, side)
        (native(maps, labels, torch.tensor(7.0, device=device)) * 2).backward()
        for shape in ((2, K, side * side), (side * side, K)):
            y = torch.randint(K, shape[:1] + shape[2:], device=device)
            x = torch.randn(shape, device=device, requires_grad=True)
            L.softmax_focal_loss(x, y).backward()
            L.sigmoid_focal_loss(x, torch.rand(shape, device=device)).backward()
            L.asymmetric_loss(x, torch.rand(shape, device=device), backend="compiled").backward()

    for side in (64, 50, 33, 4):  # large and small, multiples of 16 and not: every form there is
        both(side)
    before = built()
    for side in (48, 61, 37, 80, 100, 128, 5):
        both(side)
    assert built() == before


def test_inside_an_outer_compile_the_value_is_the_same(device):
    maps, labels = levels(device, 16)
    whole = torch.compile(lambda *maps: native(maps, labels), fullgraph=True)
    value = whole(*maps)
    torch.testing.assert_close(value, native(maps, labels), rtol=1e-5, atol=1e-5)
    got, wanted = torch.autograd.grad(value, maps), torch.autograd.grad(native(maps, labels), maps)
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
