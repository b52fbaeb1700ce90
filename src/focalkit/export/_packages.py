"""Which packages a format needs, said before anything is computed."""

import sys
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from focalkit.errors import InputError


def needs(*packages: str, extra: str = "export") -> None:
    """Raises:
    InputError: One of them is not installed.
    """
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise InputError(
            f"needs the package{'s' if len(missing) > 1 else ''} {', '.join(missing)}, not installed: "
            f"pip install 'focalkit[{extra}]'"
        )


def openvino() -> ModuleType:
    """The package openvino, without its usage statistics, which would be sent unless the user objected.

    subtle: openvino and nncf do without the package that sends them where it cannot be imported.
    """
    needs("openvino", extra="openvino")
    modules: dict[str, Any] = sys.modules
    modules.setdefault("openvino_telemetry", None)
    import openvino

    return openvino


def nncf() -> ModuleType:
    """The package nncf, likewise."""
    needs("nncf", extra="openvino")
    openvino()
    import nncf

    return nncf
