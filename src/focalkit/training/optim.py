"""The optimiser and its parameter groups."""

from torch import nn, optim

from focalkit.config import OptimConfig


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Trainable parameters in two groups: weights with decay, vectors (biases, norm scales) without.

    Decay pulls towards zero, which for a norm's scale or for the classification bias (set by the prior probability) is
    not a simpler model. Detectron excluded the norms only; here the biases of convolutions are left out as well.
    """
    trainable = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]


def build_optimizer(model: nn.Module, config: OptimConfig, lr: float) -> optim.Optimizer:
    """SGD with momentum or AdamW over `parameter_groups`, at the rate `lr` (already scaled to the batch)."""
    groups = parameter_groups(model, config.weight_decay)
    if config.optimizer == "sgd":
        return optim.SGD(groups, lr=lr, momentum=config.momentum)
    return optim.AdamW(groups, lr=lr)
