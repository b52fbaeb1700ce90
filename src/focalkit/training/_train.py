"""One training run: from a configuration to a run directory.

Evaluating the finished run on its own, predictions, gallery and report are not done here: `evaluate.py` and the command
line do that.
"""

import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping

from focalkit._config_io import config_to_dict
from focalkit._runs import SCHEMA, RunDir, claim, write_json_atomic
from focalkit.config import DataConfig, TrainConfig
from focalkit.data import DetectionData, Selection, division_record, open_train_and_val
from focalkit.data.own_pipeline import content_of, load_pipeline
from focalkit.data.watch import LoadingError, deaths_explained
from focalkit.detection import build_criterion, build_detector, load_weights
from focalkit.detection.build import check_training
from focalkit.detection.models.detr.detector import AnyDetector
from focalkit.detection.weights.transfer import check_structure, transfer
from focalkit.errors import ConfigError, FocalkitError, ProcessDiedError
from focalkit.training.callbacks import (
    AveragedWeights,
    Checkpoints,
    LastEvaluation,
    PatienceAnew,
    RunLog,
    StopAtOnce,
    UnfinishedEpoch,
    WhenAllAreThere,
)
from focalkit.training.checkpoint import best_row, complete_best, last_step, read_checkpoint, stopped_early
from focalkit.training.continuing import changed_plan, compare_data, compare_pipeline, continued, write_changes
from focalkit.training.engine import DetectionLoaders, algorithms_kept, build_trainer, check_devices
from focalkit.training.launch import (
    in_every_process,
    is_first_process,
    lost_peers_explained,
    several_to_start,
)
from focalkit.training.module import DetectionModule
from focalkit.training.pictures import Pictures
from focalkit.training.progress import RunProgress
from focalkit.training.quiet import quiet_lightning
from focalkit.training.record import device_name, run_record, summary
from focalkit.training.resolve import resolve
from focalkit.training.schedule import Plan, plan_run


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
    init: AnyDetector | None
    changes: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)


def train(
    config: TrainConfig,
    out: Path,
    *,
    resume: bool = False,
    force: bool = False,
    command: str = "",
    trust: bool = False,
    init: AnyDetector | None = None,
) -> dict[str, Any]:
    """Train a detector into the run directory `out`.

    A run that was killed continues from `checkpoints/last.ckpt` with `resume=True`: at the optimiser step of that
    checkpoint, also in mid-epoch, with the same images in the same order as if it had never stopped. Without a
    checkpoint it starts from the beginning.

    Args:
        config: What to train; see `focalkit.config`.
        out: The run directory.
        resume: Continue an unfinished run, or a finished one with more `epochs` or `max_steps`; otherwise a finished
            one is left as it is; where there is none, start. `optim.lr` may be changed, too.
        force: Delete the run that is there.
        command: Recorded in `run.json`.
        trust: Read `config.init` even if that runs code from the file; see `focalkit.detection.load_weights`.
        init: The detector in `config.init`, from a caller who has read it already.

    Returns:
        What `result.json` holds: "metrics" (of the best evaluation), "best_epoch", "epochs", "steps", "seconds",
        "finished". An empty dict in a process of a torchrun or Slurm job that is not the first.

    Raises:
        ConfigError: The configuration cannot work here, or `out` holds a run that it would overwrite.
        InputError: `config.init` cannot be read.
        DataError: The data set has problems.
        DivergedError: The loss became NaN or infinite.

    Example:
        >>> train(cpu_small(), Path("runs/first"))   # doctest: +SKIP
    """
    resolved = resolve(config)
    config, notes = resolved.config, tuple(f"note: {note}" for note in resolved.notes)
    check_devices(config)
    first = is_first_process()
    _refuse_folder_of_data(out, config.data)  # before `claim` touches what lies there
    run = claim(out, resume=resume, force=force) if first else RunDir(out)
    changes: dict[str, tuple[Any, Any]] = {}
    if resume and run.exists:
        (config, changes), notes = continued(run, config), ()
        if run.finished and not changes:
            more = (
                f"--epochs N goes on, beyond {config.epochs}" if config.max_steps is None else "--max-steps N goes on"
            )
            print(f"{run.path}: this run is finished; nothing to do ({more})", file=sys.stderr)
            return run.read_result()
    # what is wrong is known now, and not after a large data set has been checked
    check_training(config)
    if config.augment.pipeline is not None:
        load_pipeline(config.augment.pipeline, content_of(config.augment.pipeline))
    resumed = resume and last_step(run) > 0
    init = None if config.init is None or resumed else _checked_init(config, trust, init)
    several = several_to_start(config)
    command = command or " ".join(sys.argv)
    job = Job(config, run.path, resume, force, several or not first, command, notes, init, changes)
    if several:
        _read(job, check=True)  # once, and not in every process
        with _stops_explained(job.out):
            in_every_process(fit, job, config.runtime.devices)
        return run.read_result()
    return fit(job)


def fit(job: Job) -> dict[str, Any]:
    """The part of `train` that every process runs."""
    config, run = job.config, RunDir(job.out)
    data = _read(job, check=not job.checked)
    start_step = last_step(run) if job.resume else 0
    changed = [*compare_data(run, *data), *compare_pipeline(run, config)] if start_step else []
    last = run.checkpoint("last") if start_step else None
    with quiet_lightning(), algorithms_kept():
        L.seed_everything(config.seed, workers=True, verbose=False)
        plan = plan_run(config, len(data[0].images))
        first_together: list[WhenAllAreThere] = []
        if start_step and job.changes:
            changed.append(changed_plan(run, config, job.changes, plan, start_step))
            # not before: another process would find no changes, and might then not train
            write = partial(write_changes, run, config, job.changes, start_step)
            first_together.append(WhenAllAreThere(write))
        module, started = _module(config, *data, plan, resumed=start_step > 0, init=job.init)
        names = {image.id: image.file_name for image in data[0].images}
        log = RunLog(run, batch_size=config.batch_size, every=config.runtime.log_every, names=names)
        checkpoints = Checkpoints(run, log, seconds=config.runtime.checkpoint_seconds)
        trainer = build_trainer(
            config,
            run.path,
            [*_callbacks(config, plan, log, checkpoints, bool(job.changes)), Pictures(data[1]), *first_together],
            epochs=plan.epochs,
            start_step=start_step,
        )
        if trainer.is_global_zero:
            device = device_name(trainer.strategy.root_device, trainer.world_size)
            _open_run(job, data, device, start_step)
            lines = [
                summary(
                    config,
                    *data,
                    module.model,
                    plan,
                    device=device,
                    out=run.path,
                    terms=dict(module.criterion.terms.items()),
                ),
                *job.notes,
                *started,
                *changed,
            ]
            if job.resume:
                lines.append(
                    f"resuming after step {start_step} of {plan.steps}"
                    if start_step
                    else "no checkpoint: starting anew"
                )
            print("\n".join(lines), file=sys.stderr, flush=True)
        fill = module.model.pixel_mean.flatten().tolist()
        loaders = DetectionLoaders(*data, config, fill=fill, start_step=start_step)
        if start_step < plan.steps and (job.changes or not (last and stopped_early(last))):
            with _stops_explained(job.out):
                trainer.fit(module, datamodule=loaders, ckpt_path=last, weights_only=True)
        elif last is not None:  # killed between its last checkpoint and result.json
            checkpoints.load_state_dict(read_checkpoint(last)["callbacks"][checkpoints.state_key])
            if trainer.is_global_zero and job.changes:
                write_changes(run, config, job.changes, start_step)
        return _finish(run, checkpoints.trained_seconds) if trainer.is_global_zero else {}


def _module(
    config: TrainConfig,
    train: DetectionData,
    val: DetectionData,
    plan: Plan,
    *,
    resumed: bool,
    init: AnyDetector | None,
) -> tuple[DetectionModule, list[str]]:
    """The module, and notes on the weights that it starts from."""
    # a resumed run has its weights in the checkpoint
    weights, pretrained = (None, False) if resumed else (config.backbone_weights, config.pretrained_backbone)
    categories = [{"id": c.id, "name": c.name} for c in train.categories]
    model = build_detector(config.model, train.num_classes, weights, pretrained=pretrained)
    notes = []
    if init is not None and not resumed:
        notes.append(f"note: {transfer(model, init, train.names, config.init)}")
    shares = [images / len(train) for images in train.image_counts()]
    facts = {"num_classes": train.num_classes, "class_counts": train.class_counts(), "frequency": shares}
    module = DetectionModule(
        model=model,
        criterion=build_criterion(config, facts),
        postprocess=model.postprocess,
        val_data=val,
        optim=config.optim,
        plan=plan,
        header={"schema": SCHEMA, "categories": categories, "config": config_to_dict(config)},
        seed=config.seed,
    )
    return module, notes


def _refuse_folder_of_data(out: Path, data: DataConfig) -> None:
    """A run among the data would be taken for a part of them, and --force would delete what is called like it."""
    for given in (data.path, data.images, data.train_json, data.val_json):
        place = None if given is None else Path(given).resolve()
        if place is not None and Path(out).resolve() == (place.parent if place.is_file() else place):
            raise ConfigError(f"{out}: is the folder of the data; choose another --out, such as {Path(out) / 'run'}")


def _checked_init(config: TrainConfig, trust: bool, found: AnyDetector | None) -> AnyDetector:
    """The detector to start from; read, where that has not been done.

    Raises:
        InputError: It cannot be read.
        ConfigError: It is of another structure than the model of the configuration.
    """
    assert config.init is not None
    if found is None:
        found = load_weights(config.init, config.layout, config.coco80, trust)
    assert found.card is not None
    check_structure(config.model, found.card.config, config.init)
    return found


def _callbacks(config: TrainConfig, plan: Plan, log: RunLog, checkpoints: Checkpoints, anew: bool) -> list[Callback]:
    # the averaged weights come first: others see them swapped in and back
    callbacks: list[Callback] = [AveragedWeights(config.optim.ema_decay)] if config.optim.ema_decay else []
    callbacks += [StopAtOnce(), UnfinishedEpoch(), LastEvaluation(plan.steps), log, checkpoints]
    if config.patience is not None:
        # at once after an evaluation, so that the checkpoint of that epoch knows of it
        callbacks.append(
            EarlyStopping("AP", mode="max", patience=config.patience, verbose=False, check_on_train_epoch_end=False)
        )
        callbacks += [PatienceAnew()] * anew
    return [*callbacks, RunProgress(log, checkpoints, plan)]


def _open_run(job: Job, data: tuple[DetectionData, DetectionData], device: str, start_step: int) -> None:
    """Bring the run directory to the state in which training starts or goes on."""
    run = RunDir(job.out)
    if job.force:
        run.clear()
    if not start_step:
        run.write_run(run_record(job.config, *data, command=job.command, device=device))
        # after run.json: what is left without one cannot be resumed
        if (division := division_record(data[0], Selection.of(job.config.data))) is not None:
            write_json_atomic(run.path / "splits.json", division)
    run.truncate_metrics(start_step)
    (run.path / "autopsy.json").unlink(missing_ok=True)
    complete_best(run)


@contextmanager
def _stops_explained(out: Path) -> Iterator[None]:
    """What ends a training from outside, with what to do next."""
    try:
        with deaths_explained(), lost_peers_explained():
            yield
    except (SystemExit, KeyboardInterrupt) as stop:
        # of Ctrl-C Lightning makes an exit, and then ignores the next one
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if is_first_process():
            print(f"stopped; --out {out} --resume continues from the last checkpoint", file=sys.stderr)
        if isinstance(stop, KeyboardInterrupt) or isinstance(stop.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise SystemExit(stop.code or 128 + signal.SIGTERM) from None
    except torch.OutOfMemoryError as error:
        raise FocalkitError(
            f"the GPU is out of memory: more --accumulate passes per step need less and change little; otherwise a "
            f"smaller --batch-size, --max-size, or --precision bf16-mixed ({error})"
        ) from error
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise ConfigError(
            "live BatchNorm needs more than one value per channel, and a map of one image has one cell: give a larger "
            "--batch-size or fewer --accumulate passes, larger images (--min-size, --max-size), or --model.head-norm "
            "group and, with pretrained weights, --model.backbone-norm frozen"
        ) from error
    except (LoadingError, ProcessDiedError) as error:
        raise type(error)(f"{error}; --out {out} --resume continues from the last checkpoint") from error


def _read(job: Job, *, check: bool) -> tuple[DetectionData, DetectionData]:
    data, selection = job.config.data, Selection.of(job.config.data)
    written = job.out / "splits.json"
    if job.resume and selection.divides and written.is_file():  # the images that the run began with
        selection = replace(selection, split=str(written), group_by=None, fold=None)
    return open_train_and_val(
        data.path,
        train_json=data.train_json,
        val_json=data.val_json,
        images=data.images,
        repair=data.repair,
        check=check,
        selection=selection,
    )


def _finish(run: RunDir, seconds: float) -> dict[str, Any]:
    best = best_row(run)
    if best is None:  # the last step is always evaluated, so the lines were lost
        raise ConfigError(
            f"{run.path / 'metrics.jsonl'}: holds no evaluation, although the run has come to its end; "
            f"`focalkit evaluate {run.path}` measures its best checkpoint, --force starts over"
        )
    last = run.read_metrics()[-1]
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
