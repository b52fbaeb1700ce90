"""Tasks of the workbench, one folder each: how data are read, a default model, how it is fitted, what is measured.

A task of your own is a module attribute of the form `focalkit.tasks.Task`, named as "my_pkg.mod:TASK".
"""

from ._table import TASKS as TASKS
from ._table import find_task as find_task
from ._table import is_built_in as is_built_in
from ._table import open_task as open_task
from ._task import Array as Array
from ._task import Budget as Budget
from ._task import Finder as Finder
from ._task import Fitted as Fitted
from ._task import Illustrator as Illustrator
from ._task import Inspection as Inspection
from ._task import Metric as Metric
from ._task import Model as Model
from ._task import Outputs as Outputs
from ._task import Picture as Picture
from ._task import Range as Range
from ._task import Source as Source
from ._task import Splits as Splits
from ._task import Task as Task

__all__ = [
    "TASKS",
    "Array",
    "Budget",
    "Finder",
    "Fitted",
    "Illustrator",
    "Inspection",
    "Metric",
    "Model",
    "Outputs",
    "Picture",
    "Range",
    "Source",
    "Splits",
    "Task",
    "find_task",
    "is_built_in",
    "open_task",
]
