"""Whatever lies in the files of annotation tools or of a made split: data or a clear error."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from focalkit.data import Selection, open_detection_data
from fuzz.test_readers import CELLS, FEW, JSON, refusal
from unit.data.tiny_data import save_image, write_coco, write_text

FEWER = settings(FEW, max_examples=25)
NUMBERS = st.floats() | st.integers(-(2**70), 2**70)
POINTS = st.lists(st.lists(NUMBERS, min_size=2, max_size=2), max_size=4) | JSON
SHAPE = st.fixed_dictionaries({"label": st.text(max_size=3) | JSON, "points": POINTS, "shape_type": JSON})
DETECTION = st.fixed_dictionaries({"label": JSON, "bounding_box": st.lists(NUMBERS, max_size=5) | JSON})
DETECTIONS = st.lists(DETECTION | JSON, max_size=3)
SAMPLE = st.fixed_dictionaries({"filepath": st.text(max_size=5) | JSON, "tags": JSON, "x": JSON})
ROWS = st.lists(st.lists(CELLS | st.sampled_from(["a.png", "dog", "1"]), max_size=7).map(",".join), max_size=4)


@FEWER
@given(st.lists(SHAPE | JSON, max_size=3) | JSON, JSON, JSON, JSON)
def test_shapes_are_read_or_refused(tmp_path, shapes, path, width, height):
    save_image(tmp_path / "a.png")
    content = {"shapes": shapes, "imagePath": path, "imageWidth": width, "imageHeight": height}
    write_text(tmp_path / "a.json", json.dumps(content))
    assert str(tmp_path) in (refusal(lambda: open_detection_data(tmp_path, "all")) or str(tmp_path))


@FEWER
@given(st.lists(SAMPLE | JSON, max_size=3), DETECTIONS)
def test_samples_are_read_or_refused(tmp_path, samples, detections):
    field = {"_cls": "Detections", "detections": detections}
    save_image(tmp_path / "data/a.png")
    write_text(tmp_path / "metadata.json", "{}")
    named = [*samples, {"filepath": "data/a.png", "ground_truth": field}]
    write_text(tmp_path / "samples.json", json.dumps({"samples": named}))
    assert refusal(lambda: open_detection_data(tmp_path, "all")) != ""


@FEWER
@given(JSON, st.dictionaries(st.sampled_from(["a", "b"]), DETECTIONS | JSON) | JSON)
def test_labels_are_read_or_refused(tmp_path, classes, labels):
    save_image(tmp_path / "data/a.png")
    write_text(tmp_path / "labels.json", json.dumps({"classes": classes, "labels": labels}))
    assert refusal(lambda: open_detection_data(tmp_path, "all")) != ""


VALUE = st.dictionaries(
    st.sampled_from(["x", "y", "width", "height", "rotation", "radiusX", "points", "rle", "rectanglelabels", "labels"]),
    NUMBERS | POINTS | st.lists(st.text(max_size=3), max_size=2) | JSON,
)
SIDE = st.just(40) | JSON
REGION = st.fixed_dictionaries({"value": VALUE | JSON, "original_width": SIDE, "original_height": SIDE, "id": JSON})


@FEWER
@given(st.lists(REGION | JSON, max_size=3) | JSON, JSON, JSON)
def test_regions_are_read_or_refused(tmp_path, regions, data, minimal):
    save_image(tmp_path / "a.png")
    tasks = [{"id": 1, "annotations": [{"result": regions}], "data": {"image": "a.png", "more": data}}]
    write_text(tmp_path / "p.json", json.dumps([*tasks, {"image": "a.png", "id": minimal, "label": regions}]))
    assert "p.json" in (refusal(lambda: open_detection_data(tmp_path / "p.json", "all")) or "p.json")


ANNOTATION = st.fixed_dictionaries(
    {"type": st.sampled_from(["bbox", "polygon", "mask"]) | JSON, "label_id": st.integers(-1, 2) | JSON},
    optional={"bbox": st.lists(NUMBERS, min_size=4, max_size=4) | JSON, "points": JSON, "attributes": JSON},
)
ITEM = st.fixed_dictionaries({"id": st.just("a") | JSON, "annotations": JSON, "image": JSON})


@FEWER
@given(st.lists(ANNOTATION | JSON, max_size=3), ITEM | JSON, st.text(max_size=3) | JSON)
def test_items_are_read_or_refused(tmp_path, annotations, item, name):
    save_image(tmp_path / "images/train/a.png")
    items = [{"id": "a", "annotations": annotations}, item]
    content = {"dm_format_version": "1.0", "categories": {"label": {"labels": [{"name": name}]}}, "items": items}
    write_text(tmp_path / "annotations/train.json", json.dumps(content))
    assert "train" in (refusal(lambda: open_detection_data(tmp_path)) or "train")


TAGS = st.sampled_from(["box", "polygon", "ellipse", "mask", "cuboid", "points", "x"])
WORDS = st.sampled_from(["1", "-3", "1e999", "nan", "", "1,2;3,4;5,6", "dog", "&e;", "<", '"'])
KEYS = st.sampled_from(["label", "xtl", "ytl", "xbr", "ybr", "points", "cx", "rx", "left", "rotation"])


@FEWER
@given(st.lists(st.tuples(TAGS, st.dictionaries(KEYS, WORDS)), max_size=4), WORDS, WORDS)
def test_shapes_of_xml_are_read_or_refused(tmp_path, shapes, width, name):
    save_image(tmp_path / "a.png")
    written = ((tag, " ".join(f'{key}="{word}"' for key, word in words.items())) for tag, words in shapes)
    drawn = "".join(f"<{tag} {attributes}/>" for tag, attributes in written)
    labels = f"<meta><labels><label><name>{name}</name></label></labels></meta>"
    image = f'<image id="0" name="a.png" width="{width}">{drawn}</image>'
    write_text(tmp_path / "annotations.xml", f"<annotations>{labels}{image}</annotations>")
    refused = refusal(lambda: open_detection_data(tmp_path / "annotations.xml", "all"))
    assert "annotations.xml" in (refused or "annotations.xml")


@FEWER
@given(ROWS)
def test_rows_are_read_or_refused(tmp_path, rows):
    save_image(tmp_path / "a.png")
    text = "\n".join(["filename,class,xmin,ymin,xmax,ymax", "a.png,dog,1,1,9,9", *rows])
    (tmp_path / "t.csv").write_bytes(text.encode("utf-8", "surrogatepass"))
    assert "t.csv" in (refusal(lambda: open_detection_data(tmp_path, "all")) or "t.csv")


@FEWER
@given(st.fixed_dictionaries({"parts": st.dictionaries(st.sampled_from(["train", "val", "x"]), JSON)}) | JSON)
def test_a_made_split_is_read_or_refused(tmp_path, content):
    data = write_coco(tmp_path / "data")
    file = write_text(tmp_path / "s.json", json.dumps(content))
    assert refusal(lambda: open_detection_data(data, "train", selection=Selection(str(file)))) != ""
