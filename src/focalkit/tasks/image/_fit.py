"""Fit a network on images under one method: which training follows which, and what is learnt in each."""

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from focalkit._types import to_memory_format
from focalkit.detection.models.synced_norm import synced_norms
from focalkit.errors import ConfigError
from focalkit.losses import distillation_loss, prior_bias
from focalkit.sampling import taught_prior

from .. import _ranks
from .._clock import Clock
from .._losses import MethodLoss, mixup_alpha, read_schedule, training_prior
from .._task import Budget, Splits
from ._fitted import ImageFitted, ImageModel
from ._network import ResidualNetwork, build_network, name_of
from ._train import Objective, Pairs, Run, train

if TYPE_CHECKING:
    from focalkit.compare.methods import Method

    from ._image import Images

SCHEDULES = ("drw", "crt", "self_distillation")
SMALLEST_BATCH, LEAST_STEPS = 16, 300


def fit(task: "Images", method: "Method", splits: Splits, budget: Budget, seed: int) -> ImageFitted:
    """Train; see `Images` for what its values mean."""
    before = torch.get_num_threads()
    torch.set_num_threads(budget.threads)
    try:
        return _fit(task, method, splits, budget, seed)
    finally:
        torch.set_num_threads(before)


def _fit(task: "Images", method: "Method", splits: Splits, budget: Budget, seed: int) -> ImageFitted:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    loss = MethodLoss(method, splits.class_counts, schedules=SCHEDULES).to(device)
    schedule, settings = read_schedule(method.schedule, SCHEDULES)
    chosen = task.network if method.model == "default" else method.model
    size = splits.train.images.shape[1]

    def network(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        made = build_network(chosen, len(splits.classes), size)
        # each class is rare among its negatives: Cui et al., 2019, sec. 5.1
        if loss.sigmoid and isinstance(head := getattr(made, "head", None), nn.Linear):
            torch.nn.init.constant_(head.bias, prior_bias(1 / len(splits.classes)))
        if _ranks.count() > 1:
            made = synced_norms(made, on_gpu=device.type == "cuda")
        made = to_memory_format(made.to(device), torch.channels_last)
        _ranks.start_alike(made)
        return made

    n = len(splits.train)
    # subtle: few images would be one batch and a dozen steps; smaller batches have proportionally smaller rates
    batch = min(task.batch, max(SMALLEST_BATCH, n // 4))
    if min(n, batch) < _ranks.count():
        raise ConfigError(f"a step has {min(n, batch)} images, too few for {_ranks.count()} processes: use fewer")
    if _ranks.count() > 1 and not loss.of_parts:
        raise ConfigError(
            f"{method.name}: processes cannot share a fit by the loss {method.loss!r}, which picks images of a batch,"
            " or does not say `elementwise = True`: its parts would not add up to what one process descends. Use one"
            " process for this method (--devices 1)"
        )
    if _ranks.count() > 1 and budget.seconds is not None:
        raise ConfigError("processes that share a fit need a limit of steps, not of seconds: their clocks differ")
    run = Run(
        data=splits.train,
        loss=loss,
        batch=batch,
        rate=float(method.settings.get("lr", task.lr)) * batch / task.batch,
        weight_decay=float(method.settings.get("weight_decay", task.weight_decay)),
        decay_at=task.decay_at,
        mixup=mixup_alpha(method.augment),
        seed=seed,
        generator=np.random.default_rng([seed, 3]),
    )
    steps = budget.steps or max(LEAST_STEPS, math.ceil(task.epochs * n / batch))
    first = max(1, round(settings["start"] * steps)) if schedule in ("crt", "self_distillation") else steps
    model, prior = network(seed), training_prior(method, splits.class_counts)
    clock = Clock(steps, budget.seconds)
    taken = train(run, _plain(model, loss), model, method.sampler, clock.stage(first))
    if schedule == "crt":  # Kang et al., 2020, sec. 4: the features stay, a new classifier sees balanced classes
        if not isinstance(model, ResidualNetwork):
            raise ConfigError(f"crt needs a network of focalkit's, whose classifier can be taken off, got {chosen}")
        torch.manual_seed(seed + 1)
        model.reset_head()
        taken += train(run, _of_head(model, loss), model.head, "class_balanced", clock.stage(steps - first))
        prior = taught_prior("class_balanced", splits.class_counts).tolist()
    elif schedule == "self_distillation":  # Furlanello et al., 2018: a new network learns from the first one too
        if loss.sigmoid:
            raise ConfigError(f"self-distillation needs a loss on a softmax, got {method.loss!r}")
        teacher, model = model, network(seed + 1)
        taught = _taught(model, teacher, loss, settings["weight"], settings["temperature"])
        taken += train(run, taught, model, method.sampler, clock.stage(steps - first))
    _ranks.start_alike(model)  # norms that are not synchronised have seen other images in each process
    fitted = ImageModel(splits.classes, name_of(chosen), size, model.cpu(), loss.link)
    facts = {"training_prior": prior, "steps": taken, "network": name_of(chosen), **_classifier(model)}
    facts["parameters"] = sum(p.numel() for p in model.parameters())
    if _ranks.count() > 1:
        facts["processes"] = _ranks.count()
    parts = {"val": splits.val, "test": splits.test}
    # subtle: here, where all processes are; whoever asks for the outputs later may be the first alone
    shared = {n: fitted.shared_logits(p.images) for n, p in parts.items() if p is not None and _ranks.count() > 1}
    return ImageFitted(fitted, parts, facts, shared)


def _plain(model: nn.Module, loss: MethodLoss) -> Objective:
    model.train()

    def value(images: Tensor, pairs: Pairs, share: float) -> Tensor:
        logits = model(images)
        return torch.stack([weight * loss(logits, labels, share) for weight, labels in pairs]).sum()

    return value


def _of_head(model: ResidualNetwork, loss: MethodLoss) -> Objective:
    """Of the classifier alone: nothing else changes, running statistics included."""
    model.eval()

    def value(images: Tensor, pairs: Pairs, share: float) -> Tensor:
        with torch.no_grad():
            features = model.features(images)
        logits = model.head(features)
        return torch.stack([weight * loss(logits, labels, share) for weight, labels in pairs]).sum()

    return value


def _taught(model: nn.Module, teacher: nn.Module, loss: MethodLoss, weight: float, temperature: float) -> Objective:
    """`weight` of what the teacher says, the rest of the labels."""
    model.train()
    teacher.eval()

    def value(images: Tensor, pairs: Pairs, share: float) -> Tensor:
        logits = model(images)
        with torch.no_grad():
            said = teacher(images)
        of_labels = torch.stack([part * loss(logits, labels, share) for part, labels in pairs]).sum()
        return (1 - weight) * of_labels + weight * distillation_loss(logits, said, temperature=temperature)

    return value


def _classifier(model: nn.Module) -> dict[str, dict[str, list[float]]]:
    """What `tau_norm` needs of the classifier, "head", where there is one."""
    head = getattr(model, "head", None)
    if not isinstance(head, nn.Linear):
        return {}
    return {"classifier": {"norms": head.weight.detach().norm(dim=1).tolist(), "biases": head.bias.detach().tolist()}}
