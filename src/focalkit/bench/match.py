"""Suite `match`: assigning ground-truth boxes to anchors, against torchvision's IoU matrix and matcher."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from focalkit.detection import AnchorGrid, Assignment, DetectionTarget, MaxIoUAssigner

from ._model import Bar, Call, Case, Row, Settings

HEIGHT, WIDTH = 800, 1344
STRIDES = (8, 16, 32, 64, 128)
BACKGROUND, BETWEEN = -1, -100
NO_LOW_QUALITY = 1.0


@dataclass(frozen=True)
class Scene:
    """Attributes:
    priors: Per level (n_l, 4).
    target: m boxes.
    """

    priors: tuple[Tensor, ...]
    target: DetectionTarget


def scene(m: int, height: int, width: int, device: torch.device) -> Scene:
    """Boxes with sides from 8 to 512 px, log-uniform, anywhere in the image."""
    generator = torch.Generator().manual_seed(0)
    limits = torch.tensor([float(width), float(height)])
    size = torch.minimum(8 * torch.exp(torch.rand(m, 2, generator=generator) * torch.tensor(64.0).log()), limits)
    corner = torch.rand(m, 2, generator=generator) * (limits - size)
    target = DetectionTarget(torch.cat([corner, corner + size], dim=1), torch.zeros(m, dtype=torch.int64))
    shapes = [(-(-height // s), -(-width // s)) for s in STRIDES]
    return Scene(AnchorGrid()(shapes, device), target.to(device))


def ours(low_quality: bool) -> Callable[[Scene], Call]:
    rule = MaxIoUAssigner(min_pos_iou=0.0 if low_quality else NO_LOW_QUALITY)
    return lambda inputs: lambda: rule(inputs.priors, inputs.target)


def torchvision(low_quality: bool) -> Callable[[Scene], Call]:
    def make(inputs: Scene) -> Call:
        from torchvision.models.detection._utils import Matcher
        from torchvision.ops import box_iou

        matcher = Matcher(0.5, 0.4, allow_low_quality_matches=low_quality)
        priors = torch.cat(inputs.priors)
        return lambda: matcher(box_iou(inputs.target.boxes, priors))

    return make


def our_state(found: Assignment) -> tuple[Tensor, ...]:
    """0 matched, `BACKGROUND`, `BETWEEN` the thresholds."""
    return (torch.where(found.gt_index >= 0, 0, found.labels),)


def their_state(matched: Tensor) -> tuple[Tensor, ...]:
    return (torch.where(matched >= 0, 0, torch.where(matched == -1, BACKGROUND, BETWEEN)),)


def our_boxes(found: Assignment) -> tuple[Tensor, ...]:
    return (*our_state(found), found.gt_index)


def their_boxes(matched: Tensor) -> tuple[Tensor, ...]:
    return (*their_state(matched), matched.clamp(min=-1))


def match_case(m: int, height: int, width: int, low_quality: bool = True) -> Case:
    n = sum(-(-height // s) * -(-width // s) for s in STRIDES) * AnchorGrid().per_cell
    note = (
        "Equal: which anchors are positive, ignored, background. Not compared: the box of an anchor that is positive"
        " only because a box has no better one; torchvision gives it the box it overlaps most, focalkit the box that"
        " claims it. The case without such anchors compares the boxes too."
    )
    return Case(
        name=f"match-{m}" if low_quality else f"match-{m}-strict",
        title=f"{m} boxes x {n:,} anchors" + ("" if low_quality else ", no matches below the threshold"),
        inputs=lambda s: scene(m, height, width, s.device),
        rows=(
            Row("focalkit", ours(low_quality), answer=our_state if low_quality else our_boxes, tolerance=0.0),
            Row(
                "torchvision",
                torchvision(low_quality),
                "peer",
                "torchvision",
                answer=their_state if low_quality else their_boxes,
            ),
        ),
        reference="torchvision",
        bars=(
            Bar("the speed of torchvision's box_iou and Matcher", "torchvision", "focalkit", 1.0),
            # with few boxes the results themselves are most of what either needs
            *([Bar("less memory", "torchvision", "focalkit", 10.0, quantity="memory")] if m >= 100 else []),
        ),
        note=note if low_quality else "Equal: the state of every anchor and the box of every positive one.",
    )


def cases(settings: Settings) -> list[Case]:
    """Many boxes, many boxes without low-quality matches, and as many as an image usually has."""
    if settings.quick:
        return [match_case(20, 128, 192), match_case(20, 128, 192, low_quality=False)]
    return [
        match_case(500, HEIGHT, WIDTH),
        match_case(500, HEIGHT, WIDTH, low_quality=False),
        match_case(10, HEIGHT, WIDTH),
    ]
