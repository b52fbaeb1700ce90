"""What a configuration describes, built: one page, nested constructors."""

from focalkit import losses
from focalkit.config import TrainConfig
from focalkit.detection.assign import MaxIoUAssigner
from focalkit.detection.coder import DeltaXYWH
from focalkit.detection.criterion import DetectionCriterion
from focalkit.errors import ConfigError


def build_criterion(config: TrainConfig) -> DetectionCriterion:
    """The criterion that a training configuration describes. A box loss of your own gets encoded deltas.

    Classification losses that keep a state, and your own, see whole images at once.

    Raises:
        ConfigError: A classification loss that is not one of independent sigmoids, or a box loss that is none.
    """
    c = config.criterion
    cls_name, box_name = losses.parse(config.loss)[0], losses.parse(c.box_loss)[0]
    sigmoid = sorted(name for name, line in losses.LOSSES.items() if line.targets == "binary")
    if cls_name in losses.LOSSES and cls_name not in sigmoid:
        raise ConfigError(
            f"the loss {cls_name!r} is not one of independent sigmoids, which a dense detector needs;"
            f" expected one of {', '.join(sigmoid)}, or your own as my_pkg.mod:MyLoss"
        )
    spaces = {name: line.targets for name, line in losses.LOSSES.items() if line.targets in ("boxes", "deltas")}
    if ":" not in box_name and box_name not in spaces:
        raise ConfigError(f"unknown box loss {c.box_loss!r}; expected one of {', '.join(sorted(spaces))}")
    return DetectionCriterion(
        assigner=MaxIoUAssigner(c.fg_iou, c.bg_iou, c.min_pos_iou),
        coder=DeltaXYWH(),
        cls_loss=losses.build(config.loss, class_dim=-1, reduction="sum"),
        box_loss=losses.build(c.box_loss, reduction="sum"),
        box_weight=c.box_weight,
        normalizer=c.normalizer,
        box_space="boxes" if spaces.get(box_name) == "boxes" else "deltas",
        whole_images=cls_name not in losses.LOSSES or losses.LOSSES[cls_name].function is None,
    )
