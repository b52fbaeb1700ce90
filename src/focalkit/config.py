"""Configuration of a training run: frozen dataclasses, free of torch.

Order of precedence: defaults < preset < TOML file < command-line flags. The resolved configuration is written to
`run.json`, and `--config run.json` reproduces the run. What this file does not do: it builds nothing; every part takes
its values from here as plain arguments.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from focalkit._config_model import DecoderConfig as DecoderConfig
from focalkit._config_model import DetectorName as DetectorName
from focalkit._config_model import LayoutName as LayoutName
from focalkit._config_model import ModelConfig as ModelConfig
from focalkit._config_model import NumericsConfig as NumericsConfig


@dataclass(frozen=True)
class CriterionConfig:
    """How anchors are matched and what is minimised, beside the classification loss."""

    fg_iou: float = 0.5
    """An anchor is positive from this overlap with a box on"""
    bg_iou: float = 0.4
    """An anchor is background below this overlap, and ignored in between"""
    min_pos_iou: float = 0.05
    """A box whose best anchors overlap less than this stays unmatched"""
    matching: Literal["focalkit", "torchvision", "detectron2", "mmdet"] = "focalkit"
    """Whose rules decide below `fg_iou`; the others' have no `min_pos_iou` and see no crowd regions"""
    box_loss: str | None = None
    """smooth_l1, l1, giou, diou, ciou, or a spec such as "smooth_l1(beta=0.1)"; none takes the detector's own"""
    box_weight: float | None = None
    """Factor on the box loss; none takes the detector's own"""
    normalizer: Literal["batch", "image", "ema"] = "batch"
    """What the losses are divided by: positive anchors of the batch, of each image, or their running mean"""
    sample: int | None = None
    """Train on so many anchors of each image, chosen at random as two-stage detectors do; none takes all"""
    sample_positive: float = 0.5
    """With `sample`: the largest share of positives"""
    federated_classes: int | None = None
    """Judge classes on so many in each batch, those that it shows and others by chance (Zhou et al., 2021)"""


@dataclass(frozen=True)
class AugmentConfig:
    """Training-time augmentation; evaluation only resizes."""

    flip: float = 0.5
    """Probability of a horizontal flip"""
    scale: tuple[float, float] = (1.0, 1.0)
    """Range of the random resize, relative to the evaluation size; above 1 a random part of that size is seen"""
    crop: float = 0.0
    """Probability of a random crop that keeps at least one box centre where there is one"""
    color: float = 0.0
    """Strength of brightness, contrast and saturation jitter, 0 to 1"""
    rotate: float = 0.0
    """Largest rotation in degrees, to either side; a rotated box becomes the one that encloses it"""
    translate: float = 0.0
    """Largest shift, as a share of the image's sides"""
    shear: float = 0.0
    """Largest shear in degrees"""
    blur: float = 0.0
    """Probability of a Gaussian blur"""
    noise: float = 0.0
    """Probability of Gaussian noise"""
    jpeg: float = 0.0
    """Probability of JPEG compression, of quality 30 to 95"""
    erase: float = 0.0
    """Probability that a random rectangle is erased (Zhong et al., 2020)"""
    mosaic: float = 0.0
    """Probability that an image becomes four (Bochkovskiy et al., 2020)"""
    mixup: float = 0.0
    """Probability that another image is blended in (Zhang et al., 2018)"""
    copy_paste: float = 0.0
    """Probability that one to three objects of other images are pasted in (Ghiasi et al., 2021)"""
    copy_paste_power: float = 0.5
    """Pasted objects of a class with n boxes come in proportion to n^(1 - this): 0 as they are, 1 all classes alike"""
    close_mosaic: int = 10
    """Last epochs, at most half of the run, without mosaic, mixup and copy-paste"""
    pipeline: str | None = None
    """Albumentations, torchvision or another callable that changes each image, after copy-paste: my.py:pipeline"""


@dataclass(frozen=True)
class OptimConfig:
    """Optimiser and schedule. `lr` is given for `lr_batch` images and scaled linearly to the real batch."""

    optimizer: Literal["sgd", "adamw"] = "sgd"
    """SGD with momentum, or AdamW"""
    lr: float = 0.01
    """Highest learning rate, for `lr_batch` images"""
    lr_batch: int = 16
    """The batch that `lr` is meant for"""
    momentum: float = 0.9
    """Of SGD"""
    weight_decay: float = 1e-4
    schedule: Literal["constant", "step", "cosine", "onecycle"] = "step"
    """How the learning rate goes on after the warm-up"""
    milestones: tuple[float, ...] = (2 / 3, 8 / 9)
    """Fractions of the run after which "step" divides the rate by ten"""
    warmup_steps: int = 500
    """Linear warm-up from lr/1000; capped at a tenth of the run"""
    clip_norm: float | None = 10.0
    """Largest norm of the gradient; none does not clip"""
    ema_decay: float | None = None
    """Evaluate and keep an exponential moving average of the weights"""
    not_finite: Literal["stop", "skip"] = "stop"
    """A loss or gradient that is NaN or infinite ends the run, or its step is left out (ten in a row end the run)"""


@dataclass(frozen=True)
class DataConfig:
    """Where the data set is; on the command line `--data` and the others' names alone."""

    path: Path | None = None
    """A data set as the tools write it: COCO, Pascal VOC, YOLO, CVAT, Label Studio, csv and more"""
    train_json: Path | None = None
    """COCO file of the training split, instead of looking for one"""
    val_json: Path | None = None
    """COCO file of the validation split"""
    images: Path | None = None
    """With --train-json / --val-json: the directory that file names are relative to"""
    repair: bool = False
    """Leave out boxes without area and unreadable images, clip boxes that reach out of theirs, instead of stopping"""
    split: str | None = None
    """Divide a data set without splits: shares of train, val and perhaps test, such as 80/10/10, or splits.json"""
    split_seed: int = 0
    """Of that division; runs of several seeds share it"""
    classes: str | None = None
    """Use these classes alone, such as cat,dog; boxes of others are left out"""
    merge: tuple[str, ...] = ()
    """Classes that become one, such as car,truck=vehicle"""
    single_class: bool = False
    """Every box becomes one of the single class `object`"""
    group_by: str | None = None
    """Of --split and --fold: what stays in one part, a regular expression on names (patient, camera) or `folder`"""
    fold: str | None = None
    """Such as 2/5: val is the second of five parts; with --split 80/10/10 test is held out first"""


@dataclass(frozen=True)
class RuntimeConfig:
    """Where and how a run computes and what it writes; on the command line the names alone, such as `--workers`."""

    precision: Literal["32", "16-mixed", "bf16-mixed"] = "32"
    """Of the network; the losses are computed in float32 either way"""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """auto takes a GPU where there is one"""
    devices: int = 1
    """Processes on this machine, one per GPU"""
    num_nodes: int = 1
    """Machines"""
    strategy: Literal["ddp", "fsdp"] = "ddp"
    """Of several processes: each has all weights, or (FSDP2) they divide weights and optimiser state among them"""
    workers: int = 2
    """Data-loading processes per device"""
    cache: Literal["auto", "none"] = "auto"
    """Keep decoded images in a third of the free memory, as far as it holds them"""
    log_every: int = 10
    """Steps between lines of metrics.jsonl; reading the losses waits for the device"""
    checkpoint_seconds: float = 60.0
    """Time between checkpoints within an epoch: what a killed run loses at most"""
    logger: Literal["none", "tensorboard", "csv", "wandb", "mlflow"] = "tensorboard"
    """Beside metrics.jsonl, which is always written"""
    deterministic: bool = False
    """Algorithms that repeat bit for bit, slower where torch has a choice; on a CPU with as many threads as before"""


@dataclass(frozen=True)
class TrainConfig:
    """Everything `focalkit train` needs, except where the run goes."""

    data: DataConfig = field(default_factory=DataConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    loss: str | None = None
    """Classification loss: a catalog spec, or "my_pkg.mod:MyLoss(gamma=1)"; none takes the detector's own, such as
    "focal(gamma=2.0, alpha=0.25)" for RetinaNet"""
    epochs: int = 12
    """Passes over the training images"""
    max_steps: int | None = None
    """Stop after this many optimiser steps instead of `epochs`"""
    batch_size: int = 16
    """Images per optimiser step over all devices"""
    accumulate: int = 1
    """Split each step's batch into this many forward passes"""
    min_size: int = 800
    """Short side in pixels after resizing"""
    max_size: int = 1333
    """Upper bound of the long side"""
    seed: int = 0
    """Of everything random"""
    repeat_factor: float | None = None
    """Show images of classes that a smaller share of them shows more often (Gupta et al., 2019; LVIS: 0.001)"""
    patience: int | None = None
    """Stop after this many evaluations without a better AP"""
    evaluate_every: int = 1
    """Epochs between evaluations"""
    init: Path | None = None
    """Start from this trained detector: a run, or a weights file of ours, torchvision, Detectron2, MMDetection,
    transformers, or the authors of RT-DETR, D-FINE or DEIM. The model is the file's unless told otherwise"""
    layout: LayoutName = "auto"
    """Whose names the weights of `init` have: auto looks at them"""
    coco80: bool = False
    """Of an `init` of torchvision with 91 class channels: keep the 80 classes of COCO"""
    backbone_weights: Path | None = None
    """ImageNet weights of the backbone: .pth, .safetensors or .npz (needs no network)"""
    pretrained_backbone: bool = False
    """Download the torchvision ImageNet weights of the backbone"""
    model: ModelConfig = field(default_factory=ModelConfig)
    criterion: CriterionConfig = field(default_factory=CriterionConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)


def paper() -> TrainConfig:
    """Lin et al., 2017, sec. 4: ResNet-50-FPN, 600 px, SGD, batch 16, 90k steps, flip only."""
    return TrainConfig(min_size=600, max_size=1000, max_steps=90_000, batch_size=16, pretrained_backbone=True)


def cpu_small() -> TrainConfig:
    """A laptop: MobileNetV2, 64-channel pyramid and head, images up to 416 px, AdamW with a one-cycle rate.

    Milder focal loss than the paper's (gamma 1, alpha .5): in a few thousand steps gamma 2 with alpha .25 leaves rare
    classes behind. GIoU, because small boxes are lost to a pixel of error.
    """
    return TrainConfig(
        loss="focal(gamma=1.0, alpha=0.5)",
        epochs=16,
        evaluate_every=2,
        batch_size=8,
        min_size=416,
        max_size=416,
        model=ModelConfig(
            backbone="mobilenet_v2",
            freeze_at=2,
            fpn_channels=64,
            head_channels=64,
            anchor_sizes=(16.0, 32.0, 64.0, 128.0, 256.0),
            decoder=DecoderConfig(layers=3, queries=100, expansion=0.5, feedforward=256),
        ),
        criterion=CriterionConfig(box_loss="giou", box_weight=2.0),
        augment=AugmentConfig(scale=(0.7, 1.4), color=0.2),
        optim=OptimConfig(optimizer="adamw", lr=1e-3, lr_batch=8, weight_decay=1e-4, schedule="onecycle"),
    )


def rtdetrv2() -> TrainConfig:
    """RT-DETRv2-R18 (Lv et al., 2024) as its authors train it on COCO, but for the rate: one for all weights.

    They train the backbone from ImageNet weights at a tenth of the rate; give yours with `backbone_weights`.
    """
    return TrainConfig(
        epochs=120,
        min_size=640,
        max_size=640,
        model=ModelConfig(
            backbone="resnet18vd",
            backbone_norm="batch",
            freeze_at=0,
            detector="rtdetrv2",
            decoder=DecoderConfig(layers=3, expansion=0.5),
            numerics=NumericsConfig(resize="square", max_detections=300),
        ),
        augment=AugmentConfig(scale=(0.75, 1.25), crop=0.5, color=0.3),
        optim=OptimConfig(
            optimizer="adamw", lr=1e-4, schedule="constant", warmup_steps=2000, clip_norm=0.1, ema_decay=0.9999
        ),
    )


def rtdetrv2_small() -> TrainConfig:
    """RT-DETRv2 for some hundred or thousand images of your own: fewer queries, a narrower decoder, a higher rate.

    The rate falls to nothing, and what is evaluated is an average of the weights that forgets in some hundred steps.
    """
    return TrainConfig(
        epochs=50,
        evaluate_every=5,
        batch_size=8,
        min_size=416,
        max_size=416,
        model=ModelConfig(
            backbone="mobilenet_v2",
            freeze_at=2,
            fpn_channels=128,
            detector="rtdetrv2",
            decoder=DecoderConfig(layers=3, queries=100, expansion=0.5, feedforward=512),
        ),
        augment=AugmentConfig(scale=(0.7, 1.4), color=0.2),
        optim=OptimConfig(
            optimizer="adamw",
            lr=5e-4,
            lr_batch=8,
            schedule="cosine",
            warmup_steps=500,
            clip_norm=1.0,
            ema_decay=0.998,
        ),
    )


def dfine_small() -> TrainConfig:
    """D-FINE for some hundred or thousand images of your own: as `rtdetrv2_small`."""
    base = rtdetrv2_small()
    decoder = replace(base.model.decoder, points=3)
    return replace(base, model=replace(base.model, detector="dfine", decoder=decoder))


def dfine_s() -> TrainConfig:
    """D-FINE-S (Peng et al., 2024) as its authors train it on COCO, but for the rate: one for all weights."""
    return _dfine("b0", layers=3, depth=1, expansion=0.5)


def dfine_m() -> TrainConfig:
    """As `dfine_s`, the size M."""
    return _dfine("b2", layers=4, depth=2, expansion=1.0)


def dfine_l() -> TrainConfig:
    """As `dfine_s`, the size L."""
    return _dfine("b4", layers=6, depth=3, expansion=1.0)


def deim_s() -> TrainConfig:
    """D-FINE-S trained as DEIM (Huang et al., 2025): MAL, and more objects in an image by mosaic and mixup."""
    base = with_detector(dfine_s(), "deim")
    return replace(base, augment=replace(base.augment, mosaic=0.5, mixup=0.5, close_mosaic=12))


def _dfine(hgnet: str, *, layers: int, depth: int, expansion: float) -> TrainConfig:
    base = rtdetrv2()
    return replace(
        base,
        epochs=132,
        batch_size=32,
        model=replace(
            base.model,
            backbone=f"timm:hgnetv2_{hgnet}",
            detector="dfine",
            neck_depth=depth,
            decoder=DecoderConfig(layers=layers, expansion=expansion, points=3),
        ),
        optim=replace(base.optim, lr=2.5e-4, lr_batch=32, weight_decay=1.25e-4, warmup_steps=500),
    )


def rtmdet_tiny() -> TrainConfig:
    """Lyu et al., 2022: RTMDet-tiny, 640 px, AdamW, a cosine rate, a moving average; 20 last epochs without mosaic."""
    optim = OptimConfig("adamw", 4e-3, 256, weight_decay=0.05, schedule="cosine", warmup_steps=1000, ema_decay=0.9998)
    base = TrainConfig(epochs=300, evaluate_every=10, batch_size=32, min_size=640, max_size=640)
    return replace(
        base,
        model=ModelConfig("cspnext_tiny", "batch", 0, 96, head_channels=96, head_depth=2, detector="rtmdet"),
        augment=AugmentConfig(scale=(0.5, 2.0), color=0.2, mosaic=1.0, mixup=0.5, close_mosaic=20),
        optim=optim,
    )


def rtmdet_small() -> TrainConfig:
    """RTMDet for some hundred or thousand images of your own: as `cpu_small`, without mosaic, with averaged weights."""
    base = with_detector(cpu_small(), "rtmdet")
    optim = replace(base.optim, weight_decay=0.01, ema_decay=0.995)
    return replace(base, model=replace(base.model, head_depth=2), optim=optim)


def with_detector(config: TrainConfig, detector: DetectorName) -> TrainConfig:
    """`config` with another detector and its own losses: those of a preset are meant for the preset's detector.

    Example:
        >>> with_detector(cpu_small(), "gfl").loss is None
        True
    """
    if detector == config.model.detector:
        return config
    return replace(
        config,
        loss=None,
        model=replace(config.model, detector=detector),
        criterion=replace(config.criterion, box_loss=None, box_weight=None),
    )


PRESETS = {
    "cpu-small": cpu_small,
    "deim-s": deim_s,
    "dfine-l": dfine_l,
    "dfine-m": dfine_m,
    "dfine-s": dfine_s,
    "dfine-small": dfine_small,
    "paper": paper,
    "rtdetrv2": rtdetrv2,
    "rtdetrv2-small": rtdetrv2_small,
    "rtmdet-small": rtmdet_small,
    "rtmdet-tiny": rtmdet_tiny,
}
