"""BatchNorm over the images of all processes of a job, on GPUs (torch's own) and on CPUs (for which torch has none)."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

LIVE = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def synced_norms(model: nn.Module, *, on_gpu: bool = True) -> nn.Module:
    """The model with its live BatchNorms replaced by such that normalise over all processes.

    torch's own conversion would drop what timm's norms hold beside: their activation. On a CPU timm's stay as they are.
    """
    if not on_gpu:
        return _on_cpu(model)
    if any(type(module).__module__.startswith("timm.") for module in model.modules()):
        from timm.layers import convert_sync_batchnorm  # pyright: ignore[reportPrivateImportUsage]

        return convert_sync_batchnorm(model)
    return nn.SyncBatchNorm.convert_sync_batchnorm(model)


def _on_cpu(model: nn.Module) -> nn.Module:
    if isinstance(model, LIVE) and type(model) in LIVE:
        made = CpuSyncedNorm(model.num_features)
        made.__dict__.update(model.__dict__)  # the same parameters and buffers, in the same mode
        return made
    for name, child in model.named_children():
        setattr(model, name, _on_cpu(child))
    return model


class CpuSyncedNorm(_BatchNorm):
    """BatchNorm whose mean and variance are those of all processes of the default group.

    The variance is that of the values less the common mean: sums of squares would lose the digits of large means.
    """

    def _check_input_dim(self, input: Tensor) -> None:  # any (b, c, ...)
        pass

    def forward(self, input: Tensor) -> Tensor:
        """(b, c, ...) -> the same shape."""
        if not self.training or not dist.is_initialized():
            return super().forward(input)
        over, shape = [0, *range(2, input.ndim)], [1, -1, *[1] * (input.ndim - 2)]
        x = input.float() if input.dtype in (torch.float16, torch.bfloat16) else input
        totals = _Sum.apply(torch.cat([x.sum(over), x.new_tensor([x.numel() / x.shape[1]])]))
        count = totals[-1].detach()
        mean = totals[:-1] / count
        centred = x - mean.view(shape)
        variance = _Sum.apply(centred.square().sum(over)) / count
        self._track(mean.detach(), variance.detach() * count / (count - 1))
        out = centred * (variance + self.eps).rsqrt().view(shape)
        if self.weight is not None:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        return out.to(input.dtype)

    def _track(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(variance.to(self.running_var.dtype), share)


class _Sum(torch.autograd.Function):
    """The sum over all processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total
