"""Start fine-tuning: copy a trained detector's weights into a new one of the same structure, often of other classes."""

import re
from collections.abc import Sequence
from operator import attrgetter

import torch
from torch import Tensor

from focalkit.config import ModelConfig
from focalkit.detection.models.backbone_weights import listed, misfits
from focalkit.detection.models.detr.detector import AnyDetector
from focalkit.detection.recipes import DETECTORS
from focalkit.detection.weights._order import pick_classes
from focalkit.detection.weights.layouts.layout import DROPPED
from focalkit.errors import ConfigError

STRUCTURE = (
    *(
        "detector",
        "backbone",
        "fpn_channels",
        "neck_depth",
        "head_channels",
        "head_depth",
        "head_norm",
        "numerics.p6_from",
    ),
    *(f"decoder.{name}" for name in ("layers", "expansion", "heads", "points", "feedforward")),
)
"""Fields of the model's configuration without which weights do not fit."""
CLASS_OUTPUT = "head.class_output."
LABELS = "head.label_embedding."
"""A vector for each class, and one for none."""
GROUPS = "head.further."
"""What makes the proposals of further groups of queries: it starts anew."""


def check_structure(asked: ModelConfig, found: ModelConfig, source: object) -> None:
    """Refuse weights of another architecture.

    Args:
        asked: Of the model that is to be made.
        found: Of the one that the weights belong to.
        source: Named in the message.

    Raises:
        ConfigError: They differ; every field is named with both values.
    """
    problems = [
        f"model.{name}: {_field(asked, name)!r} is asked for, the file has {_field(found, name)!r}"
        for name in STRUCTURE
        if _field(asked, name) != _field(found, name)
    ]
    if asked.detector == found.detector and _per_cell(asked) != _per_cell(found):
        problems.append(
            f"model.anchor_scales and model.anchor_ratios: {_per_cell(asked)} anchors a cell are asked for,"
            f" the file has {_per_cell(found)}"
        )
    if problems:
        raise ConfigError(
            f"{source}: cannot be started from, its model is another one\n  "
            + "\n  ".join(problems)
            + "\n  leave these settings out of the command line and of the --config file, and the file's are taken; in"
            " Python give TrainConfig(model=load_weights(FILE).card.config)"
        )


def transfer(model: AnyDetector, source: AnyDetector, names: Sequence[str], what: object) -> str:
    """Give a new model the weights of a trained one; of its class output, what the source knows.

    Classes are found by name where the source has names, whatever their order and number: first those that are spelt
    the same, then those that differ in case or blanks. Classes that the source does not have stay as the new model has
    them, at the prior. Where the source has no names, as many classes are taken for the same ones.

    Args:
        model: Changed in place.
        source: Of the same structure; `check_structure` says whether.
        names: Of the model's classes.
        what: The source, for messages.

    Returns:
        What became of the class output, in a sentence.

    Raises:
        ConfigError: A weight that does not fit all the same.

    Example:
        >>> transfer(retinanet(2), load_weights("coco.pth"), ["cat", "dog"], "coco.pth")      # doctest: +SKIP
        'classes: 2 of the 80 in coco.pth'
    """
    given = source.state_dict().items()
    state = {name: t for name, t in given if not DROPPED.fullmatch(name) and not name.startswith(GROUPS)}
    own = model.state_dict()
    rows, note = _rows(source, names, what)
    if rows is None:
        state = {name: t for name, t in state.items() if not name.startswith((CLASS_OUTPUT, LABELS))}
    elif rows != list(range(source.num_classes)):
        count = source.num_classes
        for name, t in state.items():
            if name.startswith(CLASS_OUTPUT):
                state[name] = _filled(pick_classes(t, count, rows, len(t) // count), own.get(name), rows)
            elif name.startswith(LABELS):
                state[name] = _filled(t[[*rows, count]], own.get(name), rows, extra=1)
    # a model without denoising has no labels to embed, and one that starts it starts them
    state = {name: t for name, t in state.items() if name in own or not name.startswith(LABELS)}
    new = [CLASS_OUTPUT, LABELS] if rows is None else [] if any(n.startswith(LABELS) for n in state) else [LABELS]
    wanted = {
        name: tuple(t.shape)
        for name, t in own.items()
        if not DROPPED.fullmatch(name) and not name.startswith((*new, GROUPS))
    }
    if problems := misfits(wanted, {name: tuple(t.shape) for name, t in state.items()}):
        raise ConfigError(f"{what}: does not fit the model that is asked for {listed(problems)}")
    model.load_state_dict(state, strict=False)
    return note


def _filled(picked: Tensor, own: Tensor | None, rows: list[int], extra: int = 0) -> Tensor:
    """The rows of the source, and where there is none (-1) those of the new model; `extra` last rows are no class's."""
    if -1 not in rows or own is None or own.shape != picked.shape:
        return picked
    anchors = (len(picked) - extra) // len(rows)
    new = torch.tensor([row < 0 for row in rows]).repeat(anchors)
    new = torch.cat([new, torch.zeros(extra, dtype=torch.bool)])
    found = picked.clone()
    found[new] = own[new].to(found)
    return found


def _rows(source: AnyDetector, names: Sequence[str], what: object) -> tuple[list[int] | None, str]:
    """For each class that of the source, -1 where there is none; None where there is none for all of them."""
    known = None if source.card is None or source.card.categories is None else source.card.categories
    count = source.num_classes
    if known is None:
        if count == len(names):
            return list(
                range(count)
            ), f"classes: {what} does not name its {count}; taken for the data's, in their order"
    else:
        found = _found([name for _, name in known], names)
        if -1 not in found:
            return found, f"classes: {len(names)} of the {count} in {what}, found by their names"
        if set(found) != {-1}:
            new = [name for name, row in zip(names, found, strict=True) if row < 0]
            kept = f"classes: {len(names) - len(new)} of the {count} in {what}, found by their names"
            return found, f"{kept}; {len(new)} new ({_few(new)}) start{'s' * (len(new) == 1)} at the prior"
    theirs = f"{count}" if known is None else f"{count} ({_few([name for _, name in known])})"
    ours = f"{len(names)} ({_few(names)})"
    return None, f"classes: {what} has {theirs}, the data {ours}: the class output starts anew, at the prior"


def _found(known: Sequence[str], names: Sequence[str]) -> list[int]:
    """For each name its place among the known ones, -1 without: exact names first, then those alike but for case."""
    found = [known.index(name) if name in known else -1 for name in names]
    free = {_folded(name): place for place, name in enumerate(known) if place not in found}
    return [free.pop(_folded(name), -1) if place < 0 else place for name, place in zip(names, found, strict=True)]


def _folded(name: str) -> str:
    return " ".join(re.split(r"[\s_-]+", name.casefold().strip()))


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _field(config: ModelConfig, name: str) -> object:
    return attrgetter(name)(config)


def _per_cell(config: ModelConfig) -> int:
    return DETECTORS[config.detector].priors(config).per_cell
