"""Every loss of the package in one literal table: what `focalkit losses`, `build`, the docs and the tests go by."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from . import _boxes, _cross_entropy, _focal


@dataclass(frozen=True)
class LossSpec:
    """One line of the catalog.

    Attributes:
        name: Short name, used in specs such as "focal(gamma=0.5)".
        function: The function, or None where a loss has state and is a module only.
        module: The module.
        targets: What the second argument is: "binary" (dense 0..1 or class indices, -1 background), "classes" (class
            indices or dense rows), or what the summary says.
        paper: First author, year, arXiv number or place.
        summary: One line.
        fused: Whether `focalkit.kernels` has a single-pass implementation.
    """

    name: str
    function: Callable[..., Tensor] | None
    module: Callable[..., nn.Module]
    targets: str
    paper: str
    summary: str
    fused: bool = False


_LINES = (
    LossSpec(
        "bce",
        _cross_entropy.binary_cross_entropy,
        _cross_entropy.BinaryCrossEntropy,
        "binary",
        "-",
        "cross-entropy of independent sigmoids",
    ),
    LossSpec(
        "ce",
        _cross_entropy.cross_entropy,
        _cross_entropy.CrossEntropy,
        "classes",
        "-",
        "cross-entropy of a softmax",
    ),
    LossSpec(
        "ciou",
        _boxes.ciou_loss,
        _boxes.CIoULoss,
        "boxes",
        "Zheng 2020, arXiv 1911.08287",
        "1 - IoU + centre distance + aspect",
    ),
    LossSpec(
        "diou",
        _boxes.diou_loss,
        _boxes.DIoULoss,
        "boxes",
        "Zheng 2020, arXiv 1911.08287",
        "1 - IoU + centre distance",
    ),
    LossSpec(
        "focal",
        _focal.sigmoid_focal_loss,
        _focal.SigmoidFocalLoss,
        "binary",
        "Lin 2017, arXiv 1708.02002",
        "focal loss on sigmoids",
    ),
    LossSpec(
        "focal_star",
        _focal.sigmoid_focal_loss_star,
        _focal.SigmoidFocalLossStar,
        "binary",
        "Lin 2017, arXiv 1708.02002",
        "FL*: cross-entropy of a steeper, shifted logit",
    ),
    LossSpec(
        "giou",
        _boxes.giou_loss,
        _boxes.GIoULoss,
        "boxes",
        "Rezatofighi 2019, arXiv 1902.09630",
        "1 - generalised IoU",
    ),
    LossSpec(
        "l1",
        _boxes.l1_loss,
        _boxes.L1Loss,
        "deltas",
        "-",
        "absolute difference",
    ),
    LossSpec(
        "smooth_l1",
        _boxes.smooth_l1_loss,
        _boxes.SmoothL1Loss,
        "deltas",
        "Girshick 2015, arXiv 1504.08083",
        "L1 with a parabola at 0",
    ),
    LossSpec(
        "softmax_focal",
        _focal.softmax_focal_loss,
        _focal.SoftmaxFocalLoss,
        "classes",
        "Lin 2017, arXiv 1708.02002",
        "focal loss on a softmax",
    ),
)

LOSSES: dict[str, LossSpec] = {line.name: line for line in _LINES}
