"""Pictures of what the detector finds while it learns, for experiment trackers that show pictures."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from focalkit.data import DetectionData, ImageRecord
from focalkit.training.module import DetectionModule

if TYPE_CHECKING:
    from PIL import Image

COUNT = 4
SIDE = 800
"""Long side at most, in pixels."""
LEAST, MOST = 0.3, 50
"""Score from which detections are drawn, and how many at most."""


class Pictures(Callback):
    """After each evaluation sends the same few validation images, with detections and ground truth, to the trackers."""

    def __init__(self, data: DetectionData) -> None:
        self.data = data
        self.records = [image for image in data.images if image.boxes][:COUNT]

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, DetectionModule)
        if any(takes_pictures(logger) for logger in trainer.loggers):
            pl_module.watched = frozenset(record.id for record in self.records)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, DetectionModule)
        loggers = [logger for logger in trainer.loggers if takes_pictures(logger)]
        if not loggers or not trainer.is_global_zero:
            return
        for record in self.records:
            picture = drawn(record, self.data, [d for d in pl_module.shown if d["image_id"] == record.id])
            for logger in loggers:
                send(logger, f"val/{record.file_name or record.path.name}", picture, trainer.global_step)


def drawn(record: ImageRecord, data: DetectionData, found: Sequence[dict[str, Any]]) -> "Image.Image":
    """An image, reduced, with COCO results solid and its own boxes dashed."""
    from focalkit.images.draw import draw_detections, to_pil

    canvas = to_pil(record.path)
    zoom = min(1.0, SIDE / max(canvas.size))
    canvas = canvas.resize((max(1, round(canvas.width * zoom)), max(1, round(canvas.height * zoom))))
    rows = sorted((d for d in found if d["score"] >= LEAST), key=lambda d: -d["score"])[:MOST]
    label = {category_id: k for k, category_id in enumerate(data.category_ids)}
    boxes = [[x * zoom, y * zoom, (x + w) * zoom, (y + h) * zoom] for x, y, w, h in (d["bbox"] for d in rows)]
    truth = [[v * zoom for v in box] for box in record.boxes]
    labels, scores = [label[d["category_id"]] for d in rows], [d["score"] for d in rows]
    return draw_detections(canvas, boxes, labels, scores, data.names, truth=(truth, record.labels))


def takes_pictures(logger: Any) -> bool:
    """Whether `send` knows how to."""
    return type(logger).__name__ in _SEND


def send(logger: Any, name: str, picture: "Image.Image", step: int) -> None:
    """Show a picture under a name, at a step."""
    _SEND[type(logger).__name__](logger, name, picture, step)


def _to_tensorboard(logger: Any, name: str, picture: "Image.Image", step: int) -> None:
    import numpy as np

    logger.experiment.add_image(name, np.array(picture), step, dataformats="HWC")


def _to_wandb(logger: Any, name: str, picture: "Image.Image", step: int) -> None:
    logger.log_image(key=name, images=[picture], step=step)


def _to_mlflow(logger: Any, name: str, picture: "Image.Image", step: int) -> None:
    stem, _, _ = name.rpartition(".")
    logger.experiment.log_image(logger.run_id, picture, artifact_file=f"{stem or name}-{step:06d}.png")


_SEND = {"TensorBoardLogger": _to_tensorboard, "WandbLogger": _to_wandb, "MLFlowLogger": _to_mlflow}
