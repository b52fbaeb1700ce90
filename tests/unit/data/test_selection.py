"""A part of the data by share and seed, chosen and merged classes."""

from pathlib import Path

import pytest

from focalkit.data import DetectionData, ImageRecord, Selection, open_detection_data, open_train_and_val
from focalkit.data._division import divide
from focalkit.data._records import Category
from focalkit.data._selection import choose_classes
from focalkit.errors import InputError
from unit.data.tiny_data import annotation, coco_content, write_coco, write_yolo

BOX = (0.0, 0.0, 4.0, 4.0)


def data(images: int = 10) -> DetectionData:
    """Every image has a cat, a dog and an ignored cow."""
    records = tuple(
        ImageRecord(
            i, Path(f"{i}.png"), 40, 30, (BOX,) * 3, (0, 1, 2), (16.0,) * 3, (False, False, True), (1, 2, 3), f"{i}"
        )
        for i in range(images)
    )
    categories = (Category(2, "cat"), Category(5, "dog"), Category(9, "cow"))
    return DetectionData("all", categories, records, (), Path("x"))


def test_parts_cover_the_data_once_in_their_shares() -> None:
    parts = divide(data(20), Selection("80/10/10"))
    assert {name: len(part) for name, part in parts.items()} == {"train": 16, "val": 2, "test": 2}
    assert sorted(i.id for part in parts.values() for i in part.images) == list(range(20))
    assert [part.split for part in parts.values()] == ["train", "val", "test"]


def test_the_seed_decides_and_the_order_of_the_file_does_not() -> None:
    whole = data()
    turned = DetectionData("all", whole.categories, whole.images[::-1], (), whole.source)
    chosen = [
        [i.id for i in divide(d, Selection("70/30", seed))["val"].images]
        for d, seed in ((whole, 0), (whole, 0), (turned, 0), (whole, 1))
    ]
    assert chosen[0] == chosen[1] == chosen[2] != chosen[3]


@pytest.mark.parametrize("split", ["80", "a/b", "80/-20", "1/2/3/4", "", "nan/1", "80/0/20", "80/30", "2/1"])
def test_shares_that_are_none_are_refused(split: str) -> None:
    with pytest.raises(InputError, match="expected shares"):
        Selection(split).shares  # noqa: B018


@pytest.mark.parametrize("split", ["80/20", "0.8/0.1/0.1", "33/33/33", "66.7/33.3"])
def test_shares_make_a_hundred_or_one(split: str) -> None:
    assert sum(Selection(split).shares.values()) == pytest.approx(1)


def test_no_part_is_without_images() -> None:
    assert [len(part) for part in divide(data(3), Selection("99/1")).values()] == [2, 1]
    with pytest.raises(InputError, match="1 images cannot be dealt out to 2 parts"):
        divide(data(1), Selection("99/1"))


def test_chosen_classes_keep_ids_and_leave_out_the_other_boxes() -> None:
    got = choose_classes(data(1), Selection(classes="cow, cat"))
    assert got.categories == (Category(2, "cat"), Category(9, "cow"))
    image = got.images[0]
    assert (image.labels, image.crowd, image.annotation_ids) == ((0, 1), (False, True), (1, 3))
    assert got.warnings == ("1 x boxes of other classes are left out (--classes)",)


def test_merged_classes_are_one_and_may_be_chosen() -> None:
    got = choose_classes(data(1), Selection(merge=("dog,cow=animal",)))
    assert (got.categories, got.images[0].labels) == ((Category(2, "cat"), Category(5, "animal")), (0, 1, 1))
    assert got.class_map == {"cat": "cat", "dog": "animal", "cow": "animal"}
    got = choose_classes(data(1), Selection(merge=("cow=dog",), classes="dog"))
    assert got.class_map == {"cat": None, "dog": "dog", "cow": "dog"}
    assert (got.categories, got.images[0].labels) == ((Category(5, "dog"),), (0, 0))


def test_a_single_class_takes_every_box() -> None:
    got = choose_classes(data(1), Selection(single_class=True))
    assert (got.names, got.images[0].labels) == (("object",), (0, 0, 0))


@pytest.mark.parametrize(
    ("selection", "says"),
    [
        (Selection(classes="cat,horse"), "no class horse; the data have cat, cow, dog"),
        (Selection(classes="Dog,cats"), r'Dog \(did you mean "dog"\?\), cats \(did you mean "cat"\?\); the data have'),
        (Selection(classes=" "), "no class named"),
        (Selection(merge=("cat,horse=x",)), "no class horse"),
        (Selection(merge=("cat",)), "expected names and what they become"),
    ],
)
def test_unknown_classes_are_refused_with_those_that_are_there(selection: Selection, says: str) -> None:
    with pytest.raises(InputError, match=says):
        choose_classes(data(1), selection)


def test_without_a_selection_nothing_changes() -> None:
    whole = data()
    assert choose_classes(whole, Selection()) is whole


def test_one_split_is_divided_and_its_parts_are_the_same_each_time(tmp_path: Path) -> None:
    write_coco(tmp_path)
    selection = Selection("50/50")
    train, val = open_train_and_val(tmp_path, selection=selection)
    assert (len(train), len(val)) == (1, 1)
    assert {i.file_name for i in (*train.images, *val.images)} == {"a.png", "b.png"}
    assert open_detection_data(tmp_path, "val", selection=selection).images == val.images
    with pytest.raises(InputError, match="no share for 'test'"):
        open_detection_data(tmp_path, "test", selection=selection)


def test_data_with_splits_are_not_divided(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has splits already \(train, val\)"):
        open_train_and_val(write_yolo(tmp_path), selection=Selection("80/20"))


def test_a_missing_val_split_names_the_flag_that_divides(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--split 80/10/10"):
        open_train_and_val(write_coco(tmp_path))


def test_validation_without_a_chosen_class_is_read(tmp_path: Path) -> None:
    write_coco(tmp_path)
    write_coco(tmp_path, "val", coco_content(annotations=[annotation()], categories=[{"id": 7, "name": "dog"}]))
    train, val = open_train_and_val(tmp_path, selection=Selection(classes="cat,dog"))
    assert val.categories == train.categories
    assert open_detection_data(tmp_path, "val", selection=Selection(classes="cat,dog")).names == ("dog",)


def test_a_file_of_parts_is_found_from_any_folder() -> None:
    file, shares = Selection("../s.json", classes="cat"), Selection("80/10/10")
    assert file.absolute() == Selection(str(Path.cwd().parent / "s.json"), classes="cat")
    assert shares.absolute() is shares
