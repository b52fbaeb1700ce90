"""What to do where no data set was recognised: unpack, name the classes, go one folder up."""

from itertools import islice
from pathlib import Path

from focalkit._files import is_folder, walk
from focalkit.data._yolo_labels import has_rows

_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
_LOOKED_AT = 50


def hint(path: Path) -> str:
    """A line for the message, or ""."""
    if path.suffix.lower() in _ARCHIVES and path.is_file():
        return "\nIt is an archive: unpack it, and give the folder"
    if not is_folder(path):
        return ""
    files = walk(path, outputs=False)
    archive = next((file for file in files if file.suffix.lower() in _ARCHIVES), None)
    if archive is not None:
        return f"\n{archive} is an archive: unpack it first"
    texts = islice((file for file in files if file.suffix.lower() == ".txt"), _LOOKED_AT)
    labels = next((file for file in texts if has_rows(file)), None)
    if labels is not None:
        return (
            f"\n{labels} looks like YOLO labels, but nothing names their classes: put the names into "
            f"{path / 'classes.txt'}, one a line, in the order of their numbers"
        )
    return ""
