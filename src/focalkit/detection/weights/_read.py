"""Weights files as tensors by name and what else they hold, without running code from them.

A pickle can run any code when it is read. Torch's files are read with `weights_only=True`, and Detectron2's `.pkl`,
which holds numpy arrays, with an unpickler that knows arrays and nothing else. `trust=True` reads a file that needs
more; of a class that is not installed here it makes an empty stand-in, for only the tensors are wanted.
"""

import json
import pickle
import re
import types
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from focalkit._files import special
from focalkit.errors import InputError

_INSIDE = ("state_dict", "model_state_dict", "model")
_AVERAGED = ("ema", "module")
"""Where RT-DETR's authors keep the averaged weights, beside others."""


@dataclass(frozen=True)
class RawWeights:
    """A file's contents.

    Attributes:
        tensors: By the file's own names.
        rest: What lies beside the weights, such as MMDetection's "meta".
        source: The file, for messages.
    """

    tensors: dict[str, Tensor]
    rest: Mapping[str, Any]
    source: str


def read_file(path: Path, trust: bool = False) -> RawWeights:
    """Read a .pth, .pt, .ckpt, .pkl or .safetensors file.

    Raises:
        InputError: It is missing, damaged, holds no tensors by name, or cannot be read without running code.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such weights file")
    if kind := special(path):
        raise InputError(f"{path}: is {kind}, expected weights")
    if path.suffix == ".safetensors":
        from focalkit.detection.models.backbone_weights import read_weights

        return RawWeights(read_weights(path), _own_header(path), str(path))
    plain = path.suffix == ".pkl" and not zipfile.is_zipfile(path)
    try:
        found = _unpickle(path, trust) if plain else _torch_load(path, trust)
    except _NeedsCodeError as error:
        raise InputError(
            f"{path}: holds {error}, which needs code to be run from the file, so it was not read. If you know where it"
            " comes from, allow that with trust=True, or --trust on the command line"
        ) from None
    except Exception as error:  # a damaged or hostile pickle can raise anything
        raise InputError(
            f"{path}: cannot be read as weights ({type(error).__name__}); it is damaged or not a weights file"
        ) from error
    return unwrap(found, str(path))


def _own_header(path: Path) -> dict[str, Any]:
    """What `save_weights` writes beside the weights of a .safetensors file, which holds text alone; {} without it."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        text = (file.metadata() or {}).get("focalkit")
    try:
        return {} if text is None else {"focalkit": json.loads(text)}
    except ValueError as error:
        raise InputError(f"{path}: its description of the model cannot be read as JSON ({error})") from error


def unwrap(found: object, source: str) -> RawWeights:
    """The tensors in a state dict, or in one of the dicts that training programs put around it.

    Raises:
        InputError: There are none.
    """
    rest: Mapping[str, Any] = {}
    if isinstance(found, Mapping):
        averaged = found.get(_AVERAGED[0])
        if isinstance(averaged, Mapping) and isinstance(averaged.get(_AVERAGED[1]), Mapping):
            found = averaged[_AVERAGED[1]]
    if isinstance(found, Mapping):
        for key in ("model", *_INSIDE) if "focalkit" in found else _INSIDE:
            if isinstance(inner := found.get(key), Mapping):
                rest = {str(k): v for k, v in found.items() if k != key}
                found = inner
                break
    tensors: dict[str, Tensor] = {}
    if isinstance(found, Mapping):
        tensors = {str(k): t for k, v in found.items() if (t := _tensor(v)) is not None}
    if not tensors:
        what = ", ".join(str(k) for k in list(found)[:5]) if isinstance(found, Mapping) else type(found).__name__
        raise InputError(f"{source}: holds no tensors by name, expected a state dict; found {what}")
    while all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    return RawWeights(tensors, rest, source)


def _tensor(value: Any) -> Tensor | None:
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if type(value).__module__ == "numpy" and type(value).__name__ == "ndarray" and value.dtype.kind in "fiub":
        return torch.from_numpy(value)
    return None


class _NeedsCodeError(Exception):
    """A name that is not among the harmless ones."""


def _torch_load(path: Path, trust: bool) -> object:
    if trust:
        module: Any = types.SimpleNamespace(**{**vars(pickle), "Unpickler": _Trusting})
        return torch.load(path, map_location="cpu", weights_only=False, pickle_module=module)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if (name := re.search(r"GLOBAL ([\w.]+)", str(error))) is None:
            raise
        raise _NeedsCodeError(name[1]) from None


def _unpickle(path: Path, trust: bool) -> object:
    with open(path, "rb") as file:
        return (_Trusting if trust else _Arrays)(file, encoding="latin1").load()


class _Arrays(pickle.Unpickler):
    """Knows plain values and numpy arrays."""

    def find_class(self, module: str, name: str) -> Any:
        import _codecs

        import numpy as np

        known = {
            "_reconstruct": np.zeros(0).__reduce__()[0],
            "scalar": np.float32(0).__reduce__()[0],
            "_frombuffer": np.zeros(1).__reduce_ex__(5)[0],
            "ndarray": np.ndarray,
            "dtype": np.dtype,
        }
        if module.split(".")[0] == "numpy" and name in known:
            return known[name]
        if (module, name) == ("_codecs", "encode"):  # bytes in the protocols of Python 2
            return _codecs.encode
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        raise _NeedsCodeError(f"{module}.{name}")


class _Trusting(pickle.Unpickler):
    """Knows everything; makes a stand-in for what is not installed."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return super().find_class(module, name)
        except (ImportError, AttributeError):
            return type(name, (_StandIn,), {"__module__": module})


class _StandIn:
    """Takes anything that a pickle does to an object, and keeps nothing."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, value: object) -> None:
        pass

    def extend(self, values: object) -> None:
        pass
