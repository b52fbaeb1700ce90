"""From a file of MMDetection's RTMDet to a model of ours and back; names and facts are in `layouts/rtmdet.py`."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from focalkit.config import ModelConfig, NumericsConfig
from focalkit.detection.build import build_detector
from focalkit.detection.models.backbone_weights import listed, misfits
from focalkit.detection.models.detr.detector import AnyDetector
from focalkit.detection.models.rtmdet.backbone import CSPNEXTS
from focalkit.detection.weights._order import swap_colours
from focalkit.detection.weights._read import RawWeights
from focalkit.detection.weights.layouts.layout import DROPPED
from focalkit.detection.weights.layouts.names import to_ours, to_theirs
from focalkit.detection.weights.layouts.rtmdet import LEVELS, MARK, SHARED, STEM, TABLE, numerics, says_plain
from focalkit.errors import InputError

SIZE = 640
"""Pixels that the published models are trained at."""


def is_rtmdet(raw: RawWeights) -> bool:
    """Whether these are weights of MMDetection's RTMDet."""
    return any(name.startswith(MARK) for name in raw.tensors)


def load_rtmdet(
    raw: RawWeights, config_text: str, given_numerics: NumericsConfig | None
) -> tuple[AnyDetector, ModelConfig]:
    """The RTMDet in a file, with random weights nowhere, and its configuration.

    Raises:
        InputError: It is no RTMDet that we build, or weights are missing, unknown, of another shape, or different
            where levels share them; each is named.
    """
    given = {name: t for name, t in raw.tensors.items() if not DROPPED.fullmatch(name)}
    for name, tensor in given.items():
        if (match := SHARED.fullmatch(name)) and match[2] != "0":
            first = given.get(f"{match[1]}0{match[3]}")
            if first is None or first.shape != tensor.shape or not torch.equal(first, tensor):
                raise InputError(
                    f"{raw.source}: {name} is not that of the first level, so the head's convolutions are not shared;"
                    " only RTMDet with shared ones can be loaded"
                )
    once = {n: t for n, t in given.items() if (m := SHARED.fullmatch(n)) is None or m[2] == "0"}
    config, classes = _structure(once, raw.source, config_text, given_numerics)
    with torch.device("meta"):  # shapes alone
        state = build_detector(config, classes).state_dict()
    wanted = {to_theirs(n, TABLE) or n: tuple(t.shape) for n, t in state.items() if not DROPPED.fullmatch(n)}
    if problems := misfits(wanted, {name: tuple(t.shape) for name, t in once.items()}):
        raise InputError(
            f"{raw.source}: does not fit MMDetection's RTMDet with {config.backbone} and {classes} classes"
            f" {listed(problems)}"
        )
    weights = {to_ours(name, TABLE) or name: t for name, t in once.items()}
    weights[STEM] = swap_colours(weights[STEM])
    model = build_detector(config, classes)
    model.load_state_dict({name: t.to(state[name].dtype) for name, t in weights.items()}, strict=False)
    return model.eval(), config


def as_mmdet(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of an RTMDet of ours as MMDetection calls them."""
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        theirs = to_theirs(name, TABLE) or name
        tensor = swap_colours(tensor) if name == STEM else tensor
        match = SHARED.fullmatch(theirs)
        names = [theirs] if match is None else [f"{match[1]}{level}{match[3]}" for level in range(LEVELS)]
        found |= dict.fromkeys(names, tensor)
    return found


def _structure(
    given: Mapping[str, Tensor], source: str, text: str, given_numerics: NumericsConfig | None
) -> tuple[ModelConfig, int]:
    """The configuration and the number of classes that shapes say."""

    def shape(name: str) -> tuple[int, ...]:
        if name not in given:
            raise InputError(f"{source}: no RTMDet of MMDetection: it has no {name}")
        return tuple(given[name].shape)

    def count(pattern: str) -> int:
        return 1 + max((int(m[1]) for name in given if (m := re.fullmatch(pattern, name))), default=-1)

    stem = shape("backbone.stem.2.conv.weight")[0]
    blocks = count(r"backbone\.stage2\.1\.blocks\.(\d+)\..*")
    sizes = {(int(64 * width), max(round(6 * depth), 1)): name for name, (depth, width) in CSPNEXTS.items()}
    if (stem, blocks) not in sizes:
        raise InputError(
            f"{source}: its backbone has {stem} channels behind the stem and {blocks} blocks in its second stage; known"
            f" are {', '.join(CSPNEXTS)}"
        )
    backbone, said = sizes[stem, blocks], says_plain(text)
    plain = backbone != "cspnext_m" if said is None else said
    return ModelConfig(
        detector="rtmdet",
        backbone=backbone,
        backbone_norm="batch",
        freeze_at=0,
        fpn_channels=shape("neck.out_convs.0.conv.weight")[0],
        neck_depth=count(r"neck\.top_down_blocks\.0\.blocks\.(\d+)\..*"),
        head_channels=shape("bbox_head.cls_convs.0.0.conv.weight")[0],
        head_depth=count(r"bbox_head\.cls_convs\.0\.(\d+)\..*"),
        numerics=numerics(plain) if given_numerics is None else given_numerics,
    ), shape("bbox_head.rtm_cls.0.weight")[0]
