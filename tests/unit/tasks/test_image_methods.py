"""What methods of several stages do to a network: what the papers say they do, on pictures made here."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from focalkit.compare import METHODS, Method, Predictor, compare
from focalkit.compare.adjust import adjusted
from focalkit.errors import ConfigError, DataError
from focalkit.tasks import Budget, Source
from focalkit.tasks._clock import Clock
from focalkit.tasks._losses import MethodLoss
from focalkit.tasks.image import Images
from focalkit.tasks.image._fit import _taught
from focalkit.tasks.image._network import build_network
from focalkit.tasks.mining import hard_negative_mining, ohem

TASK = Images(batch=16, lr=0.05)
COUNTS = (40, 12, 6)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three colours, noisy enough that not all are told apart at once."""
    folder = tmp_path_factory.mktemp("colours")
    random = np.random.default_rng(0)
    for part, counts in (("train", COUNTS), ("test", (10, 10, 10))):
        labels = np.repeat(np.arange(3), counts)
        images = np.zeros((len(labels), 8, 8, 3)) + 80
        images[np.arange(len(labels)), :, :, labels] += 60
        images += random.normal(0, 40, images.shape)
        np.savez(folder / f"{part}.npz", images=images.clip(0, 255).astype(np.uint8), labels=labels)
    return folder


@pytest.fixture(scope="module")
def splits(data):
    return TASK.read(Source(data), 0)


def fitted(splits, method, steps, tmp_path, seed=0):
    method = METHODS[method] if isinstance(method, str) else method
    return TASK.fit(method, splits, Budget(steps=steps), seed, tmp_path)


def body(found):
    return {name: w for name, w in found.model.network.state_dict().items() if not name.startswith("head.")}


def test_crt_leaves_the_features_as_the_first_stage_left_them(splits, tmp_path):
    # Kang et al. (2020), sec. 4: 80 % of 20 steps are the first stage; running statistics are features too
    first, both = fitted(splits, "ce", 16, tmp_path), fitted(splits, "crt", 20, tmp_path)
    assert all(torch.equal(w, body(both)[name]) for name, w in body(first).items())
    assert not torch.equal(first.model.network.head.weight, both.model.network.head.weight)
    assert both.facts["steps"] == 20
    assert both.facts["training_prior"] == pytest.approx([1 / 3] * 3)


def test_the_stages_divide_a_time_limit_as_they_divide_the_steps(splits, tmp_path, monkeypatch):
    clocks = []
    monkeypatch.setattr("focalkit.tasks.image._fit.train", lambda *given: clocks.append(given[-1]) or 1)
    for method in ("crt", "self_distillation"):
        TASK.fit(METHODS[method], splits, Budget(steps=100, seconds=10.0), 0, tmp_path)
    assert [(clock.steps, clock.seconds) for clock in clocks] == [(80, 8.0), (20, 2.0), (50, 5.0), (50, 5.0)]


class OwnNetwork(nn.Module):
    """Of somebody who knows nothing of focalkit."""

    def __init__(self, classes: int, size: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.AvgPool2d(size // 2), nn.Flatten(), nn.Linear(12, classes))

    def forward(self, images):
        return self.body(images)


def test_a_network_of_ones_own_trains_and_its_files_are_read_by_its_task_alone(splits, tmp_path):
    task = replace(TASK, network=OwnNetwork)
    found = task.fit(METHODS["focal"], splits, Budget(steps=3), 0, tmp_path)
    found.save(tmp_path)
    again = task.load(tmp_path)
    np.testing.assert_array_equal(again.logits(splits.test.images), found.outputs("test").logits)
    with pytest.raises(DataError, match=r"OwnNetwork' is not focalkit's"):
        TASK.load(tmp_path)
    with pytest.raises(ConfigError, match="crt needs a network of focalkit's"):
        task.fit(METHODS["crt"], splits, Budget(steps=3), 0, tmp_path)
    with pytest.raises(ConfigError, match="last layer is linear"):
        adjusted(found.outputs("test"), "tau_norm", splits.class_counts, found.facts)


def test_schedules_go_by_the_time_where_that_ends_first():
    half_gone = Clock(steps=1000, seconds=10.0, began=time.perf_counter() - 5)
    assert 0.5 <= half_gone.share(10) < 0.6
    assert half_gone.share(900) == 0.9
    assert Clock(1000, 1.0, began=time.perf_counter() - 5).share(10) == 1
    assert Clock(1000).share(10) == 0.01


def test_crt_shows_the_new_classifier_as_many_items_of_every_class(splits, tmp_path, monkeypatch):
    from focalkit.tasks.image import _train

    asked, indices = [], _train.epoch_indices
    monkeypatch.setattr(_train, "epoch_indices", lambda spec, *rest: asked.append(spec) or indices(spec, *rest))
    fitted(splits, "crt", 5, tmp_path)
    assert list(dict.fromkeys(asked)) == [None, "class_balanced"]


def test_tau_norm_is_the_network_with_weights_of_equal_norm_and_no_bias(splits, tmp_path):
    found = fitted(splits, "ce", 10, tmp_path)
    outputs = adjusted(found.outputs("test"), "tau_norm(tau=1.0)", splits.class_counts, found.facts)
    head = found.model.network.head
    with torch.no_grad():
        mean = head.weight.norm(dim=1).mean()
        head.weight.div_(head.weight.norm(dim=1, keepdim=True))
        head.bias.zero_()
    assert head.weight.norm(dim=1).tolist() == pytest.approx([1, 1, 1])
    np.testing.assert_allclose(
        outputs.logits, float(mean) * found.model.logits(splits.test.images), rtol=1e-4, atol=1e-4
    )


def test_tau_of_0_takes_the_biases_alone(splits, tmp_path):
    found = fitted(splits, "ce", 3, tmp_path)
    plain = found.outputs("val")
    without = adjusted(plain, "tau_norm(tau=0.0)", splits.class_counts, found.facts)
    np.testing.assert_allclose(
        plain.logits - without.logits, [found.facts["classifier"]["biases"]] * len(plain), atol=1e-5
    )


def test_tau_norm_needs_no_training_of_its_own_and_the_stored_winner_applies_it(data, tmp_path):
    found = compare(data, ["ce", "tau_norm"], out=tmp_path / "out", seeds=1, budget=Budget(steps=4))
    cell = found.store.cell("tau_norm", 0)
    assert cell.record["derived_from"] == "ce"
    with np.load(data / "test.npz") as archive:
        Image.fromarray(archive["images"][0]).save(tmp_path / "one.png")
    logits = Predictor.from_run(cell.folder).outputs(tmp_path / "one.png").logits
    np.testing.assert_allclose(logits[0], cell.test.logits[0], atol=1e-4)


def test_tau_norm_of_a_model_without_a_linear_classifier_says_so(splits, tmp_path):
    with pytest.raises(ConfigError, match="whose last layer is linear"):
        adjusted(fitted(splits, "ce", 1, tmp_path).outputs("val"), "tau_norm", splits.class_counts, {})


def test_a_pupil_that_only_listens_does_not_see_the_labels(splits):
    pupil, teacher = (build_network("small", 3, 8) for _ in range(2))
    images = torch.rand(4, 3, 8, 8)

    def value(weight, label):
        objective = _taught(pupil, teacher, MethodLoss(METHODS["ce"], COUNTS), weight, temperature=2.0)
        return objective(images, [(1.0, torch.full((4,), label))], 0.0).item()

    assert value(1.0, 0) == value(1.0, 1)
    assert value(0.5, 0) != value(0.5, 1)


def test_a_pupil_comes_nearer_to_its_teacher_the_more_it_listens(splits, tmp_path):
    teacher = fitted(splits, "ce", 20, tmp_path).outputs("test").probabilities

    def distance(weight):
        method = Method("x", schedule=f"self_distillation(start=0.5, weight={weight})")
        return np.abs(fitted(splits, method, 40, tmp_path).outputs("test").probabilities - teacher).mean()

    assert distance(1.0) < distance(0.0)


def test_self_distillation_refuses_losses_on_sigmoids(splits, tmp_path):
    method = Method("x", loss="focal", schedule="self_distillation")
    with pytest.raises(ConfigError, match="a loss on a softmax"):
        fitted(splits, method, 2, tmp_path)


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ("crt(start=1.5)", "start must be in"),
        ("crt(begin=0.5)", r"expected .*crt\(start=0.8\)"),
        ("cosine", "expected"),
    ],
)
def test_schedules_that_do_not_exist_are_named(splits, tmp_path, schedule, message):
    with pytest.raises(ConfigError, match=message):
        fitted(splits, Method("x", schedule=schedule), 2, tmp_path)


def test_a_schedule_that_only_images_have_is_refused_elsewhere():
    with pytest.raises(ConfigError, match=r"crt\(start=0.5\).*expected drw"):
        MethodLoss(Method("x", schedule="crt(start=0.5)"), [3, 4])


@pytest.mark.parametrize("method", ["eql", "seql", "eqlv2", "efl", "seesaw", "ohem_items", "ldam_drw"])
def test_every_loss_for_hard_or_rare_items_learns_the_colours(splits, method, tmp_path):
    found = fitted(splits, method, 40, tmp_path).outputs("test")
    assert (found.probabilities.argmax(1) == found.targets).mean() > 0.6


def test_ohem_descends_the_hardest_items_alone():
    logits = torch.tensor([[3.0, 0.0], [0.0, 0.0], [0.0, 2.0], [5.0, 0.0]], requires_grad=True)
    ohem(keep=0.5)(logits, torch.zeros(4, dtype=torch.long)).backward()
    assert logits.grad.abs().sum(1).bool().tolist() == [False, True, True, False]


def test_hard_negatives_are_three_for_each_of_the_rare_class():
    logits = torch.zeros(9, 2, requires_grad=True)
    with torch.no_grad():
        logits[:, 1] = torch.arange(9.0) / 10
    labels = torch.tensor([1, *[0] * 8])
    hard_negative_mining(ratio=3.0)(logits, labels).backward()
    assert logits.grad.abs().sum(1).bool().tolist() == [True, *[False] * 5, *[True] * 3]
    with pytest.raises(ValueError, match="got 3 classes"):
        hard_negative_mining()(torch.zeros(2, 3), torch.tensor([0, 1]))
