"""What `focalkit train` makes of its arguments, without training."""

import json
from dataclasses import replace

import pytest

from focalkit._config_io import config_to_dict, load_config
from focalkit._runs import RunDir
from focalkit.cli import main
from focalkit.cli import train as command
from focalkit.config import CriterionConfig, DataConfig, TrainConfig, cpu_small, paper
from focalkit.errors import ConfigError
from focalkit.training.continuing import changed_plan, continued
from focalkit.training.schedule import Plan
from unit.data.tiny_data import write_yolo


@pytest.fixture
def asked(monkeypatch):
    """Runs the command and gives what it would have trained."""
    import focalkit.training

    def parse(*argv: str) -> TrainConfig:
        found = []
        monkeypatch.setattr(focalkit.training, "train", lambda config, out, **_: found.append(config), raising=False)
        assert command.main(["--out", "run", *argv]) == 0
        return found[0]

    return parse


def test_flags_beat_the_file_and_the_file_beats_the_preset(asked, tmp_path):
    file = tmp_path / "c.toml"
    file.write_text("epochs = 3\nbatch_size = 4\n[optim]\nlr = 0.5\n")
    config = asked("--preset", "cpu-small", "--config", str(file), "--epochs", "7", "--model.backbone", "resnet18")
    assert (config.epochs, config.batch_size, config.optim.lr) == (7, 4, 0.5)
    assert config.model == replace(cpu_small().model, backbone="resnet18")


def test_every_preset_can_be_asked_for(asked):
    assert asked("--preset", "paper") == paper()
    assert asked("--preset", "default") == TrainConfig()


def test_a_loss_on_the_command_line_is_never_taken_for_a_presets(asked, tmp_path):
    own = asked("--preset", "cpu-small", "--model.detector", "gfl")
    assert (own.model.detector, own.loss, own.criterion) == ("gfl", None, CriterionConfig())
    assert own.epochs == cpu_small().epochs
    for loss in (cpu_small().loss, "focal(gamma=2.0, alpha=0.25)"):
        assert asked("--preset", "cpu-small", "--model.detector", "gfl", "--loss", loss).loss == loss
    file = tmp_path / "c.toml"
    file.write_text('loss = "bce"\n[model]\ndetector = "gfl"\n')
    both = asked("--preset", "cpu-small", "--config", str(file))
    assert (both.loss, both.criterion.box_loss) == ("bce", None)
    assert asked("--preset", "cpu-small").loss == cpu_small().loss


@pytest.mark.parametrize(("gpu", "preset"), [(False, cpu_small()), (True, TrainConfig())])
def test_without_a_choice_the_hardware_decides_and_it_is_said(asked, gpu, preset, monkeypatch, capsys):
    monkeypatch.setattr("focalkit.cli._presets.has_gpu", lambda: gpu)
    assert asked() == preset
    assert "neither --preset nor --config" in capsys.readouterr().err


def test_a_run_is_reproduced_from_its_run_json(asked, tmp_path, capsys):
    config = replace(cpu_small(), seed=11, loss="bce()")
    (tmp_path / "run.json").write_text(json.dumps({"schema": 1, "config": config_to_dict(config)}))
    assert asked("--config", str(tmp_path / "run.json")) == config
    assert "preset" not in capsys.readouterr().err


def test_resuming_starts_from_the_runs_own_settings(asked, tmp_path):
    run = RunDir(tmp_path / "r")
    stored = replace(cpu_small(), seed=11)
    run.write_run({"config": config_to_dict(stored)})
    assert asked("--resume", "--out", str(run.path), "--workers", "0") == replace(
        stored, runtime=replace(stored.runtime, workers=0)
    )


def test_a_configuration_file_that_is_given_with_resume_is_read_and_not_forgotten(asked, tmp_path):
    run = RunDir(tmp_path / "r")
    run.write_run({"config": config_to_dict(replace(cpu_small(), seed=11))})
    file = tmp_path / "c.toml"
    file.write_text("epochs = 99\n")
    config = asked("--resume", "--out", str(run.path), "--config", str(file))
    assert (config.seed, config.epochs) == (11, 99)  # `train` then refuses the change


def test_the_ending_has_a_dash_where_there_is_no_ap(tmp_path):
    run = RunDir(tmp_path)
    run.write_run({"config": config_to_dict(replace(cpu_small(), data=DataConfig(tmp_path)))})
    run.write_result({"metrics": {"AP": -1.0, "AP50": -1.0, "AP75": 0.25}, "finished": True})
    ending = command._ending(tmp_path, [])
    assert ending.startswith("AP -  AP50 -  AP75 0.2500  on the validation images")


@pytest.mark.parametrize(("ap", "told"), [(0.0, True), (0.009, True), (0.02, False), (-1.0, False)])
def test_a_run_that_finds_next_to_nothing_says_how_to_go_on(tmp_path, ap, told):
    run = RunDir(tmp_path)
    run.write_run({"config": config_to_dict(replace(cpu_small(), data=DataConfig(tmp_path)))})
    run.write_result({"metrics": {"AP": ap, "AP50": ap, "AP75": ap}, "steps": 30, "finished": True})
    assert ("next to nothing is found after 30 steps" in command._ending(tmp_path, [])) == told


@pytest.fixture
def broken_steps(monkeypatch, tmp_path):
    """A training that is done at once, with an evaluation and a report that fail."""
    import focalkit.evaluation
    import focalkit.report
    import focalkit.training

    def fail(*_, **__):
        raise RuntimeError("a bug")

    run = RunDir(tmp_path)
    run.write_run({"config": config_to_dict(replace(cpu_small(), data=DataConfig(tmp_path)))})
    run.write_result({"metrics": {"AP": 0.5, "AP50": 0.5, "AP75": 0.5}, "finished": True})
    monkeypatch.setattr(focalkit.training, "train", lambda *_, **__: {"finished": True}, raising=False)
    monkeypatch.setattr(focalkit.evaluation, "evaluate_run", fail)
    monkeypatch.setattr(focalkit.report, "write_report", fail, raising=False)
    return ["train", "--preset", "cpu-small", "--out", str(tmp_path)]


def test_a_failed_evaluation_and_report_are_notes(broken_steps, capsys):
    assert main(broken_steps) == 1
    ending = capsys.readouterr().out
    assert "note: the evaluation failed (RuntimeError: a bug); the training is kept" in ending
    assert "note: the report failed (RuntimeError: a bug); the training is kept" in ending


@pytest.mark.parametrize("step", ["evaluate", "report"])
def test_debug_shows_the_traceback_of_a_failed_evaluation_or_report(broken_steps, monkeypatch, step):
    other = {"evaluate": "report", "report": "evaluate"}[step]
    monkeypatch.setattr(command, other, lambda args: [])
    with pytest.raises(RuntimeError, match="a bug"):
        main([*broken_steps, "--debug"])
    assert main(broken_steps) == (1 if step == "evaluate" else 0)  # --debug counts for its own call


def test_a_loss_with_parentheses_is_one_flag(asked):
    assert asked("--preset", "cpu-small", "--loss", "focal(gamma=0.5)").loss == "focal(gamma=0.5)"


def test_optional_values_can_be_switched_off(asked):
    assert asked("--preset", "cpu-small", "--optim.clip-norm", "None").optim.clip_norm is None


def test_a_resumed_run_may_move_but_not_change(tmp_path):
    run = RunDir(tmp_path)
    stored = replace(cpu_small(), data=DataConfig(tmp_path / "old"))
    run.write_run({"config": config_to_dict(stored)})
    moved, changes = continued(
        run, replace(stored, data=DataConfig(tmp_path / "new"), runtime=replace(stored.runtime, workers=0))
    )
    assert (moved.data.path, moved.runtime.workers, changes) == (tmp_path / "new", 0, {})
    with pytest.raises(ConfigError, match=rf"batch_size: {stored.batch_size} in run\.json, now 3"):
        continued(run, replace(stored, batch_size=3))
    assert continued(run, replace(stored, epochs=3))[1] == {"epochs": (stored.epochs, 3)}


# configurations that name code


SPEC = "os:mkdir(path='code-has-run')"


@pytest.mark.parametrize("field", ["loss", "criterion.box_loss"])
def test_a_configuration_that_names_code_says_what_it_imports_and_runs_nothing(field, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    table, _, key = field.rpartition(".")
    (tmp_path / "c.toml").write_text((f"[{table}]\n" if table else "") + f'{key} = "{SPEC}"\n')
    assert main(["train", "--data", ".", "--out", "run", "--config", "c.toml"]) == 2
    err = capsys.readouterr().err
    assert f'"{field}" = ' in err
    assert "imports and runs os" in err
    assert "--trust" in err
    assert not (tmp_path / "code-has-run").exists()
    with pytest.raises(ConfigError, match="without --trust"):
        load_config(tmp_path / "c.toml")


def test_a_run_directory_that_names_code_is_not_resumed_without_trust(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    RunDir(tmp_path / "run").write_run({"config": config_to_dict(replace(cpu_small(), loss=SPEC))})
    assert main(["train", "--out", "run", "--resume"]) == 2
    assert "run/run.json: names code to import" in capsys.readouterr().err
    assert not (tmp_path / "code-has-run").exists()


def test_code_is_taken_from_the_line_and_from_files_that_are_trusted(asked, tmp_path):
    (tmp_path / "c.toml").write_text('loss = "mine.losses:Mine(gamma=1)"\n')
    assert asked("--config", str(tmp_path / "c.toml"), "--trust").loss == "mine.losses:Mine(gamma=1)"
    assert asked("--loss", "mine.losses:Mine").loss == "mine.losses:Mine"
    assert load_config(tmp_path / "c.toml", trust=True).loss == "mine.losses:Mine(gamma=1)"


def test_none_is_spelt_as_in_the_documentation(asked):
    assert asked("--optim.clip-norm", "none", "--logger", "none").optim.clip_norm is None
    assert asked("--optim.clip_norm=none").optim.clip_norm is None


def test_a_number_that_is_none_is_refused(tmp_path, capsys):
    data = write_yolo(tmp_path)
    assert main(["train", "--data", str(data), "--out", str(tmp_path / "run"), "--optim.lr", "nan"]) == 2
    assert "optim.lr is nan, expected a number" in capsys.readouterr().err


def test_epochs_that_the_runs_own_max_steps_forbids_are_refused_by_name(tmp_path):
    run, config = RunDir(tmp_path), TrainConfig(data=DataConfig("x"), epochs=9, max_steps=20)
    run.write_result({"finished": True})
    with pytest.raises(
        ConfigError, match="max_steps 20 of the run ends it before 9 epochs; ask for more with --max-st"
    ):
        changed_plan(run, config, {"epochs": (3, 9)}, Plan(10, 20, 2, 0.1), 20)
