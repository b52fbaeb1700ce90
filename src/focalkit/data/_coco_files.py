"""Where the splits of a COCO data set lie: its JSON files, and the folders that may hold the images of each.

Found: the arrangements of COCO, Roboflow, CVAT (`instances_Train.json` with `images/Train/`, `instances_default.json`),
Label Studio (`result.json` with `images/`) and FiftyOne (`labels.json` with `data/`).
"""

import mmap
from dataclasses import dataclass
from pathlib import Path

from focalkit._files import is_file, special, visible
from focalkit.data._elsewhere import others_in
from focalkit.data._splits import SPLITS, split_in, split_words
from focalkit.data.datumaro import is_datumaro
from focalkit.data.label_studio import is_label_studio
from focalkit.data.labelme import is_labelme
from focalkit.errors import InputError

_ROBOFLOW = "_annotations.coco.json"
_OTHER_TASKS = ("captions", "person_keypoints", "panoptic", "stuff", "image_info")


@dataclass(frozen=True)
class CocoFiles:
    """Where a split lies: its JSON, the folders that may hold the images, best guess first, and whether others may."""

    json: Path
    image_dirs: tuple[Path, ...]
    or_others: bool = True


def find(path: Path) -> dict[str, CocoFiles]:
    """The splits of a COCO data set at `path` (a folder or one JSON file); empty where there is none.

    Raises:
        InputError: Two files claim the same split.
    """
    if path.is_file():
        named = path.suffix == ".json" and not _of_another_tool(path)
        return {split_in(path.name) or "all": CocoFiles(path, _image_dirs(path))} if named else {}
    beside = visible(path, f"*/{_ROBOFLOW}")
    if beside:
        return _one_each({p: split_in(p.parent.name) or p.parent.name for p in beside})
    if (path / _ROBOFLOW).is_file():
        return _one_each({path / _ROBOFLOW: split_in(path.name) or "all"})
    exported = [p for p in visible(path, "*/labels.json") if split_in(p.parent.name) and _is_coco(p)]
    if exported:
        return _one_each({p: split_in(p.parent.name) or "all" for p in exported})
    files = [p for p in visible(path, "annotations/*.json") if not p.name.startswith(_OTHER_TASKS)]
    files = [p for p in files if not _of_another_tool(p)]
    instances = [p for p in files if p.name.startswith("instances")]
    if not files:
        here = [p for p in visible(path, "*.json") if not _of_another_tool(p)]
        files = [p for p in here if split_in(p.name)] or [p for p in here if _is_coco(p)]
    return _one_each({p: split_in(p.name) or "all" for p in instances or files})


def _of_another_tool(path: Path) -> bool:
    return is_labelme(path) or is_label_studio(path) or is_datumaro(path)


def _is_coco(path: Path) -> bool:
    """Whether a JSON file whose name says nothing has the keys."""
    if not is_file(path):
        return False
    try:
        if special(path):
            return False
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return all(content.find(key) >= 0 for key in (b'"images"', b'"annotations"', b'"categories"'))
    except (OSError, ValueError):  # which it raises of an empty file
        return False


def files(json_path: Path, images: Path | None) -> CocoFiles:
    """The files of a split whose JSON file, and perhaps image folder, the caller names."""
    if not json_path.is_file():
        raise InputError(f"{json_path}: there is no such annotation file")
    if images is None:
        return CocoFiles(json_path, _image_dirs(json_path))
    if not images.is_dir():
        raise InputError(f"{images}: there is no such image folder (--images)")
    named = [images / word for word in _words(json_path)]
    return CocoFiles(json_path, (images, *(d for d in named if d.is_dir())), or_others=False)


def _one_each(split_of: dict[Path, str]) -> dict[str, CocoFiles]:
    found: dict[str, CocoFiles] = {}
    for path, split in split_of.items():
        if split in found:
            raise InputError(
                f"{found[split].json} and {path} both look like the COCO annotations of the split {split!r}; "
                "name one with --train-json / --val-json"
            )
        found[split] = CocoFiles(path, _image_dirs(path))
    return found


def _words(json_path: Path) -> list[str]:
    """Folder names that the images of this file may lie in: its own name first, as it is spelt."""
    split = split_in(json_path.name)
    own = json_path.stem.removeprefix("instances_")
    return list(dict.fromkeys([own, *split_words(json_path.stem), *SPLITS.get(split or "", ())]))


def _image_dirs(json_path: Path) -> tuple[Path, ...]:
    root = json_path.parent.parent if json_path.parent.name == "annotations" else json_path.parent
    words = _words(json_path)
    places = [root / "images" / w for w in words] + [root / w / "images" for w in words] + [root / w for w in words]
    places += [root / "images", root / "data", root, json_path.parent]
    return tuple(dict.fromkeys(d for d in places if d.is_dir()))


def other_folders(json_path: Path) -> tuple[Path, ...]:
    """Where the images lie, perhaps, when they are in none of these: in folders of other names.

    Those that are called like another split are left out: its pictures may have the same names.
    """
    root = json_path.parent.parent if json_path.parent.name == "annotations" else json_path.parent
    return others_in((root, root / "images"), split_in(json_path.name) or "all")
