"""Convolutions that carry the BatchNorm behind them, so that a frozen one costs nothing.

A BatchNorm with fixed statistics is a scale and a shift per channel. Put into the convolution's weight and bias they
cost a product over the weights instead of two passes over the activations, which on a CPU halves the time of a training
step of MobileNetV2. The names in the state dict stay BatchNorm's.
"""

from itertools import pairwise
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from focalkit.detection.models.fast_conv import FastConv2d

Conv = TypeVar("Conv", bound=nn.Conv2d)
Norm = TypeVar("Norm", bound=nn.Module)


class FrozenNorm(nn.Module):
    """The fixed statistics, scale and shift of a BatchNorm, as buffers.

    Applied by itself it is BatchNorm in evaluation mode; behind a `NormedConv2d` that has taken it in, it does nothing.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.taken_in = False
        for name, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            self.register_buffer(name, torch.full((num_features,), value))

    def affine(self) -> tuple[Tensor, Tensor]:
        """Scale and shift of each channel."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        return scale, self.bias - self.running_mean * scale

    def forward(self, x: Tensor) -> Tensor:
        if self.taken_in:
            return x
        scale, shift = self.affine()
        return x * scale.view(-1, 1, 1) + shift.view(-1, 1, 1)


class NormedConv2d(FastConv2d):
    """A convolution without bias, with the `FrozenNorm` that follows it."""

    norm: tuple[FrozenNorm, ...] = ()  # in a tuple, so that its buffers stay in the place that names them

    def forward(self, input: Tensor) -> Tensor:
        scale, shift = self.norm[0].affine()
        return self._conv_forward(input, self.weight * scale.view(-1, 1, 1, 1), shift)


class SameConv2d(nn.Conv2d):
    """3x3 convolution of stride 2 with TensorFlow's SAME padding: an even side is padded at its end only.

    Padding both sides of an even side by 2 gives the same outputs behind a first one, which is cut off; a copy of the
    input with one more row and column costs more than that.
    """

    def forward(self, input: Tensor) -> Tensor:
        even = [1 - side % 2 for side in input.shape[-2:]]
        y = F.conv2d(input, self.weight, self.bias, self.stride, (1 + even[0], 1 + even[1]), groups=self.groups)
        return y[:, :, even[0] :, even[1] :]


def take_in_norms(net: nn.Module) -> None:
    """Make every convolution that a `FrozenNorm` follows a `NormedConv2d`, in place."""
    for parent, key, conv, norm in pairs(net, FrozenNorm):
        new = like(conv, NormedConv2d, bias=False)
        new.weight = conv.weight
        new.norm = (norm,)
        norm.taken_in = True
        setattr(parent, key, new)


def fold_norms(net: nn.Module) -> None:
    """Give every convolution that a `FrozenNorm` follows the bias it would add, and drop the norm, in place.

    Convolutions of stride 2 get TensorFlow's padding. Weights are drawn anew: they are to be loaded.
    """
    for parent, key, conv, norm in pairs(net, FrozenNorm):
        new = like(conv, SameConv2d if conv.stride == (2, 2) else nn.Conv2d, bias=True)
        assert new.bias is not None
        nn.init.kaiming_normal_(new.weight, mode="fan_out")
        nn.init.zeros_(new.bias)
        setattr(parent, key, new)
        setattr(parent, next(name for name, child in parent.named_children() if child is norm), nn.Identity())


@torch.no_grad()
def fold(net: nn.Module) -> None:
    """Make every `NormedConv2d` a plain convolution, the scale in its weight and the shift in its bias, in place."""
    for parent in list(net.modules()):
        for key, conv in list(parent.named_children()):
            if isinstance(conv, NormedConv2d):
                setattr(parent, key, with_norm(conv, conv.norm[0]))
    for parent in list(net.modules()):
        for key, norm in list(parent.named_children()):
            if isinstance(norm, FrozenNorm) and norm.taken_in:
                setattr(parent, key, nn.Identity())


@torch.no_grad()
def with_norm(conv: nn.Conv2d, norm: FrozenNorm | nn.BatchNorm2d) -> nn.Conv2d:
    """A convolution that gives what both give in evaluation, computed in float64.

    So the sum over a deep network does not drift from the original's.
    """
    plain = like(conv, FastConv2d, bias=True)
    assert norm.running_var is not None
    assert norm.running_mean is not None
    scale = norm.weight.double() * (norm.running_var.double() + norm.eps).rsqrt()
    assert plain.bias is not None
    assert conv.bias is None  # none of ours has one before a norm
    plain.weight.copy_(conv.weight.double() * scale.view(-1, 1, 1, 1))
    plain.bias.copy_(norm.bias.double() - norm.running_mean.double() * scale)
    return plain.requires_grad_(False)


def pairs(net: nn.Module, kind: type[Norm]) -> list[tuple[nn.Module, str, nn.Conv2d, Norm]]:
    """Parent, name, convolution and norm, wherever a norm of a kind is the next child of its parent."""
    found = []
    for parent in net.modules():
        children = list(parent.named_children())
        for (key, conv), (_, norm) in pairwise(children):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, kind):
                found.append((parent, key, conv, norm))
    return found


def _pair(values: Any) -> tuple[int, int]:
    """Height and width, which a convolution keeps as a tuple of any length."""
    height, width = values
    return height, width


def like(conv: nn.Conv2d, kind: type[Conv], bias: bool) -> Conv:
    return kind(
        conv.in_channels,
        conv.out_channels,
        _pair(conv.kernel_size),
        _pair(conv.stride),
        _pair(conv.padding),
        groups=conv.groups,
        bias=bias,
        device=conv.weight.device,
        dtype=conv.weight.dtype,
    )
