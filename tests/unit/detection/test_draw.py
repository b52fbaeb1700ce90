"""Drawing: what is where, that it can be read, and that the input stays as it was."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from focalkit.detection.inference.detections import Detections
from focalkit.errors import InputError
from focalkit.images.draw import class_color, draw_detections, text_color


def pixels(image):
    return np.asarray(image).astype(int)


def contrast(a, b):
    def luminance(color):
        c = np.array(color) / 255
        return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]

    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_a_prediction_has_its_class_colour_on_all_four_sides():
    drawn = pixels(draw_detections(torch.full((3, 300, 400), 0.5), [[100, 120, 200, 220]], [2]))
    for x, y in ((150, 120), (150, 220), (100, 170), (200, 170)):
        assert tuple(drawn[y, x]) == class_color(2)
    assert tuple(drawn[170, 150]) == (128, 128, 128)


def test_the_truth_is_black_and_white_and_so_unlike_any_prediction():
    drawn = pixels(draw_detections(torch.full((3, 300, 400), 0.5), [], [], truth=([[100, 120, 200, 220]], [0])))
    edge = {tuple(p) for p in drawn[121:219, 100]}
    assert edge == {(0, 0, 0), (255, 255, 255)}
    assert all(len(set(class_color(k))) > 1 for k in range(100))


def test_lines_and_letters_grow_with_the_image():
    def changed(side):
        box = [[side * 0.4, side * 0.4, side * 0.6, side * 0.6]]
        drawn = pixels(draw_detections(np.zeros((side, side, 3), np.uint8), box, [0], [0.5], ["cat"]))
        return (drawn > 0).any(2).sum() / side**2

    assert changed(1600) == pytest.approx(changed(800), rel=0.3)


def test_neighbouring_classes_have_different_colours_and_every_label_can_be_read():
    colours = [class_color(k) for k in range(80)]
    assert len(set(colours)) == 80
    for a, b in pairwise(colours):
        assert np.abs(np.subtract(a, b)).sum() > 100
    assert all(contrast(text_color(c), c) >= 4.5 for c in [*colours, (0, 0, 0), (255, 255, 255), (119, 119, 119)])


def test_labels_stay_inside_the_picture():
    blank = np.zeros((60, 90, 3), np.uint8)
    for box in ([0, 0, 20, 10], [80, 50, 90, 60], [-50, -50, 200, 200], [85, 0, 90, 60]):
        drawn = pixels(draw_detections(blank, [box], [0], [0.93], ["a rather long name"]))
        assert drawn.shape == (60, 90, 3)
        assert (drawn == class_color(0)).all(2).sum() > 200


def test_labels_of_two_predictions_do_not_cover_each_other():
    one = [[30, 50, 60, 90]]
    two = [*one, [32, 51, 62, 91]]
    blank = np.zeros((300, 400, 3), np.uint8)
    alone = (pixels(draw_detections(blank, one, [0], [0.9], ["cat"])) == class_color(0)).all(2).sum()
    both = pixels(draw_detections(blank, two, [0, 1], [0.9, 0.8], ["cat", "dog"]))
    for k in (0, 1):
        assert (both == class_color(k)).all(2).sum() > 0.8 * alone


def test_every_kind_of_image_is_drawn_on_a_copy(tmp_path):
    array = np.full((40, 50, 3), 90, np.uint8)
    Image.fromarray(array).save(tmp_path / "a.png")
    kinds = [array, torch.from_numpy(array).permute(2, 0, 1), Image.fromarray(array), tmp_path / "a.png", array[..., 0]]
    drawn = [pixels(draw_detections(kind, [[5, 20, 30, 35]], [0], [0.5])) for kind in kinds]
    for other in drawn[1:]:
        assert (other == drawn[0]).all()
    assert (drawn[0] != 90).any()
    assert (array == 90).all()
    assert (pixels(kinds[2]) == 90).all()


def test_detections_draw_themselves():
    found = Detections(torch.tensor([[5.0, 20, 30, 35]]), torch.tensor([0.5]), torch.tensor([0]), ("cat",))
    blank = np.zeros((40, 50, 3), np.uint8)
    same = draw_detections(blank, found.boxes, found.labels, found.scores, ["cat"])
    assert (pixels(found.draw(blank)) == pixels(same)).all()


def test_nothing_to_draw_gives_the_picture_back():
    blank = np.full((40, 50, 3), 7, np.uint8)
    drawn = draw_detections(blank, torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0))
    assert (pixels(drawn) == 7).all()


def test_what_cannot_be_drawn_is_said():
    blank = np.zeros((40, 50, 3), np.uint8)
    with pytest.raises(ValueError, match="1 boxes, 2 labels, no scores"):
        draw_detections(blank, [[0, 0, 1, 1]], [0, 1])
    with pytest.raises(ValueError, match="1 boxes, 1 labels, 2 scores"):
        draw_detections(blank, [[0, 0, 1, 1]], [0], [0.1, 0.2])
    with pytest.raises(InputError, match="list"):
        draw_detections([1, 2], [], [])
