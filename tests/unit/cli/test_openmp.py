"""The commands bound OpenMP's spinning before torch is loaded, and leave what the user has set."""

import os
import subprocess
import sys

import pytest

from focalkit.cli import _openmp, main


@pytest.mark.parametrize("own", [{"GOMP_SPINCOUNT": "7"}, {"OMP_WAIT_POLICY": "ACTIVE"}])
def test_what_the_user_has_set_is_kept(own: dict[str, str]):
    environment = dict(own)
    _openmp.bound_spinning(environment)
    assert environment == own
    assert _openmp.describe(environment).endswith("yours")


def test_a_command_sets_the_spin_count(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "x")  # so that it is put back after the test
        monkeypatch.delenv(name)
    assert "its own spin count" in _openmp.describe(os.environ)
    assert main(["--version"]) == 0
    assert os.environ["GOMP_SPINCOUNT"] == "1000"
    assert "what focalkit's commands set" in _openmp.describe(os.environ)


def test_it_is_set_before_torch_is_loaded():
    """OpenMP reads the environment when torch loads it."""
    code = (
        "import os, sys, focalkit.cli._openmp as o; real = o.bound_spinning\n"
        "import focalkit.cli as cli\n"
        "cli.bound_spinning = lambda e: (real(e), print('torch' in sys.modules, e['GOMP_SPINCOUNT']))\n"
        "cli.main(['--version'])"
    )
    clean = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == "False 1000"
