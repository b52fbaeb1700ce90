"""How `evaluate` and `predict` open exported files."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from focalkit.errors import InputError

if TYPE_CHECKING:
    from focalkit.detection import Detector


def open_exported(
    path: Path, device: str | None, score_threshold: float | None = None, *, trust: bool = False
) -> "Detector":
    """The detector in an exported file.

    Raises:
        InputError: It cannot be read, not without `trust`, or another device than the CPU is asked for.
    """
    from focalkit.export import load_exported

    if device not in (None, "cpu"):
        raise InputError(f"{path}: exported files run on the CPU here, got --device {device}; a run directory takes it")
    return load_exported(path, score_threshold=score_threshold, trust=trust)


def metadata(detector: "Detector") -> Mapping[str, Any]:
    """What the exported file says about itself."""
    return cast(Mapping[str, Any], detector.model.info)
