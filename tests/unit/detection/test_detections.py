import base64
import dataclasses
import io
import json
import re

import pytest
import torch
from PIL import Image

from focalkit.detection import Detections
from focalkit.errors import InputError

FOUND = Detections(
    torch.tensor([[10.0, 20.0, 30.0, 60.0], [0.0, 0.0, 5.0, 5.0]]),
    torch.tensor([0.75, 0.5]),
    torch.tensor([1, 0]),
    ("cat", "dog"),
)
NONE = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))


def test_coco_form_has_corner_and_size_and_the_data_sets_ids():
    rows = FOUND.to_coco(7, category_ids=[3, 90])
    assert rows[0] == {"image_id": 7, "category_id": 90, "bbox": [10.0, 20.0, 20.0, 40.0], "score": 0.75}
    assert rows[1]["category_id"] == 3
    assert json.loads(json.dumps(rows)) == rows
    assert [row["category_id"] for row in FOUND.to_coco(7)] == [1, 0]


def test_rescaling_goes_with_each_side():
    assert FOUND.rescale((100, 200), (50, 400)).boxes[0].tolist() == [20.0, 10.0, 60.0, 30.0]


def test_above_keeps_the_threshold_itself():
    assert FOUND.above(0.75).labels.tolist() == [1]
    assert len(FOUND.above(0.5)) == 2
    assert FOUND.above(0.6).names == ("cat", "dog")


def test_nothing_is_nothing_in_every_form():
    assert len(NONE) == 0
    assert NONE.to_coco(1) == []
    assert NONE.cpu().rescale((10, 10), (20, 20)).above(0.1).boxes.shape == (0, 4)


def test_it_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        FOUND.names = None


def test_supervision_gets_the_same_or_is_asked_for():
    try:
        import supervision  # noqa: F401
    except ImportError:
        with pytest.raises(InputError, match="pip install supervision"):
            FOUND.to_supervision()
        return
    other = FOUND.to_supervision()
    assert other.xyxy.tolist() == FOUND.boxes.tolist()
    assert other.data["class_name"].tolist() == ["dog", "cat"]
    assert len(NONE.to_supervision()) == 0


def test_drawing_changes_the_copy_and_not_the_image():
    image = torch.zeros(3, 80, 80, dtype=torch.uint8)
    drawn = FOUND.draw(image)
    assert drawn.size == (80, 80)
    assert drawn.getextrema() != ((0, 0), (0, 0), (0, 0))
    assert not image.any()


def test_a_notebook_shows_the_picture_and_the_first_rows(tmp_path):
    many = Detections(FOUND.boxes[:1].repeat(12, 1), torch.full((12,), 0.5), torch.zeros(12).long(), ("<i>cat</i>",))
    plain = many._repr_html_()
    assert "<img" not in plain
    assert plain.count("&lt;i&gt;cat&lt;/i&gt;</td><td>0.500</td><td>10, 20, 30, 60") == 10
    assert "and 2 more" in plain
    Image.new("RGB", (40, 80)).save(picture := tmp_path / "shown.png")
    shown = dataclasses.replace(FOUND, source=picture)._repr_html_()
    data = base64.b64decode(re.findall(r'src="data:image/jpeg;base64,([^"]+)"', shown)[0])
    assert Image.open(io.BytesIO(data)).size == (40, 80)
    assert "no detections" in dataclasses.replace(NONE, source=tmp_path / "gone.png")._repr_html_()
