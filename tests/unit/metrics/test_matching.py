"""The greedy match against worked examples and pycocotools' own verdicts."""

import pytest
import torch
from torch import tensor

from focalkit.metrics import best_f1_threshold, iou_matrix, match_detections

A, B = [0.0, 0.0, 10.0, 10.0], [20.0, 0.0, 30.0, 10.0]


def match(boxes, scores, labels, truth, truth_labels, **more):
    return match_detections(
        tensor(boxes).view(-1, 4),
        tensor(scores),
        tensor(labels, dtype=torch.int64),
        tensor(truth).view(-1, 4),
        tensor(truth_labels, dtype=torch.int64),
        **more,
    )


def test_iou_of_worked_pairs():
    half = [0.0, 0.0, 10.0, 5.0]
    point = [3.0, 3.0, 3.0, 3.0]
    assert iou_matrix(tensor([A, half, point]), tensor([A, B, point])).tolist() == [[1, 0, 0], [0.5, 0, 0], [0, 0, 0]]


def test_a_box_is_found_once_and_by_the_surest():
    result = match([A, A, B], [0.5, 0.9, 0.1], [0, 0, 0], [A, B], [0, 0])
    assert result.correct.tolist() == [False, True, True]
    assert result.gt_index.tolist() == [-1, 0, 1]
    assert result.found.tolist() == [True, True]
    assert result.f1 == pytest.approx(4 / 5)


def test_the_class_must_agree():
    result = match([A], [0.9], [1], [A], [0])
    assert not result.correct.any()
    assert not result.found.any()
    assert result.f1 == 0


def test_the_threshold_itself_counts():
    half = [0.0, 0.0, 10.0, 5.0]
    assert match([half], [0.9], [0], [A], [0]).correct.all()
    assert not match([half], [0.9], [0], [A], [0], iou_threshold=0.51).correct.any()


def test_detections_in_a_crowd_are_neither_right_nor_wrong():
    crowd = {"crowd_boxes": tensor([[100.0, 0, 200, 100]]), "crowd_labels": tensor([0])}
    inside, across = [110.0, 10, 120, 20], [95.0, 0, 105, 10]
    result = match([inside, across, inside, A], [0.9] * 4, [0, 0, 1, 0], [A], [0], **crowd)
    assert result.ignored.tolist() == [True, True, False, False]
    assert result.correct.tolist() == [False, False, False, True]
    assert result.f1 == pytest.approx(2 / 3)
    crowd["crowd_labels"] = None
    assert match([inside], [0.9], [1], [A], [0], **crowd).ignored.all()


def test_nothing_to_find_and_nothing_said_is_right():
    assert match([], [], [], [], []).f1 == 1
    assert match([A], [0.9], [0], [], []).f1 == 0
    assert match([], [], [], [A], [0]).f1 == 0


def test_threshold_of_the_best_f1_in_a_worked_example():
    """Hits at .9 and .6, misses at .8 and .3, three boxes: F1 at .9 is 2/4, at .6 4/6, at .3 4/7."""
    first = match([A, B], [0.9, 0.8], [0, 0], [A], [0])
    second = match([A, B], [0.6, 0.3], [0, 0], [A, [50.0, 50, 60, 60]], [0, 0])
    threshold, f1 = best_f1_threshold([tensor([0.9, 0.8]), tensor([0.6, 0.3])], [first, second])
    assert threshold == pytest.approx(0.6)
    assert f1 == pytest.approx(4 / 6)


def test_equal_scores_stand_or_fall_together():
    one = match([A, B], [0.5, 0.5], [0, 0], [A], [0])
    assert best_f1_threshold([tensor([0.5, 0.5])], [one]) == (0.5, pytest.approx(2 / 3))


def test_no_threshold_helps_where_nothing_is_right():
    wrong = match([B], [0.5], [0], [A], [0])
    assert best_f1_threshold([tensor([0.5])], [wrong]) == (1.0, 0.0)
    assert best_f1_threshold([], []) == (1.0, 0.0)


@pytest.mark.parametrize("seed", range(3))
def test_verdicts_equal_pycocotools(seed):
    coco_module = pytest.importorskip("pycocotools.coco")
    from pycocotools.cocoeval import COCOeval

    generator = torch.Generator().manual_seed(seed)
    truth = torch.rand(8, 4, generator=generator) * 40
    truth[:, 2:] = truth[:, :2] + 10 + truth[:, 2:] / 2
    rows = torch.randint(0, 8, (40,), generator=generator)
    boxes = truth[rows] + torch.randn(40, 4, generator=generator) * 3
    boxes[:, 2:] = torch.maximum(boxes[:, 2:], boxes[:, :2] + 1)
    labels, truth_labels = torch.randint(0, 2, (40,), generator=generator), torch.arange(8) % 2
    scores = torch.rand(40, generator=generator)
    crowd = torch.tensor([True, True] + [False] * 6)

    def entry(box, label, **more):
        x0, y0, x1, y1 = box.double().tolist()
        area = (x1 - x0) * (y1 - y0)
        return {"image_id": 1, "category_id": int(label), "bbox": [x0, y0, x1 - x0, y1 - y0], "area": area, **more}

    gt = coco_module.COCO()
    gt.dataset = {
        "info": {},
        "images": [{"id": 1}],
        "categories": [{"id": 0}, {"id": 1}],
        "annotations": [
            entry(b, k, id=i + 1, iscrowd=int(c))
            for i, (b, k, c) in enumerate(zip(truth, truth_labels, crowd, strict=True))
        ],
    }
    gt.createIndex()
    found = [entry(b, k, score=float(s)) for b, k, s in zip(boxes, labels, scores, strict=True)]
    evaluator = COCOeval(gt, gt.loadRes(found), "bbox")
    evaluator.evaluate()
    verdicts = {}
    for result in evaluator.evalImgs:
        if result is not None and result["aRng"] == [0, 1e10]:
            for i, number in enumerate(result["dtIds"]):
                ignored = bool(result["dtIgnore"][0, i])
                verdicts[number] = (bool(result["dtMatches"][0, i] > 0) and not ignored, ignored)

    ours = match_detections(
        boxes,
        scores,
        labels,
        truth[~crowd],
        truth_labels[~crowd],
        crowd_boxes=truth[crowd],
        crowd_labels=truth_labels[crowd],
    )
    assert list(zip(ours.correct.tolist(), ours.ignored.tolist(), strict=True)) == [verdicts[i + 1] for i in range(40)]
    assert 0 < int(ours.correct.sum()) < 40
    assert ours.ignored.any()
