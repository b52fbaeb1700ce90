"""What a training in several processes communicates, computed from the models: the tables of docs/scaling.md.

python scripts/scaling_table.py            # print the page with the tables as they should be
python scripts/scaling_table.py --write    # put them there
"""

import pickle
import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from focalkit.config import PRESETS, TrainConfig, with_detector
from focalkit.detection import build_detector
from focalkit.detection.build import with_own_losses

PAGE = Path(__file__).parents[1] / "docs" / "scaling.md"
START, END = "<!-- tables: scripts/scaling_table.py -->\n", "<!-- end -->\n"
CLASSES = 80
CONFIGS = {
    "`default`: RetinaNet, ResNet-50": TrainConfig(),
    "`cpu-small`: RetinaNet, MobileNetV2": PRESETS["cpu-small"](),
    "GFL, ResNet-50": with_detector(TrainConfig(), "gfl"),
    "`rtmdet-tiny`": PRESETS["rtmdet-tiny"](),
    "`rtdetrv2`, ResNet-18vd": PRESETS["rtdetrv2"](),
}
GBIT = 1e9 / 8


def model_of(config: TrainConfig) -> nn.Module:
    with torch.device("meta"):
        return build_detector(config.model, CLASSES).train()


def rows() -> list[str]:
    found = []
    for name, config in CONFIGS.items():
        model = model_of(with_own_losses(config))
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        buffers = sum(b.numel() * b.element_size() for b in model.buffers())
        live = [m.num_features for m in model.modules() if isinstance(m, _BatchNorm) and m.training]
        norms = f"{len(live)} x, {8 * sum(live) / 1e3:,.0f} kB" if live else "-"
        found.append(
            f"| {name} | {trained / 1e6:.1f} M | {4 * trained / 1e6:,.0f} MB | {buffers / 1e3:,.0f} kB | {norms} |"
        )
    return found


def traffic() -> list[str]:
    found = []
    for name, config in CONFIGS.items():
        model = model_of(with_own_losses(config))
        gradient = 4 * sum(p.numel() for p in model.parameters() if p.requires_grad)
        each = [2 * (n - 1) / n * gradient for n in (2, 8, 64)]
        times = [1e3 * each[1] / (speed * GBIT) for speed in (10, 100, 2400)]
        cells = [*(f"{size / 1e6:,.0f} MB" for size in each), *(f"{ms:,.{0 if ms > 2 else 1}f} ms" for ms in times)]
        found.append(f"| {name} | {' | '.join(cells)} |")
    return found


def of_detections() -> float:
    """Bytes of a detection on its way to the first process."""
    one = [
        {"image_id": 100_000 + i, "category_id": 1 + i % 80, "bbox": [i / 7, i / 3, i / 11, i / 13], "score": i / 1e5}
        for i in range(1, 10_001)
    ]
    return len(pickle.dumps(one)) / len(one)


def tables() -> str:
    size = of_detections()
    lines = [
        "| | weights that train | gradient, a step | buffers, a pass | live BatchNorm, a pass |",
        "|---|---|---|---|---|",
        *rows(),
        "",
        "A ring all-reduce of the gradient moves 2 (n - 1) / n of its bytes through every process:",
        "",
        "| | n = 2 | n = 8 | n = 64 | n = 8 at 10 Gbit/s | 100 Gbit/s | 2,400 Gbit/s |",
        "|---|---|---|---|---|---|---|",
        *traffic(),
        "",
        f"A detection takes {size:.0f} bytes on its way to the first process: 5,000 images x 100 detections are"
        f" {5e5 * size / 1e6:.0f} MB an evaluation.",
    ]
    return "\n".join(lines) + "\n"


def page() -> str:
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(START)
    return before + START + tables() + END + rest.split(END)[1]


if __name__ == "__main__":
    if "--write" in sys.argv[1:]:
        PAGE.write_text(page(), encoding="utf-8")
    else:
        print(page(), end="")
