"""`focalkit train --data DIR` and nothing else: where the run goes, and what is held out."""

import json
from pathlib import Path

import pytest

from focalkit.cli import main
from focalkit.cli._train_defaults import out_for, with_split
from focalkit.config import DataConfig, TrainConfig
from focalkit.errors import InputError
from unit.data.test_division import patients
from unit.data.tiny_data import write_coco, write_voc, write_yolo

TINY = [
    "--preset",
    "cpu-small",
    "--model.backbone",
    "tiny",
    "--model.backbone-norm",
    "batch",
    "--model.fpn-channels",
    "16",
    "--model.head-channels",
    "16",
    "--model.head-depth",
    "1",
    "--min-size",
    "64",
    "--max-size",
    "64",
    "--max-steps",
    "1",
    "--batch-size",
    "2",
    "--workers",
    "0",
    "--accelerator",
    "cpu",
    "--logger",
    "none",
]


def config(**data: object) -> TrainConfig:
    return TrainConfig(data=DataConfig(**data))  # pyright: ignore[reportArgumentType]


def test_one_command_trains_on_an_export_without_splits(tmp_path: Path, monkeypatch, capsys) -> None:
    patients(tmp_path / "my-data")
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--data", "my-data", *TINY]) == 0
    assert "held out: --split 80/20" in capsys.readouterr().err
    parts = json.loads((tmp_path / "runs/my-data/splits.json").read_text())["parts"]
    assert sorted(parts) == ["train", "val"]
    assert out_for(DataConfig(Path("my-data")), wanted=False) == Path("runs/my-data-2")


def test_data_with_val_or_a_division_are_left_as_they_are(tmp_path: Path) -> None:
    whole, own = write_coco(tmp_path / "whole"), write_voc(tmp_path / "own")
    for given in (config(path=own), config(path=whole, split="50/50"), config(path=whole, fold="1/2"), config()):
        assert with_split(given) == (given, "")
    assert with_split(config(path=whole))[0].data.split == "80/20"


def test_a_test_split_is_not_divided(tmp_path: Path) -> None:
    file = write_yolo(tmp_path) / "data.yaml"
    file.write_text(file.read_text().replace("val:", "test:"))
    assert with_split(config(path=tmp_path))[0].data.split == "80/20"


@pytest.mark.parametrize("flag", ["--resume", "--force"])
def test_a_run_that_is_there_has_to_be_named(tmp_path: Path, flag: str, capsys) -> None:
    assert main(["train", "--data", str(write_yolo(tmp_path)), flag, *TINY]) == 2
    assert "--out is missing" in capsys.readouterr().err


def test_processes_of_one_job_do_not_choose_apart(monkeypatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(InputError, match="--out is missing"):
        out_for(DataConfig(Path("data")), wanted=False)


def test_the_data_may_be_given_without_its_flag(tmp_path, capsys):
    assert main(["train", str(tmp_path / "my-data"), "--preset", "cpu-small"]) == 2
    assert f"{tmp_path / 'my-data'}: there is no such file or folder" in capsys.readouterr().err


def test_data_with_val_alone_are_no_data_to_train_on(tmp_path: Path) -> None:
    given = config(path=write_coco(tmp_path, split="val"))
    assert with_split(given) == (given, "")
