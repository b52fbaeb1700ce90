"""Suite `train`: images a second of the preset cpu-small, from the file to the optimiser's step, against torchvision.

Both sides read the same JPEG files one by one in this process (a row of ours keeps them decoded, as `--cache auto` does
from the second epoch on: torchvision has no such thing), augment alike (scale .7 to 1.4 with a random window,
flip, brightness, contrast and saturation) and step AdamW. torchvision's side is its own parts put together as its
detection reference does: decoding, transforms v2, MobileNetV2 with frozen BatchNorm, pyramid and RetinaNet of 64
channels.
"""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from focalkit._types import to_memory_format
from focalkit.config import TrainConfig, cpu_small
from focalkit.data import Category, DetectionData, DetectionDataset, ImageRecord, collate
from focalkit.data.cache import ImageCache
from focalkit.detection import build_criterion, build_detector

from ._model import Bar, Call, Case, Row, Settings, no_answer

CLASSES, BOXES = 3, 7
FROZEN = 4
"""Leading layers of MobileNetV2 that do not train: the stem and its two finest stages, as in the preset."""


MEMORY = 2**30
"""Bytes for decoded images, as `--cache auto` has where there is room."""


@dataclass(frozen=True)
class Photos:
    """Attributes:
    data: Files and boxes.
    config: The preset, and the size.
    folder: Where the files lie while this is in use.
    """

    data: DetectionData
    config: TrainConfig
    folder: Any


def photos(count: int, side: int, config: TrainConfig) -> Photos:
    """Smooth noise as JPEG files, larger than the network sees them, with boxes of all sizes."""
    from PIL import Image

    folder = tempfile.TemporaryDirectory(prefix="focalkit-bench-")
    generator = torch.Generator().manual_seed(0)
    records = []
    for number in range(count):
        coarse = torch.rand(1, 3, side // 8, side // 8, generator=generator)
        pixels = nn.functional.interpolate(coarse, (side, side), mode="bicubic")[0].clamp(0, 1)
        path = Path(folder.name) / f"{number}.jpg"
        Image.fromarray((pixels * 255).byte().permute(1, 2, 0).numpy()).save(path, quality=90)
        size = 16 + torch.rand(BOXES, 2, generator=generator) * (side / 2 - 16)
        corner = torch.rand(BOXES, 2, generator=generator) * (side - size)
        boxes = [(x0, y0, x1, y1) for x0, y0, x1, y1 in torch.cat([corner, corner + size], 1).tolist()]
        labels = torch.randint(CLASSES, (BOXES,), generator=generator).tolist()
        areas, ids = size.prod(1).tolist(), range(BOXES * number, BOXES * (number + 1))
        more = {"areas": tuple(areas), "crowd": (False,) * BOXES, "annotation_ids": tuple(ids)}
        records.append(ImageRecord(number, path, side, side, tuple(boxes), tuple(labels), **more))
    categories = tuple(Category(k, f"class {k}") for k in range(CLASSES))
    return Photos(DetectionData("train", categories, tuple(records), (), Path(folder.name)), config, folder)


def our_batches(inputs: Photos, fill: tuple[float, ...], *, cached: bool) -> Iterator[Any]:
    """Augmented batches without end, read in this process."""
    config = inputs.config
    sizes = [(image.height, image.width) for image in inputs.data.images]
    cache = ImageCache(sizes, MEMORY) if cached else None
    dataset = DetectionDataset(inputs.data, config.min_size, config.max_size, config.augment, cache=cache)
    join = collate(fill)
    for epoch, rows in enumerate(orders(len(dataset), config.batch_size)):
        dataset.set_epoch(epoch)
        yield join([dataset[row] for row in rows])


def orders(count: int, batch: int) -> Iterator[list[int]]:
    """Rows of a batch, drawn anew each time."""
    generator = torch.Generator().manual_seed(0)
    while True:
        yield torch.randperm(count, generator=generator)[:batch].tolist()


def ours(inputs: Photos, *, cached: bool = False) -> Call:
    torch.manual_seed(0)
    config = inputs.config
    model, criterion = build_detector(config.model, CLASSES).train(), build_criterion(config)
    batches = our_batches(inputs, tuple(model.pixel_mean.flatten().tolist()), cached=cached)

    def loss() -> Tensor:
        batch = next(batches)
        return sum(criterion(model(batch.images), batch.targets).values(), torch.zeros(()))

    return training(model, loss, config)


def our_loading(inputs: Photos) -> Call:
    batches = our_batches(inputs, (0.5, 0.5, 0.5), cached=True)
    return lambda: next(batches)


def their_batches(inputs: Photos) -> Iterator[tuple[list[Tensor], list[dict[str, Any]]]]:
    """The same by torchvision's decoder and transforms."""
    from torchvision import tv_tensors
    from torchvision.io import decode_image
    from torchvision.transforms import v2

    config = inputs.config
    side, color = config.max_size, config.augment.color
    pipeline = v2.Compose(
        [
            v2.ScaleJitter((side, side), config.augment.scale),
            v2.RandomCrop((side, side), pad_if_needed=True),
            v2.RandomHorizontalFlip(config.augment.flip),
            v2.ColorJitter(color, color, color),
            v2.ToDtype(torch.float32, scale=True),
            v2.SanitizeBoundingBoxes(),
        ]
    )
    for rows in orders(len(inputs.data), config.batch_size):
        images, targets = [], []
        for record in (inputs.data.images[row] for row in rows):
            boxes: Any = tv_tensors.BoundingBoxes
            target = {
                "boxes": boxes(torch.tensor(record.boxes), format="XYXY", canvas_size=(record.height, record.width)),
                "labels": torch.tensor(record.labels),
            }
            image, target = pipeline(tv_tensors.Image(decode_image(str(record.path))), target)
            images.append(image.as_subclass(Tensor))
            targets.append({name: value.as_subclass(Tensor) for name, value in target.items()})
        yield images, targets


def torchvision(inputs: Photos, memory_format: torch.memory_format = torch.contiguous_format) -> Call:
    from torchvision.models import mobilenet_v2
    from torchvision.models.detection import RetinaNet
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.backbone_utils import BackboneWithFPN
    from torchvision.ops.feature_pyramid_network import LastLevelP6P7
    from torchvision.ops.misc import FrozenBatchNorm2d

    torch.manual_seed(0)
    config, model = inputs.config, inputs.config.model
    features: Any = mobilenet_v2(weights=None, norm_layer=FrozenBatchNorm2d).features[:18]
    features[:FROZEN].requires_grad_(False)
    levels, channels = {"6": "0", "13": "1", "17": "2"}, [32, 96, 320]
    width = model.fpn_channels
    pyramid = BackboneWithFPN(features, levels, channels, width, extra_blocks=LastLevelP6P7(width, width))
    sizes = tuple(tuple(int(s * scale) for scale in model.anchor_scales) for s in model.anchor_sizes)
    net = RetinaNet(
        pyramid,
        CLASSES,
        min_size=config.min_size,
        max_size=config.max_size,
        anchor_generator=AnchorGenerator(sizes, (model.anchor_ratios,) * len(sizes)),
    )
    net = to_memory_format(net, memory_format).train()
    batches = their_batches(inputs)
    return training(net, lambda: sum(net(*next(batches)).values(), torch.zeros(())), config)


def training(model: nn.Module, loss: Callable[[], Tensor], config: TrainConfig) -> Call:
    """Load, forward, losses, backward, clip, step."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    # the rate is tiny: after any number of rounds the model is still where it was, and the loss finite
    optimizer = torch.optim.AdamW(trainable, lr=1e-9, weight_decay=config.optim.weight_decay)

    def call() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss().backward()
        nn.utils.clip_grad_norm_(trainable, config.optim.clip_norm or float("inf"))
        optimizer.step()

    return call


def train_case(count: int, side: int, config: TrainConfig) -> Case:
    step, cached, loading = "focalkit", "focalkit --cache auto", "focalkit --cache auto: loading"
    return Case(
        name=f"cpu-small-{config.max_size}",
        title=f"training of cpu-small, batch {config.batch_size}, {config.max_size} px, from JPEG files of {side} px"
        ": reading, augmentation, step",
        inputs=lambda s: photos(count, side, config),
        rows=(
            Row(step, ours, answer=no_answer),
            Row(cached, lambda i: ours(i, cached=True), answer=no_answer, note="decoded images are in memory"),
            Row(loading, our_loading, "part", answer=no_answer, note="reading and augmentation alone"),
            Row("torchvision", torchvision, "peer", "torchvision", answer=no_answer),
            Row(
                "torchvision channels_last",
                lambda i: torchvision(i, torch.channels_last),
                "peer",
                "torchvision",
                answer=no_answer,
            ),
        ),
        bars=(
            Bar("the speed of torchvision, both decoding every file at every step", "torchvision", step, 1.3),
            Bar("the speed of torchvision decoding, ours with decoded images in memory", "torchvision", cached, 1.3),
            Bar("of the step is loading, decoded images in memory", loading, cached, 0.1, "at most", percent=True),
        ),
        note="With `--cache auto` as from the second epoch on, where memory holds all images. One process does all: "
        "nothing is hidden behind loading processes. Random weights.",
    )


def cases(settings: Settings) -> list[Case]:
    """On a CPU: that is what the preset is for."""
    if settings.device.type == "cuda":
        return []
    preset = cpu_small()
    if settings.quick:
        return [train_case(4, 96, replace(preset, batch_size=2, min_size=64, max_size=64))]
    return [train_case(64, 640, preset)]
