"""RetinaNet (Lin et al., 2017, "Focal Loss for Dense Object Detection") put together from its parts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from focalkit.config import ModelConfig, NumericsConfig
from focalkit.detection.boxes.anchors import AnchorGrid
from focalkit.detection.boxes.deltas import DeltaXYWH
from focalkit.detection.inference.postprocess import DensePostprocess
from focalkit.detection.models.backbones import build_backbone, resolve_backbone
from focalkit.detection.models.card import ModelCard
from focalkit.detection.models.fpn import FPN
from focalkit.detection.models.head import RetinaNetHead
from focalkit.detection.types import DenseOutputs, PriorGrid

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class RetinaNet(nn.Module):
    """A backbone, a pyramid, a head and the priors that the head's outputs refer to.

    The weights and the input are put in the channels_last memory format, which is faster on CPUs and on tensor cores,
    and makes `flatten_level` of the outputs a view.

    Args:
        backbone: Returns C3, C4, C5 (strides 8, 16, 32) and has their `channels`. Its `pixel_mean` and `pixel_std`
            (3 numbers each, for inputs in [0, 1]) are used where present, ImageNet's otherwise.
        neck: C3 .. C5 to P3 .. P7.
        head: Pyramid to per-level logits and deltas; has `num_classes`.
        priors: Feature-map sizes to per-level boxes.
        postprocess: How its outputs become detections unless the caller says otherwise; None takes the paper's rules.
        card: What it takes to build the model again and to feed it; None where that is not known.

    Attributes:
        num_classes: K.
        pixel_mean, pixel_std: Buffers (3,), not in the state dict. Pad images with `pixel_mean`.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        neck: nn.Module,
        head: nn.Module,
        priors: PriorGrid,
        postprocess: DensePostprocess | None = None,
        card: ModelCard | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = neck
        self.head = head
        self.priors = priors
        self.postprocess = DensePostprocess() if postprocess is None else postprocess
        self.card = card
        self.num_classes = int(head.num_classes)  # pyright: ignore[reportArgumentType]
        mean = tuple(getattr(backbone, "pixel_mean", IMAGENET_MEAN))
        std = tuple(getattr(backbone, "pixel_std", IMAGENET_STD))
        self.register_buffer("pixel_mean", torch.tensor(mean), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(std), persistent=False)
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, images: Tensor) -> DenseOutputs:
        """Predict; the same in training and evaluation.

        Args:
            images: Floating (b, 3, H, W) in [0, 1]. H and W may be anything; multiples of 32 waste nothing.
        """
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            raise ValueError(
                f"expected float images (b, 3, h, w) in [0, 1], got {images.dtype} {tuple(images.shape)};"
                " see focalkit.detection.pad_batch"
            )
        x = (images - self.pixel_mean.view(3, 1, 1)) / self.pixel_std.view(3, 1, 1)
        x = x.contiguous(memory_format=torch.channels_last)
        logits, deltas, *quality = self.head(self.neck(self.backbone(x)))
        shapes = [(level.shape[-2], level.shape[-1]) for level in logits]
        priors = self.priors(shapes, images.device, (images.shape[-2], images.shape[-1]))
        return DenseOutputs(
            tuple(logits), tuple(deltas), priors, self.num_classes, tuple(quality[0]) if quality else None
        )


def retinanet(
    num_classes: int,
    backbone: str | nn.Module = "resnet50",
    *,
    pretrained_backbone: bool = False,
    backbone_weights: str | Path | None = None,
    backbone_norm: Literal["frozen", "batch"] = "frozen",
    freeze_at: int = 2,
    fpn_channels: int = 256,
    head_channels: int = 256,
    head_depth: int = 4,
    head_norm: Literal["group", "batch"] | None = None,
    anchor_sizes: Sequence[float] = (32.0, 64.0, 128.0, 256.0, 512.0),
    anchor_scales: Sequence[float] = (1.0, 2 ** (1 / 3), 2 ** (2 / 3)),
    anchor_ratios: Sequence[float] = (0.5, 1.0, 2.0),
    prior_prob: float | None = 0.01,
    numerics: NumericsConfig | None = None,
) -> RetinaNet:
    """RetinaNet with the paper's structure unless told otherwise.

    Args:
        num_classes: K foreground classes; background is not one.
        backbone: A name of `focalkit.detection.BACKBONES`, or a module that returns C3, C4, C5 and has `.channels`.
        pretrained_backbone: Download torchvision's ImageNet weights (the IMAGENET1K_V1 file).
        backbone_weights: A .pth, .safetensors or .npz file with ImageNet weights; needs no network.
        backbone_norm: "frozen" BatchNorm for pretrained weights, live "batch" to train from scratch.
        freeze_at: Backbone stages from the stem on that stay as they are; 2 is everything up to stride 4.
        prior_prob: Foreground probability at initialisation (sec. 4.1); None leaves the class bias at 0.
        numerics: Where other libraries' RetinaNets differ beside their weights; None takes our defaults.

    Raises:
        InputError: An unknown backbone, or weights that do not fit; the message names the nearest.

    Example:
        >>> model = retinanet(3, backbone="tiny", fpn_channels=16, head_channels=16, head_depth=1)
        >>> [tuple(x.shape) for x in model(torch.zeros(1, 3, 64, 64)).logits][:2]
        [(1, 27, 8, 8), (1, 27, 4, 4)]
    """
    n = NumericsConfig() if numerics is None else numerics
    sizes, scales, ratios = tuple(anchor_sizes), tuple(anchor_scales), tuple(anchor_ratios)
    card = None
    if isinstance(backbone, str):
        card = ModelCard(
            ModelConfig(
                resolve_backbone(backbone, backbone_weights),
                backbone_norm,
                freeze_at,
                fpn_channels,
                head_channels,
                head_depth,
                head_norm or "none",
                sizes,
                scales,
                ratios,
                prior_prob,
                n,
            )
        )
        backbone = build_backbone(
            backbone,
            weights=backbone_weights,
            pretrained=pretrained_backbone,
            norm=backbone_norm,
            freeze_at=freeze_at,
            norm_eps=n.norm_eps,
            stride_in_1x1=n.stride_in_1x1,
        )
    elif pretrained_backbone or backbone_weights is not None:
        raise ValueError("a backbone module brings its own weights: pass a name, or load them into the module first")
    channels: Sequence[int] = backbone.channels  # pyright: ignore[reportAssignmentType]
    for name, value in (("pixel_mean", n.pixel_mean), ("pixel_std", n.pixel_std)):
        if value is not None:
            setattr(backbone, name, value)
    strides = "image" if n.anchor_stride == "image" else "levels"
    priors = AnchorGrid(sizes, scales, ratios, rounded=n.rounded_anchors, stride_from=strides)
    return RetinaNet(
        backbone=backbone,
        neck=FPN(channels, fpn_channels, p6_from=n.p6_from, p7_relu=n.p7_relu),
        head=RetinaNetHead(
            fpn_channels,
            num_classes,
            priors.per_cell,
            channels=head_channels,
            depth=head_depth,
            norm=head_norm,
            prior_prob=prior_prob,
        ),
        priors=priors,
        postprocess=DensePostprocess(
            DeltaXYWH(bound_shrink=n.bound_shrink),
            max_detections=n.max_detections,
            clip=n.clip,
            keep_empty=n.keep_empty,
        ),
        card=card,
    )


def build_retinanet(
    config: ModelConfig, num_classes: int, backbone_weights: str | Path | None = None, pretrained: bool = False
) -> RetinaNet:
    """The model that a configuration describes; the weights to start from are given apart."""
    return retinanet(
        num_classes,
        config.backbone,
        pretrained_backbone=pretrained,
        backbone_weights=backbone_weights,
        backbone_norm=config.backbone_norm,
        freeze_at=config.freeze_at,
        fpn_channels=config.fpn_channels,
        head_channels=config.head_channels,
        head_depth=config.head_depth,
        head_norm=None if config.head_norm == "none" else config.head_norm,
        anchor_sizes=config.anchor_sizes,
        anchor_scales=config.anchor_scales,
        anchor_ratios=config.anchor_ratios,
        prior_prob=config.prior_prob,
        numerics=config.numerics,
    )
