"""ImageNet weights of a backbone: reading a file, downloading, and putting them in with every key accounted for."""

import difflib
import pickle
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from focalkit.errors import InputError

CLASSIFIER = ("fc.", "classifier.", "features.18.")
"""Beginnings of torchvision's key names behind C5, which a detector drops."""
SUFFIXES = (".pth", ".pt", ".safetensors", ".npz")


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a .pth (plain tensors only), .safetensors or .npz file, by name.

    A dict inside "state_dict", "model" or "model_state_dict" is taken out, and a "module." before every name cut off.

    Raises:
        InputError: The file is missing, of another kind, damaged, or holds no tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such weights file")
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path}: expected a weights file ending in one of {', '.join(SUFFIXES)}")
    try:
        if path.suffix == ".npz":
            import numpy as np

            with np.load(path, allow_pickle=False) as file:
                found: object = {name: torch.from_numpy(file[name]) for name in file.files}
        elif path.suffix == ".safetensors":
            found = _read_safetensors(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, zipfile.BadZipFile, OSError, RuntimeError, ValueError, EOFError) as error:
        raise InputError(
            f"{path}: cannot be read as weights ({type(error).__name__}); it is damaged or not a weights file"
        ) from error
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    tensors = {str(k): v for k, v in found.items() if isinstance(v, Tensor)} if isinstance(found, Mapping) else {}
    if not tensors:
        raise InputError(f"{path}: holds no tensors by name; expected a state dict")
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    return tensors


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError:
        raise InputError(f"{path}: reading it needs the package safetensors: pip install safetensors") from None
    try:
        return load_file(path)
    except SafetensorError as error:
        raise InputError(f"{path}: cannot be read as weights: {error}") from error


def is_folded(weights: Mapping[str, object]) -> bool:
    """Whether BatchNorm has been folded into the convolutions of these MobileNetV2 weights."""
    return "features.0.0.bias" in weights and not any(name.endswith("running_mean") for name in weights)


def of_mmdetection(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of CSPNeXt as MMDetection has them: "backbone." cut off, the first convolution turned from blue, green,
    red to red, green, blue, the classifier left out. Weights of ours come back as they are."""
    inside = {name.removeprefix("backbone."): t for name, t in weights.items() if name.startswith("backbone.")}
    stem = "stem.0.conv.weight"
    return {**inside, stem: inside[stem].flip(1)} if stem in inside else dict(weights)


def load_into(body: nn.Module, weights: Mapping[str, Tensor], source: object) -> None:
    """Copy weights into `body`, all of them or none.

    Keys behind C5 (classifier) and BatchNorm's batch counter may be there and are not needed.

    Raises:
        InputError: Keys that are missing, unknown or of another shape, each named with the nearest.
    """
    wanted = {name: t for name, t in body.state_dict().items() if not name.endswith("num_batches_tracked")}
    given = {
        name: t
        for name, t in weights.items()
        if not name.startswith(CLASSIFIER) and not name.endswith("num_batches_tracked")
    }
    shapes = ({name: tuple(t.shape) for name, t in side.items()} for side in (wanted, given))
    if problems := misfits(*shapes):
        raise InputError(f"{source}: does not fit the backbone {listed(problems)}")
    body.load_state_dict({name: given[name].to(t.dtype) for name, t in wanted.items()}, strict=False)


def misfits(wanted: Mapping[str, tuple[int, ...]], given: Mapping[str, tuple[int, ...]]) -> list[str]:
    """What keeps weights of the shapes `given` from being those `wanted`: one line a name, with the nearest."""
    problems = [
        f"{name}: shape {given[name]}, expected {shape}"
        for name, shape in wanted.items()
        if name in given and given[name] != shape
    ]
    missing, unknown = (sorted(a.keys() - b.keys()) for a, b in ((wanted, given), (given, wanted)))
    problems += [f"{name}: missing{nearest(name, unknown or given)}" for name in missing]
    return problems + [f"{name}: unknown{nearest(name, missing or wanted)}" for name in unknown]


def listed(problems: Sequence[str]) -> str:
    """The number of problems and the first of them, for the end of a message."""
    shown = "\n  ".join(problems[:8])
    more = f"\n  ... and {len(problems) - 8} more" if len(problems) > 8 else ""
    return f"({len(problems)} keys)\n  {shown}{more}"


def nearest(name: str, names: Iterable[str]) -> str:
    """' (nearest: x)', or nothing where none is near."""
    close = difflib.get_close_matches(name, list(names), n=1)
    return f" (nearest: {close[0]})" if close else ""


def download(name: str) -> dict[str, Tensor]:
    """torchvision's ImageNet weights of the architecture `name`: the IMAGENET1K_V1 file, as the published detectors.

    Raises:
        InputError: torchvision has none, or the download failed.
    """
    from torchvision.models import get_model_weights

    try:
        weights = get_model_weights(name)["IMAGENET1K_V1"]
    except ValueError:
        raise InputError(f"torchvision has no ImageNet weights of {name} to download; give a file") from None
    try:
        return dict(weights.get_state_dict(progress=True, check_hash=True))
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"the ImageNet weights of {name} could not be downloaded from {weights.url} ({error}). Without a network,"
            f" give a local file: --backbone-weights FILE, or retinanet(..., backbone_weights=FILE)"
        ) from error
