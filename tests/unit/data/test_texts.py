"""Text files of data sets in the encodings that people have."""

import codecs
from pathlib import Path

import pytest

from focalkit.data import open_detection_data
from focalkit.errors import DataError
from unit.data.tiny_data import write_coco, write_voc, write_yolo


@pytest.mark.parametrize("encoding", ["gb2312", "GBK", "gb18030", "big5", "Shift_JIS", "iso-8859-1", "utf-16", "utf-8"])
def test_the_encoding_that_xml_declares_is_read(tmp_path: Path, encoding: str) -> None:
    name = "Bär" if encoding == "iso-8859-1" else "中"
    xml = write_voc(tmp_path) / "Annotations/a.xml"
    text = f'<?xml version="1.0" encoding="{encoding}"?>\n{xml.read_text()}'.replace("dog", name)
    xml.write_bytes(text.encode(encoding))
    data = open_detection_data(tmp_path)
    assert name in data.names
    assert data.warnings == ()


def test_text_that_is_not_utf8_is_read_as_windows_1252_and_counted(tmp_path: Path) -> None:
    xml = write_voc(tmp_path / "voc") / "Annotations/a.xml"
    xml.write_bytes(xml.read_text().replace("dog", "Bär").encode("cp1252"))
    json_file = write_coco(tmp_path / "coco") / "annotations/instances_train.json"
    json_file.write_bytes(json_file.read_text().replace("dog", "Bär").encode("cp1252"))
    for kind in ("voc", "coco"):
        data = open_detection_data(tmp_path / kind)
        assert "Bär" in data.names
        assert data.warnings[0].startswith("1 x text files are not UTF-8: read as Windows-1252 (first: ")


def test_an_encoding_that_nobody_knows_is_named_with_its_file(tmp_path: Path) -> None:
    xml = write_voc(tmp_path) / "Annotations/a.xml"
    xml.write_bytes(b'<?xml version="1.0" encoding="klingon"?>' + xml.read_bytes())
    with pytest.raises(DataError, match=r"a\.xml.*unknown encoding: klingon"):
        open_detection_data(tmp_path)


@pytest.mark.parametrize("mark", [codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE])
def test_byte_order_marks_are_no_part_of_lists_and_labels(tmp_path: Path, mark: bytes) -> None:
    encoding = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}[mark]

    def add_mark(path: Path) -> None:
        path.write_bytes(mark + path.read_text().encode(encoding))

    add_mark(write_voc(tmp_path / "voc") / "ImageSets/Main/train.txt")
    add_mark(write_yolo(tmp_path / "yolo") / "labels/train/a.txt")
    (tmp_path / "yolo/data.yaml").write_text("train: list.txt\nnames: [dog, cat]\n")
    (tmp_path / "yolo/list.txt").write_text("images/train/a.png\n")
    add_mark(tmp_path / "yolo/list.txt")
    assert len(open_detection_data(tmp_path / "voc")) == 2
    assert len(open_detection_data(tmp_path / "yolo").images[0].boxes) == 2


def test_names_of_yaml_are_the_words_that_are_written(tmp_path: Path) -> None:
    assert open_detection_data(write_yolo(tmp_path / "1", "[on, off, yes, no, 1.0, 007]")).names[:3] == (
        "on",
        "off",
        "yes",
    )
    assert open_detection_data(write_yolo(tmp_path / "2", "{'0': dog, '1': null}")).names == ("dog", "null")


def test_a_tag_that_runs_code_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not YAML"):
        open_detection_data(write_yolo(tmp_path, "!!python/object/apply:os.getcwd []"))
