"""Lightning callbacks: the metrics file, the checkpoints, the end of the run, the averaged weights."""

import os
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, WeightAveraging

from focalkit._runs import RunDir, write_json_atomic
from focalkit.errors import DivergedError
from focalkit.training.autopsy import Autopsy
from focalkit.training.checkpoint import last_step, write_weights
from focalkit.training.losses import NotFiniteError
from focalkit.training.module import DetectionModule


class PatienceAnew(Callback):
    """Lets a run that had lost its patience go on where more was asked for."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert trainer.early_stopping_callback is not None
        trainer.early_stopping_callback.wait_count = 0


class WhenAllAreThere(Callback):
    """Lets the first process do something once all have come together; before, the others may still read the run."""

    def __init__(self, do: Callable[[], None]) -> None:
        self.do = do

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        # subtle: Lightning has met at a barrier, "pre_setup", right before
        if trainer.is_global_zero:
            self.do()


class RunLog(Callback):
    """Writes `metrics.jsonl` and feeds the logger, every few steps, at the end of an epoch and after an evaluation.

    Reading the losses waits for the device, so it is done here only; a loss that is not finite is noticed at that time,
    and always before a checkpoint is written. Then `autopsy.json` says what that step was like. `names` are the file
    names of the training images; `latest` is for the progress display.
    """

    def __init__(self, run: RunDir, *, batch_size: int, every: int, names: Mapping[int, str]) -> None:
        self.run, self.batch_size, self.every, self.names = run, batch_size, every, names
        self.latest: dict[str, float] = {}
        self.images_per_second = 0.0
        self._since, self._step = 0.0, 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # beside the start of each epoch, because a run that resumes in mid-epoch has no such start
        self._since, self._step = time.perf_counter(), trainer.global_step

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._since, self._step = time.perf_counter(), trainer.global_step

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if stepped and trainer.global_step - self._step >= self.every:
            self.flush(trainer, pl_module)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.flush(trainer, pl_module)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, DetectionModule)
        self._write(trainer, "val", pl_module.val_metrics)
        self._since, self._step = time.perf_counter(), trainer.global_step

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.flush(trainer, pl_module)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        loggers: list[Any] = trainer.loggers
        for logger in loggers:
            if type(logger).__name__ == "WandbLogger":  # it goes on until then, and the next training would go into it
                logger.experiment.finish()

    def flush(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Read the losses of the steps since the last time and write them, if there are any.

        Raises:
            DivergedError: One of them is not finite.
        """
        assert isinstance(pl_module, DetectionModule)
        try:
            losses = pl_module.window.read()
        except NotFiniteError as error:
            autopsy = _autopsy(error, trainer, pl_module, self.run, self.names)
            if trainer.is_global_zero:
                write_json_atomic(self.run.path / "autopsy.json", autopsy.to_json())
            raise DivergedError(autopsy.summary()) from None
        if not losses:
            return
        now, step = time.perf_counter(), trainer.global_step
        self.images_per_second = self.batch_size * (step - self._step) / max(now - self._since, 1e-9)
        self._since, self._step = now, step
        self.latest = losses
        facts = {"lr": pl_module.lr_at(step - 1), "images_per_second": round(self.images_per_second, 2)}
        self._write(trainer, "train", losses | facts | pl_module.window.facts)

    def _write(self, trainer: L.Trainer, kind: str, values: dict[str, float]) -> None:
        if not trainer.is_global_zero:
            return
        step, epoch = trainer.global_step, trainer.current_epoch + 1
        self.run.append_metrics({"kind": kind, "step": step, "epoch": epoch, **values})
        for logger in trainer.loggers:
            logger.log_metrics({f"{kind}/{name}": value for name, value in values.items()}, step=step)


def _autopsy(
    error: NotFiniteError, trainer: L.Trainer, module: DetectionModule, run: RunDir, names: Mapping[int, str]
) -> Autopsy:
    facts, last = error.facts, run.checkpoint("last")
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    rows = [row for row in run.read_metrics() if row["kind"] == "train"]
    return Autopsy(
        step=error.step,
        losses=error.values,
        images=[{"id": i, "file_name": names.get(i, "")} for i in facts["images"]],
        logits=facts["logits"],
        positives=facts.get("positives"),
        ignored=facts.get("ignored"),
        gradient_norm=facts.get("gradient_norm"),
        lr=module.lr_at(error.step - 1),
        warmup_steps=module.optim.warmup_steps,
        precision=str(trainer.precision),
        amp_scale=None if scaler is None else float(scaler.get_scale()),
        checkpoint={"file": f"checkpoints/{last.name}", "step": last_step(run)} if last.is_file() else None,
        history=rows[-10:],
    )


class Checkpoints(Callback):
    """`last.ckpt` at the end of each epoch and every `seconds` in between; `best.ckpt` when the AP rises.

    `last.ckpt` is Lightning's, with optimiser, schedule and progress. `best.ckpt` has the weights alone (the averaged
    ones where there are). Both are written beside their place and renamed, so that a kill leaves the old file.
    """

    def __init__(self, run: RunDir, run_log: RunLog, *, seconds: float) -> None:
        self.run, self.run_log, self.seconds = run, run_log, seconds
        self.best: dict[str, Any] = {"AP": -2.0, "epoch": 0, "step": 0}
        self._earlier = 0.0
        self._started = self._saved_at = time.monotonic()
        self._fresh = False

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "seconds": self.trained_seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self._earlier = state_dict["best"], state_dict["seconds"]

    @property
    def trained_seconds(self) -> float:
        """Since the start of the run, without the time between a kill and its resumption."""
        return self._earlier + time.monotonic() - self._started

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._saved_at = time.monotonic()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches or batch_idx + 1 == trainer.num_training_batches:
            return
        if trainer.should_stop:  # the last step counts as done when it has been evaluated
            return
        due = time.monotonic() - self._saved_at >= self.seconds
        if trainer.world_size > 1:
            # asking the first process costs a message, so several processes agree only now and then
            due = trainer.global_step % self.run_log.every == 0 and bool(trainer.strategy.broadcast(due))
        if due:
            self.save_last(trainer, pl_module)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, DetectionModule)
        ap = pl_module.val_metrics["AP"]
        if ap >= self.best["AP"]:  # at AP 0 the later weights are the better guess
            self.best = {"AP": ap, "epoch": trainer.current_epoch + 1, "step": trainer.global_step}
            self._fresh = True

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.save_last(trainer, pl_module)
        if self._fresh and trainer.is_global_zero:
            write_weights(self.run.checkpoint("last"), self.run.checkpoint("best"))
        self._fresh = False

    def save_last(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write `last.ckpt`; every process must call it."""
        self.run_log.flush(trainer, pl_module)
        trainer.save_checkpoint(self.run.checkpoint("last"))
        self._saved_at = time.monotonic()


class StopAtOnce(Callback):
    """Among several processes SIGTERM ends each at once, with status 143; what is on disk is whole at any time.

    Lightning's handler would exchange a message first, out of step with the messages that are under way.
    """

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.world_size > 1:
            signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))


class LastEvaluation(Callback):
    """Ends the run after `total_steps`, and sees to it that the last weights are evaluated.

    Lightning's own `max_steps` ends without an evaluation in mid-epoch, and an interval of several epochs need not fall
    on the last one.
    """

    def __init__(self, total_steps: int) -> None:
        self.total_steps = total_steps

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step >= self.total_steps:
            trainer.check_val_every_n_epoch = 1
            trainer.should_stop = True


class UnfinishedEpoch(Callback):
    """Lets a run that `max_steps` ended in mid-epoch go on within that epoch.

    Such an end counts the epoch as done. Its checkpoint is read as that of a run that was stopped after the same step.
    """

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        loop = checkpoint["loops"]["fit_loop"]
        epochs, batches = loop["epoch_progress"], loop["epoch_loop.batch_progress"]
        if batches["is_last_batch"] or epochs["current"]["processed"] < epochs["current"]["ready"]:
            return
        for count in ("total", "current"):
            epochs[count]["processed"] -= 1
            batches[count]["completed"] -= 1
        loop["epoch_loop.state_dict"]["_batches_that_stepped"] -= 1


class AveragedWeights(WeightAveraging):
    """Exponential moving average of the weights, used for evaluation and kept in the checkpoints.

    The decay rises as (1 + n) / (10 + n) with the number of updates n until it reaches `decay` (the rule of
    TensorFlow's `ExponentialMovingAverage`), so that a short run does not remember its first, random weights.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(multi_avg_fn=self._average)
        self.decay = decay
        self._updates = 0

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        if step_idx is None:
            return False
        self._updates = step_idx
        return True

    @torch.no_grad()
    def _average(self, averaged: Any, current: Any, _: Any) -> None:
        weight = 1 - min(self.decay, (1 + self._updates) / (10 + self._updates))
        if torch.is_floating_point(averaged[0]):
            torch._foreach_lerp_(averaged, current, weight)  # pyright: ignore[reportPrivateImportUsage]
        else:
            for a, c in zip(averaged, current, strict=True):
                a.copy_(c)
