"""Numbers against their plain definition, on inputs with ties, empty bins and edges that nobody would think of."""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import box_iou

from focalkit.detection.boxes.quality import iou
from focalkit.metrics import expected_calibration_error

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


@FEW
@given(boxes(6), boxes(6))
def test_the_overlap_of_boxes_is_torchvisions(ones, others):
    a, b = torch.tensor(ones, dtype=torch.float64), torch.tensor(others, dtype=torch.float64)
    expected = box_iou(a, b).nan_to_num(0.0)  # of two boxes without area torchvision makes 0 / 0
    torch.testing.assert_close(iou(a[:, None], b), expected, atol=1e-12, rtol=0)
