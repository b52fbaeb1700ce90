"""Load weights of torchvision, Detectron2, MMDetection or our own as a RetinaNet with that library's arithmetic."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from focalkit._config_io import config_from_dict
from focalkit._runs import READS, RunDir, checked_categories
from focalkit.config import LayoutName, NumericsConfig
from focalkit.detection.build import build_retinanet
from focalkit.detection.models.backbone_weights import listed, misfits, nearest
from focalkit.detection.models.card import ModelCard
from focalkit.detection.models.detr.detector import AnyDetector
from focalkit.detection.weights._coco import COCO, coco_categories
from focalkit.detection.weights._order import OUTPUTS, STEM, pick_classes, reorder_anchors, swap_colours
from focalkit.detection.weights._read import RawWeights, read_file, unwrap
from focalkit.detection.weights._rtmdet import SIZE as RTMDET_SIZE
from focalkit.detection.weights._rtmdet import is_rtmdet, load_rtmdet
from focalkit.detection.weights._sets import SET_LAYOUTS, load_set
from focalkit.detection.weights._structure import MissingError, count_classes, model_config, p6_from
from focalkit.detection.weights.checkpoint import build_described, load_checkpoint
from focalkit.detection.weights.layouts import detectron2, mmdet, torchvision
from focalkit.detection.weights.layouts.layout import DROPPED, Layout, Style
from focalkit.errors import ConfigError, InputError

LAYOUTS: dict[LayoutName, Layout] = {
    "torchvision": torchvision.LAYOUT,
    "detectron2": detectron2.LAYOUT,
    "mmdet": mmdet.LAYOUT,
}
STYLES = {
    "torchvision_v1": torchvision.V1,
    "torchvision_v1_eps": torchvision.V1_EPS,
    "torchvision_v2": torchvision.V2,
    "detectron2": detectron2.STYLE,
    "mmdet_pytorch": mmdet.PYTORCH,
    "mmdet_caffe": mmdet.CAFFE,
}
"""How the models of each library compute, by the name that `load_weights(style=...)` takes."""


def load_weights(
    source: str | os.PathLike[str] | Mapping[str, Any],
    layout: LayoutName = "auto",
    coco80: bool = False,
    trust: bool = False,
    *,
    style: str | None = None,
    numerics: NumericsConfig | None = None,
) -> AnyDetector:
    """The detector in a file, with the arithmetic of the library that trained it.

    Every class channel of the file is kept. The order of anchors and of colours is changed to ours, which is exact; the
    rest of what libraries do differently (`NumericsConfig`) goes into the model and is saved with it.

    Args:
        source: A file (.pth, .pt, .ckpt, .pkl, .safetensors), a run directory, or a state dict.
        layout: Whose names the weights have; "auto" looks at them. DEIM's are those of D-FINE, so say "deim".
        coco80: Of a model with torchvision's 91 class channels, numbered by COCO's ids, keep the 80 that are used.
        trust: Read a pickle even if it runs code to do so. Only for files whose origin you know.
        style: One of `STYLES`, where the file does not say or says it wrongly. Without it: torchvision's by the shapes;
            MMDetection's by the configuration in the file, else its pytorch style.
        numerics: Instead of the style's.

    Returns:
        The model in evaluation mode. `model.card` has its structure, numerics and, where known, classes.

    Raises:
        InputError: The file cannot be read, or its weights do not fit: each missing, unknown or misshapen one is named
            with the nearest.
        ConfigError: A run that is not one.

    Example:
        >>> model = load_weights("retinanet_resnet50_fpn_coco-eeacb38b.pth", coco80=True)  # doctest: +SKIP
        >>> Detector(model).predict("photo.jpg")                                           # doctest: +SKIP
    """
    if isinstance(source, str | os.PathLike) and Path(source).is_dir():
        model = _own_run(RunDir(Path(source)))
    else:
        raw = unwrap(source, "state dict") if isinstance(source, Mapping) else read_file(Path(source), trust)
        if layout == "auto":
            layout = find_layout(raw)
            if layout == "dfine" and "deim" in Path(raw.source).name.lower():
                raise InputError(
                    f"{raw.source}: weights of DEIM and of D-FINE have the same names and shapes, and are used with"
                    " other activations; say which it is: --layout deim or --layout dfine"
                )
        if layout in SET_LAYOUTS:
            if coco80 or style or numerics:
                raise InputError(f"{raw.source}: coco80, style and numerics are for RetinaNets, not for set predictors")
            return load_set(raw, SET_LAYOUTS[layout])
        model = _own(raw) if layout == "focalkit" else _foreign(raw, _known(layout), coco80, style, numerics)
        if layout != "focalkit":
            return model
    if coco80 or style or numerics:
        raise InputError("coco80, style and numerics are for other libraries' weights; these are focalkit's own")
    return model


def find_layout(raw: RawWeights) -> LayoutName:
    """Whose names these weights have.

    Raises:
        InputError: Nobody's that is known.
    """
    if "focalkit" in raw.rest or any(name.startswith("neck.lateral.") for name in raw.tensors):
        return "focalkit"
    known: dict[LayoutName, Layout] = {**SET_LAYOUTS, **LAYOUTS}
    for name, layout in known.items():
        if any(layout.mark.fullmatch(key) for key in raw.tensors):
            return name
    shown = ", ".join(list(raw.tensors)[:4])
    libraries = ", ".join(layout.library for layout in LAYOUTS.values())
    raise InputError(
        f"{raw.source}: not recognised as a RetinaNet of {libraries} or focalkit, as MMDetection's RTMDet,"
        f" nor as an RT-DETR or D-FINE of its authors or transformers; its weights are called {shown}, ..."
    )


def _known(layout: str) -> Layout:
    if layout not in LAYOUTS:
        known = ", ".join((*LAYOUTS, *SET_LAYOUTS))
        raise InputError(f"unknown layout {layout!r}, expected auto, focalkit, {known}")
    return LAYOUTS[layout]


def _foreign(
    raw: RawWeights, layout: Layout, coco80: bool, style: str | None, numerics: NumericsConfig | None
) -> AnyDetector:
    if layout.name == "mmdet" and is_rtmdet(raw):
        if coco80 or style:
            raise InputError(f"{raw.source}: is an RTMDet; coco80 and style are for RetinaNets")
        model, config = load_rtmdet(raw, _config_text(raw), numerics)
        known_classes = named_in(raw, model.num_classes) or coco_categories(model.num_classes)
        model.card = ModelCard(config, known_classes, RTMDET_SIZE, RTMDET_SIZE)
        return model
    given = {name: tensor for name, tensor in raw.tensors.items() if not DROPPED.fullmatch(name)}
    known = {name: ours for name in given if (ours := layout.ours(name)) is not None}
    weights = {ours: given[name] for name, ours in known.items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    try:
        classes, p6 = count_classes(shapes), p6_from(shapes)
        chosen = _style(raw, layout, style, p6, classes)
        found = replace(chosen.numerics if numerics is None else numerics, p6_from=p6)
        config = model_config(shapes, found, raw.source)
    except MissingError as error:
        lacking = layout.theirs(str(error)) or str(error)
        hint = nearest(lacking, given)
        raise InputError(f"{raw.source}: no RetinaNet of {layout.library}: it has no {lacking}{hint}") from None
    with torch.device("meta"):  # shapes alone
        state = build_retinanet(config, classes).state_dict()
    wanted = {layout.theirs(n) or n: tuple(t.shape) for n, t in state.items() if not DROPPED.fullmatch(n)}
    # what an older version called otherwise is reported under today's name
    today = {layout.theirs(known[name]) or name if name in known else name: t for name, t in given.items()}
    if problems := misfits(wanted, {name: tuple(t.shape) for name, t in today.items()}):
        raise InputError(
            f"{raw.source}: does not fit a RetinaNet of {layout.library} with {config.backbone} and {classes} classes"
            f" {listed(problems)}"
        )
    if layout.anchors is not None:
        weights = {n: reorder_anchors(t, layout.anchors) if n.startswith(OUTPUTS) else t for n, t in weights.items()}
    if chosen.bgr:
        weights[STEM] = swap_colours(weights[STEM])
    categories = coco_categories(classes) if layout.name == "torchvision" or classes == len(COCO) else None
    categories = named_in(raw, classes) or categories
    if coco80:
        if classes != max(COCO) + 1:
            raise InputError(f"{raw.source}: coco80 takes 80 of 91 classes numbered by COCO's ids; here are {classes}")
        for name in ("weight", "bias"):
            name = f"head.class_output.{name}"
            weights[name] = pick_classes(weights[name], classes, tuple(COCO))
        classes, categories = len(COCO), coco_categories(len(COCO))
    model = build_retinanet(config, classes)
    model.load_state_dict({name: t.to(state[name].dtype) for name, t in weights.items()}, strict=False)
    model.card = ModelCard(config, categories)
    return model.eval()


def _style(raw: RawWeights, layout: Layout, style: str | None, p6: str, classes: int) -> Style:
    if style is not None:
        if style not in STYLES:
            raise InputError(f"unknown style {style!r}{nearest(style, STYLES)}; known: {', '.join(STYLES)}")
        return STYLES[style]
    if layout.name == "torchvision":
        live = any(name.endswith("num_batches_tracked") for name in raw.tensors)
        return torchvision.style(p6, classes, live)
    if layout.name == "mmdet":
        return mmdet.read_config(_config_text(raw))
    return detectron2.read_pixels(raw.tensors)


def _config_text(raw: RawWeights) -> str:
    meta = raw.rest.get("meta")
    found = (meta.get("cfg") or meta.get("config")) if isinstance(meta, Mapping) else None
    return found if isinstance(found, str) else ""


def named_in(raw: RawWeights, classes: int) -> tuple[tuple[int, str], ...] | None:
    """(number, name) of each class as MMDetection writes them beside the weights; COCO's with COCO's ids."""
    meta = raw.rest.get("meta")
    if not isinstance(meta, Mapping):
        return None
    inside = meta.get("dataset_meta")
    inside = inside if isinstance(inside, Mapping) else {}
    names = inside.get("classes") or inside.get("CLASSES") or meta.get("CLASSES")
    if not isinstance(names, list | tuple) or len(names) != classes:
        return None
    if list(names) == list(COCO.values()):
        return tuple(COCO.items())
    return tuple((number, str(name)) for number, name in enumerate(names))


def _own_run(run: RunDir) -> AnyDetector:
    config = run.read_config()
    categories = tuple((c["id"], c["name"]) for c in run.read_categories())
    model = build_described(config.model, len(categories), run.path / "run.json")
    load_checkpoint(model, run)
    model.card = ModelCard(config.model, categories, config.min_size, config.max_size)
    return model.eval()


def _own(raw: RawWeights) -> AnyDetector:
    header = raw.rest.get("focalkit")
    if not isinstance(header, Mapping):
        raise InputError(
            f"{raw.source}: has weights of focalkit but not the configuration of their model; expected a run directory,"
            " a checkpoint of one, or what save_weights wrote"
        )
    if header.get("schema") not in READS:
        known = " and ".join(map(str, READS))
        raise ConfigError(f"{raw.source}: schema {header.get('schema')!r}, this focalkit reads schema {known}")
    stored, listed_classes = header.get("config"), header.get("categories") or []
    if not isinstance(stored, Mapping):
        raise ConfigError(f"{raw.source}: holds no configuration of its model; expected what save_weights wrote")
    config = config_from_dict(stored, source=raw.source)
    if listed_classes:
        checked_categories(listed_classes, raw.source)
    classes = header.get("num_classes") or len(listed_classes)
    if not isinstance(classes, int) or not 1 <= classes <= 10**6:
        raise ConfigError(f"{raw.source}: its number of classes is {classes!r:.80}, expected at least 1")
    model = build_described(config.model, classes, raw.source)
    wanted = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    if problems := misfits(wanted, {name: tuple(t.shape) for name, t in raw.tensors.items()}):
        raise InputError(f"{raw.source}: does not fit the model that it describes {listed(problems)}")
    model.load_state_dict(raw.tensors)
    categories = tuple((c["id"], c["name"]) for c in listed_classes) if listed_classes else None
    model.card = ModelCard(config.model, categories, config.min_size, config.max_size)
    return model.eval()
