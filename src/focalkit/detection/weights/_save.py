"""Save a RetinaNet's weights to a file, in our form or in the names and order of another library."""

import io
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from focalkit._config_io import config_to_dict, differences
from focalkit._files import dump_json, write_bytes_atomic
from focalkit._runs import SCHEMA
from focalkit.config import TrainConfig
from focalkit.detection.models.backbones import RESNETS
from focalkit.detection.models.card import ModelCard
from focalkit.detection.models.detr.detector import AnyDetector
from focalkit.detection.models.head import RetinaNetHead
from focalkit.detection.models.rtmdet.backbone import CSPNEXTS
from focalkit.detection.models.rtmdet.head import RTMDetHead
from focalkit.detection.models.staged import IMAGENET
from focalkit.detection.weights._load import LAYOUTS
from focalkit.detection.weights._order import OUTPUTS, STEM, inverse, reorder_anchors, swap_colours
from focalkit.detection.weights._rtmdet import as_mmdet
from focalkit.detection.weights.layouts import detectron2, mmdet, rtmdet, torchvision
from focalkit.detection.weights.layouts.layout import DROPPED
from focalkit.errors import ConfigError, InputError

Target = Literal["focalkit", "torchvision", "detectron2", "mmdet"]


def save_weights(model: AnyDetector, path: str | os.PathLike[str], layout: Target = "focalkit") -> dict[str, Any]:
    """Write a model to one file, whole or not at all.

    "focalkit" writes what `load_weights` and `Detector.open` read: weights, structure, numerics, classes, image size.
    Another layout has the weights alone, in that library's names and order; where the model divides colours by other
    numbers than the library does, the first convolution is scaled to make up for it (torchvision), or the numbers are
    written beside the weights (Detectron2: the values for MODEL.PIXEL_MEAN and MODEL.PIXEL_STD).

    Args:
        model: With a card: made by `retinanet` with a backbone's name, or by `load_weights`.
        path: Ending in .pth or .safetensors.
        layout: Whose form.

    Returns:
        The numerics in which that library's model of these weights will differ from this one, as {name: (here, there)}.
        Empty means the same detections.

    Raises:
        InputError: The library has no place for some of the weights; they are named.
        ConfigError: The model has no card, or the file's ending is another.

    Example:
        >>> save_weights(model, "for_torchvision.pth", layout="torchvision")    # doctest: +SKIP
        {}
    """
    path = Path(path)
    if path.suffix not in (".pth", ".safetensors"):
        raise ConfigError(f"{path}: expected a name ending in .pth or .safetensors")
    if layout == "focalkit":
        about, tensors = header(model), _contiguous(model.state_dict())
        if path.suffix == ".safetensors":
            _write(tensors, path, {"focalkit": dump_json(about)})
        else:
            _write({"focalkit": about, "model": tensors}, path)
        return {}
    tensors = weights_as(model, layout)
    _write({"model": tensors} if layout == "detectron2" and path.suffix == ".pth" else tensors, path)
    return left_behind(card_of(model), layout)


def weights_as(model: AnyDetector, layout: Target) -> dict[str, Tensor]:
    """The weights of a model under another library's names and in its order.

    Raises:
        InputError: The library has no place for some of them; they are named.
        ConfigError: The model has no card.
    """
    if layout not in LAYOUTS:
        raise InputError(f"unknown layout {layout!r}, expected {', '.join(LAYOUTS)}")
    form, card = LAYOUTS[layout], card_of(model)
    if layout == "mmdet" and isinstance(model.head, RTMDetHead) and card.config.backbone in CSPNEXTS:
        state = {name: t for name, t in model.state_dict().items() if not DROPPED.fullmatch(name)}
        return _contiguous(as_mmdet(state))
    if card.config.backbone not in RESNETS or not isinstance(model.head, RetinaNetHead):
        raise InputError(
            f"{form.library}'s RetinaNet has a ResNet or ResNeXt,"
            f" this is {card.config.detector} on {card.config.backbone}"
        )
    state = {name: t.detach().cpu() for name, t in model.state_dict().items() if not DROPPED.fullmatch(name)}
    if homeless := [name for name in state if form.theirs(name) is None]:
        raise InputError(
            f"{form.library}'s RetinaNet has no place for {', '.join(homeless[:4])} ({len(homeless)} in all)"
        )
    if form.anchors is not None:
        order = inverse(form.anchors)
        state = {n: reorder_anchors(t, order) if n.startswith(OUTPUTS) else t for n, t in state.items()}
    beside: dict[str, Tensor] = {}
    mean, std = (t.detach().cpu().double() for t in (model.pixel_mean, model.pixel_std))
    if layout == "torchvision":
        state[STEM] = _for_imagenet(state[STEM], mean, std)
    elif layout == "detectron2":
        state[STEM] = swap_colours(state[STEM])
        beside = {"pixel_mean": mean.flip(0).float() * 255, "pixel_std": std.flip(0).float() * 255}
    elif card.config.numerics.stride_in_1x1:  # mmdetection's caffe style
        state[STEM] = swap_colours(state[STEM])
    return _contiguous({form.theirs(name) or name: t for name, t in state.items()} | beside)


def left_behind(card: ModelCard, layout: Target) -> dict[str, Any]:
    """Numerics of the model that the library's own differ in, as {name: (here, there)}."""
    here = card.config.numerics
    if card.config.backbone in CSPNEXTS:  # RTMDet: no other model of it has a layout
        return differences(here, rtmdet.numerics(here.plain_distances))
    if layout == "torchvision":
        there = torchvision.V1_EPS if here.p6_from == "p5" else torchvision.V2
    elif layout == "detectron2":
        there = detectron2.STYLE
    else:
        there = mmdet.CAFFE if here.stride_in_1x1 else mmdet.PYTORCH
    # the pixels are taken care of, in the weights or beside them
    free = replace(there.numerics, pixel_mean=here.pixel_mean, pixel_std=here.pixel_std)
    return differences(here, there.numerics if layout == "mmdet" else free)


def header(model: AnyDetector) -> dict[str, Any]:
    """What a checkpoint says about its model, in plain values."""
    card = card_of(model)
    config = TrainConfig(model=card.config, min_size=card.min_size, max_size=card.max_size)
    categories = [{"id": i, "name": name} for i, name in card.categories or ()]
    return {
        "schema": SCHEMA,
        "categories": categories,
        "num_classes": model.num_classes,
        "config": config_to_dict(config),
    }


def card_of(model: AnyDetector) -> ModelCard:
    """The model's card.

    Raises:
        ConfigError: It has none.
    """
    if model.card is None:
        raise ConfigError(
            "this model does not know its own structure, because its backbone is a module of yours; weights of models"
            " made by retinanet(..., backbone=NAME) or load_weights can be saved"
        )
    return model.card


def _for_imagenet(stem: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """The first convolution for inputs divided by ImageNet's deviations, which gives the same products."""
    wanted_mean, wanted_std = (torch.tensor(v, dtype=torch.float64) for v in IMAGENET)
    if not torch.allclose(mean, wanted_mean, rtol=0, atol=1e-6):
        raise InputError(
            f"torchvision subtracts {wanted_mean.tolist()} from the colours, this model"
            f" {[round(v, 6) for v in mean.tolist()]}: no weight can make up for that at the image's edge"
        )
    if torch.allclose(std, wanted_std, rtol=0, atol=1e-6):
        return stem
    return (stem.double() * (wanted_std / std).view(1, 3, 1, 1)).to(stem.dtype)


def _contiguous(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: t.detach().cpu().contiguous().clone() for name, t in state.items()}


def _write(content: dict[str, Any], path: Path, about: dict[str, str] | None = None) -> None:
    if path.suffix == ".safetensors":
        from safetensors.torch import save

        write_bytes_atomic(path, save(content, about))
    else:
        buffer = io.BytesIO()
        torch.save(content, buffer)
        write_bytes_atomic(path, buffer.getbuffer())
