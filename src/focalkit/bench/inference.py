"""Suite `inference`: image in, detections out. RetinaNet-R50 against torchvision, two sizes in other runtimes, and the
relatives in `_inference_relatives`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from focalkit._types import to_memory_format
from focalkit.config import cpu_small
from focalkit.detection import DensePostprocess, build_detector, retinanet

from ._exported import Format, exported
from ._inference_relatives import relatives
from ._model import Bar, Call, Case, Row, Settings, no_answer

CLASSES, SMALL_CLASSES = 80, 3


@dataclass(frozen=True)
class Photo:
    """Attributes:
    image: (3, h, w) in [0, 1].
    build: Makes our model.
    backbone: Its name.
    """

    image: Tensor
    build: Callable[[], torch.nn.Module]
    backbone: str


def noise(height: int, width: int, device: torch.device) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(3, height, width, generator=generator).to(device)


def large(side: int, backbone: str, device: torch.device) -> Photo:
    """The paper's RetinaNet."""
    return Photo(noise(side, side, device), lambda: retinanet(CLASSES, backbone), backbone)


def small(height: int, width: int, device: torch.device) -> Photo:
    """The preset cpu-small with the backbone that the folded ImageNet weights need."""
    config = replace(cpu_small().model, backbone="mobilenet_v2_tf")
    return Photo(noise(height, width, device), lambda: build_detector(config, SMALL_CLASSES), config.backbone)


def our_model(inputs: Photo) -> torch.nn.Module:
    torch.manual_seed(0)
    return inputs.build().to(inputs.image.device).eval()


def ours(inputs: Photo) -> Call:
    """As `focalkit predict` runs it."""
    from focalkit.detection import Detector, folded

    model = folded(Detector(our_model(inputs))).model
    rule, (_, height, width) = DensePostprocess(), inputs.image.shape

    def call() -> object:
        with torch.inference_mode():
            return rule(model(inputs.image[None]), [(height, width)])

    return call


def ours_compiled(inputs: Photo) -> Call:
    """What `--compile` does: norms folded for good, torch.compile with weights in the processor's own order."""
    from focalkit.detection import Detector, compiled

    model = compiled(Detector(our_model(inputs))).model
    rule, (_, height, width) = DensePostprocess(), inputs.image.shape

    def call() -> object:
        with torch.no_grad():
            return rule(model(inputs.image[None]), [(height, width)])

    return call


FLOOR = "as many operations as the network's convolutions have, in direct 3x3 convolutions of 256 channels, 80 x 80"


def floor(inputs: Photo) -> Call:
    """What arithmetic alone takes, unless an algorithm needs less of it: PyTorch's convolutions where they are best."""
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        our_model(inputs)(inputs.image[None])
    x = torch.rand(1, 256, 80, 80, device=inputs.image.device).contiguous(memory_format=torch.channels_last)
    weight = torch.rand(256, 256, 3, 3, device=x.device).contiguous(memory_format=torch.channels_last)
    times = max(1, round(counter.get_total_flops() / (2 * weight.numel() * 80 * 80)))

    def call() -> object:
        with torch.inference_mode():
            return [torch.nn.functional.conv2d(x, weight, padding=1).shape for _ in range(times)]

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
    model = to_memory_format(model.to(inputs.image.device), memory_format).eval()

    def call() -> object:
        with torch.inference_mode():
            return model([inputs.image])

    return call


RUNTIMES: dict[str, tuple[Format, bool]] = {
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


def runtime_bars() -> list[Bar]:
    """A file in float32 is worth its trouble where its runtime is faster than PyTorch."""
    return [Bar(f"the speed of PyTorch, in {name}", "focalkit", name, 1.2) for name in ("ONNX Runtime", "OpenVINO")]


def inference_case(side: int, backbone: str = "resnet50", runtimes: bool = False) -> Case:
    """To add another engine, append a row: a function from the `Photo` to the call.

    Args:
        side: Of the image.
        backbone: Name.
        runtimes: Export the model and time it in other runtimes too: on the CPU.
    """
    bars = [Bar("the speed of torchvision", "torchvision", "focalkit", 1.5)]
    if runtimes:
        bars.append(Bar("the speed of torchvision, int8 in OpenVINO", "torchvision", "OpenVINO int8", 2.0))
        bars.extend(runtime_bars())
    return Case(
        name=f"{backbone}-{side}",
        title=f"RetinaNet, {backbone}, one image of {side} x {side} px, {CLASSES} classes, forward and post-processing",
        inputs=lambda s: large(side, backbone, s.device),
        rows=(
            Row("focalkit", ours, answer=no_answer),
            *([Row("focalkit compiled", ours_compiled, answer=no_answer)] if runtimes else []),
            Row("torchvision", torchvision, "peer", "torchvision", answer=no_answer),
            Row(
                "torchvision channels_last",
                lambda i: torchvision(i, torch.channels_last),
                "peer",
                "torchvision",
                answer=no_answer,
            ),
            *(runtime_row(name) for name in RUNTIMES if runtimes),
            *([Row("direct convolutions", floor, "floor", answer=no_answer, note=FLOOR)] if runtimes else []),
        ),
        bars=tuple(bars),
        note="Random weights: no prediction reaches the threshold. The suite postprocess measures that part.",
    )


def small_case(height: int, width: int) -> Case:
    """What one runs without a GPU, in PyTorch and from files."""
    return Case(
        name=f"cpu-small-{height}x{width}",
        title=f"RetinaNet of cpu-small, one image of {height} x {width} px, {SMALL_CLASSES} classes, forward and "
        "post-processing",
        inputs=lambda s: small(height, width, s.device),
        rows=(
            Row("focalkit", ours, answer=no_answer),
            Row("focalkit compiled", ours_compiled, answer=no_answer),
            *(runtime_row(name) for name in RUNTIMES),
        ),
        bars=tuple(runtime_bars()),
        note="MobileNetV2 with TensorFlow's padding, 64 channels. Random weights: no prediction reaches the threshold.",
    )


def cases(settings: Settings) -> list[Case]:
    """640 px, and on a CPU the exported files and the small model; then RT-DETRv2 and RTMDet."""
    if settings.quick:
        return [inference_case(64, "resnet18"), *relatives(settings)]
    if settings.device.type == "cpu":
        return [inference_case(640, runtimes=True), small_case(320, 416), *relatives(settings)]
    return [inference_case(640), *relatives(settings)]
