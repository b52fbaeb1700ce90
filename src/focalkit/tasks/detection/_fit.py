"""Train a detector under one method: a fixed number of steps, no look at other images on the way."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim.swa_utils import AveragedModel

from focalkit.config import TrainConfig
from focalkit.data import DetectionData
from focalkit.detection import Detector, build_criterion, build_detector
from focalkit.detection.build import assigner_of
from focalkit.detection.models.card import ModelCard
from focalkit.detection.models.detr.detector import AnyDetector, predict_to_learn
from focalkit.training.loaders import batches, train_loader
from focalkit.training.losses import Seen
from focalkit.training.optim import build_optimizer
from focalkit.training.schedule import lr_factor, plan_run

from .._clock import Clock
from .._diverged import Watch
from .._task import Budget, Splits
from ._configure import GUIDED, configure, not_enlarged
from ._fitted import DetectionFitted, DetectionModel
from ._inspect import positive_share
from ._sample import mine, sampled_images

if TYPE_CHECKING:
    from focalkit.compare.methods import Method

    from ._detection import Detection


def fit(task: "Detection", method: "Method", splits: Splits, budget: Budget, seed: int) -> DetectionFitted:
    """Train; the configuration is the task's with what the method changes.

    Raises:
        ConfigError: The method asks for what a detector cannot do.
        DivergedError: A loss or a gradient that is NaN or infinite.
    """
    own = not_enlarged(task.config(), splits.train)
    config = configure(own, method, splits.class_counts, budget, seed)
    if method.schedule == GUIDED and (share := positive_share(splits.train, config)) is not None:
        # sec. 3.2: the constant scores with the least cross-entropy; one of the classes of every positive anchor is 1
        config = replace(config, model=replace(config.model, prior_prob=share / splits.train.num_classes))
    before = torch.get_num_threads()
    torch.set_num_threads(budget.threads)
    try:
        torch.manual_seed(seed)
        train: DetectionData = splits.train
        model = build_detector(config.model, train.num_classes, config.backbone_weights, config.pretrained_backbone)
        card = model.card or ModelCard(config.model)
        categories = tuple((c.id, c.name) for c in train.categories)
        model.card = replace(card, categories=categories, min_size=config.min_size, max_size=config.max_size)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        steps = _train(model.to(device), config, train, device, method, budget)
        # subtle: a threshold would cut the methods whose scores are low, not those that rank badly
        detector = Detector(model.eval(), score_threshold=0.0)
        facts = {"steps": steps, "detector": config.model.detector, "loss": config.loss, "batch": config.batch_size}
        facts["parameters"] = sum(p.numel() for p in model.parameters())
        parts = {"val": splits.val, "test": splits.test}
        matcher = assigner_of(config)
        return DetectionFitted(DetectionModel(detector), parts, train.image_counts(), matcher, budget.threads, facts)
    finally:
        torch.set_num_threads(before)


def _train(
    model: AnyDetector,
    config: TrainConfig,
    data: DetectionData,
    device: torch.device,
    method: "Method",
    budget: Budget,
) -> int:
    """Steps taken."""
    shares = [images / len(data) for images in data.image_counts()]
    facts = {"num_classes": data.num_classes, "class_counts": data.class_counts(), "frequency": shares}
    criterion = build_criterion(config, facts).to(device).train()
    mine(criterion, method.sampler)
    steps = plan_run(config, len(data)).steps  # the same whatever is drawn
    data = sampled_images(data, method.sampler, config.seed)
    plan, o = plan_run(replace(config, max_steps=steps), len(data)), config.optim
    clock = Clock(plan.steps, budget.seconds)
    optimizer = build_optimizer(model, o, plan.lr)
    average = None if o.ema_decay is None else AveragedModel(model, multi_avg_fn=_rising(o.ema_decay), use_buffers=True)
    fill = model.pixel_mean.flatten().tolist()
    loader = train_loader(data, config, fill=fill, rank=0, world=1, start_step=0, beside=budget.beside)
    model.train()
    names = {image.id: image.file_name for image in data.images}
    watch = Watch("images", lambda image_id: names.get(image_id, ""))
    step = 0
    for batch in batches(loader, plan.epochs):
        at = round(clock.share(step) * plan.steps)
        factor = lr_factor(at, total=plan.steps, schedule=o.schedule, warmup=o.warmup_steps, milestones=o.milestones)
        for group in optimizer.param_groups:
            group["lr"] = plan.lr * factor
        here = batch.to(device, non_blocking=True)
        outputs = predict_to_learn(model, here)
        losses = criterion(outputs, here.targets)
        if method.schedule == GUIDED:
            losses = guided(losses)
        total = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad()
        total.backward()
        norm = get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
        extremes = torch.stack([torch.stack(level.detach().aminmax()).float() for level in outputs.logits])
        seen = Seen([t.image_id for t in here.targets], extremes, criterion.seen)
        watch.step(step + 1, losses, seen, norm, plan.lr * factor)
        watch.look()  # at once: matching waits for the device anyway
        if o.clip_norm is not None:
            clip_grads_with_norm_(model.parameters(), o.clip_norm, norm)
        optimizer.step()
        if average is not None:
            average.update_parameters(model)
        step += 1
        if clock.share(step) >= 1:
            break
    if average is not None:
        model.load_state_dict(average.module.state_dict())
    return step


def guided(losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The classification loss scaled to the size of the box loss (Chen et al., 2019, "guided loss scaling").

    The factor is a number, which no gradient goes through; without positives it is 0.

    Args:
        losses: With "classification" and "box", 0-d.
    """
    ratio = losses["box"] / losses["classification"].clamp(min=1e-12)
    return {**losses, "classification": losses["classification"] * ratio.detach()}


def _rising(decay: float) -> Callable[..., None]:
    """A moving average as `focalkit train` keeps it: the decay rises with the updates n as (1 + n) / (10 + n)."""

    @torch.no_grad()
    def average(kept: list[Tensor], now: list[Tensor], updates: Tensor | int) -> None:
        n = int(updates)
        for a, b in zip(kept, now, strict=True):
            if a.is_floating_point():
                a.lerp_(b, 1 - min(decay, (1 + n) / (10 + n)))
            else:
                a.copy_(b)

    return average
