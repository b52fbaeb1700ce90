"""`focalkit doctor`: true facts, readable and as JSON, with or without the extras."""

import json
import platform

import pytest
import torch

from focalkit.cli import doctor, main
from focalkit.kernels import build, cpu


def test_json_is_one_object_with_the_versions_in_use(capsys: pytest.CaptureFixture[str]):
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["versions"]["python"] == platform.python_version()
    assert found["versions"]["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert found["cpu"]["threads"] == torch.get_num_threads()
    assert len(found["gpus"]) == torch.cuda.device_count()


def test_text_has_a_line_for_every_version(capsys: pytest.CaptureFixture[str]):
    assert main(["doctor"]) == 0
    first_words = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line]
    assert {"python", "focalkit", "torch", "platform", "cpu", "openmp", "compiler", "triton"} <= set(first_words)


def test_a_missing_extra_says_what_it_would_enable(monkeypatch: pytest.MonkeyPatch):
    real = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "plotly" else real(name))
    found = doctor.environment()
    assert found["extras"]["plotly"] is False
    assert "plotly" not in found["versions"]
    text = doctor.render(found)
    assert "pip install 'focalkit[all]'" in text
    assert text.splitlines()[-1].split() == ["plotly", "reports"]


def test_no_compiler_says_what_does_not_work(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    assert "torch.compile cannot build CPU code" in doctor.render(doctor.environment())


def test_it_tells_which_kernels_came_compiled(monkeypatch: pytest.MonkeyPatch):
    known = doctor.environment()["kernels"]
    assert known in (None, *build.INSTRUCTIONS)
    monkeypatch.setattr(cpu, "library", lambda *_, **__: None)
    found = doctor.environment()
    assert found["kernels"] is None
    assert "install focalkit again" in doctor.render(found)


def test_cxx_names_the_compiler(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CXX", "mycc")
    monkeypatch.setattr(doctor.shutil, "which", lambda name: f"/bin/{name}")
    assert doctor.environment()["compiler"] == "/bin/mycc"
