"""Configuration to and from files."""

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from focalkit._config_io import config_from_dict, config_to_dict, differences, load_config
from focalkit._runs import RunDir
from focalkit.config import PRESETS, DataConfig, OptimConfig, RuntimeConfig, TrainConfig, cpu_small
from focalkit.errors import ConfigError


@pytest.mark.parametrize("preset", [TrainConfig, *PRESETS.values()])
def test_a_configuration_survives_json(preset):
    config = replace(preset(), data=DataConfig(Path("somewhere")), max_steps=7)
    assert config_from_dict(json.loads(json.dumps(config_to_dict(config)))) == config


def test_the_file_goes_over_the_preset_and_leaves_the_rest(tmp_path):
    file = tmp_path / "c.toml"
    file.write_text("epochs = 3\n[optim]\nlr = 1\n[model]\nanchor_sizes = [8, 16, 32, 64, 128]\n")
    config = load_config(file, cpu_small())
    assert (config.epochs, config.optim.lr) == (3, 1.0)
    assert config.model.anchor_sizes == (8.0, 16.0, 32.0, 64.0, 128.0)
    assert config.optim.schedule == cpu_small().optim.schedule
    assert config.model.backbone == "mobilenet_v2"


def test_run_json_gives_its_configuration_back(tmp_path):
    config = replace(cpu_small(), seed=5)
    (tmp_path / "run.json").write_text(json.dumps({"schema": 1, "config": config_to_dict(config), "seed": 5}))
    assert load_config(tmp_path / "run.json", TrainConfig()) == config
    assert load_config(tmp_path, TrainConfig()) == config


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("epoch = 3", 'unknown key "epoch"; did you mean "epochs"?'),
        ("lr = 0.1", 'unknown key "lr"; did you mean "optim.lr"?'),
        ("[model]\nbackbon = 'x'", 'unknown key "model.backbon"; did you mean "model.backbone"?'),
        ("[model]\nzzz = 1", "known: model.backbone"),
    ],
)
def test_an_unknown_key_is_an_error_with_the_nearest_name(tmp_path, text, hint):
    file = tmp_path / "c.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert hint in str(caught.value)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("epochs", "three", "a whole number"),
        ("epochs", True, "a whole number"),
        ("epochs", 2.5, "a whole number"),
        ("precision", "8", "one of '32', '16-mixed', 'bf16-mixed'"),
        ("model", 3, "is a table"),
        ("optim", {"clip_norm": "much"}, 'a number or "none"'),
        ("augment", {"scale": [1, 2, 3]}, "a list of 2 numbers"),
        ("pretrained_backbone", "yes", "true or false"),
        ("optim", {"lr": float("nan")}, "expects a number, got nan"),
        ("augment", {"scale": [0.5, float("inf")]}, "a list of 2 numbers"),
    ],
)
def test_a_value_of_the_wrong_type_is_named(key, value, expected):
    with pytest.raises(ConfigError) as caught:
        config_from_dict({key: value})
    assert expected in str(caught.value)


def test_all_problems_are_reported_at_once():
    with pytest.raises(ConfigError, match="3 problems"):
        config_from_dict({"epochs": "x", "devcies": 1, "optim": {"lr": "high"}})


def test_a_key_of_earlier_versions_is_read_under_its_name_of_today():
    old = {"model": {"numerics": {"bound_shrink": True}}}
    assert config_from_dict(old).model.numerics.clamp_dwdh_min
    with pytest.raises(ConfigError, match="clamp_dwdh_min"):
        config_from_dict({"model": {"numerics": {"bound_shrink": "no"}}})


def test_the_word_none_stands_for_none_in_toml():
    assert config_from_dict(tomllib.loads('[optim]\nclip_norm = "none"')).optim.clip_norm is None


def test_a_number_will_do_for_a_choice_that_looks_like_one():
    assert config_from_dict({"precision": 32}).runtime.precision == "32"


@pytest.mark.parametrize(("name", "text"), [("c.toml", "epochs = "), ("c.json", "{"), ("run.json", "[1]")])
def test_a_malformed_file_is_named(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=name):
        load_config(tmp_path / name)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        load_config(tmp_path / "gone.toml")


def test_differences_are_dotted_names():
    changed = replace(TrainConfig(), epochs=1, optim=OptimConfig(lr=0.5))
    assert differences(TrainConfig(), changed) == {"epochs": (12, 1), "optim.lr": (0.01, 0.5)}


SCHEMA_1 = {
    "schema": 1,
    "categories": [{"id": 3, "name": "a"}],
    "config": {
        "data": "/sets/mine",
        "train_json": None,
        "val_json": "/sets/val.json",
        "images": None,
        "repair": True,
        "loss": "focal(gamma=1.0, alpha=0.5)",
        "epochs": 16,
        "batch_size": 8,
        "min_size": 416,
        "precision": "bf16-mixed",
        "accelerator": "cpu",
        "devices": 2,
        "num_nodes": 1,
        "workers": 0,
        "seed": 7,
        "log_every": 5,
        "checkpoint_seconds": 30.0,
        "logger": "none",
        "model": {"backbone": "tiny"},
    },
}
"""What `focalkit train` wrote before its settings had groups, shortened."""


def test_a_run_of_schema_1_is_read(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps(SCHEMA_1))
    config = RunDir(tmp_path).read_config()
    assert config.data == DataConfig(Path("/sets/mine"), None, Path("/sets/val.json"), None, True)
    assert config.runtime == RuntimeConfig(
        precision="bf16-mixed",
        accelerator="cpu",
        devices=2,
        workers=0,
        log_every=5,
        checkpoint_seconds=30.0,
        logger="none",
    )
    assert (config.epochs, config.seed, config.model.backbone) == (16, 7, "tiny")
    assert load_config(tmp_path) == config
    assert config_from_dict(config_to_dict(config)) == config


def test_settings_of_data_and_runtime_may_stand_at_the_top(tmp_path):
    file = tmp_path / "c.toml"
    file.write_text('data = "a"\nworkers = 3\nlogger = "wandb"\n[runtime]\nlogger = "none"\n')
    config = load_config(file)
    assert (config.data.path, config.runtime.workers) == (Path("a"), 3)
    assert config.runtime.logger == "none", "the table goes first"
    with pytest.raises(ConfigError, match=r'"runtime.workers" expects a whole number, got \'many\''):
        config_from_dict({"workers": "many"})
    with pytest.raises(ConfigError, match=r'unknown key "path"; did you mean "data.path"'):
        config_from_dict({"path": "a"})
    with pytest.raises(ConfigError, match=r'unknown key "wokers"; did you mean "runtime.workers"'):
        config_from_dict({"wokers": 1})
