"""Against optax, where it is installed: a library whose focal loss is exact in log space and takes soft targets."""

import numpy as np
import pytest
import torch

from focalkit import losses


@pytest.mark.parametrize("gamma", [1.0, 2.0, 5.0])
@pytest.mark.parametrize("alpha", [None, 0.25])
@pytest.mark.parametrize("soft", [False, True])
def test_sigmoid_focal_loss_is_that_of_optax(gamma: float, alpha: float | None, soft: bool) -> None:
    optax = pytest.importorskip("optax", reason="needs optax")
    rng = np.random.default_rng(0)
    logits = rng.uniform(-12, 12, (64, 5)).astype(np.float32)
    targets = rng.uniform(0, 1, logits.shape) if soft else rng.integers(0, 2, logits.shape)
    targets = targets.astype(np.float32)
    theirs = np.array(optax.sigmoid_focal_loss(logits, targets, alpha=alpha, gamma=gamma))
    ours = losses.sigmoid_focal_loss(
        torch.from_numpy(logits),
        torch.from_numpy(targets),
        alpha=alpha,
        gamma=gamma,
        soft_targets="mix",
        reduction="none",
    )
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=2e-4, atol=1e-9)


def test_balanced_softmax_is_cross_entropy_of_optax_on_moved_logits() -> None:
    optax = pytest.importorskip("optax", reason="needs optax")
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(0, 3, (32, 4)).astype(np.float32), rng.integers(0, 4, 32)
    counts = np.array([1000.0, 100.0, 10.0, 1.0], dtype=np.float32)
    theirs = optax.softmax_cross_entropy_with_integer_labels(logits + np.log(counts), labels)
    ours = losses.balanced_softmax_loss(
        torch.from_numpy(logits), torch.from_numpy(labels), class_counts=torch.from_numpy(counts), reduction="none"
    )
    np.testing.assert_allclose(ours.numpy(), np.array(theirs), rtol=1e-5, atol=1e-6)
