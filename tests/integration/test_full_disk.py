"""The disk is full from each file on that a command opens, renames or makes: it says where, earlier results stay."""

import json
from pathlib import Path

import pytest

from disturbed import COMMANDS, WRITES, Place, make_earlier, make_place, state, words_of


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Place:
    return make_place(tmp_path_factory.mktemp("place"))


def check(name: str, place: Place, out: Path, at: int, capsys) -> None:
    make_earlier(name, place, out)
    capsys.readouterr()
    before, old = state(place.run), state(out)
    status = WRITES.during(out, at, words_of(name, place, out))
    said = capsys.readouterr()
    words, where = said.err + said.out, WRITES.hit
    assert status != 0 or str(out) in words, f"{where}: silent\n{words}"
    for said_so in (str(out), "No space left"):
        assert said_so in words, f"{where}: {words}"
    for unkind in ("Traceback", "--debug"):
        assert unkind not in words, f"{where}: {words}"
    assert [str(path) for path in out.rglob("*.tmp")] == [], where
    for path in out.rglob("*.json"):
        json.loads(path.read_text())
    assert state(place.run) == before
    if old and where.startswith("open"):  # pictures are written one after the other, results together
        results = {name: content for name, content in old.items() if name.endswith(".json")}
        assert results.items() <= state(out).items(), where


def writes_of(name: str, place: Place, out: Path) -> int:
    """How many writes the undisturbed command makes."""
    make_earlier(name, place, out)
    assert WRITES.during(out, 0, words_of(name, place, out)) == 0
    return WRITES.count


@pytest.mark.parametrize("name", ["predict", "report", "export"])
def test_a_disk_that_is_full_at_a_write_is_named(name, place, tmp_path, capsys):
    total = writes_of(name, place, tmp_path / "sound")
    for at in {1, (total + 1) // 2, total}:
        check(name, place, tmp_path / str(at), at, capsys)


@pytest.mark.soak
@pytest.mark.parametrize("name", COMMANDS)
def test_a_disk_that_is_full_at_any_write_is_named(name, place, tmp_path, capsys, reliability):
    total = writes_of(name, place, tmp_path / "sound")
    for at in range(1, total + 1):
        check(name, place, tmp_path / str(at), at, capsys)
        assert WRITES.during(tmp_path / str(at), 0, words_of(name, place, tmp_path / str(at))) == 0
    reliability("full disk", name, total)
