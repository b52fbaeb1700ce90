"""Matching that computes only overlaps which can be above zero: for devices where the host may look at values.

Priors next to each other in memory are next to each other in the image, so a run of `TILE` of them lies in a small
rectangle. A box meets few of these rectangles; with all other priors it shares no area, and its IoU with them is zero.
500 boxes and 200,000 anchors of an 1,024 px image: 3 to 8 % of the matrix is computed.
"""

import torch
from torch import Tensor

TILE = 64
"""Priors to a rectangle: 7 cells of a row at 9 anchors a cell."""


def match_tiles(
    boxes: Tensor, columns: Tensor, area: Tensor, min_pos_iou: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Best overlap of each prior, with the arithmetic of the whole matrix in the same order.

    Args:
        boxes: (m, 4), xyxy.
        columns: (4, n): the priors' coordinates.
        area: (n,), of the priors.
        min_pos_iou: Least IoU at which a box claims the priors that overlap it most.

    Returns:
        Per prior (n,): its best IoU and the first box that has it; the best IoU among boxes that claim it and the
        first of those (0 where none does).
    """
    n = columns.shape[1]
    tiles = _tiles(columns, area)  # (t, 5, TILE)
    t = len(tiles)
    low, high = tiles[:, :2].amin(dim=2), tiles[:, 2:4].amax(dim=2)  # (t, 2)
    best, forced = area.new_zeros(t, TILE), area.new_zeros(t * TILE)
    index, forced_index = (torch.zeros(t, TILE, dtype=torch.int64) for _ in range(2))
    forced_index = forced_index.view(-1)
    box_area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    tiny = torch.finfo(area.dtype).tiny
    for number, (box, own_area) in enumerate(zip(boxes, box_area, strict=True)):
        near = ((low < box[2:]) & (high > box[:2])).all(dim=1).nonzero().squeeze(1)
        if not len(near):
            continue
        x0, y0, x1, y1, others = tiles.index_select(0, near).unbind(1)
        iou = torch.minimum(x1, box[2]).sub_(torch.maximum(x0, box[0])).clamp_(min=0)
        iou.mul_(torch.minimum(y1, box[3]).sub_(torch.maximum(y0, box[1])).clamp_(min=0))
        iou.div_(torch.add(own_area, others).sub_(iou).clamp_(min=tiny))
        # subtle: boxes come in order and only a larger overlap replaces, so ties stay with the first
        so_far = best.index_select(0, near)
        best.index_copy_(0, near, torch.maximum(so_far, iou))
        index.index_copy_(0, near, torch.where(iou > so_far, number, index.index_select(0, near)))
        top = iou.amax()
        if top > 0 and top >= min_pos_iou:
            tile, place = (iou == top).nonzero(as_tuple=True)
            claimed = near[tile] * TILE + place
            claimed = claimed[forced[claimed] < top]
            forced[claimed], forced_index[claimed] = top, number
    return best.view(-1)[:n], index.view(-1)[:n], forced[:n], forced_index[:n]


def _tiles(columns: Tensor, area: Tensor) -> Tensor:
    """(t, 5, TILE): coordinates and area of each run of priors; the last run is filled up with the last prior."""
    n = columns.shape[1]
    short = -n % TILE
    rows = torch.cat([columns, area[None]])
    if short:
        rows = torch.cat([rows, rows[:, -1:].expand(5, short)], dim=1)
    return rows.view(5, -1, TILE).transpose(0, 1).contiguous()
