"""AP by other rules than COCO's: the same numbers where the rules agree, worked examples where they do not."""

import pytest

from focalkit.errors import InputError
from focalkit.metrics import ApRule, ap_by_rule, coco_ap

TRUTH = {
    "images": [{"id": 1}],
    "categories": [{"id": 3, "name": "cat"}],
    "annotations": [
        {"image_id": 1, "category_id": 3, "bbox": [0, 0, 50, 50]},
        {"image_id": 1, "category_id": 3, "bbox": [100, 100, 10, 10]},
    ],
}
FOUND = [
    {"image_id": 1, "category_id": 3, "bbox": [0, 0, 50, 20], "score": 0.9},  # IoU .4
    {"image_id": 1, "category_id": 3, "bbox": [100, 100, 10, 10], "score": 0.8},
]


def test_cocos_own_rule_gives_cocos_numbers():
    found = ap_by_rule(TRUTH, FOUND, ApRule(sides=(32, 96)))
    metrics = coco_ap(TRUTH, FOUND).metrics
    rows = {row["size"]: row for row in found["sizes"]}
    assert [rows[name]["AP"] for name in ("all", "0-32 px", "32-96 px", "from 96 px")] == [
        metrics[name] for name in ("AP", "APs", "APm", "APl")
    ]
    assert [rows[name]["AR"] for name in rows] == [metrics[name] for name in ("AR100", "ARs", "ARm", "ARl")]
    assert rows["all"]["AP_at"][0] == metrics["AP50"]


def test_lower_overlaps_count_where_they_are_asked_for():
    (row,) = ap_by_rule(TRUTH, FOUND, ApRule(ious=(0.3, 0.5)))["sizes"]
    # at .3 both are right; at .5 the first is wrong, so precision is 1/2 up to the recall of 1/2: 51 of 101 places
    assert row["AP_at"] == pytest.approx([1, 0.5 * 51 / 101])
    assert row["AP"] == pytest.approx((1 + 0.5 * 51 / 101) / 2)
    assert row["AR"] == pytest.approx(0.75)


def test_more_than_100_objects_in_a_picture_are_all_counted_by_a_limit_of_ones_own():
    boxes = [[20 * (i % 20), 20 * (i // 20), 10, 10] for i in range(150)]
    truth = {**TRUTH, "annotations": [{"image_id": 1, "category_id": 3, "bbox": box} for box in boxes]}
    found = [{"image_id": 1, "category_id": 3, "bbox": box, "score": 0.5} for box in boxes]
    (at_100,), (at_150,) = (ap_by_rule(truth, found, ApRule(most))["sizes"] for most in (100, 150))
    assert (at_100["AP"], at_100["AR"]) == pytest.approx((67 / 101, 100 / 150))
    assert [coco_ap(truth, found).metrics[name] for name in ("AP", "AR100")] == [at_100["AP"], at_100["AR"]]
    assert (at_150["AP"], at_150["AR"], at_150["count"]) == (1, 1, 150)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"max_detections": 0}, "at least 1"),
        ({"ious": (0.5, 0.3)}, "ascend, got 0.5, 0.3"),
        ({"ious": ()}, "got none"),
        ({"ious": (1.5,)}, r"\(0, 1\]"),
        ({"sides": (-1.0,)}, "above 0 px"),
    ],
)
def test_a_rule_that_means_nothing_is_refused(rule, message):
    with pytest.raises(InputError, match=message):
        ApRule(**rule)
