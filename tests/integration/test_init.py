"""`focalkit train --init`: a run that starts from a trained detector, its configuration, and how it goes on."""

import json
from dataclasses import replace

import pytest
import torch

from focalkit._config_io import config_to_dict
from focalkit._runs import RunDir
from focalkit.cli import main
from focalkit.cli import train as command
from focalkit.config import AugmentConfig, DataConfig, ModelConfig, OptimConfig, RuntimeConfig, TrainConfig, cpu_small
from focalkit.data import write_demo_scenes
from focalkit.detection import build_detector, load_weights, retinanet, save_weights
from focalkit.errors import ConfigError, InputError
from focalkit.losses import prior_bias
from focalkit.training import train

MODEL = ModelConfig("tiny", "batch", 0, 16, 16, 1, anchor_sizes=(8.0, 16.0, 32.0, 64.0, 128.0))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return write_demo_scenes(tmp_path_factory.mktemp("scenes"), train=4, val=2, size=96, classes=2, imbalance=1)


@pytest.fixture(scope="module")
def donor(tmp_path_factory):
    """A detector of three classes without names, in a file of ours."""
    torch.manual_seed(3)
    file = tmp_path_factory.mktemp("donor") / "donor.pth"
    save_weights(build_detector(MODEL, 3), file)
    return file


@pytest.fixture
def config(scenes, donor):
    """A step that moves nothing: what is saved is what the run started from."""
    return TrainConfig(
        data=DataConfig(scenes),
        init=donor,
        max_steps=1,
        batch_size=4,
        min_size=64,
        max_size=64,
        runtime=RuntimeConfig(workers=0, accelerator="cpu", logger="none"),
        model=MODEL,
        augment=AugmentConfig(flip=0.0),
        optim=OptimConfig("adamw", lr=1e-12, weight_decay=0.0),
    )


def test_a_run_starts_from_the_file_and_resumes_without_it(config, donor, tmp_path, capsys, monkeypatch):
    file = tmp_path / "moved.pth"
    file.write_bytes(donor.read_bytes())
    monkeypatch.chdir(tmp_path)
    asked = replace(config, init=file.relative_to(tmp_path))
    train(asked, tmp_path / "run")
    said = capsys.readouterr().err
    assert f"RetinaNet, tiny and all from {file}" in said
    assert "has 3, the data 2 (digit 0, digit 1): the class output starts anew, at the prior" in said
    run = RunDir(tmp_path / "run")
    assert run.read_config().init == file
    before = load_weights(donor).state_dict()
    after = torch.load(run.checkpoint("last"), weights_only=True)["model"]
    norms = ("running_mean", "running_var", "num_batches_tracked")  # the step has seen a batch
    kept = [n for n in before if not n.startswith("head.class_output.") and not n.endswith(norms)]
    assert all(torch.allclose(before[n], after[n], atol=1e-9) for n in kept)
    torch.testing.assert_close(after["head.class_output.bias"], torch.full((18,), prior_bias(0.01)))

    again = load_weights(run.path)  # a run is a start too; its classes are the data's
    train(replace(asked, init=run.path), tmp_path / "second")
    assert "classes: 2 of the 2 in" in capsys.readouterr().err
    second = load_weights(tmp_path / "second").state_dict()
    torch.testing.assert_close(second["head.class_output.weight"], again.state_dict()["head.class_output.weight"])

    file.unlink()
    (run.path / "result.json").unlink()  # as if it had been killed
    assert train(asked, run.path, resume=True)["finished"]
    (run.path / "result.json").unlink()
    with pytest.raises(ConfigError, match=r"init: .*moved\.pth.* in run\.json, now None"):
        train(replace(asked, init=None), run.path, resume=True)
    with pytest.raises(InputError, match=r"moved\.pth"):
        train(asked, tmp_path / "third")


def test_another_architecture_is_an_error_before_the_data_is_read(config, tmp_path):
    with pytest.raises(ConfigError, match=r"model.head_channels: 32 is asked for, the file has 16"):
        train(replace(config, data=DataConfig(tmp_path), model=replace(MODEL, head_channels=32)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.fixture
def asked(monkeypatch):
    """Runs the command and gives what it would have trained."""
    import focalkit.training

    def parse(*argv):
        found = []
        monkeypatch.setattr(focalkit.training, "train", lambda config, out, **_: found.append(config), raising=False)
        assert command.main(["--out", "run", *map(str, argv)]) == 0
        return found[0]

    return parse


def test_the_model_is_the_files_unless_told_otherwise(asked, donor, tmp_path):
    found = asked("--preset", "cpu-small", "--init", donor)
    assert found == replace(cpu_small(), init=donor, model=MODEL)
    assert asked("--init", donor, "--model.freeze-at", 1).model == replace(MODEL, freeze_at=1)
    file = tmp_path / "c.toml"
    file.write_text(f'init = "{donor}"\nepochs = 3\n[model]\nprior_prob = 0.1\n')
    found = asked("--config", file)
    assert (found.epochs, found.init, found.model) == (3, donor, replace(MODEL, prior_prob=0.1))
    stored = replace(cpu_small(), init=donor, model=MODEL)
    (tmp_path / "run.json").write_text(json.dumps({"schema": 1, "config": config_to_dict(stored)}))
    assert asked("--config", tmp_path / "run.json") == stored
    assert asked("--config", tmp_path / "run.json", "--init", "None") == replace(stored, init=None)


@pytest.mark.parametrize("layout", ["torchvision", "detectron2", "mmdet"])
def test_other_libraries_files_bring_their_structure_and_numerics(layout, asked, tmp_path):
    theirs = retinanet(5, "resnet18", fpn_channels=8, head_channels=8, head_depth=2)
    save_weights(theirs, tmp_path / "theirs.pth", layout=layout)
    model = asked("--init", tmp_path / "theirs.pth").model
    assert (model.backbone, model.fpn_channels, model.head_depth, model.freeze_at) == ("resnet18", 8, 2, 2)
    assert model.numerics.resize == layout
    assert model.backbone_norm == "frozen"


def test_the_file_is_read_once(scenes, donor, tmp_path, monkeypatch):
    import focalkit.detection
    import focalkit.training._train

    reads = []

    def counted(*args, **kwargs):
        reads.append(args)
        return load_weights(*args, **kwargs)

    monkeypatch.setattr(focalkit.detection, "load_weights", counted)
    monkeypatch.setattr(focalkit.training._train, "load_weights", counted)
    flags = "--preset cpu-small --max-steps 1 --batch-size 4 --min-size 64 --max-size 64 --workers 0 --logger none"
    words = [*flags.split(), "--accelerator", "cpu", "--data", str(scenes), "--out", str(tmp_path / "run")]
    assert main(["train", *words, "--init", str(donor)]) == 0
    assert len(reads) == 1


def test_layout_and_coco80_say_how_the_file_is_read(tmp_path, monkeypatch, capsys):
    import focalkit.training

    given = []
    monkeypatch.setattr(focalkit.training, "train", lambda config, out, **more: given.append((config, more["init"])))
    theirs, file = retinanet(91, "resnet18", fpn_channels=8, head_channels=8, head_depth=1), tmp_path / "theirs.pth"
    save_weights(theirs, file, layout="torchvision")
    words = ["train", "--out", str(tmp_path / "run"), "--preset", "cpu-small", "--init", str(file)]
    assert main([*words, "--layout", "mmdet"]) == 2
    assert "no RetinaNet of MMDetection" in capsys.readouterr().err
    assert main([*words, "--layout", "torchvision", "--coco80"]) == 0
    ((config, init),) = given
    assert (config.init, config.layout, config.coco80, init.num_classes) == (file, "torchvision", True, 80)


def test_layout_and_coco80_without_a_file_are_an_error(config, tmp_path):
    with pytest.raises(ConfigError, match="layout and coco80 say how the file of init is read, and init names none"):
        train(replace(config, init=None, coco80=True), tmp_path / "run")


def test_a_file_that_is_missing_or_needs_code_is_refused(donor, tmp_path, capsys):
    assert main(["train", "--out", str(tmp_path / "run"), "--init", str(tmp_path / "none.pth")]) == 2
    assert "none.pth" in capsys.readouterr().err
    torch.save({"state_dict": load_weights(donor).state_dict(), "meta": Loggers()}, tmp_path / "code.pth")
    assert main(["train", "--out", str(tmp_path / "run"), "--init", str(tmp_path / "code.pth")]) == 2
    assert "needs code to be run from the file" in capsys.readouterr().err


class Loggers:
    """Something that a checkpoint should not hold."""
