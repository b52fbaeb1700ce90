"""Photographs, and networks of other libraries with random weights and living activations."""

import pytest
import torch

from focalkit.detection import read_image


@pytest.fixture(autouse=True, scope="package")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="package")
def photographs(shared):
    """Three photographs of odd and different sizes, uint8 (3, h, w)."""
    files = sorted((shared / "data/coco_permissive158/val2017").glob("*.jpg"))[:3]
    cuts = ((479, 640), (640, 411), (333, 500))
    return [read_image(file)[:, :h, :w].contiguous() for file, (h, w) in zip(files, cuts, strict=True)]


@pytest.fixture(scope="package")
def assert_same_detections():
    """Boxes to .01 px, scores to 1e-5, labels, and the order."""
    return _assert_same


def _assert_same(ours, boxes, scores, labels):
    assert len(ours) == len(scores) > 20
    torch.testing.assert_close(ours.scores, scores, rtol=0, atol=1e-5)
    # where two scores differ by less than both may be wrong, either order is right, and so is either of two at the cut
    near = 2e-5
    same = (ours.labels[:, None] == labels) & ((ours.boxes[:, None] - boxes).abs().amax(2) <= 0.01)
    same &= (ours.scores[:, None] - scores).abs() <= near
    lost = ~same.any(1)
    assert (ours.scores[lost] - ours.scores[-1] <= near).all()
    assert int(lost.sum()) <= 1
    moved = ~same.diagonal() & ~lost
    assert moved.float().mean() < 0.05
    for i in moved.nonzero()[:, 0].tolist():
        place = int(same[i].nonzero()[0])
        between = scores[min(i, place) : max(i, place) + 1]
        assert between.max() - between.min() <= near
