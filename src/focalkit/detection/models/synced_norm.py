"""BatchNorm over the images of all GPUs of a job. What this file does not do: torch has no such norm for CPUs."""

from torch import nn


def synced_norms(model: nn.Module) -> nn.Module:
    """The model with its live BatchNorms replaced by such that normalise over all processes.

    torch's own conversion would drop what timm's norms hold beside: their activation.
    """
    if any(type(module).__module__.startswith("timm.") for module in model.modules()):
        from timm.layers import convert_sync_batchnorm  # pyright: ignore[reportPrivateImportUsage]

        return convert_sync_batchnorm(model)
    return nn.SyncBatchNorm.convert_sync_batchnorm(model)
