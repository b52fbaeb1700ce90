"""What the checks need to know about a loss: how to build it, and what its inputs look like."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn

from ..losses import LOSSES, build, parse

Shape = tuple[int, int, int]
"""Batch, classes, further elements."""

Sample = Callable[[Shape, Generator], tuple[Tensor, Tensor]]
"""sample(shape, rng) -> float64 first argument, second argument."""


@dataclass(frozen=True)
class Case:
    """A loss and its inputs.

    Attributes:
        name: For the messages.
        build: `build(shape, **arguments)` -> the module for inputs of that shape.
        samples: Ways to draw inputs; each check runs on each.
        kind: The catalog's word for the targets, or "own".
        has_ignore: Whether a value of the targets marks absence.
        differentiable: Whether the gradient is that of the value (not where a factor is held constant).
        separate_rows: Whether the unreduced loss has the batch as its first axis.
        fixed: Arguments that the spec sets, so that `build` cannot change them.
        has_axes: Whether inputs have a class axis and may have any number of further axes.
    """

    name: str
    build: Callable[..., nn.Module]
    samples: tuple[Sample, ...]
    kind: str = "own"
    has_ignore: bool = False
    differentiable: bool = True
    separate_rows: bool = True
    has_axes: bool = False
    fixed: tuple[str, ...] = ()


def _logits(shape: Shape, rng: Generator) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=rng) * 3


def _labels(lowest: int) -> Sample:
    def sample(shape: Shape, rng: Generator) -> tuple[Tensor, Tensor]:
        b, k, s = shape
        labels = torch.randint(lowest, k, (b, s), generator=rng)
        labels.view(-1)[:1] = lowest  # background, where there is such a label, is always among them
        return _logits(shape, rng), labels

    return sample


def _hard(shape: Shape, rng: Generator) -> tuple[Tensor, Tensor]:
    return _logits(shape, rng), (torch.rand(shape, generator=rng) < 0.4).double()


def _unit(shape: Shape, rng: Generator) -> tuple[Tensor, Tensor]:
    t = torch.rand(shape, dtype=torch.float64, generator=rng)
    return _logits(shape, rng), torch.where(t > 0.8, 1.0, torch.where(t < 0.3, 0.0, t))


def _rows(shape: Shape, rng: Generator) -> tuple[Tensor, Tensor]:
    return _logits(shape, rng), torch.rand(shape, dtype=torch.float64, generator=rng).softmax(1)


def _positions(shape: Shape, rng: Generator) -> tuple[Tensor, Tensor]:
    b, k, s = shape
    return _logits(shape, rng), torch.rand(b, s, dtype=torch.float64, generator=rng) * (k - 1)


def _boxes(shape: Shape, rng: Generator) -> tuple[Tensor, Tensor]:
    def one() -> Tensor:
        corner = torch.rand(shape[0], shape[2], 2, dtype=torch.float64, generator=rng) * 30
        return torch.cat([corner, corner + 1 + torch.rand(corner.shape, dtype=torch.float64, generator=rng) * 40], -1)

    return one(), one()


def _two(shape: Shape, rng: Generator) -> tuple[Tensor, Tensor]:
    return _logits(shape, rng), _logits(shape, rng)


def _embeddings(shape: Shape, rng: Generator) -> tuple[Tensor, Tensor]:
    draw = [torch.randn(shape[0] + 2, 4, dtype=torch.float64, generator=rng) for _ in range(2)]
    return draw[0], draw[1]


SAMPLES: dict[str, tuple[Sample, ...]] = {
    "binary": (_labels(-1), _hard),
    "classes": (_labels(0), _rows),
    "labels": (_labels(0),),
    "quality": (_unit, _labels(-1)),
    "heat map": (_unit, _labels(-1)),
    "regions": (_hard, _labels(-1)),
    "places": (_hard, _labels(-1)),
    "background + classes": (_labels(0), _rows),
    "positions": (_positions,),
    "boxes": (_boxes,),
    "deltas": (_two,),
    "teacher": (_two,),
    "embeddings": (_embeddings,),
}

HELD_CONSTANT = ("ciou", "ia_bce", "mal", "seesaw", "wiou", "wiou_v3")
NO_CLASS_AXIS = ("boxes", "deltas", "embeddings")


def required(shape: Shape) -> dict[str, Any]:
    """Values for arguments that have no default, or whose default some check cannot take."""
    counts = [float(10 ** (1 + i % 3) + i) for i in range(shape[1])]
    return {
        "class_counts": counts,
        "frequency": [c / sum(counts) / 10 for c in counts],
        "num_classes": shape[1],
        "epochs": 9,
        "drop_prob": 1.0,  # the one loss with random numbers, without its randomness
        "absent": "count",  # so that a mean is one of all numbers
    }


def case_of(spec: str) -> Case:
    """The case of a catalog name or spec, such as "focal(gamma=0.5)"."""
    name, given = parse(spec)
    line = LOSSES[name]
    names = inspect.signature(line.module).parameters

    def make(shape: Shape, **arguments: Any) -> nn.Module:
        extra = {key: value for key, value in required(shape).items() if key in names and key not in given}
        return build(spec, **(extra | arguments))

    return Case(
        name=spec,
        build=make,
        samples=SAMPLES[line.targets],
        kind=line.targets,
        has_ignore="ignore_index" in names,
        differentiable=name not in HELD_CONSTANT,
        separate_rows=not given.get("batch", False),
        fixed=tuple(given),
        has_axes=line.targets not in NO_CLASS_AXIS,
    )
