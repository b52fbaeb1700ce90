"""Losses in a single pass: value and gradient together, without temporaries of the size of the logits.

`fuse` makes such a loss out of elementwise maths; `explain` says which backend a loss takes and why.
"""

from .dispatch import Choice as Choice
from .dispatch import explain as explain
from .fuse import Fused as Fused
from .fuse import fuse as fuse

__all__ = ["Choice", "Fused", "explain", "fuse"]
