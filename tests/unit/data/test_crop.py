"""Cropping: which boxes stay, which become regions to ignore."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from focalkit.config import AugmentConfig
from focalkit.data.transforms import Sample, augment, crop, flip, random_crop


def sample(boxes: list[list[float]], ignore: list[list[float]], height: int = 40, width: int = 50) -> Sample:
    picture = torch.arange(3 * height * width).remainder(251).to(torch.uint8).view(3, height, width)
    as_boxes = [torch.tensor(b, dtype=torch.float32).reshape(-1, 4) for b in (boxes, ignore)]
    return Sample(picture, as_boxes[0], torch.arange(len(boxes)), as_boxes[1])


def test_a_box_whose_centre_is_cut_off_becomes_a_region_to_ignore() -> None:
    cut = crop(sample([[0, 0, 10, 10], [4, 4, 20, 20], [30, 30, 40, 40]], [[0, 0, 12, 12]]), 8, 8, 20, 20)
    assert cut.boxes.tolist() == [[0, 0, 12, 12]]
    assert cut.labels.tolist() == [1]
    assert cut.ignore_boxes.tolist() == [[0, 0, 4, 4], [0, 0, 2, 2]]


def test_a_crop_is_the_window_of_the_picture() -> None:
    whole = sample([], [])
    assert torch.equal(crop(whole, 3, 7, 11, 13).image, whole.image[:, 3:14, 7:20])


def test_what_is_left_below_a_pixel_is_removed() -> None:
    cut = crop(sample([[10, 10, 20, 20]], [[0, 0, 10.5, 30]]), 0, 10, 30, 30)
    assert len(cut.boxes) == 1
    assert len(cut.ignore_boxes) == 0


def test_flipping_twice_changes_nothing() -> None:
    whole = sample([[1, 2, 11, 12]], [[30, 0, 40, 10]])
    assert flip(whole).boxes.tolist() == [[39, 2, 49, 12]]
    assert flip(whole).ignore_boxes.tolist() == [[10, 0, 20, 10]]
    again = flip(flip(whole))
    assert torch.equal(again.image, whole.image)
    assert torch.equal(again.boxes, whole.boxes)


side = st.integers(min_value=2, max_value=60)
edge = st.floats(min_value=0, max_value=1, width=32)
corner = st.tuples(edge, edge, edge, edge)


@settings(max_examples=200, deadline=None)
@given(
    height=side,
    width=side,
    corners=st.lists(corner, max_size=4),
    parts=st.tuples(st.floats(0.5, 1), st.floats(0.5, 1)),
    seed=st.integers(0, 99),
)
def test_a_random_crop_keeps_a_box_centre_where_there_is_one(
    height: int,
    width: int,
    corners: list[tuple[float, float, float, float]],
    parts: tuple[float, float],
    seed: int,
) -> None:
    boxes = [[min(a, c) * width, min(b, d) * height, max(a, c) * width, max(b, d) * height] for a, b, c, d in corners]
    boxes = [b for b in boxes if b[2] - b[0] >= 2 and b[3] - b[1] >= 2]
    cut = random_crop(sample(boxes, [], height, width), parts, torch.Generator().manual_seed(seed))
    assert bool(len(cut.boxes)) == bool(boxes)
    assert cut.size == (int(height * parts[0]), int(width * parts[1]))
    assert (cut.boxes[:, 2:] <= torch.tensor([cut.size[1], cut.size[0]])).all()


@given(st.floats(0.5, 2), st.integers(0, 99))
def test_a_larger_scale_shows_a_part_and_costs_no_more(scale: float, seed: int) -> None:
    config = AugmentConfig(flip=0, scale=(scale, scale))
    whole = sample([[10, 10, 50, 40]], [], 60, 90)
    seen = augment(whole, config, 120, 180, torch.Generator().manual_seed(seed))
    assert seen.size[0] <= 121
    assert seen.size[1] <= 181
    sides = seen.boxes[0, 2:] - seen.boxes[0, :2]
    assert (sides <= torch.tensor([80.0, 60.0]) * scale + 1.5).all()
    if scale <= 1:
        assert torch.allclose(sides, torch.tensor([80.0, 60.0]) * scale, atol=1.5)
