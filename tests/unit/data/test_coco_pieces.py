"""A COCO file read piece by piece gives what reading it whole gives, sound or not, wherever the pieces end."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from focalkit.data import _coco_json, coco, open_detection_data
from focalkit.errors import DataError
from unit.data.tiny_data import annotation, coco_content, write_coco, write_text

ODD: dict[str, list[Any]] = {
    "id": [1, 2, 0, -4, "7", 3.0, None, True, 10**30],
    "image_id": [11, 12, 99, "11", 11.0, None, True],
    "category_id": [3, 7, 5, "3", 7.0, None],
    "bbox": [[5, 6, 10, 12], [0.1, 0.2, 3.7, 4.4], [1, 2, 0, 4], [30, 20, 30, 30], [1, 2, 3], None, "x",
             [1, 2, 3, None], [float("nan"), 1, 2, 3], [10**400, 1, 1, 1], [-1.5, 0, 10, 10], [True, 0, 4, 4]],
    "area": [100.5, 7, 0, -1, None, "5", float("inf"), True, 10**400],
    "iscrowd": [0, 1, None, 2, True, 0.0, "1"],
    "segmentation": [[], [[1, 2, 9, 2, 9, 8]], {"counts": "abc", "size": [30, 40]}],
}  # fmt: skip


@st.composite
def annotations(draw: st.DrawFn) -> list[Any]:
    """Annotations of which most fields are as they should be and some are not, or missing."""
    rows: list[Any] = []
    for number in range(draw(st.integers(0, 5))):
        row = annotation(id=number + 1, image_id=draw(st.sampled_from([11, 12])), area=draw(st.sampled_from([1.5, 20])))
        for key in draw(st.lists(st.sampled_from([*ODD]), max_size=2)):
            row[key] = draw(st.sampled_from(ODD[key]))
        for key in draw(st.lists(st.sampled_from([*ODD]), max_size=1)):
            row.pop(key, None)
        rows.append(draw(st.sampled_from([row, row, row, row, 3, [row]])))
    return rows


def outcome(root: Path) -> object:
    try:
        data = open_detection_data(root, check=False)
        return data.images, data.categories, data.warnings
    except DataError as error:
        return error.problems


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=annotations(), chunk=st.integers(1, 400), first=st.booleans())
def test_pieces_give_what_the_whole_gives(
    rows: list[Any], chunk: int, first: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = coco_content(annotations=rows)
    if first:  # annotations before the images that they name
        content = {"annotations": content.pop("annotations"), **content}
    write_coco(tmp_path, content=content)
    with monkeypatch.context() as patch:
        patch.setattr(_coco_json, "_CHUNK", chunk)
        pieces = outcome(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(coco, "load", refuse)
        patch.setattr(_coco_json, "plain", lambda item: None)
        whole = outcome(tmp_path)
    assert repr(pieces) == repr(whole)


def refuse(path: Path, made: object) -> dict[str, Any]:
    raise ValueError


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    value=st.dictionaries(st.text(max_size=3), st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    ), max_size=4),
    chunk=st.integers(1, 30), indent=st.sampled_from([None, 1]),
)  # fmt: skip
def test_any_object_is_read_as_json_reads_it(
    value: dict, chunk: int, indent: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_coco_json, "_CHUNK", chunk)
    file = write_text(tmp_path / "a.json", json.dumps(value, indent=indent, ensure_ascii=False))
    assert _coco_json.load(file) == value


NO_OBJECTS = ["", "[]", "3", '{"a": 1', '{"a": 1}}', '{"a" 1}', '{"a": [1 2]}', "{a: 1}", '{"a": [1,]}', '{"a": 1,}']


@pytest.mark.parametrize("text", NO_OBJECTS)
def test_what_is_no_object_is_left_to_the_caller(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|not JSON|extra data"):
        _coco_json.load(write_text(tmp_path / "a.json", text))


def test_plain_annotations_are_boxes_at_once() -> None:
    found = _coco_json.plain({**annotation(area=4), "segmentation": [[1, 2, 3, 4, 5, 6]]})
    assert found is not None
    assert (found[0], found[1].box, found[1].label, found[1].area) == (11, (5.0, 6.0, 15.0, 18.0), 7, 4.0)
