"""One training run: from a configuration to a run directory.

Evaluating the finished run on its own, predictions, gallery and report are not done here: `evaluate.py` and the command
line do that.
"""

import math
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping

from focalkit._config_io import config_to_dict, differences
from focalkit._runs import RunDir, claim
from focalkit.config import TrainConfig
from focalkit.data import DetectionData, open_train_and_val
from focalkit.detection import DensePostprocess, build_criterion, build_retinanet
from focalkit.errors import ConfigError, FocalkitError
from focalkit.training.callbacks import AveragedWeights, Checkpoints, LastEvaluation, RunLog
from focalkit.training.checkpoint import best_row, complete_best, last_step
from focalkit.training.engine import DetectionLoaders, build_trainer, check_devices
from focalkit.training.launch import in_every_process, is_first_process, several_to_start
from focalkit.training.module import DetectionModule
from focalkit.training.progress import RunProgress
from focalkit.training.quiet import quiet_lightning
from focalkit.training.record import device_name, run_record, summary
from focalkit.training.resolve import resolve
from focalkit.training.schedule import scaled_lr

MAY_CHANGE = (
    "data",
    "train_json",
    "val_json",
    "images",
    "workers",
    "accelerator",
    "logger",
    "log_every",
    "checkpoint_seconds",
)
"""Settings that a resumed run takes from the caller: they say where and how to run, not what."""


@dataclass(frozen=True)
class Job:
    """What every process of a run is told."""

    config: TrainConfig
    out: Path
    resume: bool
    force: bool
    checked: bool
    command: str
    notes: tuple[str, ...]


def train(
    config: TrainConfig, out: Path, *, resume: bool = False, force: bool = False, command: str = ""
) -> dict[str, Any]:
    """Train a detector into the run directory `out`.

    A run that was killed continues from `checkpoints/last.ckpt` with `resume=True`: at the optimiser step of that
    checkpoint, also in mid-epoch, with the same images in the same order as if it had never stopped. Without a
    checkpoint it starts from the beginning.

    Args:
        config: What to train; see `focalkit.config`.
        out: The run directory.
        resume: Continue an unfinished run; a finished one is left as it is; where there is none, start.
        force: Delete the run that is there.
        command: Recorded in `run.json`.

    Returns:
        What `result.json` holds: "metrics" (of the best evaluation), "best_epoch", "epochs", "steps", "seconds",
        "finished". An empty dict in a process of a torchrun or Slurm job that is not the first.

    Raises:
        ConfigError: The configuration cannot work here, or `out` holds a run that it would overwrite.
        DataError: The data set has problems.
        DivergedError: The loss became NaN or infinite.

    Example:
        >>> train(cpu_small(), Path("runs/first"))   # doctest: +SKIP
    """
    resolved = resolve(config)
    config, notes = resolved.config, resolved.notes
    check_devices(config)
    first = is_first_process()
    run = claim(out, resume=resume, force=force) if first else RunDir(out)
    if resume and run.exists:
        config, notes = continued(run, config), ()
        if run.finished:
            print(f"{run.path}: this run is finished; nothing to do", file=sys.stderr)
            return run.read_result()
    build_criterion(config)  # a wrong loss is known now, and not after a large data set has been checked
    several = several_to_start(config)
    job = Job(config, run.path, resume, force, several or not first, command or " ".join(sys.argv), notes)
    if several:
        _read(config, check=True)  # once, and not in every process
        in_every_process(fit, job, config.devices)
        return run.read_result()
    return fit(job)


def fit(job: Job) -> dict[str, Any]:
    """The part of `train` that every process runs."""
    config, run = job.config, RunDir(job.out)
    train_data, val_data = _read(config, check=not job.checked)
    start_step = last_step(run) if job.resume else 0

    with quiet_lightning():
        L.seed_everything(config.seed, workers=True, verbose=False)
        lr = scaled_lr(config.optim.lr, config.batch_size, config.optim.lr_batch)
        steps_per_epoch = max(len(train_data.images) // config.batch_size, 1)
        total_steps = config.max_steps or config.epochs * steps_per_epoch
        epochs = math.ceil(total_steps / steps_per_epoch)
        model = build_retinanet(
            config.model, train_data.num_classes, config.backbone_weights, pretrained=config.pretrained_backbone
        )
        module = DetectionModule(
            model=model,
            criterion=build_criterion(config),
            postprocess=DensePostprocess(),
            val_data=val_data,
            optim=config.optim,
            lr=lr,
            total_steps=total_steps,
            header=_header(config, train_data),
        )
        log = RunLog(run, batch_size=config.batch_size, every=config.log_every)
        checkpoints = Checkpoints(run, log, seconds=config.checkpoint_seconds)
        # the averaged weights come first: others see them swapped in and back
        callbacks: list[Callback] = [AveragedWeights(config.optim.ema_decay)] if config.optim.ema_decay else []
        callbacks += [LastEvaluation(total_steps), log, checkpoints]
        if config.patience is not None:
            callbacks.append(EarlyStopping("AP", mode="max", patience=config.patience, verbose=False))
        callbacks.append(RunProgress(log, checkpoints, total_steps=total_steps, epochs=epochs))
        trainer = build_trainer(config, run.path, callbacks, epochs=epochs, start_step=start_step)
        first = trainer.is_global_zero
        if first:
            device = device_name(trainer.strategy.root_device, trainer.world_size)
            if job.force:
                run.clear()
            if not start_step:
                run.write_run(run_record(config, train_data, command=job.command, device=device))
            run.truncate_metrics(start_step)
            complete_best(run)
            text = summary(
                config,
                train_data,
                val_data,
                model,
                lr=lr,
                steps_per_epoch=steps_per_epoch,
                total_steps=total_steps,
                device=device,
                out=run.path,
            )
            notes = [f"note: {note}" for note in job.notes]
            if start_step:
                notes.append(f"resuming after step {start_step} of {total_steps}")
            elif job.resume:
                notes.append("nothing to resume from: starting at the first step")
            print("\n".join([text, *notes]), file=sys.stderr, flush=True)
        loaders = DetectionLoaders(
            train_data, val_data, config, fill=model.pixel_mean.flatten().tolist(), start_step=start_step
        )
        if start_step < total_steps:
            last = run.checkpoint("last") if start_step else None
            with _stops_explained(job.out):
                trainer.fit(module, datamodule=loaders, ckpt_path=last, weights_only=True)
        return _finish(run, checkpoints.trained_seconds) if first else {}


def continued(run: RunDir, asked: TrainConfig) -> TrainConfig:
    """The configuration of the run that is there, with what the caller may change.

    Raises:
        ConfigError: The caller asks for another run than the one that is there.
    """
    stored = run.read_config()
    changes = differences(stored, asked)
    conflicts = [f"{n}: {old!r} in run.json, now {new!r}" for n, (old, new) in changes.items() if n not in MAY_CHANGE]
    if conflicts:
        raise ConfigError(
            f"{run.path}: --resume continues the run as it was configured, but these settings differ\n  "
            + "\n  ".join(conflicts)
            + "\n  leave them out to continue, or start over with --force or another --out"
        )
    return replace(stored, **{n: new for n, (_, new) in changes.items()})


@contextmanager
def _stops_explained(out: Path) -> Iterator[None]:
    """What ends a training from outside, with what to do next."""
    try:
        yield
    except SystemExit as stop:
        # Lightning makes exits of Ctrl-C (and then ignores the next one) and of SIGTERM
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if is_first_process():
            print(f"stopped; --out {out} --resume continues from the last checkpoint", file=sys.stderr)
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise SystemExit(128 + signal.SIGTERM) from None
    except torch.OutOfMemoryError as error:
        raise FocalkitError(
            f"the GPU is out of memory: more --accumulate passes per step need less and change little; otherwise a "
            f"smaller --batch-size, --max-size, or --precision bf16-mixed ({error})"
        ) from error
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise FocalkitError(
            f"a loading process ended ({error}). If memory ran out, fewer --workers need less, and 0 none; "
            f"--out {out} --resume continues from the last checkpoint"
        ) from error


def _read(config: TrainConfig, *, check: bool) -> tuple[DetectionData, DetectionData]:
    return open_train_and_val(
        config.data,
        train_json=config.train_json,
        val_json=config.val_json,
        images=config.images,
        repair=config.repair,
        check=check,
    )


def _header(config: TrainConfig, data: DetectionData) -> dict[str, Any]:
    categories = [{"id": c.id, "name": c.name} for c in data.categories]
    return {"schema": 1, "categories": categories, "config": config_to_dict(config)}


def _finish(run: RunDir, seconds: float) -> dict[str, Any]:
    best, last = best_row(run), run.read_metrics()[-1]
    assert best is not None  # the last step is always evaluated
    names = [n for n in best if n.startswith(("AP", "AR"))]
    result = {
        "metrics": {n: best[n] for n in names},
        "best_epoch": best["epoch"],
        "epochs": last["epoch"],
        "steps": last["step"],
        "seconds": round(seconds, 1),
        "finished": True,
    }
    run.write_result(result)
    return result
