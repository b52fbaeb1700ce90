"""Suite `postprocess`: raw predictions of one image to detections, against torchvision's RetinaNet."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from focalkit.detection import AnchorGrid, DenseOutputs, DensePostprocess, Detections

from ._model import Bar, Call, Case, Row, Settings

CLASSES, ANCHORS = 80, 9
STRIDES = (8, 16, 32, 64, 128)


@dataclass(frozen=True)
class Predictions:
    """Attributes:
    outputs: Of one image.
    size: Its height and width.
    """

    outputs: DenseOutputs
    size: tuple[int, int]


def predictions(height: int, width: int, mean: float, device: torch.device) -> Predictions:
    """Random logits around `mean`, which says how many reach the threshold, and small deltas."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(-(-height // s), -(-width // s)) for s in STRIDES]

    def level(channels: int, shape: tuple[int, int]) -> Tensor:
        x = torch.randn(1, channels, *shape, generator=generator)
        return x.to(device).contiguous(memory_format=torch.channels_last)

    logits = tuple(level(ANCHORS * CLASSES, shape) + mean for shape in shapes)
    deltas = tuple(level(ANCHORS * 4, shape) * 0.1 for shape in shapes)
    return Predictions(DenseOutputs(logits, deltas, AnchorGrid()(shapes, device), CLASSES), (height, width))


def ours(inputs: Predictions) -> Call:
    rule = DensePostprocess()
    return lambda: rule(inputs.outputs, [inputs.size])


def torchvision(inputs: Predictions) -> Call:
    """Gets the logits in its own order, permuted beforehand: its head does that, and it is not timed here."""
    from torchvision.models.detection import RetinaNet

    class NoBackbone(nn.Module):
        out_channels = 8

    from torchvision.models.detection.anchor_utils import AnchorGenerator

    sizes = tuple((s,) for s in (32, 64, 128, 256, 512))
    peer = RetinaNet(
        NoBackbone(),
        CLASSES,
        anchor_generator=AnchorGenerator(tuple((s[0],) * 3 for s in sizes), ((0.5, 1.0, 2.0),) * len(sizes)),
        detections_per_img=DensePostprocess().max_detections,
    )
    outputs = {"cls_logits": _in_rows(inputs.outputs.logits), "bbox_regression": _in_rows(inputs.outputs.deltas)}

    def call() -> list[dict[str, Tensor]]:
        with torch.no_grad():
            return peer.postprocess_detections(outputs, [list(inputs.outputs.priors)], [inputs.size])

    return call


def _in_rows(levels: Sequence[Tensor]) -> list[Tensor]:
    """(1, a*w, h, w') -> (1, h*w'*a, w), contiguous."""
    return [x.unflatten(1, (ANCHORS, -1)).permute(0, 3, 4, 1, 2).flatten(1, 3).contiguous() for x in levels]


def our_answer(found: list[Detections]) -> tuple[Tensor, ...]:
    return found[0].scores, found[0].boxes, found[0].labels


def their_answer(found: list[dict[str, Tensor]]) -> tuple[Tensor, ...]:
    return found[0]["scores"], found[0]["boxes"], found[0]["labels"]


def postprocess_case(name: str, height: int, width: int, mean: float, what: str) -> Case:
    return Case(
        name=name,
        title=f"one image of {height} x {width}, {CLASSES} classes, {what}",
        inputs=lambda s: predictions(height, width, mean, s.device),
        rows=(
            Row("focalkit", ours, answer=our_answer, tolerance=1e-3),
            Row("torchvision", torchvision, "peer", "torchvision", answer=their_answer),
        ),
        reference="torchvision",
        bars=(Bar("the speed of torchvision's postprocess_detections", "torchvision", "focalkit", 1.0),),
        note="From logits in the memory order each library's head leaves them in to the same detections, at most 100.",
    )


def cases(settings: Settings) -> list[Case]:
    """Few and many predictions above the threshold."""
    if settings.quick:
        return [postprocess_case("few", 128, 128, -6.0, "1 in 1,000 above the threshold")]
    return [
        postprocess_case("few", 800, 1344, -7.5, "1 prediction in 400,000 above the threshold"),
        postprocess_case("many", 800, 1344, -6.0, "1 prediction in 900 above the threshold"),
    ]
