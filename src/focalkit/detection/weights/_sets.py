"""From a file of RT-DETR's or D-FINE's authors, or of transformers, to a set predictor of ours."""

import re
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from focalkit.config import DecoderConfig, LayoutName, ModelConfig, NumericsConfig
from focalkit.detection.build import build_detector
from focalkit.detection.models.backbone_weights import listed, misfits
from focalkit.detection.models.card import ModelCard
from focalkit.detection.models.detr.detector import SetDetector
from focalkit.detection.models.detr.fine_decoder import SCALE
from focalkit.detection.models.detr.resnet_vd import RESNETS_VD
from focalkit.detection.weights._coco import COCO
from focalkit.detection.weights._read import RawWeights
from focalkit.detection.weights.layouts import dfine
from focalkit.detection.weights.layouts.layout import Layout
from focalkit.detection.weights.layouts.rtdetr import AUTHORS, DROPPED, TRANSFORMERS, fused
from focalkit.errors import InputError

SET_LAYOUTS: dict[LayoutName, Layout] = {
    "dfine": dfine.AUTHORS,
    "deim": dfine.DEIM,
    "rtdetr": AUTHORS,
    "transformers": TRANSFORMERS,
}
FINE = (dfine.AUTHORS, dfine.DEIM, dfine.TRANSFORMERS)
SIDE = 640
"""Pixels to which the authors' models resize both sides of an image."""
NUMERICS = NumericsConfig(resize="square", max_detections=300)
HEADS = 8
"""Of all published models; the weights' shapes do not say."""
HGNETS = {(16, 3): "b0", (32, 3): "b1", (32, 4): "b2", (32, 5): "b3", (48, 6): "b4", (64, 6): "b5", (96, 6): "b6"}
"""Channels behind the stem, and layers in a block -> which HGNetv2 it is."""

Shapes = Mapping[str, tuple[int, ...]]


def load_set(raw: RawWeights, layout: Layout) -> SetDetector:
    """The model in a file.

    Raises:
        InputError: Weights are missing, unknown or of another shape; each is named with the nearest.
    """
    if layout is TRANSFORMERS and any(dfine.TRANSFORMERS.mark.fullmatch(name) for name in raw.tensors):
        layout = dfine.TRANSFORMERS
    _check_scale(raw)
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
    kind = "D-FINE" if layout in FINE else "RT-DETR"
    config, classes = read_structure(shapes, f"{raw.source}: no {kind} of {layout.library}", layout)
    with torch.device("meta"):  # shapes alone
        state = build_detector(config, classes).state_dict()
    wanted = {layout.theirs(n) or n: tuple(t.shape) for n, t in state.items() if not DROPPED.fullmatch(n)}
    today = {layout.theirs(name) or name: shape for name, shape in shapes.items()}
    if problems := misfits(wanted, today | unknown):
        raise InputError(
            f"{raw.source}: does not fit {'an' if kind == 'RT-DETR' else 'a'} {kind} of {layout.library} with"
            f" {config.backbone},"
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
    decoder = DecoderConfig(
        layers=_count(shapes, r"head\.layers\.(\d+)\.norm1\.weight"),
        heads=HEADS,
        feedforward=need("head.layers.0.linear1.weight")[0],
        denoising=DecoderConfig.denoising if "head.label_embedding.weight" in shapes else 0,
    )
    config = ModelConfig(freeze_at=0, fpn_channels=channels, numerics=NUMERICS)
    classes, looks = need("head.class_output.0.weight")[0], need("head.layers.0.cross_attn.attention_weights.weight")[0]
    if layout in FINE:
        inside = need("neck.top_down.0.csp1.conv1.conv.weight")[0]
        if (bins := need("head.box_output.1.layers.2.weight")[0]) != 4 * (SCALE.bins + 1):
            raise InputError(f"{source}: its sides have {bins // 4} bins, expected {SCALE.bins + 1}")
        found = replace(decoder, expansion=2 * inside / channels, points=looks // (4 * HEADS))
        return replace(
            config,
            detector="deim" if layout is dfine.DEIM else "dfine",
            backbone=_hgnet(shapes, source),
            neck_depth=_count(shapes, r"neck\.top_down\.0\.csp1\.bottlenecks\.(\d+)\.conv1\.conv\.weight"),
            numerics=replace(NUMERICS, pixel_mean=(0.0, 0.0, 0.0), pixel_std=(1.0, 1.0, 1.0)),
            decoder=found,
        ), classes
    levels = _count(shapes, r"head\.input_proj\.(\d+)\.conv\.weight")
    if levels != 3:
        raise InputError(f"{source}: its decoder looks at {levels} maps, expected 3")
    expansion = need("neck.top_down.0.conv1.conv.weight")[0] / channels
    decoder = replace(decoder, expansion=expansion, points=looks // (HEADS * levels))
    return replace(config, detector="rtdetrv2", backbone=_backbone(shapes, source), decoder=decoder), classes


def _check_scale(raw: RawWeights) -> None:
    """Raises InputError where the sides of boxes are counted on another scale than ours."""
    for name, tensor in raw.tensors.items():
        wanted = {"up": SCALE.reach, "reg_scale": SCALE.scale}.get(name.rpartition(".")[2])
        if wanted is not None and abs(float(tensor.flatten()[0]) - wanted) > 1e-6:
            raise InputError(f"{raw.source}: {name} is {float(tensor.flatten()[0]):g}, expected {wanted:g}")


def _hgnet(shapes: Shapes, source: str) -> str:
    stem = shapes.get("backbone.net.stem.stem4.conv.weight", (0,))[0]
    layers = _count(shapes, r"backbone\.net\.stages_0\.blocks\.0\.layers\.(\d+)\.conv\.weight")
    if (stem, layers) not in HGNETS:
        raise InputError(
            f"{source}: its backbone has {stem} channels behind the stem and {layers} layers in a block;"
            " known are HGNetv2 B0 to B6"
        )
    return f"timm:hgnetv2_{HGNETS[stem, layers]}"


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
