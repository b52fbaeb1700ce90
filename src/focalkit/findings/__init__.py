"""Numbered checks of data and of results: what was seen, why it matters, what to do.

`CATALOG` has every check; the functions take plain arrays and return `Finding`s. Nothing is trained here but the small
model behind `suspect_labels`.
"""

from focalkit.findings._catalog import CATALOG as CATALOG
from focalkit.findings._catalog import Check as Check
from focalkit.findings._catalog import Finding as Finding
from focalkit.findings.boxes import check_boxes as check_boxes
from focalkit.findings.classes import check_classes as check_classes
from focalkit.findings.items import check_duplicates as check_duplicates
from focalkit.findings.items import hash_rows as hash_rows
from focalkit.findings.labels import suspect_labels as suspect_labels
from focalkit.findings.table import check_columns as check_columns

__all__ = [
    "CATALOG",
    "Check",
    "Finding",
    "check_boxes",
    "check_classes",
    "check_columns",
    "check_duplicates",
    "hash_rows",
    "suspect_labels",
]
