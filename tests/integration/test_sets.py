"""A set predictor through training, its run directory, evaluation, prediction, a second run that starts from it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from focalkit._runs import RunDir
from focalkit.cli import main
from focalkit.cli.demo import config as demo_config
from focalkit.config import DecoderConfig, ModelConfig, RuntimeConfig, TrainConfig, with_detector
from focalkit.data import write_demo_scenes
from focalkit.detection import Detector, load_weights
from focalkit.detection.models.detr.detector import SetDetector
from focalkit.detection.weights.transfer import transfer
from focalkit.evaluation import evaluate_run
from focalkit.training import train

MODEL = ModelConfig(
    "tiny",
    fpn_channels=16,
    detector="rtdetrv2",
    decoder=DecoderConfig(layers=1, queries=20, heads=2, feedforward=32, expansion=0.5, denoising=10),
)


def config(data: Path, model: ModelConfig) -> TrainConfig:
    base = with_detector(demo_config(data), model.detector)
    optim = replace(base.optim, ema_decay=0.9)
    runtime = RuntimeConfig(workers=0, accelerator="cpu")
    return replace(base, epochs=1, min_size=96, max_size=96, batch_size=2, runtime=runtime, optim=optim, model=model)


@pytest.mark.parametrize(
    ("detector", "title", "loss"), [("rtdetrv2", "RT-DETRv2", "varifocal"), ("deim", "DEIM", "mal")]
)
def test_a_run_of_a_set_predictor_serves_every_later_step(detector, title, loss, tmp_path: Path, capsys):
    data = write_demo_scenes(tmp_path / "scenes", train=4, val=2, size=96, classes=2, imbalance=1)
    result = train(config(data, replace(MODEL, detector=detector)), tmp_path / "run")
    told = capsys.readouterr().err
    assert f"{title}, tiny" in told
    assert f"loss    {loss} + 5 x l1 for boxes + 2 x giou" in told
    run = RunDir(tmp_path / "run")
    steps = [row for row in run.read_metrics() if row["kind"] == "train"]
    assert {"classification", "box", "giou", "denoising", "positives"} <= set(steps[-1])
    assert ({"sides", "distillation"} <= set(steps[-1])) == (detector != "rtdetrv2")
    assert (run.read_config().loss, run.read_config().criterion.box_loss) == (loss, "l1")
    model = Detector.from_run(tmp_path / "run", "cpu", score_threshold=0.0)
    found = model.predict(torch.rand(3, 90, 70))[0]
    assert found.boxes.shape[1] == 4
    assert (found.boxes <= torch.tensor([70.0, 90, 70, 90])).all()
    evaluation = evaluate_run(tmp_path / "run", pictures=0, device="cpu")
    assert evaluation["metrics"]["AP"] == result["metrics"]["AP"]
    assert evaluation["loss_concentration"]["num_positives"] > 0


def test_the_commands_take_a_d_fine(tmp_path: Path, capsys):
    """train with its preset, evaluate, predict, export to weights, and the same AP from that file."""
    data = write_demo_scenes(tmp_path / "scenes", train=4, val=2, size=96, classes=2, imbalance=1)
    run, file, found = (str(tmp_path / name) for name in ("run", "fine.safetensors", "found"))
    flags = (
        "--preset dfine-small --model.backbone tiny --model.fpn-channels 16 --model.decoder.layers 2"
        " --model.decoder.queries 20 --model.decoder.heads 2 --model.decoder.feedforward 32 --model.freeze-at 0"
        " --min-size 96 --max-size 96 --max-steps 2 --batch-size 2 --workers 0 --accelerator cpu --logger none"
    )
    assert main(["train", "--data", str(data), *flags.split(), "--out", run]) == 0
    assert main(["export", run, "--format", "weights", "--out", file]) == 0
    assert main(["predict", file, str(data / "images" / "val"), "--out", found, "--device", "cpu"]) == 0
    capsys.readouterr()
    scores = []
    for source in (run, file):
        assert main(["evaluate", source, "--data", str(data), "--device", "cpu", "--json"]) == 0
        scores.append(json.loads(capsys.readouterr().out)["metrics"])
    assert scores[0] == scores[1]


def test_its_weights_start_another_with_some_of_its_classes_or_others():
    from focalkit.detection import build_detector
    from focalkit.detection.models.card import ModelCard

    torch.manual_seed(0)
    source = build_detector(MODEL, 3)
    source.card = ModelCard(MODEL, ((1, "cat"), (2, "dog"), (3, "bird")))
    model = build_detector(MODEL, 2)
    assert "found by their names" in transfer(model, source, ["bird", "cat"], "x.pth")
    assert isinstance(model, SetDetector)
    assert isinstance(source, SetDetector)
    for one, other in zip(model.head.class_output, source.head.class_output, strict=True):
        assert torch.equal(one.weight, other.weight[[2, 0]])
    assert torch.equal(model.head.label_embedding.weight, source.head.label_embedding.weight[[2, 0, 3]])
    fresh = build_detector(MODEL, 5)
    before = fresh.head.class_output[1].bias.clone()
    assert "starts anew" in transfer(fresh, source, list("abcde"), "x.pth")
    assert torch.equal(fresh.head.class_output[1].bias, before)
    assert torch.equal(fresh.head.layers[0].linear1.weight, source.head.layers[0].linear1.weight)


def test_its_own_weights_file_comes_back(tmp_path: Path):
    from focalkit.detection import build_detector, save_weights

    model = build_detector(MODEL, 3).eval()
    for name in ("x.pth", "x.safetensors"):
        save_weights(model, tmp_path / name)
        again = load_weights(tmp_path / name)
        images = torch.rand(1, 3, 64, 64)
        assert torch.equal(again(images).deltas[0], model(images).deltas[0])


@pytest.mark.parametrize(("before", "after"), [(10, 0), (0, 10)])
def test_its_weights_start_another_with_or_without_denoising(before: int, after: int):
    from focalkit.detection import build_detector
    from focalkit.detection.models.card import ModelCard

    structures = [replace(MODEL, decoder=replace(MODEL.decoder, denoising=n)) for n in (before, after)]
    source, model = (build_detector(structure, 2) for structure in structures)
    source.card = ModelCard(structures[0], ((1, "cat"), (2, "dog")))
    transfer(model, source, ["cat", "dog"], "x.pth")
    assert torch.equal(model.head.class_output[0].weight, source.head.class_output[0].weight)
