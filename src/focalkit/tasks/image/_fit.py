"""Fit a network on images under one method: SGD with momentum, random crops and flips, a fixed number of steps."""

import math
import time
from typing import TYPE_CHECKING

import numpy as np
import torch

from focalkit.losses import prior_bias
from focalkit.sampling import epoch_indices

from .._losses import MethodLoss, mixup_alpha, training_prior
from .._task import Budget, Splits
from ._fitted import ImageFitted, ImageModel
from ._network import build_network

if TYPE_CHECKING:
    from focalkit.compare.methods import Method

    from ._image import Images
    from ._read import Pictures

WARM_UP = 0.05
"""Share of the training over which the rate rises from 0."""
SLOW_AFTER = 0.2
CROP = 1 / 8
"""Largest shift of a random crop, in image sides."""


def fit(task: "Images", method: "Method", splits: Splits, budget: Budget, seed: int) -> ImageFitted:
    """Train; see `Images` for what its values mean."""
    before = torch.get_num_threads()
    torch.set_num_threads(budget.threads)
    try:
        return _fit(task, method, splits, budget, seed)
    finally:
        torch.set_num_threads(before)


def _fit(task: "Images", method: "Method", splits: Splits, budget: Budget, seed: int) -> ImageFitted:
    train: Pictures = splits.train
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    loss = MethodLoss(method, splits.class_counts).to(device)
    name = task.network if method.model == "default" else method.model
    torch.manual_seed(seed)
    network = build_network(name, len(splits.classes), train.images.shape[1])
    if loss.sigmoid:  # each class is rare among its negatives: Cui et al., 2019, sec. 5.1
        torch.nn.init.constant_(network.head.bias, prior_bias(1 / len(splits.classes)))
    network.to(device).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    steps = budget.steps or math.ceil(task.epochs * len(train) / task.batch)
    rate = float(method.settings.get("lr", task.lr))
    decay = float(method.settings.get("weight_decay", task.weight_decay))
    optimizer = torch.optim.SGD(_groups(network, decay), lr=rate, momentum=0.9, nesterov=True)
    alpha = mixup_alpha(method.augment)
    generator, began = np.random.default_rng([seed, 3]), time.perf_counter()
    network.train()
    batches = _batches(method.sampler, train, task.batch, seed, device, generator)
    step = 0
    for step in range(1, steps + 1):
        share = (step - 1) / steps
        for group in optimizer.param_groups:
            group["lr"] = rate * _schedule(share, task.decay_at)
        images, labels = next(batches)
        if alpha is None:
            value = loss(network(images), labels, share)
        else:
            mix, other = float(generator.beta(alpha, alpha)), torch.from_numpy(generator.permutation(len(labels)))
            logits = network(mix * images + (1 - mix) * images[other.to(device)])
            value = mix * loss(logits, labels, share) + (1 - mix) * loss(logits, labels[other.to(device)], share)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        if budget.seconds is not None and time.perf_counter() - began > budget.seconds:
            break
    model = ImageModel(splits.classes, name, train.images.shape[1], network.cpu(), loss.link)
    facts = {"training_prior": training_prior(method, splits.class_counts), "steps": step, "network": name}
    facts["parameters"] = sum(p.numel() for p in network.parameters())
    return ImageFitted(model, {"val": splits.val, "test": splits.test}, facts)


def _groups(network: torch.nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Weights decay; biases and what BatchNorm scales by do not."""
    weights = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": weights, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def _schedule(share: float, decay_at: tuple[float, ...]) -> float:
    """The rate as a share of its largest value, after `share` of the training."""
    if share < WARM_UP:
        return (share + 1e-3) / WARM_UP
    if decay_at:
        return 0.01 ** sum(share >= at for at in decay_at)
    return 0.5 * (1 + math.cos(math.pi * max(0.0, share - SLOW_AFTER) / (1 - SLOW_AFTER)))


def _batches(
    sampler: str | None,
    train: "Pictures",
    size: int,
    seed: int,
    device: torch.device,
    generator: np.random.Generator,
):
    """Endlessly (images (b, 3, h, w) in 0..1, labels (b,)), cropped and flipped at random."""
    epoch = 0
    while True:
        order = epoch_indices(sampler, train.labels, seed, epoch)
        for start in range(0, max(1, len(order) - size + 1), size):
            chosen = order[start : start + size]
            images = torch.from_numpy(_augmented(train.images[chosen], generator)).to(device).permute(0, 3, 1, 2)
            yield images.float() / 255, torch.from_numpy(train.labels[chosen]).to(device)
        epoch += 1


def _augmented(images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Every image shifted by up to an eighth of its side, black coming in, and half of them mirrored."""
    n, side = images.shape[:2]
    shift = max(1, round(side * CROP))
    padded = np.pad(images, ((0, 0), (shift, shift), (shift, shift), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(1, 2))
    top, left = generator.integers(0, 2 * shift + 1, size=(2, n))
    found = np.ascontiguousarray(windows[np.arange(n), top, left].transpose(0, 2, 3, 1))
    mirrored = generator.random(n) < 0.5
    found[mirrored] = found[mirrored, :, ::-1]
    return found
