"""`--split`, `--group-by`, `--fold`, `--classes`, `--merge`, `--single-class` of inspect and compare."""

import json
from pathlib import Path

import pytest

from focalkit.cli import main
from focalkit.compare.plan import plan_from_dict
from focalkit.data import Selection
from focalkit.tasks import Source
from focalkit.tasks.detection import TASK
from unit.data.test_division import patients
from unit.data.tiny_data import write_coco


def inspected(capsys: pytest.CaptureFixture[str], *argv: object, status: int = 0) -> dict:
    assert main(["inspect", *map(str, argv), "--json"]) == status
    return json.loads(capsys.readouterr().out)


def test_inspect_shows_the_parts_that_training_would_make(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = patients(tmp_path)
    found = inspected(capsys, data, "--split", "50/25/25", "--group-by", "p(.)")
    assert {split: about["images"] for split, about in found["splits"].items()} == {"train": 6, "val": 3, "test": 3}
    folds = inspected(capsys, data, "--fold", "2/4", "--group-by", "p(.)")
    assert {split: about["images"] for split, about in folds["splits"].items()} == {"train": 9, "val": 3}


def test_inspect_shows_chosen_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = inspected(capsys, write_coco(tmp_path), "--merge", "cat,dog=animal")
    assert [row["name"] for row in found["splits"]["train"]["classes"]] == ["animal"]
    assert found["class_map"] == {"cat": "animal", "dog": "animal"}
    assert main(["inspect", str(tmp_path), "--classes", "dgo"]) == 2
    assert 'did you mean "dog"?' in capsys.readouterr().err


def test_inspect_finds_pictures_that_lie_in_several_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_coco(write_coco(tmp_path), "val")
    images = tmp_path / "images"
    (images / "train/b.png").write_bytes((images / "train/a.png").read_bytes())
    (images / "val/a.png").write_bytes((images / "train/a.png").read_bytes())
    findings = {row["code"]: row for row in inspected(capsys, tmp_path, status=2)["findings"]}
    assert findings["FK111"]["values"]["copies"] == 2
    assert findings["FK113"]["values"] == {"split": "val", "shared": 1, "items": 2}
    assert not {"FK111", "FK113"} & {row["code"] for row in inspected(capsys, tmp_path, "--no-check")["findings"]}


def test_a_table_is_not_divided_as_boxes_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.csv").write_text("a,target\n1,0\n2,1\n")
    for command in ("inspect", "compare"):
        assert main([command, str(tmp_path / "t.csv"), "--split", "80/20"]) == 2
        assert "are for boxes; these data are for" in capsys.readouterr().err


def test_compare_makes_the_same_parts_and_keeps_them_in_its_plan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--split", "50/25/25", "--group-by", "p(.)", "--single-class", "--dry-run", "--json"]
    assert main(["compare", str(patients(tmp_path)), *words, "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr()
    assert "images: train 6, val 3, test 3; boxes in train: object 6" in said.err
    plan = plan_from_dict(json.loads(said.out), "plan.json")
    assert plan.source.selection == Selection("50/25/25", group_by="p(.)", single_class=True)


@pytest.mark.parametrize("selection", [Selection("75/25", group_by="p(.)"), Selection(fold="1/4", group_by="p(.)")])
def test_what_a_comparison_holds_out_keeps_groups_together(tmp_path: Path, selection: Selection) -> None:
    parts = TASK.read(Source(patients(tmp_path, images=24), selection=selection), 0)
    groups = [{image.file_name[1] for image in part.images} for part in (parts.train, parts.val, parts.test)]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 8
    assert all(groups)
