"""Files that appear whole: two writers at once, and what a killed one left."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from focalkit._files import replacing, write_text_atomic
from focalkit.errors import InputError


def test_two_writers_of_one_file_do_not_publish_each_others_half(tmp_path):
    target = tmp_path / "a.txt"
    code = (
        "import sys; from pathlib import Path; from focalkit._files import replacing\n"
        "with replacing(Path(sys.argv[1])) as file:\n"
        "    file.write_text('half'); print('writing', flush=True); sys.stdin.read(1); file.write_text('whole')\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(target)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline().strip() == "writing"
    with replacing(target) as file:
        file.write_text("mine")
    assert target.read_text() == "mine"
    assert other.communicate("x")[0] == ""
    assert (other.returncode, target.read_text()) == (0, "whole")
    assert [f.name for f in tmp_path.iterdir()] == ["a.txt"]


def test_what_a_killed_process_left_is_removed_by_the_next_writer(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / f".a.txt.{gone.pid}.tmp").write_text("half")
    (tmp_path / f".a.txt.{os.getppid()}.tmp").write_text("of a process that lives")
    with replacing(tmp_path / "a.txt") as file:
        file.write_text("whole")
    assert sorted(f.name for f in tmp_path.iterdir()) == [f".a.txt.{os.getppid()}.tmp", "a.txt"]


@pytest.mark.parametrize("out", ["report.html", "new/report.html"])
def test_a_file_that_is_missing_is_not_taken_for_the_one_that_is_written(out, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for missing in ("photo.jpg", "images/photo.jpg", tmp_path / "photo.jpg"):
        with pytest.raises(FileNotFoundError, match=r"photo\.jpg"), replacing(Path(out)):
            Path(missing).read_bytes()
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(InputError, match="a file where a folder is needed"), replacing(Path("taken/report.html")):
        pass
    Path(out).parent.mkdir(exist_ok=True)
    Path(out).mkdir()  # in the place of the file
    with pytest.raises(InputError, match=r"report\.html: cannot be written"):
        write_text_atomic(Path(out), "text")
