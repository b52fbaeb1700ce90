"""Measuring focalkit against other libraries: `focalkit bench`.

Rows that do the same work run in turn, round after round, in one process; a ratio is taken within each round before the
median over rounds, so that a slow spell of the machine does not favour anyone. Answers are compared before anything is
timed. Nothing is compared across runs.
"""

from ._machine import describe as describe
from ._model import Bar as Bar
from ._model import Case as Case
from ._model import Row as Row
from ._model import Settings as Settings
from ._run import run_suites as run_suites
from ._suites import SUITES as SUITES
from ._table import disagreements as disagreements
from ._table import render as render

__all__ = ["SUITES", "Bar", "Case", "Row", "Settings", "describe", "disagreements", "render", "run_suites"]
