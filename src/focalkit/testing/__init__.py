"""The conformance checks of the package's losses, for losses of your own too.

    check_loss("focal(gamma=0.5)")                                  # a catalog name or spec
    check_loss(MyLoss(), sample=lambda shape, rng: (x, targets))    # a module, with a way to draw inputs

Each check is one property, written once and run over the whole catalog in `tests/conformance`.
"""

from ._cases import Case as Case
from ._cases import case_of as case_of
from ._run import PROPERTIES as PROPERTIES
from ._run import check_loss as check_loss

__all__ = ["PROPERTIES", "Case", "case_of", "check_loss"]
