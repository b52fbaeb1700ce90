"""What has to be known about a library's RetinaNet files."""

import re
from dataclasses import dataclass

from focalkit.config import NumericsConfig
from focalkit.detection.weights.layouts.names import Table, to_ours, to_theirs

DROPPED = re.compile(
    r".*num_batches_tracked|(model\.)?anchor_generator\..*|pixel_mean|pixel_std|(img_)?data_preprocessor\..*"
)
"""Entries that are no weights: counters, and constants that the configuration has."""


@dataclass(frozen=True)
class Style:
    """How the models of a library (or of one of its styles) compute.

    Attributes:
        numerics: What the weights do not say.
        bgr: The first convolution takes blue, green, red; loading turns it to red, green, blue.
    """

    numerics: NumericsConfig
    bgr: bool = False


@dataclass(frozen=True)
class Layout:
    """Names and order of weights in a library's files.

    Attributes:
        name: As `load_weights` and `--layout` take it.
        library: As people write it.
        mark: A pattern of names by which its files are recognised.
        table: Their names and ours.
        older: Names of earlier versions, read only.
        anchors: For each of our nine anchors of a cell, which of theirs it is; None where the order is the same.
    """

    name: str
    library: str
    mark: re.Pattern[str]
    table: Table
    older: Table = ()
    anchors: tuple[int, ...] | None = None

    def ours(self, name: str) -> str | None:
        """Our name for theirs; None where it is not known."""
        return to_ours(name, (*self.table, *self.older))

    def theirs(self, name: str) -> str | None:
        """Their name for ours; None where they have none."""
        return to_theirs(name, self.table)
