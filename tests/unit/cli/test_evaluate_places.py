"""Where the results of `focalkit evaluate` go: another split, another division, another data set is another place."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from focalkit.data import Category, DetectionData, Selection
from focalkit.errors import ConfigError
from focalkit.evaluation import run

DATA = DetectionData("val", (Category(1, "cat"),), (), (), Path("data.json"))
DETECTOR = SimpleNamespace(names=("cat",), category_ids=(1,))


def test_another_split_keeps_the_results_on_val(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def found(_, data, **more):
        return SimpleNamespace(predictions=[data.split], summary=lambda: {"split": data.split}, lvis=None)

    monkeypatch.setattr(run, "evaluate", found)
    for split in ("val", "test"):
        run.evaluate_detector(DETECTOR, replace(DATA, split=split), out=tmp_path)
    written = {file.name: json.loads(file.read_text()) for file in tmp_path.iterdir()}
    assert written == {
        "predictions.json": ["val"],
        "evaluation.json": {"split": "val"},
        "predictions-test.json": ["test"],
        "evaluation-test.json": {"split": "test"},
    }


def test_a_folder_is_named_after_the_classes_and_the_images_dealt_out() -> None:
    def name(selection, **division):
        return run._chosen(selection, replace(DATA, division=division or None))

    splits = Selection("a/splits.json")
    one, same, other = (name(splits, train=train, val=["c"]) for train in (["a", "b"], ["b", "a"], ["a"]))
    assert one == same != other
    assert one.startswith("-split-")
    assert name(replace(splits, classes="cat,dog"), train=["a"], val=["c"]) == f"-cat+dog{other}"
    assert name(Selection(classes="cat,dog"), train=["a"]) == "-cat+dog"  # the run's own images
    assert name(None) == name(Selection()) == ""


def test_a_weights_file_keeps_the_results_on_other_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m-evaluation").mkdir()
    (tmp_path / "m-evaluation/evaluation.json").write_text(json.dumps({"data": str(tmp_path / "other.json")}))
    monkeypatch.setattr(run, "open_split", lambda *_, **__: DATA)
    monkeypatch.setattr(run.Detector, "open", lambda *_, **__: DETECTOR)
    with pytest.raises(ConfigError, match=r"holds the results on .*other\.json, which would be replaced"):
        run.evaluate_file(tmp_path / "m.pth", Path("data"))
