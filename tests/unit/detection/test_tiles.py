"""Tiled prediction with a network whose answers are known."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from focalkit.calibration import AppliedCalibration, DetectionCalibration
from focalkit.detection import AugmentedDetector, DenseOutputs, Detector, TiledDetector
from focalkit.detection.inference.tiles import cut
from focalkit.images.draw import to_pil

SIDE = 64


class Squares(nn.Module):
    """One prior per pixel, which finds the bright rectangle whose upper left corner the pixel is.

    A rectangle that a tile cuts is found as the part that is inside: what a real detector does with half an object.
    """

    num_classes = 1

    def __init__(self):
        super().__init__()
        self.register_buffer("pixel_mean", torch.zeros(3))
        self.weight = nn.Parameter(torch.zeros(1))
        self.shapes = []

    def forward(self, images):
        self.shapes.append(tuple(images.shape))
        lit = images[:, 0] > 0.5  # (b, h, w)
        h, w = lit.shape[1:]
        padded = nn.functional.pad(lit, (1, 0, 1, 0))
        corner = lit & ~padded[:, :-1, 1:] & ~padded[:, 1:, :-1]
        widths, heights = _run(lit, 2), _run(lit, 1)
        y, x = torch.meshgrid(torch.arange(h).float(), torch.arange(w).float(), indexing="ij")
        priors = torch.stack([x - 16, y - 16, x + 16, y + 16], -1).view(-1, 4)
        size = torch.stack([widths, heights], 1).clamp(min=1) / 32
        deltas = torch.cat([size / 2, size.log()], 1)
        return DenseOutputs((torch.where(corner, 4.0, -9.0)[:, None],), (deltas,), (priors,), 1)


def _run(lit, axis):
    """Number of lit pixels from each pixel on, up to the first dark one."""
    total = torch.zeros_like(lit, dtype=torch.long)
    run = torch.zeros_like(lit.select(axis, 0), dtype=torch.long)
    for i in reversed(range(lit.shape[axis])):
        run = (run + 1) * lit.select(axis, i)
        total.select(axis, i).copy_(run)
    return total


def squares(**more):
    return Detector(Squares(), min_size=SIDE, max_size=4096, **more)


def picture(h, w, rectangles):
    image = np.zeros((h, w, 3), np.uint8)
    for x0, y0, x1, y1 in rectangles:
        image[y0:y1, x0:x1] = 255
    return image


def boxes(found):
    return sorted([round(v) for v in box] for box in found.boxes.tolist())


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 400), st.integers(1, 400), st.integers(1, 130), st.floats(0, 0.9))
def test_tiles_cover_the_image_are_of_one_size_and_overlap(height, width, size, overlap):
    tiles = cut(height, width, size, overlap)
    for low, high, length in ((1, 3, height), (0, 2, width)):
        spans = sorted({(tile[low], tile[high]) for tile in tiles})
        assert spans[0][0] == 0
        assert spans[-1][1] == length
        assert {b - a for a, b in spans} == {min(size, length)}
        for (_, end), (start, _) in pairwise(spans):
            assert end - start >= min(overlap * size, size - 1) - 0.5
    assert len(set(tiles)) == len(tiles)


@pytest.mark.parametrize("x", range(30, 66))
def test_a_small_object_is_found_once_wherever_the_borders_are(x):
    # tiles of 64 px that overlap by 32: objects below 24 px lie whole in one of them
    rectangles = [(x, 20, x + 12, 30), (x + 20, 70, x + 41, 91)]
    tiled = TiledDetector(squares(), size=SIDE, overlap=0.5, whole=False)
    (found,) = tiled.predict(picture(150, 150, rectangles))
    assert boxes(found) == sorted([list(r) for r in rectangles])


def test_a_large_object_is_found_on_the_whole_image_and_its_parts_are_not():
    large = (10, 10, 130, 70)
    image = picture(150, 150, [large])
    tiled = TiledDetector(Detector(Squares(), min_size=150, max_size=150), size=SIDE, overlap=0.5)
    (found,) = tiled.predict(image)
    assert boxes(found) == [list(large)]
    (found,) = TiledDetector(squares(), size=SIDE, overlap=0.5, whole=False).predict(image)
    assert boxes(found) == []


def test_an_image_no_larger_than_a_tile_is_not_cut():
    images = [picture(64, 60, [(3, 5, 20, 30)]), picture(40, 64, [(40, 8, 60, 39), (2, 2, 5, 5)])]
    plain, tiled = squares(), TiledDetector(squares(), size=SIDE)
    for found, expected in zip(tiled.predict(images), plain.predict(images), strict=True):
        assert torch.equal(found.boxes, expected.boxes)
        assert torch.equal(found.scores, expected.scores)
    assert len(tiled.detector.model.shapes) == 2


def test_more_objects_than_the_detectors_limit_are_found():
    rectangles = [(x, y, x + 4, y + 4) for y in range(4, 190, 12) for x in range(4, 190, 12)]
    assert len(rectangles) > 100
    # the whole image is seen at a third of its size: what is small comes from the tiles
    (found,) = TiledDetector(squares(), size=SIDE, overlap=0.25).predict(picture(200, 200, rectangles))
    assert boxes(found) == sorted([list(r) for r in rectangles])


def test_objects_at_the_edge_of_the_image_are_not_taken_for_cut_ones():
    rectangles = [(0, 0, 10, 10), (140, 0, 150, 10), (0, 140, 10, 150), (140, 140, 150, 150)]
    (found,) = TiledDetector(squares(), size=SIDE, overlap=0.5, whole=False).predict(picture(150, 150, rectangles))
    assert boxes(found) == sorted([list(r) for r in rectangles])


def test_progress_is_told_of_every_tile():
    seen = []

    def progress(found, total):
        for one in found:
            seen.append(total)
            yield one

    image = picture(64, 160, [(70, 8, 80, 18)])
    (found,) = TiledDetector(squares(), size=SIDE, overlap=0.5, progress=progress).predict(image)
    assert seen == [4] * 4
    assert boxes(found) == [[70, 8, 80, 18]]


def test_tiles_can_be_looked_at_several_times():
    image = picture(64, 160, [(70, 8, 80, 18)])
    twice = TiledDetector(AugmentedDetector(squares(), scales=(1.0,)), size=SIDE, overlap=0.5)
    (found,) = twice.predict(image)
    assert boxes(found) == [[70, 8, 80, 18]]


@pytest.mark.parametrize(("size", "overlap"), [(0, 0.2), (640, -0.1), (640, 0.95)])
def test_impossible_tiles_are_refused(size, overlap):
    with pytest.raises(ValueError, match=r"pixel a side|share of the tile"):
        TiledDetector(squares(), size=size, overlap=overlap)


def test_a_calibration_by_place_in_the_image_is_refused():
    scores, labels, where = torch.rand(400), torch.zeros(400, dtype=torch.int64), torch.rand(400, 4)
    by_place = DetectionCalibration("box").fit(scores, labels, torch.rand(400) < scores, where)
    detector = squares()
    detector.calibration = AppliedCalibration(by_place)
    for inner in (detector, AugmentedDetector(detector)):
        with pytest.raises(ValueError, match='the calibration "box" goes by places in the whole image'):
            TiledDetector(inner, size=SIDE)


def test_files_are_known_in_what_was_found_as_the_detectors_own(tmp_path):
    to_pil(picture(64, 160, [(70, 8, 80, 18)])).save(tmp_path / "a.png")
    for detector in (TiledDetector(squares(), size=SIDE), AugmentedDetector(squares(), scales=(1.0,))):
        assert detector.predict(tmp_path / "a.png")[0].source == tmp_path / "a.png"
