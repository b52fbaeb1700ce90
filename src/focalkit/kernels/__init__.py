"""Losses in a single pass: value and gradient together, without temporaries of the size of the logits.

`fuse` makes such a loss out of elementwise maths; `explain` says which way a loss takes and why.
"""

from ._choice import Choice as Choice
from ._explain import explain as explain
from ._fuse import Fused as Fused
from ._fuse import fuse as fuse

__all__ = ["Choice", "Fused", "explain", "fuse"]
