"""Which options a detector reads: one that it does not read would be without effect, and is refused."""

from dataclasses import replace
from typing import Any

from focalkit.config import PRESETS, DetectorName, TrainConfig
from focalkit.detection.recipes import DETECTORS
from focalkit.errors import ConfigError

COUNTS = ("layers", "queries", "points", "feedforward", "groups")
"""Of a set predictor's decoder."""


def check_options(config: TrainConfig) -> None:
    """Refuse what the detector of a configuration would not look at, or cannot be made of.

    A preset is meant for several detectors, so the values of presets and the defaults are nobody's wish.

    Raises:
        ConfigError: An option that its detector does not read, or a value that it cannot take; the message names each,
            and the detectors that read it.
    """
    name = config.model.detector
    recipe = DETECTORS[name]
    problems = []
    for option in _unread(name):
        if (value := _get(config, option)) not in _usual(option):
            readers = ", ".join(other for other, recipe in DETECTORS.items() if option in recipe.reads)
            problems.append(f"{option} is {value!r}, but {name} does not read it: leave it out ({readers} would)")
    if (normalizer := config.criterion.normalizer) not in recipe.normalizers:
        allowed = " or ".join(map(repr, recipe.normalizers))
        problems.append(f"criterion.normalizer must be {allowed} with {name}, got {normalizer!r}")
    if "model.decoder.heads" in recipe.reads:
        counts = {name: getattr(config.model.decoder, name) for name in COUNTS}
        problems += [f"model.decoder.{name} must be at least 1, got {n}" for name, n in counts.items() if n < 1]
        heads, channels = config.model.decoder.heads, config.model.fpn_channels
        if heads < 1 or channels % heads:
            problems.append(f"model.decoder.heads must divide model.fpn_channels, got {heads} and {channels}")
    if problems:
        raise ConfigError("\n  ".join([f"the detector {name} cannot be trained as asked:", *problems]))


def without_unread(config: TrainConfig) -> TrainConfig:
    """`config` with the defaults of what its detector does not read: one configuration for several detectors.

    Example:
        >>> config = TrainConfig(model=ModelConfig(detector="rtmdet", head_norm="group"))
        >>> without_unread(config).model.head_norm
        'none'
    """
    for option in _unread(config.model.detector):
        config = _set(config, option.split("."), _get(TrainConfig(), option))
    return config


def _unread(name: DetectorName) -> list[str]:
    """The options that some detectors read and this one does not."""
    known = {option: None for recipe in DETECTORS.values() for option in recipe.reads}
    return [option for option in known if option not in DETECTORS[name].reads]


def _usual(option: str) -> list[Any]:
    return [_get(base, option) for base in (TrainConfig(), *(preset() for preset in PRESETS.values()))]


def _get(config: Any, option: str) -> Any:
    for part in option.split("."):
        config = getattr(config, part)
    return config


def _set(config: Any, path: list[str], value: Any) -> Any:
    first, *rest = path
    return replace(config, **{first: _set(getattr(config, first), rest, value) if rest else value})
