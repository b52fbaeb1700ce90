"""Class names on pictures: readable, or the class's number."""

import numpy as np
import pytest

from focalkit.cli._sources import note_undrawable
from focalkit.images._fonts import default_font, font_for, has_letters
from focalkit.images.draw import draw_detections, undrawable

NOBODYS = "\U000e01f0\u0378"
"""Letters that no font has: they are not assigned."""


def drawn(name: str, label: int = 3) -> np.ndarray:
    names = ["a", "b", "c", name]
    return np.asarray(draw_detections(np.zeros((200, 300, 3), np.uint8), [[20, 60, 200, 150]], [label], [0.9], names))


def test_a_name_without_a_font_is_drawn_as_its_number() -> None:
    assert undrawable(["cat", NOBODYS]) == [NOBODYS]
    assert np.array_equal(drawn(NOBODYS), drawn("class 3"))
    assert not np.array_equal(drawn("cat"), drawn("class 3"))


@pytest.mark.parametrize("name", ["é", "кошка", "狗", "قطة"])
def test_a_font_that_is_chosen_has_every_letter(name: str) -> None:
    font = font_for(name, 20)
    if font is None:
        assert np.array_equal(drawn(name), drawn("class 3"))
    else:
        assert has_letters(font, name)
        assert not np.array_equal(drawn(name), drawn(name[::-1] + "x"))


def test_plain_names_are_drawn_in_the_default_font() -> None:
    assert font_for("traffic light 2", 20) is default_font(20)


def test_predict_says_which_names_are_drawn_as_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    note_undrawable(["cat"])
    assert capsys.readouterr().err == ""
    note_undrawable(["cat", NOBODYS])
    assert "1 class names: class 1 = " in capsys.readouterr().err
