"""What an import costs: measured in fresh interpreters, so that no other test can hide a heavy import."""

import ast
import functools
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import focalkit

HEAVY = [
    "torch",
    "torchvision",
    "lightning",
    "triton",
    "plotly",
    "jinja2",
    "tyro",
    "sklearn",
    "faster_coco_eval",
    "polars",
    "optuna",
    "imblearn",
    "ray",
    "lightgbm",
    "xgboost",
    "PIL",
]
DOCS = Path(__file__).parents[2] / "docs"
PACKAGES = [
    "calibration",
    "compare",
    "compat",
    "data",
    "detection",
    "evaluation",
    "export",
    "findings",
    "images",
    "kernels",
    "losses",
    "metrics",
    "report",
    "tasks",
    "testing",
    "training",
    "trees",
]


@functools.cache
def loaded_by(code: str) -> set[str]:
    """The heavy packages that a fresh interpreter holds after running `code`."""
    report = f"\nimport sys; print('loaded:', *[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_importing_focalkit_loads_nothing_heavy():
    assert loaded_by("import focalkit") == set()


def test_losses_load_torch_alone():
    assert loaded_by("import focalkit.losses") == loaded_by("import torch")


def test_top_level_names_of_the_losses_load_torch_alone():
    names = [n for n, home in focalkit._HOME.items() if home in ("errors", "losses")]
    code = "import focalkit\n" + "\n".join(f"focalkit.{name}" for name in names)
    assert loaded_by(code) == loaded_by("import torch")


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["tarin"]])
def test_the_command_line_answers_without_torch(words: list[str]):
    assert loaded_by(f"from focalkit.cli import main; main({words})") == set()


def test_losses_cost_little_beyond_torch():
    # CPU seconds, not the clock: other processes of a busy machine do not count. Measured: 0.1 s; the bound is 0.3 s.
    code = "import torch, time; start = time.process_time(); import focalkit.losses; print(time.process_time() - start)"
    runs = (subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(2))
    assert any(float(run.stdout) < 0.3 for run in runs)  # the second where the first was disturbed


def test_every_top_level_name_resolves():
    for name in focalkit.__all__:
        assert getattr(focalkit, name) is not None
    assert set(focalkit.__all__) <= set(dir(focalkit))


def test_an_unknown_top_level_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'sigmoid_fokal_loss'"):
        focalkit.sigmoid_fokal_loss  # noqa: B018


def exported(package: str) -> dict[str, str]:
    """Name -> module of what a package re-exports in the explicit form, `from x import a as a`."""
    tree = ast.parse(inspect.getsource(importlib.import_module(package)))
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {a.name: node.module or "" for node in nodes for a in node.names if a.asname == a.name}


def test_type_checkers_see_the_names_that_exist():
    assert exported("focalkit") == {n: f"focalkit.{home}" if home else "focalkit" for n, home in focalkit._HOME.items()}


@pytest.mark.parametrize("package", PACKAGES)
def test_all_is_what_is_public(package: str):
    module = importlib.import_module(f"focalkit.{package}")
    assert sorted(module.__all__) == sorted(exported(module.__name__))
    assert not any(name.startswith("_") for name in module.__all__)


@pytest.mark.parametrize("package", PACKAGES)
def test_everything_public_exists_and_has_a_docstring(package: str):
    module = importlib.import_module(f"focalkit.{package}")
    things = {name: getattr(module, name) for name in exported(module.__name__)}
    bare = [n for n, thing in things.items() if callable(thing) and not (thing.__doc__ or "").strip()]
    assert things
    assert bare == []


@pytest.mark.parametrize("package", PACKAGES)
def test_everything_public_is_in_the_api_pages(package: str):
    pages = "\n".join(page.read_text(encoding="utf-8") for page in DOCS.rglob("*.md"))
    names = exported(f"focalkit.{package}")
    # a function that shares its module's name is documented by its longer name
    assert [n for n in names if not re.search(rf"^::: focalkit\.{package}\.(\w+\.)*{n}$", pages, re.MULTILINE)] == []


def private_imports(file: Path, source: Path) -> list[str]:
    """What a file imports of another package's modules and names that begin with an underscore."""
    home = file.relative_to(source).parts[0]
    nodes = [node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.ImportFrom)]
    names = [
        f"{node.module}.{a.name}" for node in nodes if (node.module or "").startswith("focalkit.") for a in node.names
    ]
    parts = {name: name.split(".")[1:] for name in names}
    return [n for n, (package, *inside) in parts.items() if package != home and any(p.startswith("_") for p in inside)]


def test_no_package_imports_what_another_keeps_to_itself():
    # `focalkit._runs` and its like are nobody's own
    source = Path(focalkit.__file__).parent
    found = {str(file.relative_to(source)): private_imports(file, source) for file in source.rglob("*.py")}
    found = {file: [n for n in names if not n.startswith("focalkit._")] for file, names in found.items()}
    assert {file: names for file, names in found.items() if names} == {}


def test_commands_do_not_import_each_other():
    folder = Path(focalkit.__file__).parent / "cli"
    commands = {file.stem for file in folder.glob("*.py") if not file.stem.startswith("_")}
    found = {}
    for name in commands:
        nodes = ast.walk(ast.parse((folder / f"{name}.py").read_text(encoding="utf-8")))
        homes = [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
        found[name] = [home for home in homes if home.removeprefix("focalkit.cli.") in commands]
    assert {name: homes for name, homes in found.items() if homes} == {}
