"""Tables of boxes as Kaggle and other tools write them."""

from pathlib import Path

import pytest

from focalkit.data import open_detection_data
from focalkit.data.find import find_layouts
from focalkit.errors import DataError
from unit.data.tiny_data import save_image, write_text

BOX = (5, 6, 15, 18)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("filename;class;xmin;ymin;xmax;ymax\na.png;dog;5;6;15;18\n", "dog"),
        ("filename\tclass\txmin\tymin\txmax\tymax\na.png\tdog\t5\t6\t15\t18\n", "dog"),
        ("Filename,Class,X_Min,Y_Min,X_Max,Y_Max\na.png,dog,5,6,15,18\n", "dog"),
        ("image,xmin,ymin,xmax,ymax\na.png,5,6,15,18\n", "object"),
        ('"image","xmin","ymin","xmax","ymax","label"\n"a.png",5,6,15,18,"dog"\n', "dog"),
        ("image_path,x1,y1,x2,y2,category\nimgs/a.png,5,6,15,18,dog\n", "dog"),
        ("image_id,x,y,w,h,label\na,5,6,10,12,dog\n", "dog"),
        ('image_id,width,height,bbox,source\na,40,30,"[5.0, 6, 10, 12]",camera\n', "object"),
        ("a.png,5,6,15,18,dog\nb.png,,,,,\n", "dog"),
    ],
    ids=["semicolons", "tabs", "spelling", "one class", "VoTT", "x1 y1", "x y w h", "wheat", "keras-retinanet"],
)
def test_columns_are_known_by_their_names(tmp_path: Path, text: str, name: str) -> None:
    save_image(tmp_path / "photos/a.png")
    save_image(tmp_path / "photos/b.png")
    write_text(tmp_path / "boxes.csv", text)
    data = open_detection_data(tmp_path, "all")
    assert data.names == (name,)
    assert [image.boxes for image in data.images] == [(BOX,), ()]


def test_a_row_without_a_box_is_an_image_without_objects(tmp_path: Path) -> None:
    for name in "ab":
        save_image(tmp_path / f"{name}.png")
    write_text(tmp_path / "boxes.csv", "filename,class,xmin,ymin,xmax,ymax\na.png,dog,5,6,15,18\nb.png,,,,,\n")
    data = open_detection_data(tmp_path, "all")
    assert [image.boxes for image in data.images] == [(BOX,), ()]
    assert any("1 x rows have no box" in line for line in data.warnings)


def test_a_box_without_a_class_is_refused(tmp_path: Path) -> None:
    save_image(tmp_path / "a.png")
    write_text(tmp_path / "boxes.csv", "filename,class,xmin,ymin,xmax,ymax\na.png,,5,6,15,18\n")
    with pytest.raises(DataError, match=r"line 2 \(a\.png\): the box has no class"):
        open_detection_data(tmp_path, "all")


def test_sizes_that_are_corners_are_told(tmp_path: Path) -> None:
    save_image(tmp_path / "a.png")
    rows = "".join(f"a.png,{box},dog\n" for box in ("5,6,15,18", "10,5,30,25", "20,10,39,29"))
    write_text(tmp_path / "boxes.csv", f"filename,x,y,w,h,class\n{rows}")
    with pytest.raises(DataError, match="all would fit as corners"):
        open_detection_data(tmp_path, "all")


def test_a_table_with_such_names_and_no_picture_is_none_of_boxes(tmp_path: Path) -> None:
    write_text(tmp_path / "houses.csv", "id,x,y,width,height,class\n1,2,3,4,5,0\n2,3,4,5,6,1\n")
    assert find_layouts(tmp_path / "houses.csv") == {}
    assert find_layouts(tmp_path) == {}


def test_images_of_a_split_lie_in_a_folder_whose_name_says_so(tmp_path: Path) -> None:
    save_image(tmp_path / "data/training_images/a.png")
    write_text(tmp_path / "data/train_boxes.csv", "image,xmin,ymin,xmax,ymax\na.png,5,6,15,18\n")
    assert open_detection_data(tmp_path, "train").images[0].boxes == (BOX,)


def test_a_row_of_open_images_may_end_before_its_marks(tmp_path: Path) -> None:
    save_image(tmp_path / "train/a.png")
    head = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf\n"
    write_text(tmp_path / "train-annotations-bbox.csv", head + "a,xclick,dog,1,0.1,0.35,0.1,0.5\n")
    (image,) = open_detection_data(tmp_path, "train").images
    assert (len(image.boxes), image.crowd) == (1, (False,))
