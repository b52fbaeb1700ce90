"""Any timm model with a pyramid of features as a backbone: `timm:mobilenetv3_small_100`, `timm:convnext_tiny`, ...

What this file does not do: it takes no model from a hub by name, for a name may come from a file.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]

from focalkit.detection.models.backbone_weights import listed, misfits, nearest, read_weights
from focalkit.detection.models.staged import IMAGENET
from focalkit.errors import ConfigError, InputError

PREFIX = "timm:"
NAME = re.compile(r"timm:[a-z0-9_]+(\.[a-z0-9_]+)?")


class TimmBackbone(nn.Module):
    """A timm model without what follows its last map.

    Args:
        name: As timm calls it, behind "timm:"; a tag such as ".lamb_in1k" chooses among its pretrained weights.
        strides: Of the maps that it returns.
        weights: A .pth, .safetensors or .npz file of the model's weights, with or without its classifier.
        pretrained: Download timm's weights instead.
        norm: "frozen" keeps BatchNorm's statistics and scales as they are; other norms train either way.
        freeze_at: Feature stages of timm, from the stem on, that do not train.

    Attributes:
        channels: Of the maps.
        pixel_mean, pixel_std: What the weights expect, for inputs in [0, 1].

    Raises:
        ConfigError: timm is not installed, or the model has no maps of these strides for images of any size.
        InputError: An unknown name, or weights that do not fit.
    """

    def __init__(
        self,
        name: str,
        strides: Sequence[int] = (8, 16, 32),
        *,
        weights: str | Path | None = None,
        pretrained: bool = False,
        norm: Literal["frozen", "batch"] = "frozen",
        freeze_at: int = 0,
    ) -> None:
        super().__init__()
        net, stages = _create(check_name(name), strides, pretrained)
        if not 0 <= freeze_at <= len(stages):
            raise ConfigError(f"freeze_at counts frozen stages, 0 to {len(stages)} in {name}, got {freeze_at}")
        self.net = net
        self.channels = tuple(net.feature_info.channels())
        self.pixel_mean, self.pixel_std = _normalisation(name)
        self.freeze_at = freeze_at
        if weights is not None:
            _load(net, read_weights(weights), weights)
        still = _parameters_until(net, stages[freeze_at - 1]) if freeze_at else set()
        for key, module in net.named_modules():
            own = {f"{key}.{name}" for name, _ in module.named_parameters(recurse=False)}
            if own & still or (norm == "frozen" and isinstance(module, _BatchNorm)):
                for parameter in module.parameters(recurse=False):
                    parameter.requires_grad_(False)
        self._check_maps(name, strides)

    def _check_maps(self, name: str, strides: Sequence[int]) -> None:
        """Refuse models that take images of one size alone, or have their channels elsewhere."""
        side = 4 * max(strides)
        device = next(self.net.parameters()).device
        try:
            with torch.no_grad():
                maps = self.net.eval()(torch.zeros(1, 3, side, 2 * side, device=device))
        except Exception as error:  # whatever a model says to a size that it does not take
            raise ConfigError(f"{name} does not take images of any size, which a detector needs: {error}") from error
        found = [tuple(x.shape[1:]) for x in maps]
        wanted = [(c, side // s, 2 * side // s) for c, s in zip(self.channels, strides, strict=True)]
        if found != wanted:
            raise ConfigError(f"{name} returns maps of shapes {found}, expected {wanted}; take another backbone")
        self.train()

    def train(self, mode: bool = True) -> "TimmBackbone":
        super().train(mode)
        for module in self.net.modules():
            if isinstance(module, _BatchNorm) and not any(p.requires_grad for p in module.parameters(recurse=False)):
                module.eval()
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Normalised images (b, 3, h, w) -> the maps, finest first."""
        return tuple(self.net(x))


def check_name(name: str) -> str:
    """The model's name without "timm:".

    Raises:
        ConfigError: timm is not installed.
        InputError: timm has no such model.
    """
    try:
        import timm
    except ImportError:
        raise ConfigError(f"the backbone {name} needs the package timm: pip install 'focalkit[timm]'") from None
    model = name.removeprefix(PREFIX)
    if NAME.fullmatch(name) is None or not timm.is_model(model):
        known = timm.list_models()
        raise InputError(f"timm has no model {model!r}{nearest(model.split('.')[0], known)}; it has {len(known)}")
    return model


def _create(model: str, strides: Sequence[int], pretrained: bool) -> tuple[Any, list[str]]:
    """The model that returns maps of these strides, and where each of its stages ends."""
    import timm

    try:
        with torch.device("meta"):
            described: Any = timm.create_model(model, features_only=True)
            info = described.feature_info
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"timm:{model} gives no features of its stages: {error}") from error
    has = info.reduction()
    if missing := [s for s in strides if s not in has]:
        raise ConfigError(f"timm:{model} has maps of strides {has}, a detector needs {list(strides)}: {missing} lack")
    last = [len(has) - 1 - has[::-1].index(stride) for stride in strides]  # of equal strides the deepest
    try:
        net = timm.create_model(model, features_only=True, out_indices=tuple(last), pretrained=pretrained)
    except Exception as error:
        if not pretrained:
            raise
        raise InputError(
            f"the weights of timm:{model} could not be downloaded ({type(error).__name__}: {error}). Without a network,"
            " give a local file: --backbone-weights FILE"
        ) from error
    return net, [entry["module"] for entry in info.info]


def _normalisation(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation that the model's weights expect."""
    from timm.models import get_pretrained_cfg

    known = get_pretrained_cfg(name.removeprefix(PREFIX))
    return IMAGENET if known is None else (tuple(known.mean), tuple(known.std))


def _plain(name: str) -> str:
    """timm writes "stages.0" or "stages_0", as it takes a model apart or not."""
    return name.replace("_", ".")


def _parameters_until(net: nn.Module, stage: str) -> set[str]:
    """Names of the parameters up to the end of a stage; they are in the order in which they are used."""
    names = [name for name, _ in net.named_parameters()]
    ends = [i for i, name in enumerate(names) if _plain(name).startswith(_plain(stage) + ".")]
    if not ends:  # a stage without parameters, such as the activation after the stem of ResNets
        modules = [_plain(name) for name, _ in net.named_modules()]
        later = set(modules[modules.index(_plain(stage)) + 1 :]) if _plain(stage) in modules else set()
        first = next((i for i, name in enumerate(names) if _plain(name).rpartition(".")[0] in later), 0)
        return set(names[:first])
    return set(names[: ends[-1] + 1])


def _load(net: nn.Module, given: Mapping[str, Tensor], source: object) -> None:
    """Copy the weights that the maps need; a file has those of the classifier too."""
    mine = {_plain(name): name for name in net.state_dict() if not name.endswith("num_batches_tracked")}
    fits = {mine[_plain(name)]: tensor for name, tensor in given.items() if _plain(name) in mine}
    wanted = {name: tuple(net.state_dict()[name].shape) for name in mine.values()}
    if problems := misfits(wanted, {name: tuple(t.shape) for name, t in fits.items()}):
        raise InputError(f"{source}: does not fit the backbone {listed(problems)}")
    net.load_state_dict(fits, strict=False)
