"""The rules of the house that no linter knows: the README's promises, small files, pinned versions, complete docs."""

import os
import re
import runpy
import subprocess
import sys
import tomllib
import warnings
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest

from focalkit.cli import COMMANDS

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SOURCES = sorted((ROOT / "src").rglob("*.py"))
SCRIPTS = [ROOT / ".ci" / "run", *sorted(p for p in (ROOT / "scripts").iterdir() if p.is_file() and not p.suffix)]
DOCS = sorted((ROOT / "docs").rglob("*.md"))

DEMO = "pip install -e '.[all]' && focalkit demo"
TEST = "pip install -e '.[all,test]' && pytest"


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_no_script_hides_a_module_of_the_standard_library():
    """The folder of a script comes first where Python looks for modules, for the script and those beside it."""
    folders = ("benchmarks", "examples", "scripts")
    names = {path.stem for folder in folders for path in (ROOT / folder).glob("*.py")}
    assert names
    assert not names & sys.stdlib_module_names


def test_warnings_are_errors_but_for_the_forks_of_data_loading():
    # the words of CPython 3.12 and later
    told = "This process (pid=42) is multi-threaded, use of fork() may lead to deadlocks in the child."
    warnings.warn(told, DeprecationWarning, stacklevel=1)
    for category, words in ((DeprecationWarning, "another"), (RuntimeWarning, told)):
        with pytest.raises(category):
            warnings.warn(words, category, stacklevel=1)


def test_the_whole_suite_is_divided_once_and_nothing_else_is(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    hook = runpy.run_path(str(ROOT / "tests" / "conftest.py"))["pytest_cmdline_main"]
    usual = {"usepdb": False, "trace": False, "collectonly": False, "capture": "fd", "keyword": "", "tx": []}
    usual |= {"markexpr": "not soak", "numprocesses": None, "dist": "no"}

    def processes(whole: bool = True, worker: dict | None = None, **said: object) -> int | None:
        source = pytest.Config.ArgsSource.TESTPATHS if whole else pytest.Config.ArgsSource.ARGS
        option = SimpleNamespace(**usual | said)
        config = SimpleNamespace(option=option, args_source=source, ArgsSource=pytest.Config.ArgsSource)
        hook(SimpleNamespace(**vars(config), workerinput={}) if worker is not None else config)
        return option.numprocesses

    assert processes() == 2
    assert processes(worker={}) is None, "a process of several would start its own"
    assert processes(numprocesses=0) == 0
    for said in ({"whole": False}, {"usepdb": True}, {"keyword": "focal"}, {"markexpr": "soak"}, {"collectonly": True}):
        assert processes(**said) is None


@pytest.mark.parametrize(("which", "line"), [("demo", DEMO), ("test", TEST)])
def test_ci_takes_its_commands_from_the_readme(which: str, line: str):
    assert text("README.md").splitlines().count(line) == 1
    script = ROOT / "scripts/readme-command"
    halves = [
        subprocess.run([script, which, half], capture_output=True, text=True, check=True).stdout
        for half in ("install", "run")
    ]
    assert " && ".join(half.strip() for half in halves) == line
    for half in ("install", "run"):
        assert f"{which}_{half}=$(scripts/readme-command {which} {half})" in text(".ci/run")
        assert len(re.findall(rf"\$({which}_{half})\b", text(".ci/run"))) >= 2, "named in the heading, then run"


def test_readme_and_cli_page_name_every_command_and_no_other():
    named = re.findall(r"^\| `focalkit ([a-z]+)", text("README.md"), re.MULTILINE)
    assert named == list(COMMANDS)
    sections = re.findall(r"^## `focalkit ([a-z]+)", text("docs/cli.md"), re.MULTILINE)
    assert sections == list(COMMANDS)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_a_source_file_holds_one_idea(path: Path):
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= 400, "two ideas, probably: split it"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_a_source_file_is_finished(path: Path):
    unfinished = ("NotImplemented" + "Error", "TO" + "DO", "FIX" + "ME", "X" * 3, "pragma: " + "no cover")
    source = path.read_text(encoding="utf-8")
    assert [word for word in unfinished if word in source] == []


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_short_strict_and_executable(path: Path):
    lines = path.read_text().splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert "set -euo pipefail" in lines
    assert len(lines) <= 60
    assert os.access(path, os.X_OK)


def test_constraints_are_names_and_versions_only():
    lines = [line for line in text("constraints.txt").splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9.-]+==[A-Za-z0-9.]+", line)] == []
    assert lines == sorted(lines)


def test_what_renews_the_constraints_installs_every_extra_and_writes_such_lines():
    script = text("scripts/supply")
    extras = re.search(r"^ *extras=(\S+)$", script, re.MULTILINE)
    assert extras is not None
    others = {"detection", "compare", "report", "export"}  # in all
    assert {*extras[1].split(",")} | others == {*PYPROJECT["project"]["optional-dependencies"]}
    frozen = "PyYAML==6.0.3\ntyping_extensions==4.16.0\ntorch==2.15.0+cpu\n-e .\nabsl-py==2.5.1\n"
    (plain,) = re.findall(r"^plain\(\) .*?^}$", script, re.MULTILINE | re.DOTALL)
    done = subprocess.run(["bash", "-c", f"{plain}\nplain"], input=frozen, capture_output=True, text=True, check=True)
    assert done.stdout == "absl-py==2.5.1\npyyaml==6.0.3\ntorch==2.15.0\ntyping-extensions==4.16.0\n"


def test_licences_are_those_of_extras_that_exist():
    extras = re.search(r"^EXTRAS = \((.*?)\)", text("scripts/licences.py"), re.MULTILINE | re.DOTALL)
    assert extras is not None
    assert {*re.findall(r'"(\w+)"', extras[1])} <= {*PYPROJECT["project"]["optional-dependencies"]}


def test_constraints_cover_every_requirement():
    project = PYPROJECT["project"]
    wanted = [*project["dependencies"], *(r for rs in project["optional-dependencies"].values() for r in rs)]
    names = {re.split(r"[\[<>=~! ]", requirement)[0].lower() for requirement in wanted} - {"focalkit"}
    pinned = {line.partition("==")[0] for line in text("constraints.txt").splitlines()}
    assert names - pinned == set()


def test_the_version_is_one():
    newest = re.search(r"^## \[?(\d[^\] ]*)", text("CHANGELOG.md"), re.MULTILINE)
    assert newest is not None
    assert newest[1] == PYPROJECT["project"]["version"] == version("focalkit")


def test_the_navigation_holds_every_page_once():
    # the builder checks links and anchors, but neither a page that nothing leads to nor an entry without a page
    navigation = text("mkdocs.yml").partition("\nnav:")[2]
    entries = re.findall(r"[\w/-]+\.md", navigation)
    assert sorted(entries) == sorted(str(page.relative_to(ROOT / "docs")) for page in DOCS)


@pytest.mark.parametrize("page", [*DOCS, ROOT / "README.md"], ids=lambda path: path.name)
def test_a_page_shows_pictures_that_exist(page: Path):
    pictures = re.findall(r"!\[[^]]*\]\(([^) ]+)", page.read_text(encoding="utf-8"))
    assert [name for name in pictures if not (page.parent / name).is_file()] == []


@pytest.mark.parametrize("name", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_a_one_page_document_is_one_page(name: str):
    assert len(text(name).splitlines()) <= 80


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_an_example_is_short(path: Path):
    assert len(path.read_text().splitlines()) < 60
