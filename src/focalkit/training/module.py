"""The LightningModule: training step, validation step, optimiser. Epochs, devices and precision are Lightning's."""

from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from focalkit.config import OptimConfig
from focalkit.data import DetectionBatch, DetectionData
from focalkit.detection import DenseOutputs, DensePostprocess, DetectionCriterion, DetectionTarget, SetCriterion
from focalkit.detection.inference.predict import detect
from focalkit.detection.models.detr.detector import AnyDetector, predict_to_learn
from focalkit.errors import DivergedError
from focalkit.training.losses import LossWindow, Seen
from focalkit.training.optim import build_optimizer
from focalkit.training.order import mix
from focalkit.training.schedule import Plan, lr_factor
from focalkit.training.shard import divide, gather, shard, whole

SKIPS_IN_A_ROW = 10


class DetectionModule(L.LightningModule):
    """A detector in training.

    The criterion always runs in float32, whatever the precision of the model.

    With accumulation each forward pass divides by its own number of positives, and the passes are averaged; the result
    differs slightly from one pass over the whole batch, where images with many positives weigh more. The validation
    losses are the mean over its batches, weighted by their images, and depend on the batch size for the same reason.

    Args:
        model: Images (b, 3, H, W) in [0, 1] -> `DenseOutputs`.
        criterion: `(outputs, targets)` -> named 0-d losses; their sum is minimised.
        postprocess: Outputs -> detections in input pixels.
        val_data: Names, category ids and ground truth for the AP.
        optim: Optimiser and schedule.
        plan: Rate and length of the run, for the schedule.
        header: Plain values that go into every checkpoint under "focalkit".
        seed: Of what is drawn within a step (noised queries, sampled priors, random layers): each step of each process
            has numbers of its own, so that a resumed run draws those that were next.
    """

    def __init__(
        self,
        *,
        model: AnyDetector,
        criterion: DetectionCriterion | SetCriterion,
        postprocess: DensePostprocess,
        val_data: DetectionData,
        optim: OptimConfig,
        plan: Plan,
        header: dict[str, Any],
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.seed = seed
        self.model, self.criterion, self.postprocess = model, criterion, postprocess
        self.val_data, self.optim, self.plan, self.header = val_data, optim, plan, header
        self.window = LossWindow()
        self.val_metrics: dict[str, float] = {}
        self.watched: frozenset[int] = frozenset()
        """Ids of validation images whose detections `shown` has after an evaluation, as COCO results."""
        self.shown: list[dict[str, Any]] = []
        self._val_losses: list[tuple[int, Tensor]] = []
        self._detections: list[dict[str, Any]] = []
        self._skips = 0

    def configure_model(self) -> None:
        """Divide the weights over the processes where the strategy asks for it, which then sets a device mesh."""
        if self._device_mesh is not None:
            shard(self.model, self._device_mesh["data_parallel"])

    def training_step(self, batch: DetectionBatch, batch_idx: int) -> Tensor:
        one_of = batch_idx % self.trainer.accumulate_grad_batches
        torch.manual_seed(mix(self.seed, self.global_step, one_of, self.global_rank))
        outputs = predict_to_learn(self.model, batch)
        losses = self._losses(outputs, batch.targets)
        self.window.add(self.global_step + 1, losses, self._seen(outputs, batch.targets))
        return torch.stack(list(losses.values())).sum()

    def _seen(self, outputs: DenseOutputs, targets: Sequence[DetectionTarget]) -> Seen:
        extremes = [torch.stack(level.detach().aminmax()) for level in outputs.logits]
        return Seen([t.image_id for t in targets], torch.stack(extremes).float(), self.criterion.seen)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip, remember the norm, and leave a step out that is not finite if the configuration says so.

        Among several processes the gradients are averaged by now; a loss is each one's own, so they decide together.
        """
        step, parameters = self.global_step + 1, [p for group in optimizer.param_groups for p in group["params"]]
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if gradient_clip_val:
            nn.utils.clip_grads_with_norm_(parameters, gradient_clip_val, norm)
        norm = whole(norm)
        scaled = self.trainer.precision == "16-mixed"  # there an infinite gradient is routine: the scaler leaves it out
        if self.optim.not_finite == "skip" and not scaled:
            fine = bool(norm.isfinite()) and self.window.is_finite(step)
            self._skips = 0 if self.trainer.strategy.reduce_boolean_decision(fine) else self._skips + 1
            if self._skips:
                self._refuse_poison(step)
            if 0 < self._skips < SKIPS_IN_A_ROW:
                self.window.skip(step)
                optimizer.zero_grad(set_to_none=True)
                return
        if not scaled:
            self.window.add_norm(step, norm)

    def _refuse_poison(self, step: int) -> None:
        """Running statistics that a step has made NaN stay so when the step is left out.

        Raises:
            DivergedError: Some are, in one of the processes.
        """
        floats = ((name, value) for name, value in self.named_buffers() if value.is_floating_point())
        poisoned = next((name for name, value in floats if not value.isfinite().all()), None)
        if found := next(filter(None, self._gather(poisoned)), None):
            raise DivergedError(f"step {step} cannot be left out: it has made {found} NaN or infinite")

    def on_validation_epoch_start(self) -> None:
        self._val_losses, self._detections = [], []
        gather(self.model)  # processes have different numbers of batches

    def validation_step(self, batch: DetectionBatch, batch_idx: int) -> None:
        for image_id, found in detect(self.model, self.postprocess, [batch], observe=self._observe):
            self._detections += found.to_coco(image_id, self.val_data.category_ids)

    def _observe(self, outputs: DenseOutputs, targets: Sequence[DetectionTarget]) -> None:
        losses = self._losses(outputs, targets)
        self._loss_names = tuple(losses)
        self._val_losses.append((len(targets), torch.stack(list(losses.values()))))

    def on_validation_epoch_end(self) -> None:
        divide(self.model)
        weighted = torch.stack([n * row for n, row in self._val_losses]).sum(0).cpu() if self._val_losses else None
        part = (sum(n for n, _ in self._val_losses), weighted, self._detections)
        parts = self._gather(part)
        metrics = self._validation_metrics(parts) if self.global_rank == 0 else {}
        self.shown = [d for _, _, found in parts for d in found if d["image_id"] in self.watched]
        self.val_metrics = self.trainer.strategy.broadcast(metrics)
        self._val_losses, self._detections = [], []
        self.log("AP", self.val_metrics["AP"], logger=False, rank_zero_only=False, sync_dist=False)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = build_optimizer(self.model, self.optim, self.plan.lr)
        self._lr_scales = [group["lr"] / self.plan.lr for group in optimizer.param_groups]
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self._lr_factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_start(self) -> None:
        """Of a run that goes on, the rate may be another one than the checkpoint has."""
        scheduler: Any = self.lr_schedulers()
        if scheduler is None:
            return
        bases = [scale * self.plan.lr for scale in self._lr_scales]
        scheduler.base_lrs = bases
        for group, base in zip(scheduler.optimizer.param_groups, bases, strict=True):
            group["initial_lr"], group["lr"] = base, base * self._lr_factor(scheduler.last_epoch)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        prefix = "model."
        weights = checkpoint["state_dict"]  # the averaged ones, where weights are averaged
        checkpoint["model"] = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
        checkpoint["focalkit"] = self.header

    def lr_at(self, step: int) -> float:
        """The rate of optimiser step `step`, counted from 0."""
        return self.plan.lr * self._lr_factor(step)

    def _lr_factor(self, step: int) -> float:
        o = self.optim
        return lr_factor(
            step, total=self.plan.steps, schedule=o.schedule, warmup=o.warmup_steps, milestones=o.milestones
        )

    def _losses(self, outputs: DenseOutputs, targets: Sequence[DetectionTarget]) -> dict[str, Tensor]:
        with torch.autocast(self.device.type, enabled=False):
            return self.criterion(outputs, targets)

    def _gather(self, part: Any) -> list[Any]:
        if not torch.distributed.is_initialized():
            return [part]
        parts: list[Any] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(parts, part)
        return parts

    def _validation_metrics(self, parts: list[Any]) -> dict[str, float]:
        from focalkit.metrics import coco_ap

        images = sum(n for n, _, _ in parts)
        losses = torch.stack([w for _, w, _ in parts if w is not None]).sum(0) / max(images, 1)
        named = dict(zip(self._loss_names, losses.tolist(), strict=True))
        detections = [d for _, _, found in parts for d in found]
        ap = coco_ap(self.val_data.to_coco(), detections, per_class=False).metrics
        return {"loss": sum(named.values()), **named, **ap}
