"""A run that goes on: with more epochs, another rate, other data."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from focalkit._runs import RunDir
from focalkit.config import AugmentConfig, DataConfig, ModelConfig, OptimConfig, RuntimeConfig, TrainConfig
from focalkit.data import open_train_and_val, write_demo_scenes
from focalkit.errors import ConfigError
from focalkit.training import train
from focalkit.training.continuing import compare_data, data_record

STEPS = 2  # per epoch


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> TrainConfig:
    data = write_demo_scenes(tmp_path_factory.mktemp("scenes"), train=8, val=2, size=96, classes=2, imbalance=1)
    return TrainConfig(
        data=DataConfig(data),
        epochs=2,
        batch_size=4,
        min_size=64,
        max_size=64,
        runtime=RuntimeConfig(workers=0, accelerator="cpu", log_every=1, logger="none"),
        model=ModelConfig("tiny", fpn_channels=16, head_channels=16, head_depth=1, anchor_sizes=(8, 16, 32, 64, 128)),
        augment=AugmentConfig(scale=(0.7, 1.0)),
        optim=OptimConfig("adamw", lr=1e-3, lr_batch=4, schedule="constant", warmup_steps=0, ema_decay=0.9),
    )


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory) -> RunDir:
    out = tmp_path_factory.mktemp("runs") / "finished"
    train(config, out)
    return RunDir(out)


@pytest.fixture
def run(finished, tmp_path) -> RunDir:
    shutil.copytree(finished.path, tmp_path / "run")
    return RunDir(tmp_path / "run")


def test_more_epochs_of_a_finished_run_are_the_longer_run(config, run, tmp_path, capsys) -> None:
    longer = replace(config, epochs=3)
    train(longer, tmp_path / "longer")
    capsys.readouterr()
    result = train(longer, run.path, resume=True)
    assert "note: changed on purpose: epochs 3 (before: 2); the rate goes on at 0.001, that of step 4 of 6" in (
        capsys.readouterr().err
    )
    assert (result["steps"], result["epochs"], run.finished) == (3 * STEPS, 3, True)
    ours, theirs = (
        torch.load(RunDir(p).checkpoint("last"), weights_only=True)["model"] for p in (run.path, tmp_path / "longer")
    )
    assert max((ours[n].double() - theirs[n].double()).abs().max().item() for n in ours) < 1e-6
    record = run.read_run()
    assert record["config"]["epochs"] == 3
    assert record["changes"] == [{"step": 4, "epochs": [2, 3]}]
    assert [row["step"] for row in run.read_metrics() if row["kind"] == "val"] == [2, 4, 6]


def test_another_rate_is_that_of_every_step_from_there_on(config, run) -> None:
    changed = replace(config, epochs=3, optim=replace(config.optim, lr=5e-4))
    train(changed, run.path, resume=True)
    rates = {row["step"]: row["lr"] for row in run.read_metrics() if row["kind"] == "train"}
    assert rates == pytest.approx({1: 1e-3, 2: 1e-3, 3: 1e-3, 4: 1e-3, 5: 5e-4, 6: 5e-4})
    last = torch.load(run.checkpoint("last"), weights_only=True)
    assert {group["lr"] for group in last["optimizer_states"][0]["param_groups"]} == {5e-4}
    (run.path / "result.json").unlink()  # killed at its end: no flags are needed to go on
    assert train(run.read_config(), run.path, resume=True)["steps"] == 6


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"epochs": 1}, "4 steps are done, and 2 are asked for"),
        ({"max_steps": 4}, "4 steps are done, and 4 are asked for"),
        ({"batch_size": 2}, "of what is learnt, epochs, max_steps, optim.lr may be changed"),
    ],
)
def test_what_a_finished_run_cannot_do_is_refused(config, run, changes, says) -> None:
    with pytest.raises(ConfigError, match=says):
        train(replace(config, **changes), run.path, resume=True)
    assert run.finished


def test_a_run_that_ended_in_mid_epoch_goes_on_as_if_it_had_not(config, finished, tmp_path) -> None:
    run = RunDir(tmp_path / "run")
    train(replace(config, max_steps=3), run.path)
    assert train(config, run.path, resume=True)["steps"] == finished.read_result()["steps"]  # without max_steps
    ours, theirs = (torch.load(r.checkpoint("last"), weights_only=True) for r in (run, finished))
    assert max((ours["model"][n].double() - w.double()).abs().max().item() for n, w in theirs["model"].items()) < 1e-6
    assert ours["loops"]["fit_loop"]["epoch_progress"] == theirs["loops"]["fit_loop"]["epoch_progress"]
    assert [row["step"] for row in run.read_metrics() if row["kind"] == "val"] == [2, 3, 4]


def test_added_images_and_other_classes_are_refused_and_other_boxes_noted(config, tmp_path) -> None:
    train_data, val = open_train_and_val(config.data.path)
    run = RunDir(tmp_path / "run")
    categories = [{"id": c.id, "name": c.name} for c in train_data.categories]
    run.write_run({"categories": categories, "data": data_record(train_data, val)})
    assert compare_data(run, train_data, val) == []
    turned = replace(train_data, images=train_data.images[::-1])
    assert compare_data(run, turned, val) == []
    fewer = replace(train_data, images=train_data.images[1:])
    with pytest.raises(ConfigError, match=r"train has 7 images now, 8 when the run began.*--init"):
        compare_data(run, fewer, val)
    with pytest.raises(ConfigError, match=r"gone: .*digit 1.*new: .*'x'"):
        compare_data(run, replace(train_data, categories=(replace(train_data.categories[1], name="x"),)), val)
    moved = replace(train_data.images[0], boxes=tuple((x + 1, y, X, Y) for x, y, X, Y in train_data.images[0].boxes))
    (note,) = compare_data(run, replace(train_data, images=(moved, *train_data.images[1:])), val)
    assert "train has changed since the run began (other boxes)" in note
    (note,) = compare_data(run, train_data, replace(val, images=val.images[:1]))
    assert "val has changed since the run began (1 images, 2 before): AP before and after" in note
    run.write_run({"categories": categories})  # as earlier versions wrote it
    assert compare_data(run, fewer, val) == []


def test_a_resumed_run_reads_its_images_again_and_refuses_others(config, run) -> None:
    data = run.path.parent / "data"
    shutil.copytree(config.data.path, data)
    file = next(data.rglob("*train*.json"))
    content = json.loads(file.read_text())
    content["images"] = content["images"][:-1]
    keep = {image["id"] for image in content["images"]}
    content["annotations"] = [row for row in content["annotations"] if row["image_id"] in keep]
    file.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=r"7 images now, 8 when the run began"):
        train(replace(config, data=DataConfig(data), epochs=3), run.path, resume=True)


def test_a_batch_too_small_for_batch_norm_is_told_with_the_ways_out(config, tmp_path) -> None:
    small = replace(
        config, batch_size=1, min_size=32, max_size=32, model=replace(config.model, backbone="mobilenet_v2")
    )
    with pytest.raises(ConfigError, match=r"live BatchNorm needs more than one value per channel.*--batch-size"):
        train(small, tmp_path / "run")
