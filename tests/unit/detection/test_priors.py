import math

import pytest
import torch
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from focalkit.detection import AnchorGrid

SHAPES_800_1344 = [(100, 168), (50, 84), (25, 42), (13, 21), (7, 11)]


def test_rounded_they_are_torchvisions_where_its_strides_are_whole():
    # torchvision divides the image by the map for its strides, which is right at multiples of 128, and rounds anchors
    shapes = [(32 // 2**i, 48 // 2**i) for i in range(5)]
    grid = AnchorGrid()
    theirs = AnchorGenerator(
        sizes=tuple(tuple(size * scale for scale in grid.scales) for size in grid.sizes),
        aspect_ratios=(grid.ratios,) * 5,
    )
    maps = [torch.zeros(1, 1, h, w) for h, w in shapes]
    expected = theirs(ImageList(torch.zeros(1, 3, 256, 384), [(256, 384)]), maps)[0]
    assert torch.equal(torch.cat(grid(shapes)).round(), expected)


def test_there_are_201600_of_them_at_800_by_1344():
    assert sum(len(level) for level in AnchorGrid()(SHAPES_800_1344)) == 201_600


def test_areas_and_ratios_are_exact():
    grid = AnchorGrid()
    for size, level in zip(grid.sizes, grid([(1, 1)] * 5), strict=True):
        w, h = (level[:, 2:] - level[:, :2]).unbind(1)
        areas = torch.tensor([(size * s) ** 2 for s in grid.scales]).repeat(3)  # ratio outside, scale inside
        torch.testing.assert_close(w * h, areas)
        torch.testing.assert_close(h / w, torch.tensor([0.5, 1.0, 2.0]).repeat_interleave(3))


def test_they_span_32_to_813_pixels():
    levels = AnchorGrid()([(1, 1)] * 5)
    sides = [math.sqrt(float((b[2] - b[0]) * (b[3] - b[1]))) for level in (levels[0], levels[-1]) for b in level]
    assert min(sides) == pytest.approx(32)
    assert max(sides) == pytest.approx(813, abs=0.5)


def test_order_is_row_then_column_then_anchor():
    level = AnchorGrid(sizes=(16.0,), scales=(1.0,), ratios=(1.0, 2.0), strides=(8,))([(2, 3)])[0]
    centres = (level[:, :2] + level[:, 2:]) / 2
    assert centres[::2].tolist() == [[0, 0], [8, 0], [16, 0], [0, 8], [8, 8], [16, 8]]
    assert torch.equal(centres[::2], centres[1::2])


def test_a_place_does_not_depend_on_the_size_of_the_map():
    small, large = AnchorGrid()([(2, 2)] * 5)[4], AnchorGrid()([(7, 11)] * 5)[4]
    assert torch.equal(small[:18], large[:18])


def test_offset_moves_by_a_share_of_the_stride():
    level = AnchorGrid(sizes=(8.0,), scales=(1.0,), ratios=(1.0,), strides=(8,), offset=0.5)([(1, 1)])[0]
    assert level.tolist() == [[0.0, 0.0, 8.0, 8.0]]


def test_the_same_sizes_give_the_same_tensors():
    shapes = [(3, 5)] * 5
    assert AnchorGrid()(shapes)[0] is AnchorGrid()(shapes)[0]
    assert AnchorGrid()(shapes)[0] is not AnchorGrid(sizes=(16.0, 32.0, 64.0, 128.0, 256.0))(shapes)[0]


def test_made_under_inference_mode_they_serve_in_training():
    with torch.inference_mode():
        level = AnchorGrid()([(9, 3)] * 5)[0]
    assert not level.is_inference()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sizes": (32.0, 64.0)}, "one anchor size per level"),
        ({"scales": ()}, "scales"),
        ({"ratios": (1.0, -1.0)}, "ratios"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        AnchorGrid(**arguments)


def test_a_missing_level_is_refused():
    with pytest.raises(ValueError, match="expected 5 feature maps"):
        AnchorGrid()([(1, 1)] * 4)
