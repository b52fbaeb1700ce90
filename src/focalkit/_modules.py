"""Python files of the user's, run where a flag or an argument names them: `my.py:pipeline`, methods of one's own."""

import importlib.util
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any


class _AsItIs(SourceFileLoader):
    """Keeps no compiled copy, which would be taken for the file when that is edited within a second."""

    def set_data(self, *_: Any, **__: Any) -> None: ...


def run_file(file: Path, name: str) -> ModuleType:
    """The module that a file makes; whatever its code raises comes out.

    Args:
        file: Is run: only files whose origin is known.
        name: Of the module.
    """
    spec = importlib.util.spec_from_file_location(name, file, loader=_AsItIs(name, str(file)))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
