"""One small run through the ordinary training path, and what it leaves on disk."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from focalkit._config_io import config_from_dict
from focalkit._runs import RunDir
from focalkit.config import AugmentConfig, DataConfig, ModelConfig, OptimConfig, RuntimeConfig, TrainConfig
from focalkit.data import write_demo_scenes
from focalkit.detection import build_criterion, build_retinanet
from focalkit.errors import ConfigError, FocalkitError
from focalkit.report import write_report
from focalkit.training import DivergedError, _train, train
from focalkit.training.checkpoint import read_checkpoint
from focalkit.training.module import DetectionModule

STEPS, EPOCHS = 3, 2  # per epoch; in all


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> TrainConfig:
    data = write_demo_scenes(tmp_path_factory.mktemp("scenes"), train=14, val=4, size=96, classes=3, imbalance=4)
    return TrainConfig(
        data=DataConfig(data),
        epochs=EPOCHS,
        batch_size=4,
        min_size=64,
        max_size=64,
        runtime=RuntimeConfig(workers=0, accelerator="cpu", log_every=1),
        model=ModelConfig("tiny", fpn_channels=16, head_channels=16, head_depth=1, anchor_sizes=(8, 16, 32, 64, 128)),
        augment=AugmentConfig(color=0.2),
        optim=OptimConfig("adamw", lr=1e-3, lr_batch=4, schedule="onecycle", ema_decay=0.9),
    )


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory) -> tuple[RunDir, str]:
    """The run, and what it said on stderr."""
    out = tmp_path_factory.mktemp("runs") / "a"
    with pytest.MonkeyPatch.context() as patch:
        elsewhere = tmp_path_factory.mktemp("cwd")
        patch.chdir(elsewhere)
        heard = Heard()
        patch.setattr("sys.stderr", heard)
        train(config, out, command="focalkit train ...")
        assert list(elsewhere.iterdir()) == []  # no lightning_logs, nothing
    return RunDir(out), "".join(heard.text)


class Heard:
    def __init__(self) -> None:
        self.text: list[str] = []

    def write(self, text: str) -> int:
        self.text.append(text)
        return len(text)

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return False


def test_the_run_directory_holds_what_it_should(finished):
    run, _ = finished
    names = {p.relative_to(run.path).as_posix() for p in run.path.rglob("*") if p.is_file()}
    assert {"run.json", "metrics.jsonl", "result.json", "checkpoints/best.ckpt", "checkpoints/last.ckpt"} <= names
    assert not [n for n in names if ".tmp" in n]


def test_run_json_says_how_it_came_about(finished, config):
    record = finished[0].read_run()
    assert record["command"] == "focalkit train ..."
    assert record["seed"] == config.seed
    assert {c["id"] for c in record["categories"]} == set(range(1, len(record["categories"]) + 1))
    assert {"focalkit", "python", "torch", "lightning"} <= set(record["versions"])
    assert record["device"].startswith("CPU")
    read = finished[0].read_config()
    assert (read.optim, read.epochs, read.data) == (config.optim, config.epochs, config.data)


def test_metrics_have_a_line_per_step_and_per_evaluation(finished):
    rows = finished[0].read_metrics()
    steps = [row["step"] for row in rows if row["kind"] == "train"]
    assert steps == list(range(1, STEPS * EPOCHS + 1))
    evaluations = [row for row in rows if row["kind"] == "val"]
    assert [(row["step"], row["epoch"]) for row in evaluations] == [(3, 1), (6, 2)]
    assert all(row["loss"] == pytest.approx(row["classification"] + row["box"]) for row in rows)
    assert {"lr", "images_per_second"} <= set(rows[0])
    assert {"AP", "AP50", "AP75", "APs", "AR100"} <= set(evaluations[0])


def test_the_result_is_that_of_the_best_evaluation(finished):
    result = finished[0].read_result()
    best = max(row["AP"] for row in finished[0].read_metrics() if row["kind"] == "val")
    assert result["finished"]
    assert result["metrics"]["AP"] == best
    assert (result["epochs"], result["steps"]) == (EPOCHS, STEPS * EPOCHS)


@pytest.mark.parametrize("which", ["best", "last"])
def test_checkpoints_are_plain_and_rebuild_the_model(finished, which):
    run, _ = finished
    checkpoint = torch.load(run.checkpoint(which), weights_only=True)
    assert checkpoint["focalkit"]["categories"] == run.read_run()["categories"]
    assert checkpoint["focalkit"]["config"] == run.read_run()["config"]
    model = build_retinanet(run.read_config().model, len(checkpoint["focalkit"]["categories"]))
    model.load_state_dict(checkpoint["model"])


def test_the_weights_kept_are_the_averaged_ones(finished):
    last = torch.load(finished[0].checkpoint("last"), weights_only=True)
    name = (
        "head.cls_logits.weight"
        if "head.cls_logits.weight" in last["model"]
        else next(n for n, v in last["model"].items() if v.ndim == 4)
    )
    averaged, current = last["model"][name], last["current_model_state"][f"model.{name}"]
    assert not torch.equal(averaged, current)
    assert torch.equal(averaged, last["state_dict"][f"model.{name}"])


def test_what_is_said_is_about_the_training_alone(finished):
    said = finished[1]
    assert "14 images" in said
    assert "0.001 (0.001 per 4 images, batch of 4)" in said
    assert "epoch 2/2  " in said
    assert " images/s  loss " in said
    assert "best" in said
    for noise in ("Lightning", "lightning", "num_workers", "GPU available", "Trainer", "UserWarning", "litlogger"):
        assert noise not in said


def test_the_same_seed_gives_the_same_weights(finished, config, tmp_path):
    train(config, tmp_path / "again")
    weights = [
        torch.load(r.checkpoint("last"), weights_only=True)["model"] for r in (finished[0], RunDir(tmp_path / "again"))
    ]
    assert all(torch.allclose(weights[0][name], weights[1][name], atol=1e-6) for name in weights[0])


def test_a_finished_run_stands_and_resuming_it_changes_nothing(finished, config):
    run, _ = finished
    before = {p: p.stat().st_mtime_ns for p in run.path.rglob("*")}
    with pytest.raises(ConfigError, match="finished run"):
        train(config, run.path)
    assert train(config, run.path, resume=True) == run.read_result()
    assert {p: p.stat().st_mtime_ns for p in run.path.rglob("*")} == before


def test_a_run_whose_metrics_were_lost_says_so(finished, config, tmp_path):
    run = RunDir(shutil.copytree(finished[0].path, tmp_path / "r"))
    for name in ("metrics.jsonl", "result.json"):
        (run.path / name).unlink()
    with pytest.raises(ConfigError, match=r"metrics\.jsonl: holds no evaluation"):
        train(config, run.path, resume=True)


def test_force_keeps_the_old_run_until_the_new_one_can_start(finished, config):
    run, _ = finished
    with pytest.raises(FocalkitError, match="nowhere"):
        train(replace(config, data=DataConfig(Path("nowhere"))), run.path, force=True)
    assert run.finished


def test_force_starts_over(config, tmp_path):
    one = replace(config, epochs=1, runtime=replace(config.runtime, logger="none"))
    train(one, tmp_path / "r")
    train(replace(one, seed=1), tmp_path / "r", force=True)
    run = RunDir(tmp_path / "r")
    assert run.read_config().seed == 1
    assert [row["step"] for row in run.read_metrics() if row["kind"] == "val"] == [STEPS]


def test_max_steps_ends_in_mid_epoch_with_an_evaluation(config, tmp_path):
    result = train(
        replace(config, max_steps=4, evaluate_every=5, runtime=replace(config.runtime, logger="none")), tmp_path / "r"
    )
    rows = RunDir(tmp_path / "r").read_metrics()
    assert result["steps"] == 4
    assert [(row["kind"], row["step"]) for row in rows][-1] == ("val", 4)
    assert RunDir(tmp_path / "r").checkpoint("best").is_file()


@pytest.mark.parametrize("loss", ["eql(threshold=0.3)", "eqlv2"])
def test_a_loss_is_told_what_it_asks_of_the_training_data(config, tmp_path, monkeypatch, loss):
    built = []
    monkeypatch.setattr(_train, "build_criterion", lambda *args: built.append(build_criterion(*args)) or built[-1])
    train(replace(config, loss=loss, max_steps=1, runtime=replace(config.runtime, logger="none")), tmp_path / "r")
    truth = json.loads((config.data.path / "annotations" / "instances_train.json").read_text())
    shown = {(a["category_id"], a["image_id"]) for a in truth["annotations"]}
    shares = [sum(c["id"] == k for k, _ in shown) / len(truth["images"]) for c in truth["categories"]]
    assert len(set(shares)) > 1
    if loss == "eqlv2":
        assert built[0].terms["classification"].loss.num_classes == len(shares)
    else:
        assert torch.as_tensor(built[0].terms["classification"].loss.frequency).tolist() == pytest.approx(shares)
    assert RunDir(tmp_path / "r").read_config().loss == loss


def test_the_run_stops_early_when_nothing_improves(config, tmp_path):
    # at this rate nothing is ever detected: AP stays 0
    still = replace(config.optim, lr=1e-9)
    result = train(
        replace(config, epochs=9, patience=2, optim=still, runtime=replace(config.runtime, logger="none")),
        tmp_path / "r",
    )
    assert result["epochs"] == 3
    assert result["finished"]


def test_a_diverging_run_says_which_step_and_what_to_try(config, tmp_path):
    wild = replace(config.optim, optimizer="sgd", lr=1e30, clip_norm=None, schedule="constant", warmup_steps=0)
    with pytest.raises(DivergedError, match=r"loss of step \d is not finite.*learning rate 1e\+30(.|\n)*--optim.lr"):
        train(replace(config, optim=wild, runtime=replace(config.runtime, logger="none")), tmp_path / "r")
    assert not RunDir(tmp_path / "r").finished


def nan_at_step(module: type, step: int, monkeypatch) -> None:
    """The losses of one optimiser step become NaN, as a bad batch makes them."""
    real = module._losses

    def losses(self, outputs, targets):
        bad = self.training and self.global_step + 1 == step
        return {name: loss * torch.nan if bad else loss for name, loss in real(self, outputs, targets).items()}

    monkeypatch.setattr(module, "_losses", losses)


def test_a_diverged_run_keeps_an_autopsy_and_its_page(config, tmp_path, monkeypatch):
    nan_at_step(DetectionModule, 5, monkeypatch)
    run = RunDir(tmp_path / "r")
    with pytest.raises(DivergedError, match="loss of step 5"):
        train(config, run.path)
    found = json.loads((run.path / "autopsy.json").read_text())
    assert (found["step"], found["losses"]["box"], found["checkpoint"]["step"]) == (5, "nan", STEPS)
    assert len(found["images"]) == config.batch_size
    assert all(i["file_name"].endswith(".jpg") for i in found["images"])
    assert len(found["logits"]) == 5
    assert all(low <= high for low, high in found["logits"])
    page = write_report([run.path], run.path / "report.html").read_text()
    assert "Why training stopped" in page
    assert found["images"][0]["file_name"] in page
    monkeypatch.undo()
    assert train(config, run.path, resume=True)["finished"]
    assert not (run.path / "autopsy.json").exists()


def test_a_bad_step_can_be_left_out(config, tmp_path, monkeypatch):
    nan_at_step(DetectionModule, 5, monkeypatch)
    run = RunDir(tmp_path / "r")
    assert train(replace(config, optim=replace(config.optim, not_finite="skip")), run.path)["finished"]
    assert run.read_metrics()[-1]["kind"] == "val"
    assert [r for r in run.read_metrics() if r.get("skipped") == 1]
    assert all(v.isfinite().all() for v in read_checkpoint(run.checkpoint("last"))["model"].values())


def test_accumulated_passes_make_the_same_number_of_steps(config, tmp_path):
    result = train(
        replace(config, accumulate=2, epochs=1, runtime=replace(config.runtime, logger="none")), tmp_path / "r"
    )
    assert result["steps"] == STEPS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"precision": "16-mixed"}, "needs a GPU"),
        ({"loss": "focall()"}, "focal"),
        ({"logger": "wandb"}, "pip install wandb"),
    ],
)
def test_what_this_machine_cannot_do_is_refused(config, tmp_path, change, message, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises((FocalkitError, ValueError), match=message):
        train(config_from_dict(change, config), tmp_path / "r")


def test_bfloat16_trains_with_losses_in_float32(config, tmp_path):
    # not at 64 px, where P6 is one cell wide: torch's bfloat16 convolution of stride 2 on a CPU leaves parts of the
    # weight's gradient uninitialised where the input is one column wide (torch 2.15, oneDNN)
    larger = replace(
        config,
        runtime=replace(config.runtime, precision="bf16-mixed", logger="none"),
        epochs=1,
        min_size=96,
        max_size=96,
    )
    result = train(larger, tmp_path / "r")
    first = RunDir(tmp_path / "r").read_metrics()[0]
    assert result["finished"]
    # a loss computed in bfloat16 has 8 bits and would be a short binary fraction
    assert first["classification"] != torch.tensor(first["classification"]).bfloat16().item()


def test_run_json_is_strict_json(finished):
    for name in ("run.json", "result.json"):
        json.loads((Path(finished[0].path) / name).read_text(), parse_constant=pytest.fail)


def test_a_step_that_poisons_running_statistics_is_not_left_out(config, tmp_path, monkeypatch):
    """They stay NaN, and with them every evaluation."""
    real = DetectionModule.training_step

    def poisoned(self, batch, batch_idx):
        if self.global_step + 1 == 4:
            batch.images.fill_(torch.inf)
        return real(self, batch, batch_idx)

    monkeypatch.setattr(DetectionModule, "training_step", poisoned)
    with pytest.raises(DivergedError, match=r"step 4 cannot be left out: it has made \S*running_\S* NaN or infinite"):
        train(replace(config, optim=replace(config.optim, not_finite="skip")), tmp_path / "r")
