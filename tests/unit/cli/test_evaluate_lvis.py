"""`focalkit evaluate --lvis`: from the files that an evaluation wrote."""

import json
from pathlib import Path

import pytest

from focalkit.cli.evaluate import Args, lvis_lines, lvis_of
from focalkit.errors import InputError

TRUTH = {
    "images": [{"id": 1, "neg_category_ids": [4], "not_exhaustive_category_ids": []}],
    "categories": [{"id": 3, "name": "owl", "frequency": "r"}, {"id": 4, "name": "cat", "frequency": "f"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 3, "bbox": [0, 0, 50, 50], "area": 2500}],
}


def evaluated(root: Path, split: str = "val", images: int = 1, name: str = "lvis.json") -> dict[str, object]:
    (root / name).write_text(json.dumps(TRUTH))
    found = [{"image_id": 1, "category_id": 3, "bbox": [0, 0, 50, 50], "score": 0.9}]
    (root / f"predictions{'' if split == 'val' else '-' + split}.json").write_text(json.dumps(found))
    return {"data": str(root / name), "split": split, "num_images": images}


@pytest.mark.parametrize("split", ["val", "test"])
def test_it_judges_the_predictions_of_the_split_by_the_file_they_are_of(split: str, tmp_path: Path) -> None:
    metrics = lvis_of(Args(tmp_path, lvis=True), evaluated(tmp_path, split))
    assert (metrics["APr"], metrics["APf"]) == (1.0, -1.0)
    assert "APr 1.0" in lvis_lines(metrics)[1]
    assert lvis_lines(None) == []


def test_what_is_no_file_of_the_whole_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has 1 images, 5 were evaluated"):
        lvis_of(Args(tmp_path), evaluated(tmp_path, images=5))
    with pytest.raises(InputError, match="needs a COCO file"):
        lvis_of(Args(tmp_path), evaluated(tmp_path, name="data.yaml"))
