"""Tables: rows of numbers, categories and dates, one class per row."""

from ._tabular import TASK as TASK
from ._tabular import Tabular as Tabular

__all__ = ["TASK", "Tabular"]
