"""Suite `inference`: RetinaNet-R50, image in, detections out, against torchvision's."""

from dataclasses import dataclass

import torch
from torch import Tensor

from focalkit.detection import DensePostprocess, retinanet

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


def ours(inputs: Photo) -> Call:
    torch.manual_seed(0)
    model = retinanet(CLASSES, inputs.backbone).to(inputs.image.device).eval()
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


def inference_case(side: int, backbone: str = "resnet50") -> Case:
    """To add another engine, append a row: a function from the `Photo` to the call."""
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
        ),
        bars=(Bar("the speed of torchvision", "torchvision", "focalkit", 1.0),),
        note="Random weights: no prediction reaches the threshold. The suite postprocess measures that part.",
    )


def cases(settings: Settings) -> list[Case]:
    """640 px."""
    return [inference_case(64, "resnet18")] if settings.quick else [inference_case(640)]
