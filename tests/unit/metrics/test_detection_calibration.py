"""D-ECE, LaECE, LaACE and LRP against loops written from the papers, netcal, uq-detr and pycocotools' matching."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from focalkit.errors import InputError
from focalkit.metrics import (
    box_features,
    confusion_matrix,
    detection_calibration_error,
    lrp,
    match_coco,
    matches_calibration_error,
)
from reference import calibration as reference


def scene(seed: int = 0, images: int = 20, crowds: bool = True) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Boxes, and detections near some of them; ids with gaps, a class without boxes, one without detections."""
    rng = np.random.default_rng(seed)
    truth: dict[str, Any] = {
        "images": [{"id": 3 * i + 1, "width": 200, "height": 100} for i in range(images)],
        "categories": [{"id": c, "name": f"c{c}"} for c in (2, 5, 7, 11)],
        "annotations": [],
    }
    found = []
    for image in truth["images"]:
        for _ in range(rng.integers(0, 6)):
            box = [*(rng.random(2) * (140, 60)), *(rng.random(2) * 40 + 8)]
            category = int(rng.choice([2, 5, 11]))
            crowd = int(crowds and rng.random() < 0.15)
            truth["annotations"].append(
                {"image_id": image["id"], "category_id": category, "bbox": [float(v) for v in box], "iscrowd": crowd}
            )
            for _ in range(rng.integers(0, 4)):
                near = np.array(box) + rng.normal(size=4) * 5
                near[2:] = np.maximum(near[2:], 3)
                label = category if rng.random() < 0.8 else 7
                if label != 11:
                    score = round(float(rng.random()), 2)
                    entry = {"image_id": image["id"], "category_id": label, "score": score}
                    found.append({**entry, "bbox": near.tolist()})
    return truth, found


@pytest.mark.parametrize("tau", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("kind", ["d-ece", "laece", "laace"])
def test_errors_are_their_definitions(kind: str, tau: float):
    truth, found = scene()
    ours = detection_calibration_error(truth, found, kind=kind, tau=tau)
    assert ours == pytest.approx(reference.detection_error(truth, found, tau, kind), abs=1e-12)


@pytest.mark.parametrize("tau", [0.1, 0.5])
def test_optimal_lrp_and_its_cuts_are_their_definitions(tau: float):
    truth, found = scene(1)
    ours = lrp(truth, found, tau=tau)
    error, cuts = reference.optimal_lrp(truth, found, tau)
    assert ours.error == pytest.approx(error, abs=1e-12)
    for c, category in enumerate(truth["categories"]):
        cut = cuts.get(category["id"])
        if cut is not None:
            assert float(ours.thresholds[c]) == cut
    fixed = lrp(truth, found, tau=tau, score_threshold=ours.thresholds)
    assert torch.equal(fixed.per_class.nan_to_num(), ours.per_class.nan_to_num())
    assert ours.per_class.isnan().tolist() == [False, False, True, False], "a class without boxes"
    assert float(ours.per_class[3]) == 1.0, "a class never detected"
    assert float(ours.thresholds[3]) > 1


def test_errors_of_a_published_detector_are_those_of_an_independent_computation(shared: Path):
    folder = shared / "data"
    annotations = sorted((folder / "coco_permissive158" / "annotations").glob("*val*.json"))
    truth = json.loads(annotations[0].read_text())
    found = json.loads((folder / "weights_nanodet_m" / "detections_nanodet-m_416_cocoval66.json").read_text())
    assert detection_calibration_error(truth, found) == pytest.approx(
        reference.detection_error(truth, found, 0.5, "d-ece"), abs=1e-10
    )
    for tau in (0.0, 0.1, 0.5):
        ours = detection_calibration_error(truth, found, kind="laece", tau=tau)
        assert ours == pytest.approx(reference.detection_error(truth, found, tau, "laece"), abs=1e-10)
    ours = detection_calibration_error(truth, found, kind="laace")
    assert ours == pytest.approx(reference.detection_error(truth, found, 0.0, "laace"), abs=1e-10)
    assert lrp(truth, found).error == pytest.approx(reference.optimal_lrp(truth, found, 0.5)[0], abs=1e-10)


@pytest.mark.parametrize("tau", [0.0, 0.1, 0.5])
def test_matching_is_pycocotools(tau: float):
    coco = pytest.importorskip("pycocotools.coco")
    from pycocotools.cocoeval import COCOeval

    truth, found = scene(2, images=30)
    truth = {**truth, "annotations": [{"id": i, "area": 100.0, **a} for i, a in enumerate(truth["annotations"], 1)]}
    import contextlib
    import io

    with contextlib.redirect_stdout(io.StringIO()):
        gt = coco.COCO()
        gt.dataset = truth
        gt.createIndex()
        evaluation = COCOeval(gt, gt.loadRes([dict(f) for f in found]), "bbox")
        evaluation.params.iouThrs = np.array([tau])
        evaluation.params.areaRng = [[0, 1e10]]
        evaluation.evaluate()
    theirs = set()
    for entry in evaluation.evalImgs:
        if entry is not None:
            for id_, match, ignored in zip(
                entry["dtIds"], entry["dtMatches"][0], entry["dtIgnore"][0], strict=True
            ):  # loadRes numbers results from 1 in their order
                theirs.add((id_ - 1, bool(match > 0 and not ignored), bool(ignored)))
    ours = match_coco(truth, found, iou_threshold=tau, touching=True)
    rows = zip(range(len(found)), ours.correct.tolist(), ours.ignored.tolist(), strict=True)
    assert theirs == set(rows)


def test_d_ece_with_position_and_size_is_netcals():
    netcal = pytest.importorskip("netcal.metrics")
    truth, found = scene(3, images=60)
    rows = match_coco(truth, found).counted
    features = torch.cat([rows.scores[:, None], box_features(rows)], 1).numpy()
    inside = (features > 0).all(1) & (features < 1).all(1)
    rows, features = rows.where(torch.from_numpy(inside)), features[inside]
    for least in (1, 3):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            peer = netcal.ECE(4, detection=True, sample_threshold=least)
            theirs = peer.measure(features, rows.correct.long().numpy())
        names = ("cx", "cy", "w", "h")
        ours = matches_calibration_error(rows, bins=4, features=names, min_count=least, closed="left", quirks=True)
        assert ours == pytest.approx(theirs, abs=1e-8)


@pytest.mark.parametrize("tau", [0.1, 0.5])
def test_d_ece_and_laece_are_uq_detrs(tau: float):
    uq = pytest.importorskip("uq_detr")
    truth, found = scene(4, crowds=False)
    far = {"image_id": 1, "bbox": [190.0, 90.0, 5.0, 5.0]}
    for label in (2, 5, 7):  # its bins reach from the least score to the largest
        found += [{**far, "category_id": label, "score": 0.0}, {**far, "category_id": label, "score": 1.0}]

    def corners(rows: list[dict[str, Any]]) -> np.ndarray:
        boxes = np.array([row["bbox"] for row in rows], dtype=float).reshape(-1, 4)
        return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)

    def of(rows: list[dict[str, Any]], image: int) -> list[dict[str, Any]]:
        return [row for row in rows if row["image_id"] == image]

    ids = [image["id"] for image in truth["images"]]
    detections = [
        uq.Detections(
            boxes=corners(of(found, i)),
            scores=np.array([row["score"] for row in of(found, i)]),
            labels=np.array([row["category_id"] for row in of(found, i)], dtype=int),
        )
        for i in ids
    ]
    truths = [
        uq.GroundTruth(
            boxes=corners(of(truth["annotations"], i)),
            labels=np.array([row["category_id"] for row in of(truth["annotations"], i)], dtype=int),
        )
        for i in ids
    ]
    for kind, peer in (("d-ece", uq.dece), ("laece", uq.laece)):
        theirs = peer(detections, truths, tp_criterion="greedy", iou_threshold=tau).score
        assert detection_calibration_error(truth, found, kind=kind, tau=tau) == pytest.approx(theirs, abs=1e-9)


def one(score: float, *boxes: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    truth = {
        "images": [{"id": 1, "width": 100, "height": 100}],
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
        "annotations": [{"image_id": 1, "category_id": 1, **box} for box in boxes],
    }
    return truth, [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 10, 10], "score": score}]


def test_quirks_are_those_that_are_documented():
    perfect, wrong = one(1.0, {"bbox": [0, 0, 10, 10]})
    wrong.append({"image_id": 1, "category_id": 2, "bbox": [0, 0, 10, 10], "score": 0.6})
    # class 1 has an error of exactly 0: left out of the mean, which is then class 2's alone
    assert detection_calibration_error(perfect, wrong, kind="laece") == pytest.approx(0.3)
    assert detection_calibration_error(perfect, wrong, kind="laece", quirks=True) == pytest.approx(0.6)
    # a detection in a crowd is ignored; the quirk counts it with IoU 0
    crowded, found = one(0.4, {"bbox": [0, 0, 50, 50], "iscrowd": 1})
    assert np.isnan(detection_calibration_error(crowded, found, kind="laace"))
    assert detection_calibration_error(crowded, found, kind="laace", quirks=True) == pytest.approx(0.4)


def test_ties_are_cut_together_and_of_equal_errors_the_highest_cut_is_taken():
    truth, found = one(0.5, {"bbox": [0, 0, 10, 10]})
    found += [{"image_id": 1, "category_id": 1, "bbox": [50, 50, 10, 10], "score": 0.5}]
    tied = lrp(truth, found)
    assert (tied.error, float(tied.thresholds[0])) == (0.5, 0.5)  # 1 TP, 1 FP: no cut separates them
    found[1]["score"] = 0.4
    assert (lrp(truth, found).error, float(lrp(truth, found).thresholds[0])) == (0.0, 0.5)


def test_no_detections_and_no_truth_have_defined_results():
    truth, _ = one(0.5, {"bbox": [0, 0, 10, 10]})
    assert np.isnan(detection_calibration_error(truth, []))
    assert lrp(truth, []).error == 1.0
    empty, found = one(0.5)
    assert detection_calibration_error(empty, found, kind="laece") == 0.5
    assert np.isnan(lrp(empty, found).error)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"score": 1.5}, r"detection number 1: the score is 1.5, expected a probability"),
        ({"score": float("nan")}, "expected a finite number"),
        ({"image_id": 9}, "image_id 9, which is not in the ground truth"),
        ({"category_id": 9}, "category_id 9, which is not in the ground truth"),
        ({"bbox": [1, 2, 3]}, "expected x, y, width, height"),
    ],
)
def test_bad_detections_are_named(change: dict[str, Any], words: str):
    truth, found = one(0.5, {"bbox": [0, 0, 10, 10]})
    with pytest.raises(InputError, match=words):
        detection_calibration_error(truth, [{**found[0], **change}])


def test_bad_arguments_are_named():
    truth, found = one(0.5, {"bbox": [0, 0, 10, 10]})
    with pytest.raises(ValueError, match="kind must be"):
        detection_calibration_error(truth, found, kind="ece")
    with pytest.raises(ValueError, match="one threshold, or 2 for the classes"):
        detection_calibration_error(truth, found, score_threshold=[0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="no box feature 'area'"):
        detection_calibration_error(truth, found, features=["area"])
    truth["images"][0].pop("width")
    with pytest.raises(InputError, match="the image with the id 1 has none"):
        detection_calibration_error(truth, found, features=["cx"])


def test_the_confusion_matrix_counts_every_box_and_detection_once():
    truth, found = scene(5, images=40)
    rows = match_coco(truth, found)
    cut = torch.tensor([0.2, 0.3, 0.1, 0.5])
    table = confusion_matrix(rows, cut)
    kept = rows.counted
    kept = kept.where(kept.scores >= cut.double()[kept.labels])
    assert torch.equal(table[:4].sum(1), rows.num_truths)
    assert torch.equal(table[:, :4].sum(0), torch.bincount(kept.labels, minlength=4))
    assert torch.equal(table.diagonal()[:4], torch.bincount(kept.labels[kept.correct], minlength=4))
    assert int(table[4, 4]) == 0
    assert int(table[0, 2] + table[1, 2]) > 0, "the class without boxes is what others were taken for"
