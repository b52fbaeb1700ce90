"""No file runs code unless the caller says that it may."""

import io
import json
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from focalkit.cli import main
from focalkit.detection import Detector, save_weights
from focalkit.errors import InputError
from focalkit.export import load_exported


class Payload:
    """Unpickling it makes a folder."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return os.mkdir, (str(self.place),)


@pytest.fixture
def mark(tmp_path):
    """A folder that is there as soon as a payload has run."""
    return tmp_path / "code-has-run"


@pytest.fixture
def evil(exported, tmp_path, mark):
    """A proper .pt2 file in which one weight is marked as pickled and holds a payload."""
    path = tmp_path / "evil.pt2"
    with zipfile.ZipFile(exported("torch-export", False).path) as source, zipfile.ZipFile(path, "w") as target:
        entries = {name: source.read(name) for name in source.namelist()}
        listing = next(name for name in entries if name.endswith("weights_config.json"))
        table = json.loads(entries[listing])
        weight = next(iter(table["config"].values()))
        weight["use_pickle"] = True
        entries[listing] = json.dumps(table).encode()
        victim = next(name for name in entries if name.endswith("/" + weight["path_name"]))
        entries[victim] = archive_of(Payload(mark))
        for name, content in entries.items():
            target.writestr(name, content)
    return path


def archive_of(value):
    """What `torch.save` writes."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def test_the_evil_file_runs_code_where_it_is_trusted(evil, mark):
    """Otherwise the tests below would show nothing."""
    with pytest.raises(InputError, match="cannot be read as an exported detector"):
        load_exported(evil, trust=True)
    assert mark.exists()


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_a_pt2_file_runs_nothing_without_trust(command, evil, mark, tmp_path, capsys):
    words = {"predict": [str(tmp_path / "a.png"), "--out", str(tmp_path / "out")], "evaluate": ["--data", "none"]}
    (tmp_path / "a.png").write_bytes(b"")
    assert main([command, str(evil), *words[command]]) == 2
    err = capsys.readouterr().err
    assert f"{evil}: was not opened, because torch runs code from a .pt2 file" in err
    assert "--trust" in err
    assert "--format onnx" in err
    with pytest.raises(InputError, match="trust=True"):
        load_exported(evil)
    assert not mark.exists()


def test_a_pt2_file_is_not_even_opened_without_trust(tmp_path):
    path = tmp_path / "model.pt2"
    path.write_bytes(b"no archive")
    before = os.stat(path).st_atime_ns
    path.chmod(0)
    with pytest.raises(InputError, match="was not opened"):
        load_exported(path)
    assert os.stat(path).st_atime_ns == before


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.ckpt", "w.pkl", "w.safetensors", "w.npz", "w.onnx", "w.xml"])
@pytest.mark.parametrize("container", ["pickle", "torch"])
def test_no_other_ending_helps_a_pickle_in(name, container, mark, tmp_path, capsys):
    content = pickle.dumps(Payload(mark)) if container == "pickle" else archive_of({"model": Payload(mark)})
    (tmp_path / name).write_bytes(content)
    (tmp_path / "a.png").write_bytes(b"")
    assert main(["predict", str(tmp_path / name), str(tmp_path / "a.png"), "--out", str(tmp_path / "out")]) == 2
    words = ["--preset", "cpu-small", "--out", str(tmp_path / "run"), "--data", str(tmp_path)]
    assert main(["train", *words, "--init", str(tmp_path / name)]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert not mark.exists()


def test_weights_as_data_need_no_trust(detector, images, tmp_path, capsys):
    save_weights(detector.model, tmp_path / "run.pth")
    assert main(["export", str(tmp_path / "run.pth"), "--format", "weights"]) == 0
    assert f"next     focalkit predict {tmp_path / 'run.safetensors'}" in capsys.readouterr().out
    expected = Detector.open(tmp_path / "run.pth", "cpu").predict(images)
    for one, other in zip(Detector.open(tmp_path / "run.safetensors", "cpu").predict(images), expected, strict=True):
        assert torch.equal(one.boxes, other.boxes)
        assert torch.equal(one.scores, other.scores)
    assert main(["export", str(tmp_path / "run.safetensors"), "--format", "weights"]) == 2
    assert "is the file to read" in capsys.readouterr().err


def test_a_model_file_reads_no_file_outside_its_folder(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import helper

    (tmp_path / "secret").write_bytes(bytes(16))
    weight = onnx.TensorProto(name="w", data_type=1, dims=[4], data_location=1)
    for key, value in (("location", "../secret"), ("offset", "0"), ("length", "16")):
        entry = weight.external_data.add()
        entry.key, entry.value = key, value
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [4]) for name in ("images", "y")]
    graph = helper.make_graph([helper.make_node("Add", ["images", "w"], ["y"])], "g", ends[:1], ends[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    place = Path(tmp_path / "inside")
    place.mkdir()
    (place / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match=r"m\.onnx.*cannot be read"):
        load_exported(place / "m.onnx")
