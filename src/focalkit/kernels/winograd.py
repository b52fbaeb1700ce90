"""3x3 convolutions of stride 1 in float32 on the CPU, with a quarter of the products (`native/winograd.h`).

In a RetinaNet they are three quarters of the arithmetic. By Winograd's algorithm (Lavin and Gray, CVPR 2016, "Fast
Algorithms for Convolutional Neural Networks", F(4x4, 3x3)) a tile of 4 x 4 outputs takes 36 products for each pair of
channels and not 144. Their rounding is a few times that of the direct sum, a millionth of the map's own scale
(root mean square); a NaN or an infinity spreads over the tiles that see it.
"""

import ctypes
import functools
import threading
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from . import cpu
from .dispatch import watched

BAND = 2**23
"""Bytes of transformed inputs and outputs that are made at a time, unless a single row of tiles has more"""
CHANNELS = 128
"""Of inputs and outputs, from which the products are worth the transforms"""
TILES = 256
"""Of all images, from which transforming the weights is worth it"""

_kept = threading.local()
_Map = cpu.structure("Map", **dict.fromkeys(("images", "height", "width", "channels"), ctypes.c_int64))


def conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.conv2d(x, weight, bias, padding=1)` of a weight (k, c, 3, 3), faster where it is large, in float32 on a CPU.

    Args:
        x: (b, c, h, w).
        weight: (k, c, 3, 3).
        bias: (k,).

    Returns:
        (b, k, h, w). Its second derivatives are not defined.
    """
    if _pays(x, weight, bias):
        return _Convolution.apply(x, weight, bias)
    return F.conv2d(x, weight, bias, padding=1)


def _pays(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    if watched() is not None:  # first: to a tracer, what is asked of shapes is a condition
        return False
    if not (type(x) is Tensor and x.ndim == 4 and weight.shape[1:] == (x.shape[1], 3, 3)):
        return False
    k, c = weight.shape[:2]
    if c % 16 or k % 16 or min(c, k) < CHANNELS or (bias is not None and bias.shape != (k,)):
        return False
    if x.shape[0] * -(-x.shape[2] // 4) * -(-x.shape[3] // 4) < TILES:
        return False
    given = (x, weight) if bias is None else (x, weight, bias)
    if any(t.dtype != torch.float32 or t.device.type != "cpu" for t in given):
        return False
    return not torch.is_autocast_enabled("cpu") and _code() is not None


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _convolve(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        return (
            _convolve(gradient, weight.flip(2, 3).transpose(0, 1), None) if wanted[0] else None,
            _by_weight(x, gradient) if wanted[1] else None,
            gradient.sum((0, 2, 3)) if wanted[2] else None,
        )


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    k, c = weight.shape[:2]
    x, y = _channels_last(x), torch.empty_like(x[:, :1].expand(-1, k, -1, -1), memory_format=torch.channels_last)
    bias = None if bias is None else bias.contiguous()
    transformed = torch.mm(_weights(), weight.permute(2, 3, 1, 0).reshape(9, c * k))
    for band, tiles in _bands(x, c + k):
        inputs, products = _scratch(tiles, c, k)
        _call("inputs", x, _map(x), *band, inputs)
        _call("products", inputs, transformed, tiles, c, k, products)
        _call("outputs", y, _map(y), *band, products, bias)
    return y


def _by_weight(x: Tensor, gradient: Tensor) -> Tensor:
    """Gradient by the weight, (k, c, 3, 3)."""
    x, gradient = _channels_last(x), _channels_last(gradient)
    c, k = x.shape[1], gradient.shape[1]
    total = x.new_zeros(36, c, k)
    for band, tiles in _bands(x, c + k):
        inputs, outer = _scratch(tiles, c, k)
        _call("inputs", x, _map(x), *band, inputs)
        _call("gradients", gradient, _map(gradient), *band, outer)
        _call("by_weight", inputs, outer, tiles, c, k, total)
    return torch.mm(_weights().T, total.view(36, c * k)).view(3, 3, c, k).permute(3, 2, 0, 1)


@functools.cache
def _weights() -> Tensor:
    """(36, 9): 3 x 3 weights to the 36 places; as `native/winograd.h` has the points."""
    a, b = 5 / 8, 3 / 2
    zero, at_a, at_b = a * a * b * b, 2 * a * a * (a * a - b * b), 2 * b * b * (b * b - a * a)
    rows = [(0.0, zero), (a, at_a), (-a, at_a), (b, at_b), (-b, at_b)]
    lines = [[1 / s, p / s, p * p / s] for p, s in rows] + [[0.0, 0.0, 1.0]]
    one = torch.tensor(lines, dtype=torch.float64, device="cpu")
    return torch.kron(one, one).float()


def _bands(x: Tensor, channels: int) -> Iterator[tuple[tuple[int, int], int]]:
    """First and last of a band's rows of tiles, counted through all images, and how many tiles it has."""
    images, _, height, width = x.shape
    rows, columns = images * -(-height // 4), -(-width // 4)
    step = max(1, BAND // (36 * channels * 4 * columns))
    return (((i, min(i + step, rows)), (min(i + step, rows) - i) * columns) for i in range(0, rows, step))


def _scratch(tiles: int, c: int, k: int) -> tuple[Tensor, Tensor]:
    """(36, tiles, c) and (36, tiles, k) in memory that this thread keeps: fresh memory costs as much as a transform."""
    kept, size = getattr(_kept, "floats", None), 36 * tiles * (c + k)
    if kept is None or kept.numel() < size:
        kept = _kept.floats = torch.empty(max(size, BAND // 4), dtype=torch.float32, device="cpu")
    return kept[: 36 * tiles * c].view(36, tiles, c), kept[36 * tiles * c : size].view(36, tiles, k)


def _map(x: Tensor) -> ctypes.Structure:
    images, channels, height, width = x.shape
    return _Map(images, height, width, channels)


def _call(name: str, *given: Tensor | ctypes.Structure | int | None) -> None:
    def argument(value: Tensor | ctypes.Structure | int | None) -> Any:
        if isinstance(value, ctypes.Structure):
            return ctypes.byref(value)
        if isinstance(value, int):
            return ctypes.c_int64(value)
        return ctypes.c_void_p(None if value is None else value.data_ptr())

    getattr(_code(), f"winograd_{name}")(*(argument(value) for value in (*given, cpu.team())))


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _code() -> ctypes.CDLL | None:
    return cpu.library(torch.float32, True)
