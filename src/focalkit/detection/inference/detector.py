"""Run a trained detector on images: files, folders, PIL images, arrays and tensors in, detections out.

An image takes the path it takes in evaluation: read, resized, padded with the same functions, and the boxes are brought
back to its own pixels.

Not here: sliding windows, test-time augmentation, video, downloads.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from focalkit._runs import RunDir
from focalkit.calibration import AppliedCalibration
from focalkit.detection.inference.calibrated import Cut, calibrate
from focalkit.detection.inference.detections import Detections
from focalkit.detection.inference.postprocess import DensePostprocess
from focalkit.detection.inference.predict import detect
from focalkit.detection.models.card import ModelCard
from focalkit.detection.types import DetectionBatch, DetectionTarget
from focalkit.detection.weights import LayoutName, load_weights
from focalkit.detection.weights.checkpoint import build_described, load_checkpoint
from focalkit.errors import InputError
from focalkit.images import as_image, each_image, fit_size, pad_batch, resize, same_size_batches
from focalkit.images.resize import Resize

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image


WINDOW = 8  # batches that are read ahead, so that images of one padded size can share one


class Detector:
    """Finds objects in images.

    While it predicts, the model is in evaluation mode; afterwards it is in the mode it was in before.

    Args:
        model: Images (b, 3, H, W) in [0, 1] -> `DenseOutputs`; has `pixel_mean`.
        score_threshold: Detections that score no more than this are not reported.
        names: Of the K classes, for drawing and reading; None takes those of the model's card.
        device: Where to compute; None leaves the model where it is.
        min_size: Short side in pixels to which images are resized: what the model was trained with. None takes the
            card's, or 800.
        max_size: Bound of the long side; None takes the card's, or 1333.
        category_ids: The data set's id of each class, for COCO results; None takes the card's.
        postprocess: Other thresholds and limits than the model's; its own score threshold is not used.
        calibration: Maps the scores of what was found; see `focalkit.calibration`. Thresholds given to `predict` are
            then of calibrated scores, among the detections above `score_threshold` before.

    Example:
        >>> detector = Detector.from_run("runs/first")            # doctest: +SKIP
        >>> found = detector.predict("photo.jpg")[0]              # doctest: +SKIP
        >>> found.draw("photo.jpg").save("drawn.jpg")             # doctest: +SKIP
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        score_threshold: float = 0.05,
        names: Sequence[str] | None = None,
        device: torch.device | str | None = None,
        min_size: int | None = None,
        max_size: int | None = None,
        category_ids: Sequence[int] | None = None,
        postprocess: DensePostprocess | None = None,
        calibration: AppliedCalibration | None = None,
    ) -> None:
        self.model = model if device is None else model.to(device)
        self.calibration = calibration
        self.card: ModelCard | None = getattr(model, "card", None)
        card = self.card
        if card is not None and card.categories is not None:
            names = [name for _, name in card.categories] if names is None else names
            category_ids = [i for i, _ in card.categories] if category_ids is None else category_ids
        self.names = None if names is None else tuple(names)
        self.min_size = min_size or (800 if card is None else card.min_size)
        self.max_size = max_size or (1333 if card is None else card.max_size)
        self.resize: Resize = "focalkit" if card is None else card.config.numerics.resize
        self.category_ids = None if category_ids is None else tuple(category_ids)
        self.postprocess = replace(postprocess or own_postprocess(model), score_threshold=score_threshold)
        num_classes = getattr(model, "num_classes", None)
        for what, given in (("names", self.names), ("category_ids", self.category_ids)):
            if given is not None and num_classes is not None and len(given) != num_classes:
                raise ValueError(f"expected {num_classes} {what}, one for each class of the model, got {len(given)}")

    @classmethod
    def from_run(
        cls,
        run_dir: str | os.PathLike[str],
        device: torch.device | str | None = None,
        *,
        score_threshold: float = 0.05,
        calibrated: bool = True,
    ) -> "Detector":
        """The detector of a training run: its best checkpoint, or its last where there is no best.

        Args:
            run_dir: What was given to training as `out`.
            device: None takes a GPU where there is one.
            score_threshold: See the class.
            calibrated: Apply the calibration that `focalkit calibrate` left in the run, where it did.

        Raises:
            ConfigError: No run there, no checkpoint in it, or one that does not fit its configuration.
            InputError: A device that is not here.
        """
        run = RunDir(Path(run_dir))
        config, categories = run.read_config(), run.read_categories()
        model = build_described(config.model, len(categories), run.path / "run.json")
        load_checkpoint(model, run)
        names, stored = [c["name"] for c in categories], run.path / "calibration.json"
        return cls(
            model,
            score_threshold=score_threshold,
            names=names,
            calibration=AppliedCalibration.read(stored, names) if calibrated and stored.is_file() else None,
            device=usable_device(device),
            min_size=config.min_size,
            max_size=config.max_size,
            category_ids=[c["id"] for c in categories],
        )

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        device: torch.device | str | None = None,
        *,
        score_threshold: float = 0.05,
        layout: LayoutName = "auto",
        coco80: bool = False,
        trust: bool = False,
    ) -> "Detector":
        """The detector of a training run, or in a weights file of ours or of another library.

        Args:
            path: A run directory, or a file that `focalkit.detection.load_weights` reads.
            device: None takes a GPU where there is one.
            score_threshold: See the class.
            layout, coco80, trust: See `load_weights`; for files.

        Raises:
            ConfigError, InputError: See `from_run` and `load_weights`.
        """
        if not Path(path).is_file():
            return cls.from_run(path, device, score_threshold=score_threshold)
        model = load_weights(path, layout, coco80, trust)
        return cls(model, score_threshold=score_threshold, device=usable_device(device))

    @property
    def device(self) -> torch.device:
        return next(iter(self.model.parameters())).device

    @property
    def fill(self) -> list[float]:
        """Colour of the padding: what is zero after normalisation."""
        return cast(Tensor, self.model.pixel_mean).flatten().tolist()

    @property
    def num_classes(self) -> int:
        """K, of the model."""
        return cast(int, self.model.num_classes)

    def predict(
        self,
        images: "str | os.PathLike[str] | Image.Image | np.ndarray | Tensor | Sequence[Any]",
        score_threshold: Cut = None,
        batch_size: int = 8,
    ) -> list[Detections]:
        """Detections per image, in the order given, with boxes in the image's own pixels.

        Args:
            images: One image, a sequence or an iterator of them. One is a file; a folder (its images in the order of
                `find_images`); a pattern such as "photos/*.jpg"; a PIL image; an array (h, w, 3) or (h, w), RGB, uint8,
                uint16 or float in [0, 1]; a tensor (3, h, w), uint8 or float in [0, 1]. An alpha channel is dropped. A
                batch (b, 3, h, w) counts as a sequence. Files are turned upright by their EXIF orientation, PIL images
                taken as they are.
            score_threshold: Instead of the detector's own; "calibrated" for the thresholds per class of its
                calibration.
            batch_size: Images per pass through the model, at most: only those that are padded to the same size share
                one, so that an image's detections do not depend on the others.

        Raises:
            ValueError: "calibrated" without a calibration.
            InputError: A URL, a missing or unreadable file (named), a folder without images, or something that is no
                image.
        """
        return with_sources(lambda given: self.stream(given, score_threshold, batch_size), images)

    def stream(self, images: Iterable[Any], score_threshold: Cut = None, batch_size: int = 8) -> Iterator[Detections]:
        """As `predict`, for any number of single images: they are read when their turn comes, and resized at once.

        Args:
            images: Single images as `predict` takes them; folders are not among them.
            score_threshold: Instead of the detector's own.
            batch_size: Images per pass through the model.
        """
        postprocess = self.postprocess
        if self.calibration is None and score_threshold is not None:
            if score_threshold == "calibrated":
                raise ValueError("this detector has no calibration; `focalkit calibrate RUN` makes one")
            postprocess = replace(postprocess, score_threshold=score_threshold)
        window: list[tuple[Tensor, tuple[int, int]]] = []
        for given in images:
            image = as_image(given)
            height, width = image.shape[1:]
            size = fit_size(height, width, self.min_size, self.max_size, self.resize)
            window.append((resize(image, size, self.resize), (height, width)))
            if len(window) == batch_size * WINDOW:
                yield from self._predict_window(window, postprocess, batch_size, score_threshold)
                window = []
        yield from self._predict_window(window, postprocess, batch_size, score_threshold)

    def _predict_window(
        self, window: list[tuple[Tensor, tuple[int, int]]], postprocess: DensePostprocess, batch_size: int, cut: Cut
    ) -> list[Detections]:
        rows = same_size_batches([(image.shape[1], image.shape[2]) for image, _ in window], batch_size)
        batches = (self._batch({i: window[i] for i in row}) for row in rows)
        found = dict(detect(self.model, postprocess, batches))
        if self.calibration is not None:
            found = {i: calibrate(one, window[i][1], self.calibration, cut) for i, one in found.items()}
        return [replace(found[i], names=self.names) for i in range(len(window))]

    def _batch(self, images: dict[int, tuple[Tensor, tuple[int, int]]]) -> DetectionBatch:
        """Resized images and their sizes before, by a number that tells them apart."""
        targets = [
            DetectionTarget.unknown(i, size=(image.shape[1], image.shape[2]), original_size=original)
            for i, (image, original) in images.items()
        ]
        return DetectionBatch(pad_batch([image for image, _ in images.values()], self.fill), targets)


def own_postprocess(model: nn.Module) -> DensePostprocess:
    """The rules by which a model's outputs become detections: its own, or the paper's where it has none."""
    found = getattr(model, "postprocess", None)
    return found if isinstance(found, DensePostprocess) else DensePostprocess()


def usable_device(device: torch.device | str | None) -> torch.device:
    """The device asked for, or for None a GPU where there is one.

    Raises:
        InputError: No such device here.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split("\n")[0]
        raise InputError(
            f"the device {str(device)!r} cannot be used: {reason}; `focalkit doctor` shows what is here"
        ) from error
    return found


def with_sources(stream: Callable[[Iterable[Any]], Iterator[Detections]], images: Any) -> list[Detections]:
    """What `stream` finds in `images`, as `Detector.predict` takes them, each with its file where it was one."""
    if isinstance(images, Iterator):  # their images are let go
        return list(stream(images))
    given = list(each_image(images))
    # subtle: a path alone is kept; pixels would stay in memory as long as their result, and go into its pickle
    paths = [image if isinstance(image, str | os.PathLike) else None for image in given]
    return [replace(one, source=path) for path, one in zip(paths, stream(given), strict=True)]
