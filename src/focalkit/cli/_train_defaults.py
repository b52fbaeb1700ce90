"""What `focalkit train` chooses where nothing was said: the run directory, and the images held out for validation."""

from dataclasses import replace
from itertools import count
from pathlib import Path

from focalkit.config import DataConfig, TrainConfig
from focalkit.errors import InputError

SPLIT = "80/20"


def out_for(data: DataConfig, wanted: bool) -> Path:
    """`runs/NAME` after the data, or the first of `runs/NAME-2`, .. that is not there.

    Args:
        data: The settings of the data.
        wanted: Whether the flags speak of a run that is there: --resume, --force.

    Raises:
        InputError: The run has to be named: `wanted`, no data, or one of several processes, which would choose apart.
    """
    from focalkit.training.launch import is_launched

    given = data.path or data.train_json
    if wanted:
        raise InputError("--out is missing: --resume and --force need the run directory that they are about")
    if given is None or is_launched():
        raise InputError("--out is missing: expected the run directory, such as --out runs/first")
    name = Path(given).resolve().name.partition(".")[0] or "run"
    places = (Path("runs") / (name if number == 1 else f"{name}-{number}") for number in count(1))
    return next(place for place in places if not place.exists())


def with_split(config: TrainConfig) -> tuple[TrainConfig, str]:
    """The configuration with a fifth of the images held out, where the data have no val; and a line that says so.

    Raises:
        InputError: There are no data.
    """
    from focalkit.data.find import Place

    data = config.data
    if data.split or data.fold or data.val_json or (data.path is None and data.train_json is None):
        return config, ""
    splits = [split for split in Place(data.path, data.train_json).splits() if split != "test"]
    if splits not in (["train"], ["all"]):
        return config, ""
    note = (
        f"note: the data have no val, so a fifth of the images is held out: --split {SPLIT}. Images that belong "
        "together (videos, patients) stay in one part with --group-by"
    )
    return replace(config, data=replace(data, split=SPLIT)), note
