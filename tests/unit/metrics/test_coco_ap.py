"""COCO AP against published numbers, pycocotools live, and worked examples."""

import contextlib
import copy
import io
import json
import subprocess
import sys

import numpy as np
import pytest

from focalkit.errors import InputError
from focalkit.metrics import coco_ap
from focalkit.metrics.coco import METRICS

CASES = {
    "val2014_100_bbox": ("instances_val2014_100", "instances_val2014_fakebbox100_results", "bbox"),
    "val2014_100_segm": ("instances_val2014_100", "instances_val2014_fakesegm100_results", "segm"),
    "val2014_100_segmresults_as_bbox": ("instances_val2014_100", "instances_val2014_fakesegm100_results", "bbox"),
    "fce_basic_bbox": ("fce_gt_dataset", "fce_dt_dataset", "bbox"),
    "fce_basic_segm": ("fce_gt_dataset", "fce_dt_dataset", "segm"),
    "sahi_bbox": ("sahi_gt", "sahi_dt", "bbox"),
    "fce_ignore_intids_bbox": ("fce_gt_ignore_test_intids", "fce_dt_ignore_test", "bbox"),
}


@pytest.fixture(scope="module")
def conformance(shared):
    folder = shared / "data" / "coco_eval_conformance"
    return lambda name: json.loads((folder / f"{name}.json").read_text())


def pycocotools_numbers(truth, found, iou_type):
    coco_module = pytest.importorskip("pycocotools.coco")
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        gt = coco_module.COCO()
        gt.dataset = copy.deepcopy(truth)
        gt.createIndex()
        evaluator = COCOeval(gt, gt.loadRes(copy.deepcopy(found)), iou_type)
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator


def scenes(seed, *, images=12, classes=4, ties=False):
    """Random truth with crowds, and detections that are jittered truth, wrong classes and noise."""
    rng = np.random.default_rng(seed)
    truth = {
        "info": {},
        "images": [{"id": 10 + 3 * i, "width": 640, "height": 480} for i in range(images)],
        "categories": [{"id": 2 * k + 1, "name": f"c{k}"} for k in range(classes)],
        "annotations": [],
    }
    found = []
    for image in truth["images"]:
        for _ in range(rng.integers(0, 7)):
            x, y, w, h = rng.uniform([0, 0, 8, 8], [400, 300, 200, 150]).round(2).tolist()
            category = int(rng.integers(classes - 1)) * 2 + 1  # the last class has no truth
            number = len(truth["annotations"]) + 1
            truth["annotations"].append(
                {
                    "id": number,
                    "image_id": image["id"],
                    "category_id": category,
                    "bbox": [x, y, w, h],
                    "area": w * h,
                    "iscrowd": int(rng.random() < 0.15),
                }
            )
            for _ in range(rng.integers(0, 4)):
                jitter = rng.normal(0, 0.08, 4) * [w, h, w, h]
                box = (np.array([x, y, w, h]) + jitter).clip(0.5).round(2).tolist()
                score = float(rng.integers(1, 5) / 5 if ties else rng.random())
                wrong = int(rng.integers(classes)) * 2 + 1
                found.append(
                    {
                        "image_id": image["id"],
                        "category_id": category if rng.random() < 0.8 else wrong,
                        "bbox": box,
                        "score": score,
                    }
                )
    return truth, found


@pytest.mark.parametrize("case", CASES)
def test_equals_the_published_numbers(conformance, case):
    truth, found, iou_type = CASES[case]
    result = coco_ap(conformance(truth), conformance(found), iou_type=iou_type)
    assert tuple(result.metrics) == METRICS
    assert list(result.metrics.values()) == pytest.approx(conformance("expected")[case], abs=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_equals_pycocotools_run_now_with_every_class_and_curve(conformance, case):
    truth, found, iou_type = CASES[case]
    truth, found = conformance(truth), conformance(found)
    truth.setdefault("info", {})
    theirs = pycocotools_numbers(truth, found, iou_type)
    ours = coco_ap(truth, found, iou_type=iou_type, curves=True)
    assert list(ours.metrics.values()) == pytest.approx(list(theirs.stats), abs=1e-9)
    assert_classes_and_curves_equal(ours, theirs, truth)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_equals_pycocotools_on_random_scenes(seed, ties):
    truth, found = scenes(seed, ties=ties)
    theirs = pycocotools_numbers(truth, found, "bbox")
    ours = coco_ap(truth, found, curves=True)
    assert list(ours.metrics.values()) == pytest.approx(list(theirs.stats), abs=1e-9)
    assert 0.05 < ours.metrics["AP"] < 0.95
    assert_classes_and_curves_equal(ours, theirs, truth)


def assert_classes_and_curves_equal(ours, theirs, truth):
    precision = theirs.eval["precision"][:, :, :, 0, 2]
    names = {c["id"]: c["name"] for c in truth["categories"]}
    curves = {(c["name"], c["iou"]): c["precision"] for c in ours.curves["curves"]}
    for k, category_id in enumerate(theirs.params.catIds):
        name = names[category_id]
        row = ours.per_class[name]
        boxes = [a for a in truth["annotations"] if a["category_id"] == category_id and not a.get("iscrowd")]
        assert row["count"] == len(boxes)
        if not boxes:
            assert (row["AP"], row["AP50"], row["AP75"]) == (-1, -1, -1)
            assert (name, 0.5) not in curves
            continue
        p = precision[:, :, k]
        assert row["AP"] == pytest.approx(p.mean(), abs=1e-9)
        for row_of_iou, iou, key in ((0, 0.5, "AP50"), (5, 0.75, "AP75")):
            assert row[key] == pytest.approx(p[row_of_iou].mean(), abs=1e-9)
            assert curves[name, iou] == pytest.approx(p[row_of_iou], abs=1e-9)
    present = precision[0, 0] > -1
    assert curves["all", 0.5] == pytest.approx(precision[0][:, present].mean(1), abs=1e-9)


def test_mixed_string_and_integer_ids_are_the_same_ids(conformance):
    mixed, found = conformance("fce_gt_ignore_test"), conformance("fce_dt_ignore_test")
    assert {type(a["image_id"]) for a in mixed["annotations"]} == {int, str}
    expected = conformance("expected")["fce_ignore_intids_bbox"]
    assert list(coco_ap(mixed, found).metrics.values()) == pytest.approx(expected, abs=1e-9)


def test_names_as_ids_rank_like_numbers():
    truth, found = scenes(0)
    renamed = copy.deepcopy((truth, found))
    for entry in renamed[0]["images"]:
        entry["id"] = f"photo-{entry['id']:03d}"
    for entry in renamed[0]["annotations"] + renamed[1]:
        entry["image_id"] = f"photo-{entry['image_id']:03d}"
    assert coco_ap(*renamed).metrics == coco_ap(truth, found).metrics


def test_annotation_id_zero_and_repeated_ids_do_no_harm():
    truth, found = scenes(1)
    expected = coco_ap(truth, found).metrics
    for a in truth["annotations"]:
        a["id"] = 0
    assert coco_ap(truth, found).metrics == expected
    for a in truth["annotations"]:
        del a["id"]
    assert coco_ap(truth, found).metrics == expected


def test_arguments_are_not_changed():
    truth, found = scenes(2)
    before = copy.deepcopy((truth, found))
    coco_ap(truth, found)
    assert (truth, found) == before


def test_a_hit_above_a_miss_scores_a_half_recall_curve():
    """Two boxes, one found exactly: precision 1 up to recall .5 (51 of 101 points), at every IoU threshold."""
    box = [0, 0, 40, 40]
    truth = {
        "images": [{"id": 1}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [
            {"image_id": 1, "category_id": 1, "bbox": box},
            {"image_id": 1, "category_id": 1, "bbox": [100, 100, 40, 40]},
        ],
    }
    result = coco_ap(truth, [{"image_id": 1, "category_id": 1, "bbox": box, "score": 0.9}], curves=True)
    assert result.metrics["AP"] == pytest.approx(51 / 101)
    assert result.metrics["AR100"] == 0.5
    assert result.metrics["APl"] == -1
    assert result.curves["curves"][0]["precision"] == [1.0] * 51 + [0.0] * 50
    assert result.num_images == 1


def test_without_detections_every_number_is_zero_where_there_is_truth():
    truth, _ = scenes(3)
    result = coco_ap(truth, [])
    assert set(result.metrics.values()) <= {0.0, -1.0}
    assert result.metrics["AP"] == 0
    assert result.per_class["c0"]["AP"] == 0


def test_without_truth_every_number_is_absent():
    truth, found = scenes(3)
    truth["annotations"] = []
    for detections in (found, []):
        result = coco_ap(truth, detections, curves=True)
        assert set(result.metrics.values()) == {-1.0}
        assert result.curves["curves"] == []
    nothing = coco_ap({"images": [], "categories": [], "annotations": []}, [], curves=True)
    assert set(nothing.metrics.values()) == {-1.0}


def test_categories_of_one_name_are_kept_apart():
    truth, found = scenes(1)
    truth["categories"][1]["name"] = "c0"
    assert set(coco_ap(truth, found).per_class) == {"c0 (id 1)", "c0 (id 3)", "c2", "c3"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 99}, r"detection number 2 has the image_id 99, .* known: 10, 13, .*12 in all"),
        ({"category_id": 2}, "detection number 2 has the category_id 2"),
        ({"category_id": None}, "detection number 2 has the category_id None"),
        ({"score": float("nan")}, "detection number 2: the score is nan"),
        ({"score": None}, "detection number 2: the score is None"),
        ({"bbox": [1, 2, 3]}, r"detection number 2: the box is \[1, 2, 3\]"),
        ({"bbox": [1, 2, 3, float("inf")]}, "detection number 2: the box is inf"),
        ({"bbox": []}, 'detection number 2 has no "bbox"'),
    ],
)
def test_a_detection_that_cannot_be_scored_is_named(change, message):
    truth, found = scenes(0)
    found[1].update(change)
    with pytest.raises(InputError, match=message):
        coco_ap(truth, found)


def test_truth_that_cannot_be_used_is_named():
    truth, found = scenes(0)
    with pytest.raises(InputError, match='has no "segmentation"'):
        coco_ap(truth, found, iou_type="segm")
    broken = copy.deepcopy(truth)
    broken["annotations"][0]["image_id"] = 11
    with pytest.raises(InputError, match="annotation 1 of the ground truth has the image_id 11"):
        coco_ap(broken, found)
    broken = copy.deepcopy(truth)
    broken["images"].append({"id": "10"})
    with pytest.raises(InputError, match="two image entries with the id 10"):
        coco_ap(broken, found)
    broken["images"][-1] = {"id": None}
    with pytest.raises(InputError, match="image number 13 of the ground truth has the id None"):
        coco_ap(broken, found)
    with pytest.raises(InputError, match="iou_type"):
        coco_ap(truth, found, iou_type="keypoints")


def test_nothing_is_printed(capfd):
    coco_ap(*scenes(0))
    assert capfd.readouterr() == ("", "")


def test_importing_the_metrics_loads_no_evaluator():
    heavy = ("faster_coco_eval", "torchvision", "sklearn")
    code = f"import sys, focalkit.metrics; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("truth", "found", "said"),
    [
        ("instances.json", [], "ground truth as a dictionary, COCO's, got a str"),
        ({}, "results.json", "list of dictionaries .* got a str"),
        ({}, {"annotations": []}, "list of dictionaries .* got a dict"),
        ({}, ["x"], "got a list of other things"),
    ],
)
def test_what_is_neither_a_data_set_nor_results_is_named(truth, found, said):
    with pytest.raises(InputError, match=said):
        coco_ap(truth, found)
