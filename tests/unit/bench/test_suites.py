"""Every suite runs at its quick size, and what is compared agrees."""

import dataclasses
import inspect
import sys

import pytest
import torch
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from focalkit.bench import SUITES, Settings, _loss_dense, _loss_native, run_suites
from focalkit.bench import inference as inference_suite
from focalkit.bench import match as match_suite
from focalkit.bench import step as step_suite
from focalkit.bench import train as train_suite
from focalkit.bench._run import load, run_case
from focalkit.cli import bench as command
from focalkit.config import cpu_small
from focalkit.detection import DensePostprocess
from focalkit.errors import InputError

# peers' warnings are theirs
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def once() -> Settings:
    """One round at quick size."""
    return dataclasses.replace(Settings.small(torch.device("cpu"), memory=False), rounds=1, least=1, warmup=0)


@pytest.mark.parametrize("suite", SUITES)
def test_a_suite_runs_and_its_rows_agree(once, suite):
    found = run_suites([suite], once, f"focalkit bench {suite} --quick")
    for case in found["suites"][0]["cases"]:
        assert case["failed"] == []
        assert {row["name"] for row in case["rows"] if row["agrees"] is False} == set()
        assert len(case["rows"]) + len(case["absent"]) >= 2
        if case["reference"] and not case["absent"]:
            assert any(row["agrees"] for row in case["rows"])


def test_the_command_knows_the_suites_there_are():
    assert list(SUITES) == list(command.SUITES)


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
@pytest.mark.parametrize("suite", SUITES)
def test_every_case_has_a_bar_and_full_size_differs_from_quick(suite, kind):
    full, quick = load(suite)(Settings(torch.device(kind))), load(suite)(Settings.small(torch.device(kind)))
    assert all(case.bars for case in full)
    assert not {case.title for case in full} & {case.title for case in quick}
    assert len({case.name for case in full}) == len(full)


def test_the_row_beside_torchvision_decodes_at_every_step_as_it_does():
    config = dataclasses.replace(cpu_small(), batch_size=2, min_size=64, max_size=64)
    inputs = train_suite.photos(2, 96, config)
    plain, cached = (train_suite.our_batches(inputs, (0.5, 0.5, 0.5), cached=cached) for cached in (False, True))
    next(plain), next(cached)
    inputs.folder.cleanup()
    next(cached)
    with pytest.raises(InputError, match="no such image file"):
        next(plain)
    like, other = load("train")(Settings())[0].bars[:2]
    assert (like.under, other.under) == ("focalkit", "focalkit --cache auto")


def test_the_full_sizes_are_those_of_the_titles():
    full = load("loss")(Settings())
    assert "67,995 anchors" in full[0].title
    assert "196,416 anchors" in full[1].title
    assert "201,600 anchors" in load("match")(Settings())[0].title


def test_an_absent_peer_is_listed_with_how_to_get_it(once, monkeypatch):
    for name in ("kornia", "kornia.losses", "monai", "monai.losses", "monai.losses.focal_loss"):
        monkeypatch.setitem(sys.modules, name, None)
    found = run_case(_loss_dense.dense_case(50, once), once)
    assert found["absent"] == [{"name": "kornia", "install": "kornia"}, {"name": "MONAI", "install": "monai"}]
    assert found["failed"] == []


def test_a_wrong_loss_of_ours_would_be_seen(once, monkeypatch):
    right = _loss_dense.sigmoid_focal_loss
    monkeypatch.setattr(_loss_dense, "sigmoid_focal_loss", lambda *args, **more: right(*args, **more) * 1.01)
    found = run_case(_loss_dense.dense_case(50, once), once)
    assert [row["agrees"] for row in found["rows"] if row["name"].startswith("focalkit eager")] == [False]


def test_one_anchor_matched_otherwise_would_be_seen(once, monkeypatch):
    state = match_suite.our_state

    def off_by_one(found):
        (labels,) = state(found)
        labels[7] += 1
        return (labels,)

    case = match_suite.match_case(20, 128, 192)
    rows = tuple(dataclasses.replace(row, answer=off_by_one) if row.name == "focalkit" else row for row in case.rows)
    found = run_case(dataclasses.replace(case, rows=rows), once)
    assert [row["agrees"] for row in found["rows"]] == [False, None]


def test_torchvisions_labels_are_those_of_the_native_levels():
    found = _loss_native.levels(128, torch.device("cpu"))
    rows = [x.unflatten(1, (9, 80)).permute(0, 3, 4, 1, 2).reshape(-1, 80) for x in found.logits]
    at = 0
    for label, row in zip(found.labels, rows, strict=True):
        flat = found.flat_labels[at : at + len(row)]
        for cell in (label >= 0).nonzero().tolist():
            b, a, y, x = cell
            assert flat[(y * label.shape[3] + x) * 9 + a] == label[b, a, y, x]
        at += len(row)
    assert at == len(found.flat_labels)
    assert (found.flat_labels >= 0).any()


@pytest.mark.parametrize(
    ("make", "inputs"),
    [
        (inference_suite.torchvision, lambda: inference_suite.large(64, "resnet18", torch.device("cpu"))),
        (step_suite.torchvision_step, lambda: step_suite.batch(1, 64, "resnet18", torch.device("cpu"))),
    ],
    ids=["evaluation", "training"],
)
def test_torchvision_computes_on_images_of_the_size_in_the_title(monkeypatch, make, inputs):
    seen = []
    real = GeneralizedRCNNTransform.batch_images

    def batch_images(self, images, size_divisible=32):
        batch = real(self, images, size_divisible)
        seen.append((self.training, tuple(batch.shape[-2:])))
        return batch

    monkeypatch.setattr(GeneralizedRCNNTransform, "batch_images", batch_images)
    make(inputs())()
    assert seen == [(make is step_suite.torchvision_step, (64, 64))]


def test_torchvision_drops_and_keeps_what_ours_does():
    """Thresholds and limits by which both sides of `inference` and `postprocess` select."""
    peer = inspect.signature(RetinaNet).parameters
    rule = DensePostprocess()
    assert peer["score_thresh"].default == rule.score_threshold
    assert peer["nms_thresh"].default == rule.iou_threshold
    assert peer["topk_candidates"].default == rule.top_k
    assert rule.max_detections == 100, "what the suites tell torchvision"


def test_the_small_model_finds_its_way_to_detections():
    inputs = inference_suite.small(64, 96, torch.device("cpu"))
    assert [len(found) for found in inference_suite.ours(inputs)()] == [0]
    assert inference_suite.small_case(64, 96).bars
