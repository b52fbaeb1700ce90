"""Federated loss: which classes count, and how often."""

import pytest
import torch

from focalkit import losses as L
from focalkit.config import CriterionConfig, ModelConfig, TrainConfig
from focalkit.detection import build_criterion
from focalkit.errors import ConfigError


def inner() -> L.BinaryCrossEntropy:
    return L.BinaryCrossEntropy(class_dim=-1, reduction="sum")


@pytest.mark.parametrize("dense", [False, True])
def test_classes_that_are_not_drawn_are_absent(dense: bool) -> None:
    torch.manual_seed(0)
    federated = L.FederatedLoss(inner(), [0.5] * 10, classes=4)
    logits = torch.randn(2, 6, 10, requires_grad=True)
    labels = torch.tensor([[3, -1, -1, -1, 3, -100], [-1, -1, 7, -1, -1, -1]])
    targets = torch.nn.functional.one_hot(labels.clamp(min=0), 10) * (labels >= 0)[..., None] * 0.8 if dense else labels
    loss = federated(logits, targets)
    loss.backward()
    taught = logits.grad.abs().sum((0, 1)) > 0
    assert int(taught.sum()) == 4
    assert taught[[3, 7]].all()
    chosen = inner()(logits[..., taught].detach(), targets[..., taught] if dense else relabelled(labels, taught))
    torch.testing.assert_close(loss.detach(), chosen)


def relabelled(labels: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    new = torch.where(kept, kept.cumsum(0) - 1, -1)
    return torch.where(labels >= 0, new[labels.clamp(min=0)], labels)


def test_others_are_drawn_in_proportion_to_the_root_of_their_frequency() -> None:
    torch.manual_seed(1)
    federated = L.FederatedLoss(inner(), [0.9, 0.36, 0.04, 0.01], classes=2)
    logits, labels = torch.zeros(1, 1, 4), torch.tensor([[0]])
    drawn = sum(federated.counted(logits, labels, -1) for _ in range(4000)) / 4000
    assert drawn[0] == 1
    torch.testing.assert_close(drawn[1:], torch.tensor([0.6, 0.2, 0.1]) / 0.9, atol=0.03, rtol=0)


def test_all_classes_count_in_evaluation_and_where_there_are_no_more() -> None:
    logits, labels = torch.randn(1, 5, 3), torch.tensor([[0, -1, -1, 2, -1]])
    few, all_of_them = (L.FederatedLoss(inner(), [0.5] * 3, classes=n) for n in (1, 3))
    assert few.eval()(logits, labels) == all_of_them(logits, labels) == inner()(logits, labels)


def test_class_weights_keep_their_effect() -> None:
    weighted = L.BinaryCrossEntropy(class_dim=-1, reduction="sum", class_weight=[1.0, 2.0, 4.0])
    logits, labels = torch.randn(1, 5, 3), torch.tensor([[0, -1, 1, 2, -1]])
    assert L.FederatedLoss(weighted, [0.5] * 3, classes=1)(logits, labels) == weighted(logits, labels)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
@pytest.mark.parametrize("ignored", [1, 255])
@pytest.mark.parametrize("given", ["loss", "call"])
def test_ignored_targets_show_no_class(dtype: torch.dtype, ignored: int, given: str) -> None:
    loss = inner() if given == "call" else L.BinaryCrossEntropy(class_dim=-1, reduction="sum", ignore_index=ignored)
    federated = L.FederatedLoss(loss, [0.5] * 3, classes=1)
    call = {"ignore_index": ignored} if given == "call" else {}
    labels = torch.tensor([[0, ignored]], dtype=dtype)
    dense = torch.tensor([[[0.75, 0.0, 0.0], [ignored] * 3]])
    for targets in (labels, dense):
        logits = torch.zeros(1, 2, 3, requires_grad=True)
        federated(logits, targets, **call).backward()
        assert (logits.grad != 0).tolist() == [[[True, False, False], [False] * 3]]


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="takes no class_weight"):
        L.FederatedLoss(L.EQLv2(3), [0.1] * 3)
    with pytest.raises(ValueError, match="at least 0, got"):
        L.FederatedLoss(inner(), [0.1, float("nan")])
    with pytest.raises(ValueError, match="of 2 classes, the logits are of 3"):
        L.FederatedLoss(inner(), [0.1] * 2)(torch.zeros(1, 3), torch.tensor([0]))


@pytest.mark.parametrize("detector", ["retinanet", "gfl", "dfine"])
def test_a_detector_takes_it_around_its_loss(detector: str) -> None:
    config = TrainConfig(model=ModelConfig(detector=detector), criterion=CriterionConfig(federated_classes=2))
    term = build_criterion(config, {"num_classes": 3, "frequency": [0.5, 0.2, 0.1]}).terms["classification"]
    assert term.loss.classes == 2
    assert term.loss.frequency.tolist() == pytest.approx([0.5, 0.2, 0.1])
    assert type(term.loss.loss) is L.LOSSES[{"retinanet": "focal", "gfl": "qfl", "dfine": "varifocal"}[detector]].module
    assert type(term).__name__ == ("ClassTerm" if detector == "retinanet" else "QualityClassTerm")
    with pytest.raises(ConfigError, match="takes no class_weight"):
        build_criterion(TrainConfig(loss="eqlv2", criterion=CriterionConfig(federated_classes=2)), {"num_classes": 3})
