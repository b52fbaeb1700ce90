"""Suite `loss`: value and gradient of focal losses against other libraries', at the sizes of real training steps."""

from ._loss_dense import dense_case
from ._loss_native import native_case
from ._loss_softmax import small_case, softmax_case
from ._model import Case, Settings


def cases(settings: Settings) -> list[Case]:
    """Native levels, dense targets, softmax, small calls."""
    if settings.quick:
        return [native_case(64, settings), dense_case(1000, settings), softmax_case(5000, 20), small_case(50, 20)]
    return [
        native_case(600, settings),
        native_case(1024, settings),
        dense_case(67_995, settings),
        dense_case(196_416, settings),
        softmax_case(1_000_000, 20),
        softmax_case(100_000, 1203),
        small_case(1000, 80),
    ]
