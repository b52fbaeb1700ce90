import pytest
import torch

from focalkit.detection.models.detr.denoising import ContrastiveDenoising
from focalkit.detection.types import IGNORE

from .conftest import SIZE, K, truths

COUNTS = (3, 1, 0)


@pytest.fixture
def made():
    torch.manual_seed(0)
    ours, theirs = truths(COUNTS)
    return ContrastiveDenoising(queries=9)(ours, SIZE, K), ours, theirs


def test_a_group_has_two_queries_for_each_box_of_the_fullest_image(made):
    noised, _, _ = made
    assert noised.labels.shape == (3, 3 * 2 * 3)  # 9 queries // 3 boxes = 3 groups
    assert ContrastiveDenoising(queries=1)(made[1], SIZE, K).labels.shape == (3, 6)


def test_the_near_half_of_a_group_is_to_be_mended_and_the_far_half_background(made):
    noised, ours, _ = made
    for assignment, target in zip(noised.assignments, ours, strict=True):
        m = len(target.labels)
        near = torch.cat([torch.arange(m), torch.full((3 - m,), -1)])
        assert assignment.gt_index.tolist() == [*near.tolist(), -1, -1, -1] * 3
        matched = assignment.gt_index >= 0
        assert torch.equal(assignment.labels[matched], target.labels[assignment.gt_index[matched]])
        assert (assignment.labels[~matched] == -1).all()


def test_near_queries_move_by_less_than_half_a_box_and_far_ones_by_up_to_a_whole():
    torch.manual_seed(0)
    ours, theirs = truths([1], seed=3)
    noised = ContrastiveDenoising(queries=2000)(ours, SIZE, K)
    centre, size = theirs[0]["boxes"][0].split(2)
    true = torch.cat([centre - size / 2, centre + size / 2])
    boxes = noised.boxes[0].sigmoid()
    low_high = torch.cat([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], dim=1)
    inside = (low_high > 1e-3) & (low_high < 1 - 1e-3)  # others were cut at the image's edge
    inside &= (boxes[:, 2:] > 1e-3).repeat(1, 2)  # or their sides have crossed
    moved = ((low_high - true) / torch.cat([size, size]) * 2).abs()
    near, far = moved.view(-1, 2, 4).unbind(1)
    near_in, far_in = inside.view(-1, 2, 4).unbind(1)
    assert near[near_in].max() <= 1.001
    assert near[near_in].mean() == pytest.approx(0.5, abs=0.03)
    assert far[far_in].min() >= 0.999
    assert far[far_in].max() <= 2.001


def test_so_many_labels_are_drawn_anew():
    torch.manual_seed(0)
    ours, _ = truths([1])
    noised = ContrastiveDenoising(queries=2000, label_noise=0.5)(ours, SIZE, K)
    changed = (noised.labels[0] != ours[0].labels).float().mean()
    assert float(changed) == pytest.approx(0.25 * (K - 1) / K, abs=0.03)  # one in K draws is the same class
    assert torch.equal(ContrastiveDenoising(20, 0.0)(ours, SIZE, K).labels[0].unique(), ours[0].labels)


def test_groups_do_not_see_each_other(made):
    hidden = made[0].hidden
    group = torch.arange(18) // 6
    assert torch.equal(hidden, group[:, None] != group[None])


def test_rows_without_a_box_have_the_class_of_nothing(made):
    noised, _, _ = made
    assert (noised.labels[2] == K).all()
    assert (noised.labels[1].view(3, 2, 3)[:, :, 1:] == K).all()


def test_a_batch_without_boxes_has_queries_that_do_not_count():
    ours, _ = truths([0, 0])
    noised = ContrastiveDenoising(queries=9)(ours, SIZE, K)
    assert noised.labels.shape == (2, 18)
    assert all((a.labels == IGNORE).all() for a in noised.assignments)
