"""What a person sees while training: a bar over the whole run on a terminal, a line per epoch elsewhere. On stderr."""

import sys
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar

from focalkit.training.callbacks import Checkpoints, RunLog
from focalkit.training.module import DetectionModule
from focalkit.training.schedule import Plan

SILENCE = 300.0
"""Seconds after which a long epoch gets a line of its own where there is no bar"""


class RunProgress(ProgressBar):
    """Losses, images per second, AP and the time left of the whole run.

    Args:
        run_log: Where the losses and the speed come from.
        checkpoints: Where the best AP comes from.
        plan: The length of the run.
    """

    def __init__(self, run_log: RunLog, checkpoints: Checkpoints, plan: Plan) -> None:
        super().__init__()
        self.run_log, self.checkpoints, self.plan = run_log, checkpoints, plan
        self.shown = True
        self._bar: Any = None
        self._started = self._spoke = 0.0
        self._first_step = 0

    def disable(self) -> None:
        self.shown = False

    def enable(self) -> None:
        self.shown = True

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._started = self._spoke = time.monotonic()
        self._first_step = trainer.global_step
        if self.shown and sys.stderr.isatty():
            self._bar = _open_bar(self.plan.steps, trainer.global_step)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=trainer.global_step, description=self._line(trainer))
        elif self.shown and time.monotonic() - self._spoke > SILENCE:
            self._say(f"{self._line(trainer)}  step {trainer.global_step}/{self.plan.steps}  {self._left(trainer)}")

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], description=f"{self._line(trainer)}  evaluating")

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, DetectionModule)
        if not self.shown:
            return
        line = self._line(trainer)
        if pl_module.val_metrics:
            m, best = pl_module.val_metrics, self.checkpoints.best
            line += f"  AP {_ap(m['AP'])}  AP50 {_ap(m['AP50'])}  best {_ap(best['AP'])} (epoch {best['epoch']})"
        self._say(f"{line}  {self._left(trainer)}")

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._close()

    def _say(self, line: str) -> None:
        self._spoke = time.monotonic()
        if self._bar is not None:
            self._bar.console.print(line, highlight=False, soft_wrap=True)
        else:
            print(line, file=sys.stderr, flush=True)

    def _line(self, trainer: L.Trainer) -> str:
        text = f"epoch {trainer.current_epoch + 1}/{self.plan.epochs}"
        if self.run_log.latest:
            losses = dict(self.run_log.latest)
            text += f"  {self.run_log.images_per_second:.1f} images/s  loss {losses.pop('loss'):.3f} ("
            text += ", ".join(f"{name} {value:.3f}" for name, value in losses.items()) + ")"
        return text

    def _left(self, trainer: L.Trainer) -> str:
        done = trainer.global_step - self._first_step
        seconds = (time.monotonic() - self._started) / max(done, 1) * (self.plan.steps - trainer.global_step)
        return f"{duration(seconds)} left"

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _ap(value: float) -> str:
    return f"{value:.4f}" if value >= 0 else "-"  # -1 where no image has a box


def duration(seconds: float) -> str:
    """45 s, 12 min, 3 h 20 min.

    Example:
        >>> duration(12_000)
        '3 h 20 min'
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def _open_bar(total: int, completed: int) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Column

    bar = Progress(
        TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
        BarColumn(bar_width=16),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=Console(stderr=True),
        expand=True,
        refresh_per_second=2,
    )
    bar.add_task("starting", total=total, completed=completed)
    bar.start()
    return bar
