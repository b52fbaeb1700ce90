"""The pictures and tables of the loss pages are what the package's own functions give; docstring examples run."""

import doctest
import importlib
import pkgutil
import runpy
from pathlib import Path

import pytest
import torch

import focalkit.compat
import focalkit.losses
import focalkit.testing
from focalkit import weights

ROOT = Path(__file__).parents[3]
MODULES = [weights, focalkit.testing] + [
    importlib.import_module(info.name)
    for package in (focalkit.losses, focalkit.compat, focalkit.testing)
    for info in pkgutil.iter_modules(package.__path__, package.__name__ + ".")
]


def test_pictures_and_tables_are_up_to_date(capsys):
    script = runpy.run_path(str(ROOT / "scripts" / "plot_losses.py"))
    assert script["main"](["--check"]) == 0, capsys.readouterr().out


def test_the_examples_of_the_page_on_composing_run():
    page = ROOT / "docs" / "losses" / "composing.md"
    given = doctest.DocTestParser().get_doctest(page.read_text(encoding="utf-8"), {}, page.name, str(page), 0)
    assert given.examples
    assert doctest.DocTestRunner().run(given).failed == 0


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.__name__)
def test_examples_run(module):
    names = {"torch": torch} | vars(focalkit.losses) | vars(module)
    failed, _ = doctest.testmod(module, extraglobs=names, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert failed == 0
