"""Numbers against their plain definition, on inputs with ties, empty bins and edges that nobody would think of."""

import contextlib
import copy
import io
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import box_iou, generalized_box_iou

from focalkit.detection import DeltaXYWH
from focalkit.detection.boxes.quality import generalised_iou, iou
from focalkit.metrics import (
    brier_decomposition,
    brier_score,
    classwise_calibration_error,
    coco_ap,
    expected_calibration_error,
    negative_log_likelihood,
)

FEW = settings(max_examples=60, deadline=None)
SCORES = st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0]) | st.floats(0, 1, width=32)
COORDINATE = st.sampled_from([0.0, 1.0, 2.0, 7.5]) | st.floats(0, 64, width=32)


@FEW
@given(st.lists(st.tuples(SCORES, st.integers(0, 1)), min_size=1, max_size=30), st.integers(1, 12))
def test_the_calibration_error_is_its_definition(rows, bins):
    scores = torch.tensor([s for s, _ in rows], dtype=torch.float64)
    labels = torch.tensor([y for _, y in rows])
    total = 0.0
    for i in range(bins):  # the first bin holds its lower edge too
        low, high = i / bins, (i + 1) / bins
        inside = [(s, y) for s, y in zip(scores.tolist(), labels.tolist(), strict=True)
                  if (s > low or i == 0) and s <= high]  # fmt: skip
        if inside:
            total += abs(sum(s for s, _ in inside) - sum(y for _, y in inside))
    found = expected_calibration_error(scores, labels, bins=bins)
    assert math.isclose(float(found), total / len(rows), abs_tol=1e-9)


def boxes(count: int):
    corner = st.tuples(COORDINATE, COORDINATE, COORDINATE, COORDINATE)
    return st.lists(corner.map(lambda c: (min(c[0], c[2]), min(c[1], c[3]), max(c[0], c[2]), max(c[1], c[3]))),
                    min_size=1, max_size=count)  # fmt: skip


ROWS = st.lists(st.tuples(st.lists(st.integers(0, 6), min_size=3, max_size=3).filter(any), st.integers(0, 2)),
                min_size=1, max_size=20)  # fmt: skip


@FEW
@given(ROWS, st.integers(1, 8))
def test_scores_of_probabilities_are_their_definitions(rows, bins):
    counts, labels = np.array([r for r, _ in rows], float), np.array([y for _, y in rows])
    p = counts / counts.sum(1, keepdims=True)
    truth = np.eye(3)[labels]
    assert brier_score(p, labels) == pytest.approx(((p - truth) ** 2).sum(1).mean(), abs=1e-9)
    parts = brier_decomposition(p, labels)
    total = parts.reliability - parts.resolution + parts.uncertainty + parts.within
    assert total == pytest.approx(parts.score, abs=1e-9)
    with np.errstate(divide="ignore"):
        assert negative_log_likelihood(p, labels) == pytest.approx(-np.log(p[range(len(p)), labels]).mean(), abs=1e-9)
    each = [expected_calibration_error(p[:, c], truth[:, c].astype(int), bins=bins) for c in range(3)]
    assert classwise_calibration_error(p, labels, bins=bins) == pytest.approx(np.mean(each), abs=1e-9)


CORNER = st.sampled_from([0, 1, 8, 16, 31, 32, 40])
SIDE = st.sampled_from([1, 8, 16, 31, 32, 33, 96, 97])
OBJECT = st.tuples(st.integers(0, 2), st.integers(0, 1), CORNER, CORNER, SIDE, SIDE)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(OBJECT, st.booleans()), min_size=1, max_size=6),
    st.lists(st.tuples(OBJECT, st.sampled_from([0.0, 0.25, 0.5, 0.5, 1.0])), min_size=1, max_size=8),
)
def test_the_average_precision_is_pycocotools(truth, found):
    """Ties of scores, boxes at the limits of the areas, crowds, classes without boxes, images without detections."""
    coco_module = pytest.importorskip("pycocotools.coco")
    from pycocotools.cocoeval import COCOeval

    def entry(one):
        image, category, x, y, w, h = one
        return {"image_id": image, "category_id": category + 1, "bbox": [x, y, w, h], "area": w * h}

    content = {
        "info": {},
        "images": [{"id": i, "width": 200, "height": 200} for i in range(3)],
        "categories": [{"id": k, "name": str(k)} for k in (1, 2, 3)],
        "annotations": [{**entry(o), "id": n, "iscrowd": int(c)} for n, (o, c) in enumerate(truth, 1)],
    }
    results = [{**entry(o), "score": score} for o, score in found]
    with contextlib.redirect_stdout(io.StringIO()):
        gt = coco_module.COCO()
        gt.dataset = copy.deepcopy(content)
        gt.createIndex()
        theirs = COCOeval(gt, gt.loadRes(copy.deepcopy(results)), "bbox")
        theirs.evaluate(), theirs.accumulate(), theirs.summarize()
    assert list(coco_ap(content, results).metrics.values()) == pytest.approx(list(theirs.stats), abs=1e-9)


@FEW
@given(boxes(6), boxes(6))
def test_the_generalised_overlap_is_torchvisions_where_it_is_defined(ones, others):
    a, b = torch.tensor(ones, dtype=torch.float64), torch.tensor(others, dtype=torch.float64)
    expected = generalized_box_iou(a, b)
    ours = generalised_iou(a[:, None], b)
    torch.testing.assert_close(
        torch.where(expected.isnan(), expected, ours), expected, atol=1e-12, rtol=0, equal_nan=True
    )
    assert ours.isfinite().all()
    assert (ours.abs() <= 1 + 1e-12).all()


@FEW
@given(boxes(6), boxes(6), st.booleans())
def test_a_box_comes_back_from_its_deltas(ones, others, bounded):
    a, b = torch.tensor(ones, dtype=torch.float64), torch.tensor(others, dtype=torch.float64)
    n, grown = min(len(a), len(b)), torch.tensor([0.0, 0.0, 1.0, 1.0], dtype=torch.float64)
    true, priors = a[:n] + 2 * grown, b[:n] + grown
    coder = DeltaXYWH(clamp_dwdh_min=bounded)
    ratio = (true[:, 2:] - true[:, :2]) / (priors[:, 2:] - priors[:, :2])
    within = ((ratio < 62) & (ratio > 1 / 62)).all(dim=1)  # beyond them the deltas are cut
    back = coder.decode(coder.encode(true, priors), priors)
    torch.testing.assert_close(back[within], true[within], atol=1e-9, rtol=1e-9)
    assert back.isfinite().all()


@FEW
@given(boxes(6), boxes(6))
def test_the_overlap_of_boxes_is_torchvisions(ones, others):
    a, b = torch.tensor(ones, dtype=torch.float64), torch.tensor(others, dtype=torch.float64)
    expected = box_iou(a, b).nan_to_num(0.0)  # of two boxes without area torchvision makes 0 / 0
    torch.testing.assert_close(iou(a[:, None], b), expected, atol=1e-12, rtol=0)
