"""Calibration of detections: order kept, rare classes pooled, boxes seen."""

import json

import pytest
import torch

from focalkit.calibration import DetectionCalibration
from focalkit.errors import ConfigError

METHODS = ["temperature", "platt", "beta", "isotonic", "histogram"]


def detections(n: int = 4000, k: int = 3, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Scores that say half of the log-odds too much, by class."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(k, (n,), generator=g)
    u = 2 * torch.randn(n, generator=g, dtype=torch.float64)
    truth = torch.sigmoid(0.5 * u - 0.5 * labels)
    return u.sigmoid(), labels, (torch.rand(n, generator=g, dtype=torch.float64) < truth).double()


@pytest.mark.parametrize("method", METHODS)
def test_calibrated_scores_are_precisions(method: str):
    scores, labels, correct = detections()
    fitted = DetectionCalibration(method).fit(scores, labels, correct)
    new, classes, _ = detections(seed=1)
    truth = torch.sigmoid(0.5 * new.logit() - 0.5 * classes)
    before, after = (new - truth).abs().mean(), (fitted.transform(new, classes) - truth).abs().mean()
    assert after < (0.9 if method == "temperature" else 0.4) * before
    assert not fitted.notes


@pytest.mark.parametrize("method", ["temperature", "platt", "beta", "isotonic"])
def test_the_order_within_a_class_is_kept_without_new_ties(method: str):
    scores, labels, correct = detections()
    fitted = DetectionCalibration(method).fit(scores, labels, correct)
    for c in range(3):
        ordered = scores[labels == c].sort().values.unique()
        found = fitted.transform(ordered, torch.full((len(ordered),), c))
        assert bool((found.diff() > 0).all())


def test_a_class_mixes_its_map_with_the_pooled_one_by_its_positives():
    scores, labels, correct = detections()
    fitted = DetectionCalibration("platt").fit(scores, labels, correct)
    alone = DetectionCalibration("platt", min_positives=1)
    of = labels == 1
    only = alone.fit(scores[of], torch.full_like(labels[of], 9), correct[of])  # pooled is the class's own here
    pooled = fitted.transform(scores[of], torch.full_like(labels[of], 77))
    n = float(correct[of].sum())
    wanted = (n * only.transform(scores[of], torch.full_like(labels[of], 77)) + 50 * pooled) / (n + 50)
    torch.testing.assert_close(fitted.transform(scores[of], labels[of]), wanted)


def test_rare_and_unseen_classes_take_the_pooled_map_and_are_named():
    scores, labels, correct = detections()
    labels[:30] = 5
    fitted = DetectionCalibration("platt").fit(scores, labels, correct)
    assert "the map of all classes pooled is taken: 5 (10)" in fitted.notes[0]
    new = torch.rand(5)
    assert torch.equal(fitted.transform(new, torch.full((5,), 5)), fitted.transform(new, torch.full((5,), 42)))


def test_a_map_that_would_fall_is_not_taken():
    scores, labels, correct = detections(k=5)
    of = labels == 1
    correct[of] = (torch.rand(int(of.sum()), dtype=torch.float64) < 1 - scores[of]).double()
    fitted = DetectionCalibration("platt").fit(scores, labels, correct)
    assert any("would fall" in note for note in fitted.notes)
    assert bool((fitted.transform(torch.linspace(0, 1, 50), torch.ones(50)).diff() >= 0).all())


def test_boxes_explain_what_the_score_does_not():
    g = torch.Generator().manual_seed(0)
    scores, labels, _ = detections()
    boxes = torch.rand(4000, 4, generator=g, dtype=torch.float64) * 0.8 + 0.1
    truth = torch.sigmoid(scores.logit() + 3 * (boxes[:, 2] - 0.5))
    correct = (torch.rand(4000, generator=g, dtype=torch.float64) < truth).double()
    plain = DetectionCalibration("platt").fit(scores, labels, correct).transform(scores, labels)
    seen = DetectionCalibration("box").fit(scores, labels, correct, boxes)
    assert (seen.transform(scores, labels, boxes) - truth).abs().mean() < 0.3 * (plain - truth).abs().mean()
    state = json.loads(json.dumps(seen.state_dict()))
    again = DetectionCalibration().load_state_dict(state)
    assert torch.equal(again.transform(scores, labels, boxes), seen.transform(scores, labels, boxes))
    with pytest.raises(ValueError, match="needs boxes"):
        seen.transform(scores, labels)


@pytest.mark.parametrize("method", ["none", *METHODS])
def test_the_state_survives_json(method: str):
    scores, labels, correct = detections()
    fitted = DetectionCalibration(method).fit(scores, labels, correct)
    again = DetectionCalibration().load_state_dict(json.loads(json.dumps(fitted.state_dict())))
    assert torch.equal(again.transform(scores, labels), fitted.transform(scores, labels))
    if method == "none":
        assert torch.equal(fitted.transform(scores, labels), scores)


def test_soft_targets_calibrate_to_precision_times_iou():
    scores, labels, correct = detections()
    fitted = DetectionCalibration("isotonic").fit(scores, labels, 0.8 * correct)
    found = fitted.transform(scores, labels)
    assert float(found.mean()) == pytest.approx(0.8 * float(correct.mean()), abs=5e-3)


@pytest.mark.parametrize(
    ("scores", "labels", "targets", "words"),
    [
        ([], [], [], "no detections"),
        ([0.5, 0.2], [0, 0], [1.0, 1.0], "all 2 detections are true positives"),
        ([0.5, 0.2], [0, 0], [0.0, 0.0], "all 2 detections are false positives"),
        ([1.5, 0.2], [0, 0], [1.0, 0.0], r"expected scores in \[0, 1\]"),
        ([0.5, float("nan")], [0, 0], [1.0, 0.0], r"expected scores in \[0, 1\]"),
        ([0.5, 0.2], [0], [1.0, 0.0], "of one length"),
    ],
)
def test_bad_sets_are_refused(scores: list, labels: list, targets: list, words: str):
    with pytest.raises(ValueError, match=words):
        DetectionCalibration().fit(scores, torch.tensor(labels, dtype=torch.int64), targets)


def test_bad_states_are_refused():
    with pytest.raises(ConfigError, match="expected the state of a DetectionCalibration"):
        DetectionCalibration().load_state_dict({"calibrator": "platt"})
    with pytest.raises(ConfigError, match="cannot be read"):
        DetectionCalibration().load_state_dict(
            {"calibrator": "detection", "method": "platt", "pooled": {"map": "x"}, "classes": {}}
        )
    with pytest.raises(ValueError, match="method must be one of"):
        DetectionCalibration("isotone")
