"""Every experiment tracker gets numbers and, but for the table, pictures; none of them needs a network."""

import csv
import importlib.util
from dataclasses import replace
from types import SimpleNamespace

import pytest
from PIL import Image

from focalkit.config import DataConfig, ModelConfig, RuntimeConfig, TrainConfig
from focalkit.data import Category, DetectionData, ImageRecord, write_demo_scenes
from focalkit.training import train
from focalkit.training.engine import build_logger
from focalkit.training.module import DetectionModule
from focalkit.training.pictures import Pictures, drawn, takes_pictures

CONFIG = TrainConfig(runtime=RuntimeConfig(logger="none"))


@pytest.fixture
def data(tmp_path):
    Image.new("RGB", (64, 48), "white").save(tmp_path / "a.png")
    record = ImageRecord(7, tmp_path / "a.png", 64, 48, ((10.0, 10.0, 30.0, 30.0),), (1,), file_name="a.png")
    empty = replace(record, id=8, boxes=(), labels=())
    return DetectionData("val", (Category(3, "cat"), Category(5, "dog")), (empty, record), (), tmp_path)


def follow(name, tmp_path, data):
    """Two lines of numbers and the pictures of one evaluation; the tracker."""
    logger = build_logger(replace(CONFIG, runtime=RuntimeConfig(logger=name)), tmp_path / "run", 0)
    for step in (1, 2):
        logger.log_metrics({"train/loss": 1 / step}, step=step)
    module = object.__new__(DetectionModule)
    found = {"image_id": 7, "category_id": 5, "bbox": [10, 10, 20, 20], "score": 0.9}
    object.__setattr__(module, "shown", [found])
    callback = Pictures(data)
    trainer = SimpleNamespace(loggers=[logger], is_global_zero=True, global_step=2)
    callback.on_fit_start(trainer, module)
    callback.on_validation_end(trainer, module)
    logger.save()
    logger.finalize("success")
    assert getattr(module, "watched", frozenset()) == (frozenset({7}) if takes_pictures(logger) else frozenset())
    return logger


def test_a_table_has_a_row_for_each_step(tmp_path, data):
    follow("csv", tmp_path, data)
    rows = list(csv.DictReader((tmp_path / "run/csv/metrics.csv").read_text().splitlines()))
    assert [(row["step"], float(row["train/loss"])) for row in rows] == [("1", 1.0), ("2", 0.5)]
    resumed = build_logger(replace(CONFIG, runtime=RuntimeConfig(logger="csv")), tmp_path / "run", 2)
    assert resumed.log_dir == str(tmp_path / "run" / "csv-from-2")


def test_tensorboard_has_numbers_and_pictures(tmp_path, data):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    follow("tensorboard", tmp_path, data)
    events = EventAccumulator(str(tmp_path / "run/tensorboard"))
    events.Reload()
    assert [round(e.value, 3) for e in events.Scalars("train/loss")] == [1.0, 0.5]
    (picture,) = events.Images("val/a.png")
    assert (picture.step, picture.width, picture.height) == (2, 64, 48)


@pytest.mark.filterwarnings("ignore::Warning")  # of these packages, about themselves
@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_other_trackers_follow_a_training_on_this_machine_alone(name, tmp_path, monkeypatch):
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"needs the package {name}, an extra of its own")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    scenes = write_demo_scenes(tmp_path / "scenes", train=4, val=2, size=96, classes=2, imbalance=2)
    config = TrainConfig(
        data=DataConfig(scenes),
        max_steps=2,
        batch_size=2,
        min_size=32,
        max_size=32,
        runtime=RuntimeConfig(workers=0, accelerator="cpu", log_every=1, logger=name),
        model=ModelConfig("tiny", fpn_channels=8, head_channels=8, head_depth=1),
    )
    train(config, tmp_path / "run")
    written = {file: file.suffix for file in (tmp_path / "run").rglob("*") if file.is_file()}
    if name == "mlflow":
        (metric,) = (file for file in written if file.parts[-3:] == ("metrics", "train", "loss"))
        assert [line.split()[2] for line in metric.read_text().splitlines()] == ["1", "2"]
    else:
        importlib.import_module(name).teardown()  # waits for its process, which writes
        (record,) = (file for file, suffix in written.items() if suffix == ".wandb")
        assert b"train/loss" in record.read_bytes()
    assert ".png" in written.values()


def test_a_picture_shows_what_is_sure_and_the_truth(data):
    record = data.images[1]
    found = {"image_id": 7, "category_id": 3, "bbox": [40, 5, 20, 20], "score": 0.9}
    plain, sure, doubtful = (drawn(record, data, rows).tobytes() for rows in ([], [found], [found | {"score": 0.1}]))
    assert plain == doubtful != sure
    assert plain != Image.open(record.path).tobytes()
