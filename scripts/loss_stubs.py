"""Writes `losses/__init__.pyi`: the signature and docstring of every loss module, for editors and type checkers.

    python scripts/loss_stubs.py           # write
    python scripts/loss_stubs.py --check   # exit status 1 where the file is not what would be written

A module takes what its function takes (`LossModule`), which no static tool can see.
"""

import ast
import inspect
import sys
import textwrap
from pathlib import Path

from focalkit import losses
from focalkit.losses import LossModule

PACKAGE = Path(__file__).parents[1] / "src" / "focalkit" / "losses"
STUB = PACKAGE / "__init__.pyi"
HEADER = '''"""Every loss for learning under imbalance. Written by `scripts/loss_stubs.py`: do not edit."""

from typing import Literal

from torch import Generator, Tensor

from .._types import Backend, PerClass, Reduction, SoftTargets, Vector
from ._overlap import BoxLoss
from ._region_parts import Activation
'''


def stub() -> str:
    """The text of the stub file."""
    imports, classes = [], []
    for node in ast.parse((PACKAGE / "__init__.py").read_text()).body:
        if not isinstance(node, ast.ImportFrom):
            continue
        thing = getattr(losses, node.names[0].name)
        if isinstance(thing, type) and issubclass(thing, LossModule) and thing is not LossModule:
            classes.append(class_of(thing))
        else:
            imports.append(ast.unparse(node))
    names = "".join(f"    {name!r},\n".replace("'", '"') for name in losses.__all__)
    return "\n".join([HEADER + "\n".join(imports), "", f"__all__ = [\n{names}]", *sorted(classes)])


def class_of(module: type[LossModule]) -> str:
    """The class with its constructor written out."""
    (function,) = ast.parse(textwrap.dedent(inspect.getsource(module.function))).body
    assert isinstance(function, ast.FunctionDef)
    given = zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
    arguments = [
        f"{argument.arg}: {ast.unparse(argument.annotation or ast.Constant(None))}"
        + ("" if default is None else f" = {ast.unparse(default)}")
        for argument, default in given
        if argument.arg in module.defaults
    ]
    doc = textwrap.indent(module.__doc__ or "", "    ", lambda line: bool(line.strip())).strip()
    inside = "".join(f"        {line},\n" for line in ["self", "*", *arguments])
    head = f'\nclass {module.__name__}(LossModule):\n    r"""{doc}\n    """\n'
    return f"{head}\n    def __init__(\n{inside}    ) -> None: ..."


def main(argv: list[str]) -> int:
    text = stub() + "\n"
    if "--check" not in argv:
        STUB.write_text(text, encoding="utf-8")
        return 0
    if STUB.exists() and STUB.read_text(encoding="utf-8") == text:
        return 0
    print(f"{STUB} is out of date: run python scripts/loss_stubs.py")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
