"""Train a small RetinaNet from Python: data, configuration, training, evaluation, report.

python examples/train_a_detector.py OUT [IMAGES] [EPOCHS]
"""

import sys
from dataclasses import replace
from pathlib import Path

from focalkit.config import AugmentConfig, DataConfig, ModelConfig, OptimConfig, TrainConfig
from focalkit.data import write_demo_scenes
from focalkit.evaluation import evaluate_run
from focalkit.report import write_report
from focalkit.training import train


def main(out: Path, images: int = 300, epochs: int = 8) -> None:
    # scenes with handwritten digits; a COCO, VOC or YOLO folder of yours goes in the same place
    data = write_demo_scenes(out / "scenes", train=images, val=max(images // 4, 4))
    config = TrainConfig(
        data=DataConfig(data),
        epochs=epochs,
        batch_size=8,
        min_size=256,
        max_size=256,
        model=ModelConfig(
            backbone="tiny", fpn_channels=48, head_channels=48, head_depth=2, anchor_sizes=(16, 32, 64, 128, 256)
        ),
        augment=AugmentConfig(flip=0.0),  # a mirrored digit is another one, or none
        optim=OptimConfig(optimizer="adamw", lr=2e-3, lr_batch=8, schedule="onecycle"),
    )
    runs = {"focal": config, "cross-entropy": replace(config, loss="bce")}
    for name, settings in runs.items():
        train(settings, out / name)
        metrics = evaluate_run(out / name, data)["metrics"]
        print(f"{name:<14} AP {metrics['AP']:.3f}  AP50 {metrics['AP50']:.3f}")
    print("report:", write_report([out / name for name in runs], out / "report.html"))


if __name__ == "__main__":  # needed: data-loading processes import this file
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
