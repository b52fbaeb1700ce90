"""Where the few are: the exceptions among numbers that are nearly all alike, on the CPU."""

import torch
from torch import Tensor

# more than one element in 16 is not few
FEW = 16
# elements that are looked at together
BLOCK = 512
# blocks that are searched at a time
PIECE = 128


def find_nonzero(t: Tensor, most: int) -> Tensor | None:
    """Positions of what is not 0 in a flat tensor, or None if they are more than `most`.

    PyTorch's own search is slow; the greatest byte of a block is not.
    """
    whole = t.numel() - t.numel() % BLOCK
    blocks = t[:whole].view(-1, BLOCK)
    busy = blocks.view(torch.uint8).amax(1).nonzero().squeeze(1)
    found = [t[whole:].nonzero().squeeze(1) + whole]
    count = found[0].numel()
    for some in reversed(busy.split(PIECE)):  # positions are large numbers: no more of them at a time, or than wanted
        row, column = blocks[some].nonzero().unbind(1)
        found.append(some[row] * BLOCK + column)
        count += row.numel()
        if count > most:
            break
    return torch.cat(found[::-1]) if count <= most else None


def find_few(x: Tensor, labels: Tensor, ignore_index: int, most: int) -> tuple[Tensor, Tensor] | None:
    """Positions of the positives and of the ignored elements in flat memory, or None if they are many.

    Args:
        x: (outer, classes, inner).
        labels: (outer, 1, inner), integers.
        most: How many elements still are few.
    """
    _, classes, inner = x.shape
    flat = labels.reshape(-1)
    flat = flat.long() if flat.dtype == torch.uint8 else flat  # subtle: uint8 takes -1 for 255
    rows = (flat != -1).nonzero().squeeze(1)
    if rows.numel() > most:
        return None
    own = flat[rows].long()
    base = rows // inner * (classes * inner) + rows % inner if inner > 1 else rows * classes
    hit = own != ignore_index
    if bool(hit.all()):
        return base + own * inner, rows[:0]
    missing = base[~hit]
    if missing.numel() * classes + rows.numel() > most:
        return None
    ignored = missing.unsqueeze(1) + torch.arange(classes) * inner
    return base[hit] + own[hit] * inner, ignored.reshape(-1)
