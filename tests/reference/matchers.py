"""Detectron2's and MMDetection's matching of anchors with boxes, box by box, from descriptions of what they do."""

import torch
from torch import Tensor

# what an anchor is given that has no box
NEGATIVE, BETWEEN = -1, -2


def overlap(boxes: Tensor, anchors: Tensor) -> Tensor:
    """IoU (m, n); 0 where nothing is shared."""
    area, anchor_area = ((b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]) for b in (boxes, anchors))
    table = torch.zeros(len(boxes), len(anchors))
    for m, box in enumerate(boxes):
        width = (torch.minimum(box[2], anchors[:, 2]) - torch.maximum(box[0], anchors[:, 0])).clamp(min=0)
        height = (torch.minimum(box[3], anchors[:, 3]) - torch.maximum(box[1], anchors[:, 1])).clamp(min=0)
        shared = width * height
        table[m] = torch.where(shared > 0, shared / (area[m] + anchor_area - shared), 0.0)
    return table


def detectron2(table: Tensor, low: float = 0.4, high: float = 0.5) -> list[int]:
    """Each anchor's box: its best one; labelled by thresholds, and positive if it is the best of any box."""
    found = []
    most = [float(row.max()) for row in table]
    for column in table.t():
        values = column.tolist()
        best = max(values)
        box = values.index(best)
        if any(value == top for value, top in zip(values, most, strict=True)):
            found.append(box)
        else:
            found.append(box if best >= torch.tensor(high) else BETWEEN if best >= torch.tensor(low) else NEGATIVE)
    return found


def mmdetection(table: Tensor, low: float = 0.4, high: float = 0.5, least: float = 0.0) -> list[int]:
    """Thresholds first; then every box, in order, takes the anchors that overlap it most."""
    found = []
    for column in table.t():
        best = float(column.max())
        box = column.tolist().index(best)
        found.append(box if best >= torch.tensor(high) else BETWEEN if best >= torch.tensor(low) else NEGATIVE)
    for box, row in enumerate(table):
        top = float(row.max())
        if top >= least:
            for anchor, value in enumerate(row.tolist()):
                if value == top:
                    found[anchor] = box
    return found
