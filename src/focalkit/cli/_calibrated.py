"""Calibrations as the commands that write scores take them on and off."""

from pathlib import Path
from typing import TYPE_CHECKING

from focalkit.errors import ConfigError, InputError

if TYPE_CHECKING:
    from focalkit.calibration import AppliedCalibration
    from focalkit.detection import Detector


def posterior_of(run: Path, detector: "Detector") -> "AppliedCalibration":
    """The map that undoes the focal loss that a run was trained with, gamma and alpha.

    Raises:
        InputError: Not a run directory, trained with another loss, or a detector whose score is not a probability of
            the class alone.
    """
    from focalkit._runs import RunDir
    from focalkit.calibration import AppliedCalibration
    from focalkit.compare.store import Cell
    from focalkit.detection.build import losses_of
    from focalkit.losses import focal_arguments

    cell = Cell(run.parent).record  # beside the weights of a detector that a comparison trained
    if run.is_dir():
        spec = losses_of(RunDir(run).read_config())[0]
    elif cell:
        method = cell["method"]
        spec = method["loss"]
        if method.get("class_weight") is not None:
            raise InputError(f"{run}: its classes were weighted; --posterior does not know the inverse with that")
    else:
        raise InputError(f"{run}: --posterior needs the loss of a run directory; a file does not know its own")
    try:
        gamma, alpha, kind = focal_arguments(spec)
    except ConfigError as error:
        raise InputError(f"{run}: no --posterior: {error}") from error
    if kind != "sigmoid" or not (alpha is None or isinstance(alpha, int | float)):
        raise InputError(f"{run}: was trained with {spec}; --posterior knows one gamma and one alpha for all classes")
    if getattr(detector.model.head, "quality_output", None) is not None:
        raise InputError(f"{run}: its scores are mixed with a quality; --posterior is for scores of the class alone")
    return AppliedCalibration.posterior(gamma, None if alpha is None else float(alpha))


def without_calibration(detector: "Detector") -> None:
    """Take the calibration off.

    Raises:
        InputError: It is inside the graph of an exported file.
    """
    if getattr(detector.model, "info", {}).get("calibrated_inside"):
        raise InputError("the calibration is inside this file's graph; export the run again with --no-calibration")
    detector.calibration = None
