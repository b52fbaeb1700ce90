"""From a file of RT-DETR's authors or of transformers to a set predictor of ours."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from focalkit.config import DecoderConfig, LayoutName, ModelConfig, NumericsConfig
from focalkit.detection.build import build_detector
from focalkit.detection.models.backbone_weights import listed, misfits
from focalkit.detection.models.card import ModelCard
from focalkit.detection.models.detr.detector import SetDetector
from focalkit.detection.models.detr.resnet_vd import RESNETS_VD
from focalkit.detection.weights._coco import COCO
from focalkit.detection.weights._read import RawWeights
from focalkit.detection.weights.layouts.layout import Layout
from focalkit.detection.weights.layouts.rtdetr import AUTHORS, DROPPED, TRANSFORMERS, fused
from focalkit.errors import InputError

SET_LAYOUTS: dict[LayoutName, Layout] = {"rtdetr": AUTHORS, "transformers": TRANSFORMERS}
SIDE = 640
"""Pixels to which the authors' models resize both sides of an image."""
NUMERICS = NumericsConfig(resize="square", max_detections=300)
HEADS = 8
"""Of all published models; the weights' shapes do not say."""

Shapes = Mapping[str, tuple[int, ...]]


def load_set(raw: RawWeights, layout: Layout) -> SetDetector:
    """The model in a file.

    Raises:
        InputError: Weights are missing, unknown or of another shape; each is named with the nearest.
    """
    given = {n: t for n, t in fused(raw.tensors).items() if not DROPPED.fullmatch(n)}
    weights: dict[str, Tensor] = {}
    unknown: dict[str, tuple[int, ...]] = {}
    for name, tensor in given.items():
        ours = layout.ours(name)
        if ours is None:
            unknown[name] = tuple(tensor.shape)
        else:
            weights[ours] = tensor
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    config, classes = read_structure(shapes, f"{raw.source}: no RT-DETR of {layout.library}", layout)
    with torch.device("meta"):  # shapes alone
        state = build_detector(config, classes).state_dict()
    wanted = {layout.theirs(n) or n: tuple(t.shape) for n, t in state.items() if not DROPPED.fullmatch(n)}
    today = {layout.theirs(name) or name: shape for name, shape in shapes.items()}
    if problems := misfits(wanted, today | unknown):
        raise InputError(
            f"{raw.source}: does not fit an RT-DETR of {layout.library} with {config.backbone},"
            f" {config.decoder.layers} layers and {classes} classes {listed(problems)}"
        )
    model = build_detector(config, classes)
    assert isinstance(model, SetDetector)
    model.load_state_dict({name: t.to(state[name].dtype) for name, t in weights.items()}, strict=False)
    categories = tuple(COCO.items()) if classes == len(COCO) else None
    model.card = ModelCard(config, categories, SIDE, SIDE)
    return model.eval()


def read_structure(shapes: Shapes, source: str, layout: Layout) -> tuple[ModelConfig, int]:
    """Configuration and number of classes of the model with weights of these shapes, by our names.

    Raises:
        InputError: A weight that decides is missing, or the architecture is not one of ours.
    """

    def need(name: str) -> tuple[int, ...]:
        if name not in shapes:
            raise InputError(f"{source}: it has no {layout.theirs(name) or name}")
        return shapes[name]

    channels = need("neck.input_proj.0.conv.weight")[0]
    levels = _count(shapes, r"head\.input_proj\.(\d+)\.conv\.weight")
    if levels != 3:
        raise InputError(f"{source}: its decoder looks at {levels} maps, expected 3")
    decoder = DecoderConfig(
        layers=_count(shapes, r"head\.layers\.(\d+)\.norm1\.weight"),
        expansion=need("neck.top_down.0.conv1.conv.weight")[0] / channels,
        heads=HEADS,
        points=need("head.layers.0.cross_attn.attention_weights.weight")[0] // (HEADS * levels),
        feedforward=need("head.layers.0.linear1.weight")[0],
        denoising=DecoderConfig.denoising if "head.label_embedding.weight" in shapes else 0,
    )
    config = ModelConfig(
        detector="rtdetrv2",
        backbone=_backbone(shapes, source),
        freeze_at=0,
        fpn_channels=channels,
        numerics=NUMERICS,
        decoder=decoder,
    )
    return config, need("head.class_output.0.weight")[0]


def _backbone(shapes: Shapes, source: str) -> str:
    blocks = tuple(
        _count(shapes, rf"backbone\.body\.res_layers\.{stage}\.blocks\.(\d+)\.branch2a\.conv\.weight")
        for stage in range(4)
    )
    bottleneck = "backbone.body.res_layers.0.blocks.0.branch2c.conv.weight" in shapes
    for name, found in RESNETS_VD.items():
        if found == (blocks, bottleneck):
            return name
    kind = "bottleneck" if bottleneck else "basic"
    raise InputError(
        f"{source}: its backbone has {'-'.join(map(str, blocks))} {kind} blocks; known are {', '.join(RESNETS_VD)}"
    )


def _count(shapes: Shapes, pattern: str) -> int:
    """One more than the highest number: a gap is a missing weight, not another architecture."""
    return 1 + max((int(match[1]) for name in shapes if (match := re.fullmatch(pattern, name))), default=-1)
