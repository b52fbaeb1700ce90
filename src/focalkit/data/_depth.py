"""A hint where 16-bit grey pictures hold data of fewer bits: they would be seen almost black.

The scale of a picture is never guessed from its content (`focalkit.images.read_image`), so whoever has 12-bit data has
to be told. A few pictures are looked at.
"""

from collections.abc import Sequence
from pathlib import Path

from focalkit._pictures import open_picture

_LOOKED_AT = 16


def tell_depth(paths: Sequence[Path]) -> list[str]:
    """A warning, or none, for the pictures of a split."""
    sample = paths[:: max(1, -(-len(paths) // _LOOKED_AT))]
    brightest: dict[Path, int] = {}
    for path in sample:
        try:
            with open_picture(path) as picture:
                if picture.mode.startswith("I"):
                    brightest[path] = int(picture.getextrema()[1])  # pyright: ignore[reportArgumentType, reportIndexIssue]
        except Exception:  # what is wrong with a picture is said where it is measured
            continue
    most = max(brightest.values(), default=0)
    if not 0 < most < 2**15:
        return []
    bits = most.bit_length()
    first = next(iter(brightest))
    return [
        f"{len(brightest)} of {len(brightest)} x 16-bit pictures looked at hold no value above {most}: data of {bits} "
        f"bits, seen at 1/{2 ** (16 - bits)} of their brightness; multiply them by {2 ** (16 - bits)} (first: {first})"
    ]
