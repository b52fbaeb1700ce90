"""Files appear whole or not at all; what cannot be written is named with the reason."""

import errno
import io
import os
import shutil
from pathlib import Path

import pytest

from focalkit._files import append_text, make_folder, replacing, replacing_all, write_bytes_atomic, write_json_atomic
from focalkit.errors import InputError, WriteError


def full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def failing(kind, *words):
    def write(*_, **__):
        raise kind(*words)

    return write


def write_with(library, path):
    with replacing(path) as place:
        library(place)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_full_disk_keeps_the_old_file_leaves_no_rest_and_is_named(number, tmp_path, monkeypatch):
    write_bytes_atomic(tmp_path / "a", b"old")
    monkeypatch.setattr(Path, "write_bytes", failing(OSError, number, os.strerror(number)))
    with pytest.raises(WriteError, match="a: cannot be written: ") as caught:
        write_bytes_atomic(tmp_path / "a", b"new")
    assert str(caught.value).startswith(str(tmp_path / "a"))
    assert ("free some space" in str(caught.value)) == (number != errno.EIO)
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_the_systems_reason_is_found_behind_a_librarys_words(tmp_path, monkeypatch):
    def torch(_):
        try:
            full()
        except OSError:
            raise RuntimeError("[enforce fail at inline_container.cc]")  # noqa: B904 it names no cause either

    rust = failing(ValueError, "Error while serializing: I/O error: No space left on device (os error 28)")
    for library in (torch, rust):
        with pytest.raises(WriteError, match="No space left on device"):
            write_with(library, tmp_path / "a")
    usage = shutil.disk_usage(tmp_path)._replace(free=0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(WriteError, match="No space left on device"):
        write_with(failing(RuntimeError, "basic_ios::clear: iostream error"), tmp_path / "a")


@pytest.mark.parametrize(
    "error", [ZeroDivisionError(), KeyboardInterrupt(), FileNotFoundError(2, "No such file", "/nowhere/else")]
)
def test_an_error_of_another_kind_is_left_as_it_is(error, tmp_path):
    def half(place):
        place.write_text("half")
        raise error

    with pytest.raises(type(error)) as caught:
        write_with(half, tmp_path / "a")
    assert caught.value is error
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_is_the_callers_mistake(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for path, reason in (
        (tmp_path / "file" / "a", "there is a file where a folder is needed"),
        (tmp_path / "folder", "Is a directory"),
        (tmp_path / ("x" * 300), "File name too long"),
    ):
        with pytest.raises(InputError, match=f"cannot be written: {reason}; choose another place"):
            write_bytes_atomic(path, b"")
    with pytest.raises(InputError, match="file: cannot be written: there is a file where"):
        make_folder(tmp_path / "file")
    with pytest.raises(InputError, match="folder: cannot be written: Is a directory"):
        append_text(tmp_path / "folder", "line")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


def test_the_rest_of_a_killed_writer_is_taken_over(tmp_path):
    (tmp_path / ".a.tmp").write_bytes(b"of a killed process")
    write_bytes_atomic(tmp_path / "a", b"new")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"a": b"new"}


def test_a_name_of_the_greatest_length_can_be_written(tmp_path):
    write_bytes_atomic(tmp_path / ("é" * 127), b"1")
    assert [p.name for p in tmp_path.iterdir()] == ["é" * 127]


def test_files_that_belong_together_are_replaced_together(tmp_path, monkeypatch):
    paths = [tmp_path / name for name in ("last", "first")]
    for path in paths:
        path.write_text("old")
    with pytest.raises(WriteError), replacing_all(paths) as places:
        full(places[0].write_text("new"))
    assert [path.read_text() for path in paths] == ["old", "old"]
    order = []
    monkeypatch.setattr(os, "replace", lambda _, target: order.append(Path(target).name))
    with replacing_all(paths) as places:
        for place in places:
            place.write_text("new")
    assert order == ["first", "last"]


def test_a_full_disk_is_named_when_a_line_is_added(tmp_path, monkeypatch):
    class Full(io.StringIO):
        write = full

    monkeypatch.setattr("builtins.open", lambda *_, **__: Full())
    with pytest.raises(WriteError, match=r"m\.jsonl: cannot be written: No space left"):
        append_text(tmp_path / "m.jsonl", "line")


def test_json_that_cannot_be_made_writes_nothing(tmp_path):
    with pytest.raises(TypeError):
        write_json_atomic(tmp_path / "a.json", {"x": object()})
    assert list(tmp_path.iterdir()) == []
