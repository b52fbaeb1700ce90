"""Detect objects on every image of a split, with labels that follow the model's classes; detections as COCO results."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch.utils.data import DataLoader, Subset

from focalkit._progress import track
from focalkit.data import Category, DetectionData, DetectionDataset, collate
from focalkit.data.cache import ImageCache
from focalkit.data.dataset import batch_bytes
from focalkit.data.loading import make_loader
from focalkit.data.watch import deaths_explained
from focalkit.detection import Detections, Detector
from focalkit.detection.inference.predict import Observer, detect
from focalkit.errors import ConfigError, InputError
from focalkit.images import fit_size, padded_size, same_size_batches
from focalkit.images.resize import Resize


def predict_split(
    detector: Detector,
    data: DetectionData,
    *,
    batch_size: int = 8,
    workers: int = 0,
    observe: Observer | None = None,
    label: str = "evaluating",
) -> dict[int, Detections]:
    """Detections on every image of a split.

    Args:
        detector: A trained model with the thresholds to use, from a run, a weights file or an exported file.
        data: The split; its label k is the model's class k (see `align_categories`).
        batch_size: Images per pass.
        workers: Processes that read images; 0 reads in this one.
        observe: Called with the raw outputs and the targets of each batch.
        label: Of the progress bar.

    Returns:
        Image id -> detections in pixels of the file, on the CPU, in the order of the data.

    Raises:
        InputError: The data has another number of classes than the model, or an image cannot be read.
    """
    num_classes = getattr(detector.model, "num_classes", data.num_classes)
    if num_classes != data.num_classes:
        raise InputError(
            f"the model has {num_classes} classes, the data {data.num_classes} ({', '.join(data.names[:10])})"
        )
    loader = split_loader(
        data,
        detector.min_size,
        detector.max_size,
        resize=detector.resize,
        fill=detector.fill,
        batch_size=batch_size,
        workers=workers,
        pin=detector.device.type == "cuda",
    )
    batches = track(loader, len(loader), label)
    with deaths_explained():
        found = dict(detect(detector.model, detector.postprocess, batches, observe=observe))
    return {image.id: replace(found[image.id], names=data.names) for image in data.images}


def split_loader(
    data: DetectionData,
    min_size: int,
    max_size: int,
    *,
    resize: Resize,
    fill: Sequence[float],
    batch_size: int,
    workers: int,
    pin: bool,
    rank: int = 0,
    world: int = 1,
    processes: int = 1,
    cache: ImageCache | None = None,
) -> DataLoader:
    """Batches of the images of a split, resized only: every `world`-th image from `rank` on.

    Only images that are padded to the same size share a batch, so that what is found on one does not depend on others.

    Args:
        data: The split.
        min_size, max_size: Short side after resizing, and bound of the long side.
        resize: See `focalkit.images.resize`.
        fill: Colour of the padding, the model's `pixel_mean`.
        batch_size: Images per batch at most.
        workers: Processes that read images; 0 reads in this one.
        pin: Put batches in page-locked memory.
        rank, world: This process and the number of processes that share the split; together they see each image once.
        processes: Of them, those on this machine.
        cache: Of decoded images, for a split that is read again.
    """
    sizes = [fit_size(image.height, image.width, min_size, max_size, resize) for image in data.images]
    by_size = sorted(range(len(sizes)), key=lambda row: (padded_size(*sizes[row]), row))[rank::world]
    return make_loader(
        Subset(DetectionDataset(data, min_size, max_size, None, resize=resize, cache=cache), by_size),
        same_size_batches([sizes[row] for row in by_size], batch_size),
        collate(fill),
        workers=workers,
        batch_bytes=batch_bytes(batch_size, min_size, max_size),
        pin=pin,
        processes=processes,
    )


def coco_results(detections: Mapping[int, Detections], category_ids: Sequence[int]) -> list[dict[str, Any]]:
    """Detections per image id as one list of COCO results."""
    return [row for image_id, found in detections.items() for row in found.to_coco(image_id, category_ids)]


def align_categories(data: DetectionData, categories: Sequence[Category]) -> DetectionData:
    """The data with its labels renumbered to the model's classes, which are found by name; ids stay the data's.

    A class that the data does not have stays without boxes, with an id that the data does not use.

    Args:
        data: Any split.
        categories: The model's, in the order of its outputs.

    Raises:
        ConfigError: Boxes of a class that the model does not have.
    """
    if data.categories == tuple(categories):
        return data
    place = {c.name: k for k, c in enumerate(categories)}
    used = {label for image in data.images for label in image.labels}
    unknown = [name for k, name in enumerate(data.names) if k in used and name not in place]
    if unknown:
        raise ConfigError(
            f"{data.source}: has boxes of {', '.join(map(repr, unknown))}, which the model was not trained on; "
            f"it knows {', '.join(repr(c.name) for c in categories)}. Rename these classes or remove their boxes"
        )
    ids = {c.name: c.id for c in data.categories}
    free = max([0, *ids.values()]) + 1
    aligned = tuple(Category(ids.get(c.name, free + k), c.name) for k, c in enumerate(categories))
    to_model = [place.get(name, -1) for name in data.names]
    images = tuple(replace(i, labels=tuple(to_model[label] for label in i.labels)) for i in data.images)
    return replace(data, categories=aligned, images=images)
