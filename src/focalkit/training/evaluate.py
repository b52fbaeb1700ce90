"""The numbers and pictures of a trained detector on a split: COCO AP, predictions, gallery, concentration of the loss.

Free of Lightning. What it does not do: other metrics than COCO's, several devices, test-time augmentation.
"""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Subset

from focalkit._files import make_folder, replacing_all
from focalkit._progress import track
from focalkit._runs import RunDir, dump_json
from focalkit.config import TrainConfig
from focalkit.data import Category, DetectionBatch, DetectionData, DetectionDataset, collate, open_detection_data
from focalkit.data.loading import deaths_explained, make_loader
from focalkit.detection import DenseOutputs, DensePostprocess, Detections, DetectionTarget
from focalkit.detection.analysis import LossConcentration
from focalkit.detection.build import assigner_of
from focalkit.detection.inference.detector import Detector, in_original_pixels, own_postprocess
from focalkit.detection.models.card import ModelCard
from focalkit.errors import ConfigError, InputError
from focalkit.metrics import CocoResult, coco_ap
from focalkit.training.gallery import tidy_gallery, write_gallery
from focalkit.training.loaders import batch_bytes

MAX_NEGATIVES = 1e8
"""Logits that the concentration of the loss counts at most, spread over the split (the paper sampled 1e7)."""

Observer = Callable[[DenseOutputs, Sequence[DetectionTarget]], None]


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found.

    Attributes:
        coco: The 12 numbers, the classes, the precision-recall curves.
        detections: Per image id, in pixels of the file, on the CPU.
        images_per_second: Reading, resizing, the model and its post-processing; not the computation of the AP.
    """

    coco: CocoResult
    detections: dict[int, Detections]
    images_per_second: float


def evaluate(
    model: nn.Module,
    data: DetectionData,
    *,
    min_size: int,
    max_size: int,
    batch_size: int = 8,
    workers: int = 0,
    postprocess: DensePostprocess | None = None,
    observe: Observer | None = None,
) -> Evaluation:
    """Detect on every image of a split and compute COCO AP.

    Args:
        model: Images (b, 3, H, W) in [0, 1] -> `DenseOutputs`, on the device to compute on; has `pixel_mean`. It is in
            evaluation mode for the time of the call.
        data: The split; its label k is the model's class k.
        min_size: Short side after resizing.
        max_size: Bound of the long side.
        batch_size: Images per pass; images of similar shape share one.
        workers: Processes that read images; 0 reads in this one.
        postprocess: Thresholds and limits; None takes the model's own, or the paper's where it has none.
        observe: Called with the raw outputs and the targets of each batch; its time is not counted.

    Raises:
        InputError: The data has another number of classes than the model, or an image cannot be read.
    """
    num_classes = getattr(model, "num_classes", data.num_classes)
    if num_classes != data.num_classes:
        raise InputError(
            f"the model has {num_classes} classes, the data {data.num_classes} ({', '.join(data.names[:10])})"
        )
    device = next(iter(model.parameters())).device
    loader = _loader(model, data, min_size, max_size, batch_size, workers, pin=device.type == "cuda")
    postprocess = postprocess or own_postprocess(model)
    detections: dict[int, Detections] = {}
    training, observing = model.training, 0.0
    model.eval()
    start = time.perf_counter()
    try:
        with torch.no_grad(), deaths_explained():
            batch: DetectionBatch
            for batch in track(loader, len(loader), "evaluating"):
                batch = batch.to(device, non_blocking=True)
                outputs = model(batch.images)
                sizes, originals = [t.size for t in batch.targets], [t.original_size for t in batch.targets]
                found = in_original_pixels(outputs, postprocess, sizes, originals)
                detections |= {
                    t.image_id: replace(d, names=data.names) for t, d in zip(batch.targets, found, strict=True)
                }
                if observe is not None:
                    before = time.perf_counter()
                    observe(outputs, batch.targets)
                    observing += time.perf_counter() - before
    finally:
        model.train(training)
    seconds = time.perf_counter() - start - observing
    detections = {image.id: detections[image.id] for image in data.images}
    coco = coco_ap(data.to_coco(), coco_results(detections, data.category_ids), curves=True)
    return Evaluation(coco, detections, len(data) / max(seconds, 1e-9))


def coco_results(detections: Mapping[int, Detections], category_ids: Sequence[int]) -> list[dict[str, Any]]:
    """Detections per image id as one list of COCO results."""
    return [row for image_id, found in detections.items() for row in found.to_coco(image_id, category_ids)]


def evaluate_run(
    run_dir: Path,
    data_path: Path | None = None,
    split: str = "val",
    *,
    out: Path | None = None,
    device: torch.device | str | None = None,
    score_threshold: float = 0.05,
    pictures: int = 6,
) -> dict[str, Any]:
    """Evaluate the best checkpoint of a run and write what a report needs.

    Writes predictions.json (COCO results with the data's own ids), evaluation.json and gallery/ into `out`; for another
    split than "val" the names end in its name ("evaluation-test.json"). The numbers also go into the run's result.json,
    whose other keys stay, when they are those of its own validation split. Those of another data set do not replace
    anything: they go into a folder of their own, "evaluations/NAME" in the run directory.

    Args:
        run_dir: What training wrote.
        data_path: A data set; None takes the run's own.
        split: "train", "val", "test" or "all".
        out: Where to write; None is the run directory, or for other data than the run's own a folder in it.
        device: None takes a GPU where there is one.
        score_threshold: Detections that score no more than this do not count.
        pictures: Number of best and worst images and of mistakes in the gallery; 0 leaves the gallery out.

    Returns:
        The contents of evaluation.json; for other data than the run's own also "written", the folder.

    Raises:
        ConfigError: No run, no checkpoint, data with a class that the model does not know, or another data set of the
            same name whose results would be replaced.
        DataError, InputError: The data cannot be read.
    """
    run = RunDir(Path(run_dir))
    detector = Detector.from_run(run.path, device, score_threshold=score_threshold)
    config, record = run.read_config(), run.read_run()
    categories = tuple(Category(c["id"], c["name"]) for c in record["categories"])
    its_own = (config.data, config.val_json if split == "val" else None)
    own = data_path is None or Path(data_path).resolve() in [path.resolve() for path in its_own if path is not None]
    opened = _open(config, None if own else data_path, split)
    data = align_categories(opened, categories)

    folder = Path(out or run.path)
    if not own and out is None and data_path is not None:
        folder = run.path / "evaluations" / Path(data_path).resolve().name
        _refuse_others(folder, data)
    evaluation = evaluate_into(
        folder, detector, data, config, train_counts=_train_counts(config, categories), pictures=pictures
    )
    if own and data.split == "val":
        run.write_result({"finished": False, **run.read_result(), "metrics": evaluation["metrics"]})
    return evaluation if own else {**evaluation, "written": str(folder)}


def evaluate_into(
    folder: Path,
    detector: Detector,
    data: DetectionData,
    config: TrainConfig,
    *,
    train_counts: Sequence[int] | None = None,
    pictures: int = 6,
) -> dict[str, Any]:
    """Evaluate a detector and write predictions.json, evaluation.json and gallery/ into a folder.

    Args:
        folder: Where to write; made where it is not there.
        detector: With the threshold to use.
        data: The split; its label k is the model's class k.
        config: Sizes of images and batches, and how priors are matched for the concentration of the loss.
        train_counts: Boxes per class that the model was trained on, where known.
        pictures: See `evaluate_run`.

    Returns:
        The contents of evaluation.json.
    """
    ending = _ending(data)
    make_folder(folder)  # a place that cannot be written to is known before the work
    concentration = _Spread(LossConcentration(assigner_of(config)), len(data))
    result = evaluate(
        detector.model,
        data,
        min_size=config.min_size,
        max_size=config.max_size,
        batch_size=max(1, config.batch_size // (config.accumulate * config.devices * config.num_nodes)),
        workers=config.workers,
        postprocess=detector.postprocess,
        observe=concentration,
    )
    shown, threshold = write_gallery(data, result.detections, folder, f"gallery{ending}", each=pictures)
    evaluation = {
        "split": data.split,
        "data": str(data.source),
        "num_images": len(data),
        "metrics": result.coco.metrics,
        **_class_tables(data, result.coco, train_counts),
        "pr": result.coco.curves,
        "gallery": shown,
        "gallery_threshold": threshold,
        "loss_concentration": concentration.curves(),
        "score_threshold": detector.postprocess.score_threshold,
        "speed": {"images_per_second": round(result.images_per_second, 3), "device": str(detector.device)},
    }
    predictions = coco_results(result.detections, data.category_ids)
    # the evaluation names the pictures, so it comes last, and those of the earlier one go when nothing names them
    with replacing_all([folder / f"{name}{ending}.json" for name in ("evaluation", "predictions")]) as places:
        for place, value, indent in zip(places, (evaluation, predictions), (1, None), strict=True):
            place.write_text(dump_json(value, indent=indent) + "\n", encoding="utf-8", newline="\n")
    tidy_gallery(shown, folder, f"gallery{ending}")
    return evaluation


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


class _Spread:
    """Passes every n-th batch on, so that about MAX_NEGATIVES logits are counted, from all over the split."""

    def __init__(self, collected: LossConcentration, images: int) -> None:
        self.collected, self.images = collected, images
        self.every = self.seen = 0

    def __call__(self, outputs: DenseOutputs, targets: Sequence[DetectionTarget]) -> None:
        if not self.every:
            per_image = sum(level[0].numel() for level in outputs.logits)
            self.every = max(1, math.ceil(per_image * self.images / MAX_NEGATIVES))
        if self.seen % self.every == 0:
            self.collected.add(outputs, targets)
        self.seen += 1

    def curves(self) -> dict[str, Any] | None:
        """None where there were no positives or no negatives."""
        curves = self.collected.curves()
        return curves if curves["num_positives"] and curves["num_negatives"] else None


def _open(config: TrainConfig, path: Path | None, split: str, *, check: bool = True) -> DetectionData:
    if path is not None:
        return open_detection_data(path, split, check=check, repair=config.repair)
    return open_detection_data(
        config.data,
        split,
        train_json=config.train_json,
        val_json=config.val_json,
        images=config.images,
        check=check,
        repair=config.repair,
    )


def _ending(data: DetectionData) -> str:
    return "" if data.split == "val" else f"-{data.split}"


def _refuse_others(folder: Path, data: DetectionData) -> None:
    """An error where the folder has results on another data set."""
    file = folder / f"evaluation{_ending(data)}.json"
    try:
        stored = str(json.loads(file.read_text(encoding="utf-8"))["data"])
    except (OSError, ValueError, LookupError, TypeError):
        return
    if Path(stored).resolve() != data.source.resolve():
        raise ConfigError(f"{file}: holds the results on {stored}, which would be replaced; choose a place with --out")


def _loader(
    model: nn.Module, data: DetectionData, min_size: int, max_size: int, batch_size: int, workers: int, *, pin: bool
) -> DataLoader:
    images = data.images
    by_shape = sorted(range(len(images)), key=lambda i: (images[i].height / images[i].width, i))
    fill: torch.Tensor = model.pixel_mean  # pyright: ignore[reportAssignmentType]
    card: ModelCard | None = getattr(model, "card", None)
    rule = "focalkit" if card is None else card.config.numerics.resize
    return make_loader(
        Subset(DetectionDataset(data, min_size, max_size, None, resize=rule), by_shape),
        batch_size,
        collate(fill.flatten().tolist()),
        workers=workers,
        batch_bytes=batch_bytes(batch_size, min_size, max_size),
        pin=pin,
    )


def _train_counts(config: TrainConfig, categories: Sequence[Category]) -> list[int] | None:
    """Boxes per class that the run was trained on; None where its data is no longer there."""
    try:
        return align_categories(_open(config, None, "train", check=False), categories).class_counts()
    except InputError:
        return None


def _class_tables(data: DetectionData, coco: CocoResult, train: Sequence[int] | None) -> dict[str, Any]:
    by_id = {row["id"]: row for row in coco.per_class.values()}
    rows = []
    for k, category in enumerate(data.categories):
        found = by_id[category.id]
        numbers = {key: found[key] for key in ("count", "AP", "AP50", "AP75")}
        rows.append({"name": category.name, "id": category.id, "train_count": train[k] if train else None, **numbers})
    histogram = {"names": list(data.names), "train": list(train or ()), "val": data.class_counts()}
    return {"per_class": rows, "class_histogram": histogram}
