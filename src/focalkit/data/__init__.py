"""Detection data: readers of what annotation tools write, with one set of checks, transforms, the demo scenes.

Names are loaded when first used, so that reading annotations needs neither torch nor torchvision.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from focalkit.data._division import divide as divide
    from focalkit.data._division import division_record as division_record
    from focalkit.data._records import Category as Category
    from focalkit.data._records import DetectionData as DetectionData
    from focalkit.data._records import ImageRecord as ImageRecord
    from focalkit.data._selection import Selection as Selection
    from focalkit.data._selection import choose_classes as choose_classes
    from focalkit.data.dataset import DetectionBatch as DetectionBatch
    from focalkit.data.dataset import DetectionDataset as DetectionDataset
    from focalkit.data.dataset import collate as collate
    from focalkit.data.demo import write_demo_scenes as write_demo_scenes
    from focalkit.data.find import open_detection_data as open_detection_data
    from focalkit.data.find import open_train_and_val as open_train_and_val

_HOME = {
    "Category": "_records",
    "DetectionBatch": "dataset",
    "DetectionData": "_records",
    "DetectionDataset": "dataset",
    "ImageRecord": "_records",
    "Selection": "_selection",
    "choose_classes": "_selection",
    "collate": "dataset",
    "divide": "_division",
    "division_record": "_division",
    "open_detection_data": "find",
    "open_train_and_val": "find",
    "write_demo_scenes": "demo",
}

__all__ = [
    "Category",
    "DetectionBatch",
    "DetectionData",
    "DetectionDataset",
    "ImageRecord",
    "Selection",
    "choose_classes",
    "collate",
    "divide",
    "division_record",
    "open_detection_data",
    "open_train_and_val",
    "write_demo_scenes",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"focalkit.data.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
