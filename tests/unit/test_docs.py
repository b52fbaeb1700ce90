"""The documentation says what the program does: flags, configuration values, and code that imports what exists."""

import ast
import dataclasses
import importlib
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from focalkit.cli import COMMANDS, main
from focalkit.config import TrainConfig

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def values(config: Any, prefix: str = "") -> dict[str, str]:
    """Dotted name -> default, as the configuration page writes it."""
    found: dict[str, str] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            found |= values(value, f"{prefix}{field.name}.")
        else:
            found[prefix + field.name] = shown(value)
    return found


def shown(value: Any) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return str(value).lower()
        case float():
            return f"{round(value, 4) or value:g}"
        case tuple():
            return f"[{', '.join(map(shown, value))}]"
    return str(value)


def test_the_configuration_page_has_every_value_with_its_default():
    page = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([a-z0-9_.]+)` \| `([^`]*)` \|", page, re.MULTILINE))
    assert rows == values(TrainConfig())


@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_line_page_has_every_flag_and_no_other(command: str, capsys: pytest.CaptureFixture[str]):
    main([command, "--help"])
    flags = positive(capsys.readouterr().out) - {"--help"}
    page = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    section = page.partition(f"## `focalkit {command}`\n")[2].partition("\n## ")[0]
    if command == "train":  # its other flags are the configuration, which has its own page
        names = [name.removeprefix("runtime.").removeprefix("data.") for name in values(TrainConfig())]
        flags -= {"--data", *("--" + name.replace("_", "-") for name in names)}
    assert positive("\n".join(re.findall(r"^\| (`--.*?) \|", section, re.MULTILINE))) == flags


def positive(text: str) -> set[str]:
    """The flags that occur in a text, `--no-check` as `--check` and `--a.no-check` as `--a.check`."""
    return {re.sub(r"^(--(?:.*\.)?)no-", r"\1", f) for f in re.findall(r"(?<![\w-])--[a-z][a-z0-9.-]*", text)}


def code_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_on_a_page_imports_what_exists(page: Path):
    for block in code_blocks(page):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("focalkit"):
                module = importlib.import_module(node.module or "")
                assert [a.name for a in node.names if not hasattr(module, a.name)] == []


def test_the_loss_on_the_front_page_runs():
    block = next(code for code in code_blocks(ROOT / "README.md") if "SigmoidFocalLoss" in code)
    names: dict[str, Any] = {}
    exec(block, names)
    assert names["loss"].item() > 0
    assert names["model"].weight.grad.abs().sum().item() > 0
    assert block in code_blocks(ROOT / "docs/quickstart.md"), "one example, told twice the same way"


def test_the_parts_on_the_detector_page_fit_together():
    import torch

    from focalkit.detection import DetectionTarget

    images = torch.rand(1, 3, 64, 64)
    targets = [DetectionTarget(torch.tensor([[8.0, 8.0, 40.0, 40.0]]), torch.tensor([1]))]
    names: dict[str, Any] = {"images": images, "targets": targets, "image_sizes": [(64, 64)]}
    exec(code_blocks(ROOT / "docs/detector.md")[0], names)
    assert set(names["losses"]) == {"classification", "box"}
    assert len(names["detections"]) == 1


def test_the_tables_of_detectors_are_what_the_code_says(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    monkeypatch.setattr(sys, "argv", ["detector_table.py", "--check"])
    assert importlib.import_module("detector_table").main() == 0, "python scripts/detector_table.py writes it"
    table = importlib.import_module("scaling_table")
    assert table.page() == table.PAGE.read_text(encoding="utf-8"), "python scripts/scaling_table.py --write"
