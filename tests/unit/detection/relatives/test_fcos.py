import math

import pytest
import torch

from focalkit.detection import DetectionTarget
from focalkit.detection.boxes.points import PointGrid
from focalkit.detection.matching import fcos
from focalkit.detection.matching.fcos import PointAssigner

BACKGROUND, IGNORE = -1, -100


def target(boxes, labels=None, ignore=()):
    boxes = torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    labels = torch.arange(len(boxes)) if labels is None else torch.as_tensor(labels)
    return DetectionTarget(boxes, labels, torch.as_tensor(ignore, dtype=torch.float32).reshape(-1, 4))


def levels_of(size, strides=(8, 16, 32)):
    return PointGrid(strides)([(math.ceil(size / s), math.ceil(size / s)) for s in strides])


def plain(levels, truth, rule):
    """The paper's rule, one point and one box at a time."""
    bounds = [0.0, *rule.limits, math.inf]
    found = []
    for level, cells in enumerate(levels):
        for a, b, c, d in cells.tolist():
            x, y, stride = (a + c) / 2, (b + d) / 2, c - a
            wanting = []
            for g, (x0, y0, x1, y1) in enumerate(truth.boxes.tolist()):
                sides = (x - x0, y - y0, x1 - x, y1 - y)
                near = rule.radius is None or max(abs(x - (x0 + x1) / 2), abs(y - (y0 + y1) / 2)) < rule.radius * stride
                if min(sides) > 0 and near and bounds[level] <= max(sides) <= bounds[level + 1]:
                    wanting.append(((x1 - x0) * (y1 - y0), g))
            found.append(min(wanting)[1] if wanting else -1)
    return found


def random_boxes(m, size, seed):
    generator = torch.Generator().manual_seed(seed)
    sides = torch.exp(torch.rand(m, 2, generator=generator) * 3.5 + 1.5).round()
    corner = (torch.rand(m, 2, generator=generator) * (size - sides).clamp(min=1)).round()
    return torch.cat([corner, corner + sides], dim=1)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("radius", [1.5, None])
def test_it_is_the_papers_rule(seed, radius, monkeypatch):
    monkeypatch.setattr(fcos, "BLOCK", 3000)  # a few boxes at a time
    levels, truth = levels_of(128), target(random_boxes(20, 128, seed))
    rule = PointAssigner(limits=(32.0, 64.0), radius=radius)
    got = rule(levels, truth)
    assert got.gt_index.tolist() == plain(levels, truth, rule)
    assert (got.gt_index >= 0).sum() > 20
    assert torch.equal(got.labels, torch.where(got.gt_index >= 0, got.gt_index, BACKGROUND))


def test_a_worked_example():
    # points at 4, 12, 20, ...; box [0, 24]: points 4, 12, 20 in it, of which 12 is within half a stride of the middle
    levels = PointGrid((8,))([(1, 4)])
    box = target([[0, 0, 24, 8]], labels=[5])
    assert PointAssigner((), radius=None)(levels, box).labels.tolist() == [5, 5, 5, BACKGROUND]
    assert PointAssigner((), radius=0.5)(levels, box).labels.tolist() == [BACKGROUND, 5, BACKGROUND, BACKGROUND]


def test_the_smaller_box_wins_and_of_equal_ones_the_first():
    levels = PointGrid((8,))([(2, 2)])
    nested = target([[0, 0, 16, 16], [0, 0, 8, 8]])
    assert PointAssigner((), None)(levels, nested).gt_index.tolist() == [1, 0, 0, 0]
    for block in (1, 2**19):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fcos, "BLOCK", block)
            assert PointAssigner((), None)(levels, target([[0, 0, 16, 16]] * 3)).gt_index.tolist() == [0] * 4


def test_boxes_go_to_the_level_of_their_size():
    rule = PointAssigner()
    levels = PointGrid()([(math.ceil(1024 / s),) * 2 for s in (8, 16, 32, 64, 128)])
    starts = torch.tensor([len(level) for level in levels]).cumsum(0)
    for expected, side in enumerate((60, 180, 400, 800, 1024)):
        at = 512 - side / 2
        got = rule(levels, target([[at, at, at + side, at + side]]))
        rows = (got.labels >= 0).nonzero().squeeze(1)
        assert set(torch.bucketize(rows, starts, right=True).tolist()) == {expected}


def test_points_in_a_crowd_are_ignored_unless_positive():
    levels = PointGrid((8,))([(1, 4)])
    got = PointAssigner((), None)(levels, target([[0, 0, 8, 8]], labels=[2], ignore=[[0, 0, 16, 8]]))
    assert got.labels.tolist() == [2, IGNORE, BACKGROUND, BACKGROUND]


def test_no_boxes_and_no_points():
    levels = levels_of(64)
    rule = PointAssigner((32.0, 64.0))
    for boxes in ([], [[20, 20, 20, 20]], [[900, 900, 950, 950]]):
        assert (rule(levels, target(boxes)).labels == BACKGROUND).all()
    assert PointAssigner(())([torch.zeros(0, 4)], target([[0, 0, 9, 9]])).labels.shape == (0,)


def test_off_the_cpu_nothing_is_read_back():
    levels = [level.to("meta") for level in levels_of(64)]
    got = PointAssigner((32.0, 64.0))(levels, target([[0, 0, 9, 9]], ignore=[[0, 0, 4, 4]]).to("meta"))
    assert got.labels.device.type == "meta"


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="grow from level to level"):
        PointAssigner((64.0, 32.0))
    with pytest.raises(ValueError, match="radius counts strides"):
        PointAssigner(radius=0.0)
    with pytest.raises(ValueError, match="expected 5 levels, one more than limits, got 3"):
        PointAssigner()(levels_of(64), target([]))
    with pytest.raises(ValueError, match="1 boxes but 2 labels"):
        PointAssigner((32.0, 64.0))(levels_of(64), target([[0, 0, 9, 9]], labels=[0, 1]))
