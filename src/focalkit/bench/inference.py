"""Suite `inference`: RetinaNet-R50, image in, detections out, against torchvision's."""

from dataclasses import dataclass

import torch
from torch import Tensor

from focalkit.detection import DensePostprocess, retinanet

from ._exported import exported
from ._model import Bar, Call, Case, Row, Settings, no_answer

CLASSES = 80


@dataclass(frozen=True)
class Photo:
    """Attributes:
    image: (3, s, s) in [0, 1].
    backbone: Name.
    """

    image: Tensor
    backbone: str


def photo(side: int, backbone: str, device: torch.device) -> Photo:
    """Noise."""
    generator = torch.Generator().manual_seed(0)
    return Photo(torch.rand(3, side, side, generator=generator).to(device), backbone)


def our_model(inputs: Photo) -> torch.nn.Module:
    torch.manual_seed(0)
    return retinanet(CLASSES, inputs.backbone).to(inputs.image.device).eval()


def ours(inputs: Photo) -> Call:
    model = our_model(inputs)
    rule, side = DensePostprocess(), inputs.image.shape[-1]

    def call() -> object:
        with torch.inference_mode():
            return rule(model(inputs.image[None]), [(side, side)])

    return call


def torchvision(inputs: Photo, memory_format: torch.memory_format = torch.contiguous_format) -> Call:
    from torchvision.models import resnet
    from torchvision.models.detection import RetinaNet
    from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
    from torchvision.ops.feature_pyramid_network import LastLevelP6P7
    from torchvision.ops.misc import FrozenBatchNorm2d

    torch.manual_seed(0)
    side = inputs.image.shape[-1]
    body = getattr(resnet, inputs.backbone)(weights=None, norm_layer=FrozenBatchNorm2d)
    pyramid = _resnet_fpn_extractor(body, 3, returned_layers=[2, 3, 4], extra_blocks=LastLevelP6P7(256, 256))
    model = RetinaNet(pyramid, CLASSES, min_size=side, max_size=side, detections_per_img=100)
    model = model.to(inputs.image.device, memory_format=memory_format).eval()  # pyright: ignore[reportCallIssue]

    def call() -> object:
        with torch.inference_mode():
            return model([inputs.image])

    return call


RUNTIMES = {
    "ONNX Runtime": ("onnx", False),
    "ONNX Runtime int8": ("onnx", True),
    "OpenVINO": ("openvino", False),
    "OpenVINO int8": ("openvino", True),
}
"""Row -> format and int8 of the exported file."""


def runtime_row(name: str) -> Row:
    format, int8 = RUNTIMES[name]
    return Row(
        name,
        lambda i: exported(our_model(i), i.image, format, int8),
        install="'focalkit[openvino]'" if format == "openvino" else "'focalkit[export]'",
        answer=no_answer,
    )


def inference_case(side: int, backbone: str = "resnet50", runtimes: bool = False) -> Case:
    """To add another engine, append a row: a function from the `Photo` to the call.

    Args:
        side: Of the image.
        backbone: Name.
        runtimes: Export the model and time it in other runtimes too: on the CPU.
    """
    bars = [Bar("the speed of torchvision", "torchvision", "focalkit", 1.0)]
    if runtimes:
        bars.append(Bar("the speed of torchvision, int8 in OpenVINO", "torchvision", "OpenVINO int8", 2.0))
    return Case(
        name=f"{backbone}-{side}",
        title=f"RetinaNet, {backbone}, one image of {side} x {side} px, {CLASSES} classes, forward and post-processing",
        inputs=lambda s: photo(side, backbone, s.device),
        rows=(
            Row("focalkit", ours, answer=no_answer),
            Row("torchvision", torchvision, "peer", "torchvision", answer=no_answer),
            Row(
                "torchvision channels_last",
                lambda i: torchvision(i, torch.channels_last),
                "peer",
                "torchvision",
                answer=no_answer,
            ),
            *(runtime_row(name) for name in RUNTIMES if runtimes),
        ),
        bars=tuple(bars),
        note="Random weights: no prediction reaches the threshold. The suite postprocess measures that part.",
    )


def cases(settings: Settings) -> list[Case]:
    """640 px; on a CPU with the exported files."""
    if settings.quick:
        return [inference_case(64, "resnet18")]
    return [inference_case(640, runtimes=settings.device.type == "cpu")]
