"""focalkit's RetinaNet beside torchvision's: the same images, backbone, width, anchors' sizes, steps and optimiser.

Both sides read the same batches in the same order, with the same augmentation, start from the same ImageNet backbone
with the same frozen stages, and step AdamW at the same rates; both are scored by the same COCO AP. What differs is what
each library's RetinaNet is: losses, matching, normaliser, P6, anchors' rounding, initialisation, post-processing.

    python benchmarks/facemask_vs_torchvision.py --data DATA --backbone-weights WEIGHTS --channels 64 --seeds 0 1 2
    python benchmarks/facemask_vs_torchvision.py --table    # the table of docs/detector.md from the result file

Recipes: "preset" is cpu-small: its augmentation and rate on both sides, its losses on focalkit's; "paper" flips images
only, has a rate of 5e-4, and on focalkit's side the paper's losses (focal with gamma 2 and alpha .25, smooth L1).
Channels are those of pyramid and towers; torchvision's own models have 256. Images are resized to fit `--size` pixels,
the preset's 416 unless told otherwise.

Each finished run is added to the result file at once; runs that are there already are not repeated.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice, product
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
import torchvision
from scipy.stats import t as student
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.retinanet import RetinaNet
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelP6P7

from focalkit._runs import write_json_atomic
from focalkit.config import AugmentConfig, CriterionConfig, DataConfig, TrainConfig, cpu_small
from focalkit.data import DetectionBatch, DetectionData, open_train_and_val
from focalkit.detection.models.backbones import build_backbone, resolve_backbone
from focalkit.metrics import coco_ap
from focalkit.training import train
from focalkit.training.loaders import batches, train_loader, val_loader
from focalkit.training.optim import build_optimizer
from focalkit.training.schedule import lr_factor, plan_run

HERE = Path(__file__).parent
SIDES = ("focalkit", "torchvision")
METRICS = ("AP", "AP50", "AP75")
CASE = ("recipe", "channels", "size", "steps")
"""What runs that are compared have in common."""


class Pyramid(nn.Module):
    """focalkit's backbone under torchvision's pyramid, as torchvision's RetinaNet takes it (P6 from P5)."""

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        model = config.model
        name = resolve_backbone(model.backbone, config.backbone_weights)
        self.body = build_backbone(
            name, weights=config.backbone_weights, norm=model.backbone_norm, freeze_at=model.freeze_at
        )
        self.out_channels = model.fpn_channels
        extra = LastLevelP6P7(self.out_channels, self.out_channels)
        self.fpn = FeaturePyramidNetwork(list(self.body.channels), self.out_channels, extra)

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        images = images.contiguous(memory_format=torch.channels_last)
        return self.fpn(OrderedDict(zip("345", self.body(images), strict=True)))


class AsLoaded(GeneralizedRCNNTransform):
    """torchvision's transform without its resizing, in training and in evaluation: the loaders have resized already.

    Its own `_skip_resize` holds in training alone; in evaluation the model would see images of 800 px or more.
    """

    def resize(self, image: Tensor, target: dict[str, Tensor] | None = None) -> tuple[Tensor, dict[str, Tensor] | None]:
        return image, target


def torchvision_retinanet(config: TrainConfig, num_classes: int) -> RetinaNet:
    pyramid = Pyramid(config)
    sizes = tuple(tuple(int(s * 2 ** (i / 3)) for i in range(3)) for s in config.model.anchor_sizes)
    model = RetinaNet(
        pyramid,
        num_classes,
        anchor_generator=AnchorGenerator(sizes, (config.model.anchor_ratios,) * len(sizes)),
        detections_per_img=config.model.numerics.max_detections,
    )
    mean, std = list(pyramid.body.pixel_mean), list(pyramid.body.pixel_std)
    model.transform = AsLoaded(config.min_size, config.max_size, mean, std)
    return model.to(memory_format=torch.channels_last)


def unpadded(batch: DetectionBatch) -> list[Tensor]:
    return [image[:, : t.size[0], : t.size[1]] for image, t in zip(batch.images, batch.targets, strict=True)]


def train_torchvision(config: TrainConfig, data: DetectionData, val: DetectionData, device: str) -> dict[str, Any]:
    torch.manual_seed(config.seed)
    model = torchvision_retinanet(config, data.num_classes).to(device).train()
    fill = tuple(model.transform.image_mean)
    plan = plan_run(config, len(data.images))
    optimizer = build_optimizer(model, config.optim, plan.lr)
    loader = train_loader(data, config, fill=fill, rank=0, world=1, start_step=0)
    started = time.monotonic()
    for step, batch in enumerate(islice(batches(loader, plan.epochs), plan.steps)):
        factor = lr_factor(
            step,
            total=plan.steps,
            schedule=config.optim.schedule,
            warmup=config.optim.warmup_steps,
            milestones=config.optim.milestones,
        )
        for group in optimizer.param_groups:
            group["lr"] = plan.lr * factor
        batch = batch.to(device)
        losses = model(unpadded(batch), [{"boxes": t.boxes, "labels": t.labels} for t in batch.targets])
        optimizer.zero_grad()
        sum(losses.values()).backward()
        if config.optim.clip_norm:
            nn.utils.clip_grad_norm_(model.parameters(), config.optim.clip_norm)
        optimizer.step()
    seconds = time.monotonic() - started
    return {"metrics": score_torchvision(model, config, val, fill, device), "seconds": seconds}


def score_torchvision(model: RetinaNet, config: TrainConfig, val: DetectionData, fill: Any, device: str) -> dict:
    found = torchvision_detections(model, config, val, fill, device)
    return coco_ap(val.to_coco(), found, per_class=False).metrics


@torch.inference_mode()
def torchvision_detections(
    model: RetinaNet, config: TrainConfig, val: DetectionData, fill: Any, device: str
) -> list[dict[str, Any]]:
    """COCO's detections of the validation images, in pixels of the files."""
    model.eval()
    found: list[dict[str, Any]] = []
    for batch in val_loader(val, config, fill=fill, rank=0, world=1):
        batch = batch.to(device)
        for output, target in zip(model(unpadded(batch)), batch.targets, strict=True):
            (h, w), (oh, ow) = target.size, target.original_size
            boxes = output["boxes"].cpu() * torch.tensor([ow / w, oh / h, ow / w, oh / h])
            for (x1, y1, x2, y2), score, label in zip(
                boxes.tolist(), output["scores"].tolist(), output["labels"].tolist(), strict=True
            ):
                category = val.category_ids[label]
                box = [x1, y1, x2 - x1, y2 - y1]
                found.append({"image_id": target.image_id, "category_id": category, "bbox": box, "score": score})
    return found


def train_focalkit(config: TrainConfig) -> dict[str, Any]:
    """The last step's AP, as for torchvision: no choice of the best checkpoint on the images that score it."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        train(replace(config, evaluate_every=config.max_steps or 1), Path(folder) / "run")
        rows = [json.loads(line) for line in (Path(folder) / "run" / "metrics.jsonl").read_text().splitlines()]
    (last,) = [row for row in rows if row["kind"] == "val"]
    metrics = {name: value for name, value in last.items() if name.startswith(("AP", "AR"))}
    return {"metrics": metrics, "seconds": time.monotonic() - started}


def settings(recipe: str, channels: int, size: int, steps: int, seed: int) -> TrainConfig:
    preset = replace(cpu_small(), min_size=size, max_size=size)
    model = replace(preset.model, fpn_channels=channels, head_channels=channels)
    config = replace(
        preset, model=model, max_steps=steps, seed=seed, runtime=replace(preset.runtime, logger="none", workers=0)
    )
    if recipe == "preset":
        return config
    return replace(
        config,
        loss=TrainConfig.loss,
        criterion=CriterionConfig(),
        augment=AugmentConfig(),
        optim=replace(preset.optim, lr=5e-4),
    )


def table(results: dict[str, Any]) -> str:
    """Markdown: means over seeds, and the difference paired by seed with its 95 % interval (Student's t)."""
    lines = ["| recipe, channels, size, steps, seeds | | AP | AP50 | AP75 |", "|---|---|---|---|---|"]
    cases = dict.fromkeys(tuple(run[name] for name in CASE) for run in results["runs"])
    for case in cases:
        chosen = [run for run in results["runs"] if tuple(run[name] for name in CASE) == case]
        by = {side: {r["seed"]: r["metrics"] for r in chosen if r["side"] == side} for side in SIDES}
        seeds = sorted(set(by["focalkit"]) & set(by["torchvision"]))
        if len(seeds) < 2:
            continue
        name = ", ".join(map(str, (*case, len(seeds))))
        for side in SIDES:
            means = [short(mean(by[side][s][m] for s in seeds)) for m in METRICS]
            lines.append(f"| {name} | {side} | " + " | ".join(means) + " |")
        differences = [[by["focalkit"][s][m] - by["torchvision"][s][m] for s in seeds] for m in METRICS]
        lines.append(f"| {name} | difference | " + " | ".join(map(interval, differences)) + " |")
    return "\n".join(lines) + "\n"


def short(value: float) -> str:
    return f"{value:.3f}".replace("0.", ".", 1)


def interval(differences: Sequence[float]) -> str:
    """Mean with the 95 % interval of Student's t."""
    n = len(differences)
    half = float(student.ppf(0.975, n - 1)) * stdev(differences) / n**0.5
    low, high = mean(differences) - half, mean(differences) + half
    text = f"{short(mean(differences))} ({short(low)} to {short(high)})"
    return f"{text}, no difference shown" if low <= 0 <= high else text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--backbone-weights", type=Path)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--size", type=int, default=cpu_small().max_size, help="pixels that images are resized to fit")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--recipe", choices=["preset", "paper"], default="preset")
    parser.add_argument("--table", action="store_true", help="print the result file's table; train nothing")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "facemask_vs_torchvision.json")
    args = parser.parse_args()
    results = json.loads(args.out.read_text()) if args.out.is_file() else {"runs": []}
    if args.table:
        print(table(results), end="")
        return
    if args.data is None or args.backbone_weights is None:
        parser.error("--data and --backbone-weights are needed to train")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    data, val = open_train_and_val(args.data)
    for seed, side in product(args.seeds, SIDES):
        key = {**{name: getattr(args, name) for name in CASE}, "side": side, "seed": seed}
        if any(all(run[k] == v for k, v in key.items()) for run in results["runs"]):
            print(f"{key}: there already", file=sys.stderr)
            continue
        config = settings(args.recipe, args.channels, args.size, args.steps, seed)
        config = replace(config, data=DataConfig(args.data), backbone_weights=args.backbone_weights)
        run = train_focalkit(config) if side == "focalkit" else train_torchvision(config, data, val, device)
        results["runs"].append({**key, "device": device, "threads": torch.get_num_threads(), **run})
        results |= {
            "command": "python benchmarks/facemask_vs_torchvision.py --data DATA --backbone-weights WEIGHTS "
            "--recipe RECIPE --channels CHANNELS --size SIZE --steps STEPS --seeds SEED ...",
            "versions": {"torch": torch.__version__, "torchvision": torchvision.__version__},
            "machine": torch.cuda.get_device_name() if device == "cuda" else f"{os.cpu_count()}-core CPU",
            "python": platform.python_version(),
        }
        args.out.parent.mkdir(parents=True, exist_ok=True)
        write_json_atomic(args.out, results)
        print(f"{key}: AP {run['metrics']['AP']:.4f}, {run['seconds']:.0f} s", flush=True)


if __name__ == "__main__":
    main()
