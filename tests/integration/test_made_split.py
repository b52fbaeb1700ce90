"""A split that training makes is the one that every later command uses, also when images have been added."""

import json
from pathlib import Path

import pytest

from focalkit.cli import main
from focalkit.config import AugmentConfig, DataConfig, ModelConfig, RuntimeConfig, TrainConfig
from focalkit.training import train
from unit.data.test_division import patients

MODEL = ModelConfig("tiny", "batch", 0, 16, 16, 1, anchor_sizes=(8.0, 16.0, 32.0, 64.0, 128.0))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = patients(tmp_path_factory.mktemp("data"))
    config = TrainConfig(
        data=DataConfig(data, split="50/25/25", group_by="p(.)", merge=("dog,cat=animal",)),
        max_steps=1,
        batch_size=4,
        min_size=64,
        max_size=64,
        runtime=RuntimeConfig(workers=0, accelerator="cpu", logger="none"),
        model=MODEL,
        augment=AugmentConfig(flip=0.0),
    )
    out = tmp_path_factory.mktemp("runs") / "run"
    train(config, out)
    patients(data, images=18)  # two more patients
    return out


def test_the_run_keeps_its_parts_and_the_map_of_its_classes(run: Path) -> None:
    parts = json.loads((run / "splits.json").read_text())["parts"]
    assert {part: len(names) for part, names in parts.items()} == {"train": 6, "val": 3, "test": 3}
    assert json.loads((run / "run.json").read_text())["class_map"] == {"cat": "animal", "dog": "animal"}


@pytest.mark.parametrize("flags", [[], ["--splits", "RUN"]])
def test_evaluate_measures_the_test_part_of_the_run(run: Path, flags: list[str], capsys) -> None:
    words = [str(run / "splits.json") if word == "RUN" else word for word in flags]
    assert main(["evaluate", str(run), "--split", "test", "--json", "--out", str(run / "e"), *words]) == 0
    assert json.loads(capsys.readouterr().out)["num_images"] == 3


def test_predict_takes_the_images_of_a_part(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(run), "--split", "test", "--no-draw", "--out", str(run / "p")]) == 0
    listed = {Path(image["file_name"]).name for image in json.loads((run / "p/images.json").read_text())["images"]}
    assert {f"images/{name}" for name in listed} == set(json.loads((run / "splits.json").read_text())["parts"]["test"])
    assert main(["predict", str(run), "photo.png", "--split", "test", "--out", str(run / "p")]) == 2
    assert "goes with neither paths nor files" in capsys.readouterr().err


def test_chosen_classes_are_measured_apart(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(run), "--single-class", "--split", "test"]) == 2
    assert "'object', which the model was not trained on" in capsys.readouterr().err


def test_a_run_does_not_begin_in_the_folder_of_its_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = patients(tmp_path)
    before = sorted(path.name for path in data.iterdir())
    for given in (data, *data.glob("*.json")):
        for flags in ([], ["--force"]):
            assert main(["train", "--data", str(given), "--split", "50/50", "--out", str(data), *flags]) == 2
            assert "choose another --out" in capsys.readouterr().err
    assert sorted(path.name for path in data.iterdir()) == before
