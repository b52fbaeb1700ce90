"""Run directories and atomic writes."""

import json
import math
import os
from dataclasses import replace
from types import SimpleNamespace

import pytest

from focalkit._config_io import config_to_dict
from focalkit._files import dump_json, write_json_atomic, write_text_atomic
from focalkit._runs import RunDir, claim
from focalkit.config import ModelConfig, TrainConfig, cpu_small
from focalkit.detection.build import build_criterion, with_own_losses
from focalkit.errors import ConfigError
from focalkit.training._train import Job, _open_run
from focalkit.training.callbacks import WhenAllAreThere
from focalkit.training.record import loss_line


@pytest.fixture
def run(tmp_path):
    run = RunDir(tmp_path / "run")
    run.write_run({"config": config_to_dict(cpu_small()), "categories": []})
    return run


def finish(run):
    run.write_result({"finished": True, "metrics": {}})


def test_run_json_gives_the_configuration_back(run):
    assert run.read_config() == cpu_small()
    assert run.read_run()["schema"] == 2


def test_a_directory_without_a_run_says_so(tmp_path):
    assert not RunDir(tmp_path).exists
    with pytest.raises(ConfigError, match="not a run directory"):
        RunDir(tmp_path).read_run()


@pytest.mark.parametrize("content", [{"schema": 1}, {"schema": 2}, {"schema": 2, "config": []}])
def test_a_run_json_without_a_configuration_is_refused_with_its_name(run, content):
    write_json_atomic(run.path / "run.json", content)
    with pytest.raises(ConfigError, match=r"run\.json: holds no configuration"):
        run.read_config()


def test_the_run_of_another_schema_is_refused(run):
    write_json_atomic(run.path / "run.json", {"schema": 99})
    with pytest.raises(ConfigError, match="schema 99"):
        run.read_run()


def test_metrics_keep_their_order_and_lose_a_torn_line(run):
    run.append_metrics({"kind": "train", "step": 1, "loss": math.nan})
    run.append_metrics({"kind": "train", "step": 2})
    with open(run.path / "metrics.jsonl", "a") as file:
        file.write('{"kind": "tra')
    assert run.read_metrics() == [{"kind": "train", "step": 1, "loss": None}, {"kind": "train", "step": 2}]


def test_truncating_metrics_drops_what_will_be_written_again(run):
    for step in (1, 2, 3):
        run.append_metrics({"kind": "train", "step": step})
    run.truncate_metrics(2)
    assert [row["step"] for row in run.read_metrics()] == [1, 2]


def test_a_new_directory_may_be_claimed(tmp_path):
    assert not claim(tmp_path / "new").exists
    assert not claim(tmp_path / "new", resume=True).exists


def test_an_unfinished_run_needs_resume_or_force(run):
    with pytest.raises(ConfigError, match="unfinished run; --resume continues it, --force"):
        claim(run.path)
    assert claim(run.path, resume=True).exists


def test_a_finished_run_is_kept_unless_forced(run):
    finish(run)
    with pytest.raises(ConfigError, match="finished run; choose another --out, or --force"):
        claim(run.path)
    assert claim(run.path, resume=True).finished
    assert claim(run.path, force=True).finished  # until it is cleared


def test_force_deletes_the_run_and_nothing_else(run):
    finish(run)
    run.append_metrics({"step": 1})
    (run.path / "checkpoints").mkdir()
    run.checkpoint("best").write_text("weights")
    for folder in ("csv", "csv-from-40"):
        (run.path / folder).mkdir()
        (run.path / folder / "metrics.csv").write_text("step")
    (run.path / "notes.txt").write_text("mine")
    claim(run.path, force=True).clear()
    assert [p.name for p in run.path.iterdir()] == ["notes.txt"]


def test_leftovers_without_run_json_are_not_overwritten(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("")
    for force in (False, True):
        with pytest.raises(ConfigError, match=r"holds metrics\.jsonl"):
            claim(tmp_path, force=force)


def test_clearing_a_folder_without_a_run_deletes_nothing(tmp_path):
    (tmp_path / "result.json").write_text("{}")
    RunDir(tmp_path).clear()
    assert (tmp_path / "result.json").exists()


def test_resume_and_force_contradict_each_other(tmp_path):
    with pytest.raises(ConfigError, match="one of them"):
        claim(tmp_path, resume=True, force=True)


def test_a_file_is_no_run_directory(tmp_path):
    (tmp_path / "f").write_text("")
    with pytest.raises(ConfigError, match="got a file"):
        claim(tmp_path / "f")


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path, monkeypatch):
    file = tmp_path / "a.json"
    write_text_atomic(file, "old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_text_atomic(file, "new")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_json_is_strict():
    text = dump_json({"a": math.nan, "b": [math.inf, 1.5], "c": {"d": -math.inf}})
    assert json.loads(text, parse_constant=pytest.fail) == {"a": None, "b": [None, 1.5], "c": {"d": None}}


def test_written_files_have_the_mode_of_any_new_file(tmp_path):
    (tmp_path / "plain").write_text("")
    write_text_atomic(tmp_path / "atomic", "")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_changed_settings_are_written_when_all_processes_have_read_the_old_ones(run):
    changes = {"epochs": (30, 40)}
    job = Job(replace(cpu_small(), epochs=40), run.path, True, False, True, "", (), None, changes)
    _open_run(job, (), "cpu", 4)
    assert run.read_config().epochs == cpu_small().epochs, "a slower process still reads run.json"
    written = []
    for first in (False, True):
        trainer = SimpleNamespace(is_global_zero=first)
        WhenAllAreThere(lambda first=first: written.append(first)).setup(trainer, None, "fit")
    assert written == [True]


@pytest.mark.parametrize(
    ("detector", "line"),
    [
        ("retinanet", "focal(gamma=2.0, alpha=0.25) + 1 x smooth_l1 for boxes"),
        ("gfl", "qfl + 2 x giou for boxes + 0.25 x distribution"),
        ("rtdetrv2", "varifocal + 5 x l1 for boxes + 2 x giou"),
    ],
)
def test_the_line_on_losses_names_every_term(detector: str, line: str):
    config = with_own_losses(TrainConfig(model=ModelConfig(detector=detector)))
    assert loss_line(config, build_criterion(config).terms) == line
