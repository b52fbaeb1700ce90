"""TIDE's kinds of errors: a worked scene, the definition on random scenes, and what kinds cost."""

from typing import Any

import numpy as np
import pytest
import torch

from focalkit.metrics import (
    ERROR_KINDS,
    coco_ap,
    error_kinds,
    iou_matrix,
    match_coco,
    operating_point,
    over_thresholds,
)


def scene(boxes: list[tuple[int, list[float]]], found: list[tuple[int, float, list[float]]]) -> tuple[dict, list]:
    """One image; boxes and detections as (category, xywh)."""
    truth = {
        "images": [{"id": 1, "width": 400, "height": 100}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [{"image_id": 1, "category_id": c, "bbox": box} for c, box in boxes],
    }
    return truth, [{"image_id": 1, "category_id": c, "score": s, "bbox": box} for c, s, box in found]


CAT, DOG, FAR = [0.0, 0.0, 40.0, 40.0], [100.0, 0.0, 40.0, 40.0], [300.0, 0.0, 40.0, 40.0]
HALF_DOG = [120.0, 0.0, 40.0, 40.0]  # IoU 1/3 with the dog


@pytest.mark.parametrize(
    ("kind", "label", "box"),
    [
        ("classification", 1, DOG),
        ("localisation", 2, HALF_DOG),
        ("both", 1, HALF_DOG),
        ("duplicate", 1, CAT),
        ("background", 1, FAR),
    ],
)
def test_each_kind_is_what_its_name_says(kind: str, label: int, box: list[float]):
    truth, found = scene([(1, CAT), (2, DOG)], [(1, 0.9, CAT), (label, 0.8, box)])
    ours = error_kinds(match_coco(truth, found))
    mended = kind in ("classification", "localisation")  # these point at the dog, which is not missed then
    assert ours.counts == {name: int(name == kind or (name == "missed" and not mended)) for name in ERROR_KINDS}
    assert ours.per_class[kind][label - 1] == 1
    assert ours.average_precision == pytest.approx(0.5)
    assert ours.costs[kind] == pytest.approx(0.5 if mended else 0.0)


def test_false_positives_above_right_detections_cost_and_others_do_not():
    truth, found = scene([(1, CAT)], [(1, 0.5, CAT), (1, 0.9, FAR)])
    ours = error_kinds(match_coco(truth, found))
    assert ours.average_precision == pytest.approx(0.5)
    assert ours.costs["background"] == pytest.approx(0.5)
    assert error_kinds(match_coco(truth, found), 0.95).counts == dict.fromkeys(ERROR_KINDS, 0) | {"missed": 1}
    assert error_kinds(match_coco(truth, found), [0.4, 0.4]).counts["background"] == 1


def test_of_two_errors_at_one_box_the_better_scored_is_mended():
    truth, found = scene([(1, CAT), (2, DOG)], [(2, 0.9, HALF_DOG), (2, 0.8, [80.0, 0.0, 40.0, 40.0]), (1, 0.9, CAT)])
    ours = error_kinds(match_coco(truth, found))
    assert ours.counts["localisation"] == 2
    assert ours.costs["localisation"] == pytest.approx(0.5)  # up to 1: the second vanishes


def test_one_box_is_mended_once_by_the_surest_detection_wrong_about_it():
    # the surest is wrong in place, so mending classes only takes the other one away, as in the authors' code
    truth, found = scene([(1, DOG)], [(1, 0.9, HALF_DOG), (2, 0.8, DOG)])
    ours = error_kinds(match_coco(truth, found))
    assert (ours.counts["localisation"], ours.counts["classification"]) == (1, 1)
    assert (ours.costs["localisation"], ours.costs["classification"]) == (pytest.approx(1.0), 0)


def random_scene(seed: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    rng = np.random.default_rng(seed)
    truth: dict[str, Any] = {
        "images": [{"id": i} for i in range(30)],
        "categories": [{"id": c, "name": str(c)} for c in range(4)],
        "annotations": [],
    }
    found = []
    for image in range(30):
        for _ in range(rng.integers(0, 5)):
            box, label = [*(rng.random(2) * 100), *(rng.random(2) * 40 + 10)], int(rng.integers(3))
            entry = {"image_id": image, "category_id": label, "bbox": [float(v) for v in box]}
            truth["annotations"].append({**entry, "iscrowd": int(rng.random() < 0.1)})
            for _ in range(rng.integers(0, 4)):
                near = np.maximum(np.array(box) + rng.normal(size=4) * 8, 2)
                label = label if rng.random() < 0.7 else int(rng.integers(4))
                entry = {"image_id": image, "category_id": label, "score": float(rng.random())}
                found.append({**entry, "bbox": near.tolist()})
    return truth, found


@pytest.mark.parametrize("seed", range(3))
def test_kinds_are_their_definition_and_each_wrong_detection_has_one(seed: int):
    truth, found = random_scene(seed)
    rows = match_coco(truth, found)
    ours, wanted, pointed = error_kinds(rows), dict.fromkeys(ERROR_KINDS, 0), set()
    for row in (~rows.correct & ~rows.ignored).nonzero()[:, 0].tolist():
        boxes = (rows.truth_images == rows.images[row]).nonzero()[:, 0].tolist()
        overlap = iou_matrix(rows.boxes[row : row + 1], rows.truth_boxes[boxes])[0].tolist()
        label, labels = int(rows.labels[row]), rows.truth_labels[boxes].tolist()
        pairs = [(o, b, other == label) for o, b, other in zip(overlap, boxes, labels, strict=True)]
        own, at = max(((o, b) for o, b, same in pairs if same), default=(0, -1))
        other, other_at = max(((o, b) for o, b, same in pairs if not same), default=(0, -1))
        if 0.1 <= own < 0.5:
            kind = "localisation"
            pointed.add(at)
        elif other >= 0.5:
            kind = "classification"
            pointed.add(other_at)
        elif own >= 0.5:
            kind = "duplicate"
        else:
            kind = "background" if max(own, other) <= 0.1 else "both"
        wanted[kind] += 1
    found_boxes = set(rows.gt_index[rows.correct].tolist())
    wanted["missed"] = len(set(range(len(rows.truth_labels))) - found_boxes - pointed)
    assert ours.counts == wanted
    assert all(sum(ours.per_class[kind]) == count for kind, count in wanted.items())
    assert all(ours.costs[kind] == 0 for kind, count in wanted.items() if not count)


@pytest.mark.parametrize("seed", range(3))
def test_average_precision_is_coco_s(seed: int):
    truth, found = random_scene(seed)
    ours = error_kinds(match_coco(truth, found)).average_precision
    assert ours == pytest.approx(coco_ap(truth, found).metrics["AP50"], abs=1e-9)


def test_nothing_detected_and_nothing_there_have_defined_results():
    truth, found = scene([(1, CAT)], [])
    assert error_kinds(match_coco(truth, found)).counts["missed"] == 1
    truth, found = scene([], [(1, 0.9, CAT)])
    empty = error_kinds(match_coco(truth, found))
    assert empty.counts["background"] == 1
    assert empty.average_precision != empty.average_precision  # NaN
    with pytest.raises(ValueError, match="background_iou must be at least 0 and below"):
        error_kinds(match_coco(truth, found), background_iou=0.5)


def test_the_operating_point_counts_what_it_keeps():
    truth, found = random_scene(0)
    rows = match_coco(truth, found)
    cuts = [0.2, 0.5, 0.9, 0.0]
    ours = operating_point(rows, cuts)
    for c, row in enumerate(ours["classes"]):
        kept = (rows.labels == c) & (rows.scores >= cuts[c]) & ~rows.ignored
        assert row["true_positives"] == int((kept & rows.correct).sum())
        assert row["true_positives"] + row["false_positives"] == int(kept.sum())
        assert row["true_positives"] + row["missed"] == int((rows.truth_labels == c).sum())
    curve = over_thresholds(rows, 11)
    at = operating_point(rows, 0.3)["all"]
    assert all(curve[key][3] == at[key] for key in ("precision", "recall", "f1"))
    assert torch.tensor(curve["recall"]).diff().max() <= 0


def test_a_class_that_is_never_found_costs_its_share_of_ap():
    truth, results = scene([(1, CAT), (2, DOG)], [(1, 0.9, CAT)])
    costs = error_kinds(match_coco(truth, results)).costs
    assert costs["missed"] == pytest.approx(0.5, abs=0.01)
