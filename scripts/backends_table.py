"""The table of `docs/kernels.md`: which backend computes which loss, for every dtype, device and layout of targets.

    python scripts/backends_table.py           print the page with the table as it should be
    python scripts/backends_table.py --write   put it there

It asks `focalkit.kernels.explain`, on a machine that has everything: C++ kernels, a compiler and Triton.
"""

import argparse
from itertools import groupby
from pathlib import Path
from unittest import mock

import torch

from focalkit.kernels import Choice, cpu, dispatch, explain
from focalkit.losses import LOSSES, dense_sigmoid_focal_loss

PAGE = Path(__file__).parents[1] / "docs" / "kernels.md"
START, END = "<!-- backends: scripts/backends_table.py -->\n", "<!-- end -->\n"
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
NAMES = {"call": "eager", "cpu": "C++", "inductor": "Inductor", "chunked": "chunked", "cuda": "Triton"}
ROWS, CLASSES = 2**16, 80
EVERYTHING = dispatch.Machine(frozenset((d, s) for d in cpu.LOGITS for s in (False, True)), {}, triton=True)


def ask(name: str, layout: str, dtype: torch.dtype, device: str) -> Choice:
    """The choice for a large call."""
    if layout == "levels":
        logits, labels = [(1, 9 * CLASSES, 100, 100)], [(1, 9, 100, 100)]
        return explain(dense_sigmoid_focal_loss, logits, labels, num_classes=CLASSES, dtype=dtype, device=device)
    function = LOSSES[name].function
    assert function is not None
    more = {"class_counts": [1] * CLASSES} if name in ("balanced_softmax", "logit_adjusted") else {}
    dense = layout == "dense"
    return explain(
        function,
        (ROWS, CLASSES),
        (ROWS, CLASSES) if dense else (ROWS,),
        dtype=dtype,
        device=device,
        targets_dtype=torch.float32 if dense else torch.int64,
        **more,
    )


def table() -> str:
    """In Markdown; losses with the same row share one."""
    found = {}
    with mock.patch.object(dispatch, "machine", return_value=EVERYTHING):
        for spec in LOSSES.values():
            if not spec.fused:
                continue
            layouts = ["labels", "dense"] + (["levels"] if spec.name == "focal" else [])
            for layout in layouts:
                for device in ("cpu", "cuda"):
                    chosen = (NAMES[ask(spec.name, layout, dtype, device).module] for dtype in DTYPES)
                    found[spec.name, layout, device] = tuple(chosen)
    order = sorted(found, key=lambda key: (key[2], key[1], found[key], key[0]))
    lines = ["| targets | device | " + " | ".join(str(d).removeprefix("torch.") for d in DTYPES) + " | losses |"]
    lines.append("|---|---|" + "---|" * len(DTYPES) + "---|")
    for (device, layout, row), group in groupby(order, key=lambda key: (key[2], key[1], found[key])):
        names = ", ".join(f"`{name}`" for name, *_ in group)
        lines.append(f"| {layout} | {device} | {' | '.join(row)} | {names} |")
    return "\n".join(lines) + "\n"


def page() -> str:
    """The page with the table in its place."""
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(START)
    return before + START + "\n" + table() + "\n" + END + rest.split(END)[1]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    if parser.parse_args().write:
        PAGE.write_text(page(), encoding="utf-8")
    else:
        print(page(), end="")
