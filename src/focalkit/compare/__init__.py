"""The workbench: which treatment of imbalance is best on these data, by how much, at what cost, how surely."""

from .comparison import Comparison as Comparison
from .methods import METHODS as METHODS
from .methods import Method as Method
from .methods import Range as Range
from .predictor import Predictor as Predictor
from .run import compare as compare

__all__ = ["METHODS", "Comparison", "Method", "Predictor", "Range", "compare"]
