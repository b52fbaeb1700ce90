"""What detection data look like before any training."""

from typing import Any

from focalkit.config import TrainConfig
from focalkit.data import DetectionData
from focalkit.data.analyze import match_anchors, summarize
from focalkit.data.analyze_matching import foreground_share
from focalkit.data.find import compare_splits
from focalkit.detection import DETECTORS, AnchorGrid, MaxIoUAssigner
from focalkit.detection.build import assigner_of
from focalkit.findings import check_boxes, check_classes

from .._task import Inspection, Source
from ._configure import not_enlarged
from ._read import read_parts


def inspect(source: Source, config: TrainConfig) -> Inspection:
    """Classes, empty images, anchors at the size that the network sees; see `Task.inspect`."""
    opened = read_parts(source)
    data = opened.get("train") or next(iter(opened.values()))
    config = not_enlarged(config, data)
    anchors, summary = _match(data, config), summarize(data)
    found = check_classes(data.class_counts(), data.names) if data.num_classes > 1 else []
    found += check_boxes(summary, anchors)
    notes = [line for other in opened.values() if other is not data for line in compare_splits(data, other)[1]]
    counts = dict.fromkeys(data.names, 0)
    for part in opened.values():
        for name, n in zip(part.names, part.class_counts(), strict=True):
            counts[name] = counts.get(name, 0) + n
    facts = {name: summary[name] for name in ("images", "boxes", "empty_images", "sizes", "boxes_per_image")}
    if anchors is not None:
        facts["foreground"] = anchors["foreground"]
    return Inspection(counts, tuple(found), facts, tuple(notes))


def positive_share(data: DetectionData, config: TrainConfig) -> float | None:
    """The share of a detector's priors that answer for a box; None where predictions decide that, or none does."""
    matcher = assigner_of(config)
    if not callable(matcher):
        return None
    priors = DETECTORS[config.model.detector].priors(config.model)
    return foreground_share(data, priors, matcher, config.min_size, config.max_size) or None


def _match(data: DetectionData, config: TrainConfig) -> dict[str, Any] | None:
    """How the detector's anchors match the boxes; None for one that has none."""
    m, c = config.model, config.criterion
    if m.detector != "retinanet":
        return None
    grid = AnchorGrid(sizes=m.anchor_sizes, scales=m.anchor_scales, ratios=m.anchor_ratios)
    return match_anchors(
        data, grid, MaxIoUAssigner(c.fg_iou, c.bg_iou, c.min_pos_iou), config.min_size, config.max_size
    )
