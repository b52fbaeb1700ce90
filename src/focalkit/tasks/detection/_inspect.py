"""What detection data look like before any training."""

from focalkit.config import TrainConfig
from focalkit.data.analyze import match_anchors, summarize
from focalkit.data.find import compare_splits
from focalkit.detection import AnchorGrid, MaxIoUAssigner
from focalkit.findings import check_boxes, check_classes

from .._task import Inspection, Source
from ._configure import not_enlarged
from ._read import read_parts


def inspect(source: Source, config: TrainConfig) -> Inspection:
    """Classes, empty images, anchors at the size that the network sees; see `Task.inspect`."""
    opened = read_parts(source)
    data = opened.get("train") or next(iter(opened.values()))
    config = not_enlarged(config, data)
    m, c = config.model, config.criterion
    grid = AnchorGrid(sizes=m.anchor_sizes, scales=m.anchor_scales, ratios=m.anchor_ratios)
    assigner = MaxIoUAssigner(c.fg_iou, c.bg_iou, c.min_pos_iou)
    anchors = match_anchors(data, grid, assigner, config.min_size, config.max_size)
    summary = summarize(data)
    found = check_classes(data.class_counts(), data.names) if data.num_classes > 1 else []
    found += check_boxes(summary, anchors)
    notes = [line for other in opened.values() if other is not data for line in compare_splits(data, other)[1]]
    counts = dict.fromkeys(data.names, 0)
    for part in opened.values():
        for name, n in zip(part.names, part.class_counts(), strict=True):
            counts[name] = counts.get(name, 0) + n
    facts = {name: summary[name] for name in ("images", "boxes", "empty_images", "sizes", "boxes_per_image")}
    return Inspection(counts, tuple(found), {**facts, "foreground": anchors["foreground"]}, tuple(notes))
