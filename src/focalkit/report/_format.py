"""Numbers, times and settings as text. Pure functions; a missing value is an en dash."""

from collections.abc import Mapping
from typing import Any

from ._read import number

DASH = "\u2013"
METRICS = {  # key in result.json -> (label, meaning); COCO's order
    "AP": ("AP", "IoU 0.50 to 0.95"),
    "AP50": ("AP50", "at IoU 0.50"),
    "AP75": ("AP75", "at IoU 0.75"),
    "APs": ("AP small", "under 32\u00b2 px"),
    "APm": ("AP medium", "32\u00b2 to 96\u00b2 px"),
    "APl": ("AP large", "over 96\u00b2 px"),
    "AR1": ("AR 1", "1 detection per image"),
    "AR10": ("AR 10", "10 detections per image"),
    "AR100": ("AR 100", "100 detections per image"),
    "ARs": ("AR small", "under 32\u00b2 px"),
    "ARm": ("AR medium", "32\u00b2 to 96\u00b2 px"),
    "ARl": ("AR large", "over 96\u00b2 px"),
}


def ap(value: object) -> str:
    """`0.412`; an en dash where there was nothing to measure."""
    found = number(value)
    return DASH if found is None else f"{found:.3f}"


def difference(value: float | None) -> str:
    """`+0.081`, with a true minus sign."""
    if value is None:
        return DASH
    return f"{value:+.3f}".replace("-", "\u2212") if abs(value) >= 0.0005 else "0.000"


def count(value: object) -> str:
    """`12,345`."""
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else DASH


def duration(seconds: object) -> str:
    """`25 min 12 s`, `3 h 05 min`, `48 s`."""
    found = number(seconds)
    if found is None or found < 0:
        return DASH
    total = round(found)
    if total < 60:
        return f"{total} s"
    if total < 3600:
        return f"{total // 60} min {total % 60:02d} s"
    return f"{total // 3600} h {total % 3600 // 60:02d} min"


def setting(value: object) -> str:
    """One configuration value in plain words."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(setting(v) for v in value) if value else "none"
    return str(value)


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under dotted keys: `{"model": {"head_depth": 4}}` -> `{"model.head_depth": 4}`."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def plural(n: int, noun: str, nouns: str | None = None) -> str:
    """`1 class`, `3 classes`."""
    return f"{n:,} {noun if n == 1 else nouns or noun + 's'}"
