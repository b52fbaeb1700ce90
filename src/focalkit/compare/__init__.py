"""The workbench: which treatment of imbalance is best on these data, by how much, at what cost, how surely."""

from ._compare import Comparison as Comparison
from ._compare import compare as compare
from .methods import METHODS as METHODS
from .methods import Method as Method
from .methods import Range as Range

__all__ = ["METHODS", "Comparison", "Method", "Range", "compare"]
