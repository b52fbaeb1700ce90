"""Backbones by name: networks that turn an image into C3, C4, C5 (strides 8, 16, 32).

The architectures are torchvision's, without what follows C5, under torchvision's key names; plus RTMDet's CSPNeXt,
under MMDetection's, and `tiny`, a small network that trains from scratch on a CPU. Any other module serves as well: it
needs `.channels` (of C3, C4, C5), a `forward` that returns the three maps, and may have `.pixel_mean` and `.pixel_std`.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from focalkit.detection.models.backbone_weights import download, is_folded, load_into, of_mmdetection, read_weights
from focalkit.detection.models.detr.resnet_vd import RESNETS_VD, resnet_vd
from focalkit.detection.models.frozen_norm import FrozenNorm, fold_norms, take_in_norms
from focalkit.detection.models.rtmdet.backbone import CSPNEXTS, cspnext
from focalkit.detection.models.staged import IMAGENET, StagedBackbone
from focalkit.detection.models.timm_backbone import PREFIX, TimmBackbone, check_name
from focalkit.errors import ConfigError, InputError

RESNETS = {  # name -> blocks in each stage, whether they are bottlenecks, groups, width of a group in the first stage
    "resnet18": ((2, 2, 2, 2), False, 1, 64),
    "resnet34": ((3, 4, 6, 3), False, 1, 64),
    "resnet50": ((3, 4, 6, 3), True, 1, 64),
    "resnet101": ((3, 4, 23, 3), True, 1, 64),
    "resnet152": ((3, 8, 36, 3), True, 1, 64),
    "resnext50_32x4d": ((3, 4, 6, 3), True, 32, 4),
    "resnext101_32x4d": ((3, 4, 23, 3), True, 32, 4),
    "resnext101_32x8d": ((3, 4, 23, 3), True, 32, 8),
    "resnext101_64x4d": ((3, 4, 23, 3), True, 64, 4),
}
BACKBONES = (*RESNETS, *RESNETS_VD, "mobilenet_v2", "mobilenet_v2_tf", *CSPNEXTS, "tiny")
"""Names that `retinanet` and `--model.backbone` take."""

AS_THEY_ARE = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
PLUS_MINUS_ONE = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def build_backbone(
    name: str,
    *,
    weights: str | Path | None = None,
    pretrained: bool = False,
    norm: Literal["frozen", "batch"] = "frozen",
    freeze_at: int = 2,
    norm_eps: float = 1e-5,
    stride_in_1x1: bool = False,
) -> StagedBackbone | TimmBackbone:
    """A backbone by name, with random weights, those of a file, or torchvision's downloaded ones.

    Stages end at strides 4 (stem), 4, 8, 16, 32 in ResNets, and 2, 4, 8, 16, 32 in MobileNetV2. `tiny` has no
    pretrained weights: its BatchNorm is always live and all of it trains, whatever `norm` and `freeze_at` say.
    `mobilenet_v2` becomes `mobilenet_v2_tf` where the file's BatchNorm is folded (`resolve_backbone`).

    Args:
        name: One of `BACKBONES`, or "timm:" with a name of timm (`pip install 'focalkit[timm]'`).
        weights: A .pth, .safetensors or .npz file.
        pretrained: Download torchvision's.
        norm: Of the BatchNorm: its statistics and scales fixed, or live.
        freeze_at: Stages from the stem on that do not train.
        norm_eps: Added to the variance.
        stride_in_1x1: Bottlenecks of ResNet have their stride in the first 1x1 convolution, as in the first ResNets
            (He et al., 2016) and the weights that detectron2 and mmdetection's "caffe" style start from.

    Raises:
        InputError: Unknown name, or weights that do not fit.
        ConfigError: Options that contradict each other.
    """
    if pretrained and weights is not None:
        raise ConfigError(f"either download the backbone's weights or take those of {weights}, not both")
    name = resolve_backbone(name, weights)
    if name.startswith(PREFIX):
        if stride_in_1x1:
            raise ConfigError(f"stride_in_1x1 belongs to the bottlenecks of ResNet, not to {name}")
        return TimmBackbone(name, weights=weights, pretrained=pretrained, norm=norm, freeze_at=freeze_at).train()
    if name == "tiny":
        if pretrained or weights is not None:
            raise ConfigError("the backbone tiny has no pretrained weights: it trains from scratch")
        return _tiny()
    if name == "mobilenet_v2_tf":
        if pretrained:
            raise ConfigError("mobilenet_v2_tf has no weights to download; use mobilenet_v2, or give a weights file")
        if norm == "batch":
            raise ConfigError(
                "mobilenet_v2_tf has its BatchNorm folded into the convolutions: set backbone_norm to frozen"
            )
    if stride_in_1x1 and name not in RESNETS:
        raise ConfigError(f"stride_in_1x1 belongs to the bottlenecks of ResNet, {name} has none")
    if name in RESNETS_VD:
        backbone = _resnet_vd(name, _norm_layer(norm, norm_eps), freeze_at)
    elif name in CSPNEXTS:
        if pretrained:
            raise ConfigError(f"torchvision has no weights of {name} to download; give a weights file of MMDetection")
        backbone = cspnext(name, _norm_layer(norm, norm_eps), freeze_at)
        take_in_norms(backbone.body)
    elif name.startswith("mobilenet"):
        backbone = _mobilenet(name, _norm_layer(norm, norm_eps), freeze_at)
    else:
        backbone = _resnet(name, _norm_layer(norm, norm_eps), freeze_at, stride_in_1x1)
    if weights is not None:
        found = read_weights(weights)
        load_into(backbone.body, of_mmdetection(found) if name in CSPNEXTS else found, weights)
    elif pretrained:
        load_into(backbone.body, download(name), f"torchvision's {name}")
    return backbone.train()


def resolve_backbone(name: str, weights: str | Path | None = None) -> str:
    """The architecture that a weights file needs: `mobilenet_v2_tf` for `mobilenet_v2` with a folded file.

    Record this name with a run, so that the model can be built again without the file.

    Raises:
        InputError: An unknown name (the nearest is given), or an unreadable file.
    """
    if name.startswith(PREFIX):
        check_name(name)
        return name
    if name not in BACKBONES:
        import difflib

        close = difflib.get_close_matches(name, BACKBONES, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise InputError(f"unknown backbone {name!r}; {hint}known: {', '.join(BACKBONES)}, timm:NAME")
    if weights is None or not name.startswith("mobilenet_v2"):
        return name
    folded = is_folded(read_weights(weights))
    if name == "mobilenet_v2_tf" and not folded:
        raise InputError(f"{weights}: has BatchNorm layers; the backbone for it is mobilenet_v2, not mobilenet_v2_tf")
    return "mobilenet_v2_tf" if folded else name


def _resnet(name: str, norm_layer: Callable[..., nn.Module], freeze_at: int, stride_in_1x1: bool) -> StagedBackbone:
    from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

    blocks, bottleneck, groups, width = RESNETS[name]
    block = Bottleneck if bottleneck else BasicBlock
    net = ResNet(block, list(blocks), groups=groups, width_per_group=width, norm_layer=norm_layer)
    if stride_in_1x1:
        for layer in net.modules():
            if isinstance(layer, Bottleneck):
                layer.conv1.stride, layer.conv2.stride = layer.conv2.stride, (1, 1)
    take_in_norms(net)
    layers = {key: layer for key, layer in net.named_children() if key not in ("avgpool", "fc")}
    stages = (("conv1", "bn1", "relu", "maxpool"), ("layer1",), ("layer2",), ("layer3",), ("layer4",))
    channels = [planes * block.expansion for planes in (128, 256, 512)]
    return StagedBackbone(layers, stages, channels, freeze_at=freeze_at)


def _resnet_vd(name: str, norm_layer: Callable[..., nn.Module], freeze_at: int) -> StagedBackbone:
    layers, stages, channels = resnet_vd(name, norm_layer)
    for layer in layers.values():
        take_in_norms(layer)
    return StagedBackbone(layers, stages, channels, AS_THEY_ARE, freeze_at)


def _mobilenet(name: str, norm_layer: Callable[..., nn.Module], freeze_at: int) -> StagedBackbone:
    import torchvision

    net = torchvision.models.mobilenet_v2(weights=None, norm_layer=norm_layer)
    features = net.features[:18]  # the 1x1 convolution behind features.17 belongs to the classifier
    assert isinstance(features, nn.Sequential)
    normalisation = IMAGENET
    if name == "mobilenet_v2_tf":
        fold_norms(features)
        normalisation = PLUS_MINUS_ONE
    take_in_norms(features)
    ends = (0, 2, 4, 7, 14, 18)  # layers before which strides 2, 4, 8, 16, 32 are complete
    stages = [[f"features.{i}" for i in range(a, b)] for a, b in pairwise(ends)]
    return StagedBackbone({"features": features}, stages, (32, 96, 320), normalisation, freeze_at)


def _norm_layer(norm: str, eps: float) -> Callable[..., nn.Module]:
    if norm not in ("frozen", "batch"):
        raise ConfigError(f'backbone_norm must be "frozen" or "batch", got {norm!r}')
    return partial(FrozenNorm if norm == "frozen" else nn.BatchNorm2d, eps=eps)


class _Residual(nn.Module):
    """conv-BN-ReLU-conv-BN beside a shortcut (He et al., 2016, fig. 2); the shortcut is a 1x1 where sizes differ."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x), inplace=True)


def _tiny() -> StagedBackbone:
    """For images of about 256 px: a 7x7 convolution straight to stride 4, then one residual block per level."""
    layers = {
        "stem": nn.Sequential(nn.Conv2d(3, 32, 7, 4, 3, bias=False), nn.BatchNorm2d(32), nn.ReLU(inplace=True)),
        "layer3": _Residual(32, 48, 2),
        "layer4": _Residual(48, 96, 2),
        "layer5": _Residual(96, 128, 2),
    }
    for layer in layers.values():
        for module in layer.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return StagedBackbone(layers, [[name] for name in layers], (48, 96, 128))
