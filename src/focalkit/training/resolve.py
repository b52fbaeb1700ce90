"""Check a training configuration and settle what depends on its weights and its detector, before a run starts."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from focalkit._config_io import infinite
from focalkit.config import DataConfig, TrainConfig
from focalkit.data import Selection
from focalkit.detection import resolve_backbone
from focalkit.detection.build import with_own_losses
from focalkit.errors import ConfigError

C = TypeVar("C", TrainConfig, DataConfig)


@dataclass(frozen=True)
class Resolved:
    """A configuration that can run as it stands, and a line for everything that was changed."""

    config: TrainConfig
    notes: tuple[str, ...]


def resolve(config: TrainConfig) -> Resolved:
    """Check a configuration and settle what it leaves open. Resolving twice changes nothing.

    - `mobilenet_v2` with weights whose BatchNorm is folded is `mobilenet_v2_tf`.
    - A backbone without pretrained weights learns everything: live BatchNorm, nothing frozen.
    - A run that starts from a trained detector needs no other weights for its backbone.
    - Where no loss is named, the detector's own is taken.
    - Paths become absolute, so that the run can be continued from another directory.

    Raises:
        ConfigError: A value that cannot work, each one named.
        InputError: An unknown backbone or unreadable weights.
    """
    _check(config)
    config = with_own_losses(config)
    model, notes = config.model, []
    if config.init is not None and (config.pretrained_backbone or config.backbone_weights is not None):
        config = replace(config, pretrained_backbone=False, backbone_weights=None)
        notes.append(f"backbone: from {config.init}, as all the rest; no other weights are read")
    name = resolve_backbone(model.backbone, config.backbone_weights)
    if name != model.backbone:
        notes.append(f"backbone: {name}, because {config.backbone_weights} has its BatchNorm folded in")
        model = replace(model, backbone=name)
    if not config.pretrained_backbone and config.backbone_weights is None and config.init is None:
        # without weights, frozen statistics are meaningless numbers; mobilenet_v2_tf has none
        norm = model.backbone_norm if name == "mobilenet_v2_tf" else "batch"
        if (norm, 0) != (model.backbone_norm, model.freeze_at):
            model = replace(model, backbone_norm=norm, freeze_at=0)
            if name != "tiny":
                live = " with live BatchNorm" if norm == "batch" else ""
                notes.append(
                    f"backbone: no pretrained weights, so all of it trains{live}; expect a lower AP than with "
                    "--backbone-weights FILE or --pretrained-backbone"
                )
    data = _absolute(config.data, "path", "train_json", "val_json", "images")
    config = replace(config, model=model, data=replace(data, split=Selection.of(data).absolute().split))
    if (spec := config.augment.pipeline) is not None:
        where, colon, name = spec.rpartition(":")
        place = f"{Path(where).expanduser().resolve()}" if where.endswith(".py") else where
        config = replace(config, augment=replace(config.augment, pipeline=f"{place}{colon}{name}"))
    return Resolved(_absolute(config, "init", "backbone_weights"), tuple(notes))


def _absolute(config: C, *names: str) -> C:
    paths = {n: getattr(config, n) for n in names}
    return replace(config, **{name: path.expanduser().resolve() for name, path in paths.items() if path is not None})


def _check(config: TrainConfig) -> None:
    o, problems = config.optim, [f"{name} is {value}, expected a number" for name, value in infinite(config).items()]
    ranks = config.runtime.devices * config.runtime.num_nodes
    counts = {n: getattr(config, n) for n in ("epochs", "batch_size", "accumulate", "min_size", "evaluate_every")}
    counts |= {n: getattr(config.runtime, n) for n in ("devices", "num_nodes", "log_every")}
    problems += [f"{name} must be at least 1, got {count}" for name, count in counts.items() if count < 1]
    if not problems and config.batch_size % (ranks * config.accumulate):
        problems.append(
            f"batch_size counts the images of all devices and passes: {config.batch_size} cannot be dealt out evenly "
            f"to {ranks} device{'s' * (ranks > 1)} x {config.accumulate} pass{'es' * (config.accumulate > 1)}"
        )
    if config.max_size < config.min_size:
        problems.append(
            f"max_size bounds the long side, so it is at least min_size ({config.min_size}), got {config.max_size}"
        )
    if config.max_steps is not None and config.max_steps < 1:
        problems.append(f"max_steps must be at least 1, got {config.max_steps}")
    if not 0 <= config.seed < 2**32:
        problems.append(f"seed must be in 0..{2**32 - 1}, got {config.seed}")
    if config.patience is not None and config.patience < 1:
        problems.append(f"patience must be at least 1, got {config.patience}")
    if config.runtime.workers < 0 or o.warmup_steps < 0 or o.weight_decay < 0:
        problems.append("workers, optim.warmup_steps and optim.weight_decay cannot be negative")
    if o.lr <= 0 or o.lr_batch < 1:
        problems.append(f"optim.lr and optim.lr_batch must be positive, got {o.lr} and {o.lr_batch}")
    if o.ema_decay is not None and not 0 < o.ema_decay < 1:
        problems.append(f"optim.ema_decay must lie between 0 and 1, got {o.ema_decay}")
    if config.runtime.strategy == "fsdp" and (o.ema_decay is not None or config.runtime.precision == "16-mixed"):
        problems.append(
            'runtime.strategy "fsdp" divides the weights: no average of them (optim.ema_decay) and no float16 scaling'
            " (runtime.precision 16-mixed) with it; ddp does both"
        )
    c = config.criterion
    if (c.sample is not None and c.sample < 1) or not 0 <= c.sample_positive <= 1:
        problems.append(
            "criterion.sample counts anchors, at least 1, of which criterion.sample_positive, 0 to 1, may be positive;"
            f" got {c.sample} and {c.sample_positive}"
        )
    if c.federated_classes is not None and c.federated_classes < 1:
        problems.append(f"criterion.federated_classes must be at least 1, got {c.federated_classes}")
    if config.repeat_factor is not None and not 0 < config.repeat_factor <= 1:
        problems.append(f"repeat_factor is a share of the images, above 0 and at most 1, got {config.repeat_factor}")
    if len(config.model.anchor_sizes) != 5:
        problems.append(f"model.anchor_sizes are those of P3 .. P7, five; got {list(config.model.anchor_sizes)}")
    if o.clip_norm is not None and o.clip_norm <= 0:
        problems.append(f'optim.clip_norm must be positive, or "none", got {o.clip_norm}')
    if any(not 0 < m < 1 for m in o.milestones):
        problems.append(f"optim.milestones are fractions of the run, between 0 and 1, got {list(o.milestones)}")
    problems += _parts_out_of_range(config)
    if config.init is None and (config.layout != "auto" or config.coco80):
        problems.append("layout and coco80 say how the file of init is read, and init names none")
    if config.pretrained_backbone and config.backbone_weights is not None:
        problems.append("pretrained_backbone downloads weights and backbone_weights names a file: give one of them")
    if problems:
        raise ConfigError("\n  ".join(["the configuration cannot work:", *problems]))


def _parts_out_of_range(config: TrainConfig) -> list[str]:
    """What the model, the matching and the augmentation cannot be made of."""
    m, c, a = config.model, config.criterion, config.augment
    widths = ("fpn_channels", "head_channels")
    found = [f"model.{n} must be at least 1, got {getattr(m, n)}" for n in widths if getattr(m, n) < 1]
    if m.prior_prob is not None and not 0 < m.prior_prob < 1:
        found.append(f'model.prior_prob must lie between 0 and 1, or be "none", got {m.prior_prob}')
    if not 0 < c.bg_iou <= c.fg_iou <= 1:
        ious = f"got {c.bg_iou} and {c.fg_iou}"
        found.append(f"criterion.bg_iou and criterion.fg_iou must lie between 0 and 1 in this order, {ious}")
    found += [
        f"model.{n} must be positive numbers, at least one, got {list(getattr(m, n))}"
        for n in ("anchor_sizes", "anchor_scales", "anchor_ratios")
        if not getattr(m, n) or min(getattr(m, n)) <= 0
    ]
    shares = ("flip", "crop", "color", "translate", "blur", "noise", "jpeg", "erase", "mosaic", "mixup", "copy_paste")
    found += [
        f"augment.{n} must lie between 0 and 1, got {getattr(a, n)}" for n in shares if not 0 <= getattr(a, n) <= 1
    ]
    if not (0 <= a.rotate <= 180 and 0 <= a.shear < 90):
        found.append(f"augment.rotate (to 180) and augment.shear (below 90) are degrees, got {a.rotate} and {a.shear}")
    if a.close_mosaic < 0 or a.copy_paste_power < 0:
        found.append("augment.close_mosaic and augment.copy_paste_power cannot be negative")
    if not 0 < a.scale[0] <= a.scale[1]:
        found.append(f"augment.scale is a range of positive factors, got {list(a.scale)}")
    return found
