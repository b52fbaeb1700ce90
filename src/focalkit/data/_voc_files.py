"""Where the splits of a Pascal VOC data set lie: its XML files, the lists of names, and the folders of the images."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from focalkit._files import files_ending, is_folder, subfolders, visible, walk
from focalkit._pictures import is_picture
from focalkit.data._elsewhere import only_one, others_in
from focalkit.data._findings import Findings
from focalkit.data._lookup import Lookup
from focalkit.data._splits import SeveralError, by_folder, canonical, folders_of_splits
from focalkit.data._texts import beginning, read_lines
from focalkit.data.cvat import is_cvat
from focalkit.errors import InputError

_ANNOTATIONS = ("Annotations", "annotations", "labels")
_IMAGES = ("JPEGImages", "images", "Images", "img", "data")
_LISTS = ("ImageSets/Main", "ImageSets", "Annotations", "annotations", "")
"""Folders that may hold lists of names."""
_SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class VocFiles:
    """Where one split lies: its XML files, the image folders, and every XML file of the data set (for the classes)."""

    xmls: tuple[Path, ...]
    images: tuple[Path, ...]
    everything: tuple[Path, ...]
    root: Path
    listing: Path | None = None


def find(path: Path) -> dict[str, VocFiles]:
    """The splits of a VOC data set in the folder `path`; empty where there is none.

    Raises:
        SeveralError: Several years (`VOC2007`, `VOC2012`) lie in the folder.
    """
    if not path.is_dir():
        return {}
    roots = [root for root in (path, *visible(path, "VOC*")) if root.is_dir() and _annotation_dir(root)]
    if len(roots) > 1:
        raise SeveralError(f"{path} holds several VOC data sets: {', '.join(r.name for r in roots)}; give one of them")
    if roots:
        return _from_image_sets(roots[0])
    folders = folders_of_splits(subfolders(path), lambda folder: bool(_split_xmls(folder)))
    found = {split: tuple(_split_xmls(d)) for split, d in folders.items()}
    everything = tuple(xml for xmls in found.values() for xml in xmls)
    places = {split: (d, *_image_dirs(d)) for split, d in folders.items()}
    if everything and any(_has_pictures(place) for here in places.values() for place in here):
        return {split: VocFiles(xmls, places[split], everything, path) for split, xmls in found.items()}
    beside = tuple(xml for xml in _xmls(path) if _is_voc(xml))
    if not beside or not any(map(_has_pictures, (path, *_image_dirs(path)))):
        return {}
    return {"all": VocFiles(beside, (path, *_image_dirs(path)), beside, path)}


def _has_pictures(folder: Path) -> bool:
    return any(is_picture(file) for file in folder.iterdir())


def _xmls(folder: Path) -> list[Path]:
    """The XML files in a folder, with their suffix in any case, but for CVAT's one file of all images."""
    return [xml for xml in files_ending(folder, ".xml") if not (xml.name == "annotations.xml" and is_cvat(xml))]


def _split_xmls(folder: Path) -> list[Path]:
    """The XML files of a folder that is called like a split."""
    return next((found for place in ("", *_ANNOTATIONS) if (found := _xmls(folder / place))), [])


def _annotation_dir(root: Path) -> Path | None:
    """`Annotations` with XML files; in lower case (Kaggle) and `labels` (FiftyOne) only without JSON files: COCO's."""
    for name in _ANNOTATIONS:
        folder = root / name
        if folder.is_dir() and _xmls(folder) and (name == "Annotations" or not visible(folder, "*.json")):
            return folder
    return None


def _image_dirs(root: Path) -> tuple[Path, ...]:
    return tuple(root / name for name in _IMAGES if (root / name).is_dir())


def _is_voc(xml: Path) -> bool:
    try:
        return b"<annotation>" in beginning(xml, 2000)
    except OSError:
        return False


def _from_image_sets(root: Path) -> dict[str, VocFiles]:
    annotations = _annotation_dir(root) or root
    images = (*(_image_dirs(root) or (root / "JPEGImages",)), annotations)
    everything = tuple(_xmls(annotations))
    lists = _lists(root)
    found = {split: VocFiles((), images, everything, root, lists[split]) for split in _SPLITS if split in lists}
    if "train" not in found and "trainval" in lists:  # to be divided
        found = {"all": VocFiles((), images, everything, root, lists["trainval"]), **found}
    return found or {"all": VocFiles(everything, images, everything, root)}


def _lists(root: Path) -> dict[str, Path]:
    """Split, or `trainval` -> the list of its names."""
    for place in _LISTS:
        found = {canonical(file.stem): file for file in visible(root / place, "*.txt")}
        if any(name in found for name in (*_SPLITS, "trainval")):
            return found
    return {}


def find_nested(path: Path) -> dict[str, VocFiles]:
    """XML files in folders of any depth, with the images beside them or in folders of like names."""
    if not path.is_dir():
        return {}
    xmls = [file for file in walk(path, outputs=False) if file.suffix.lower() == ".xml"]
    if not any(map(_is_voc, xmls[:5])):
        return {}
    xmls = [xml for xml in xmls if _is_voc(xml)]
    return {split: VocFiles(files, (), tuple(xmls), path) for split, files in by_folder(xmls, path).items()}


def xmls_of(where: VocFiles, findings: Findings) -> tuple[Path, ...]:
    """The XML files of a split: one name a line, without a suffix, of the image, or with a path before it."""
    if where.listing is None:
        return where.xmls
    try:
        lines = read_lines(where.listing, findings)
    except (OSError, ValueError) as error:
        raise InputError(f"{where.listing}: cannot be read as a list of names ({error})") from error
    folder = where.everything[0].parent
    there = {xml.stem: xml.name for xml in reversed(where.everything)}
    lookup = Lookup([folder], findings)
    found: dict[Path, None] = {}
    for line in lines:
        # lists of one class say whether the image shows it
        name = line if line in there else re.sub(r"\s+-?[01]$", "", line)
        stem = Path(name).stem if is_picture(Path(name)) or name.endswith(".xml") else name
        exact = there.get(name) or there.get(stem)
        xml = folder / exact if exact else lookup.loosely(f"{stem}.xml") or folder / f"{stem}.xml"
        if xml in found:
            findings.warn("images are listed again: taken once", f"{where.listing}: {line}")
        found[xml] = None
    return tuple(found)


class Images:
    """The images of XML files, which may each have any of `names`, the likeliest first; of those `sure` is the file."""

    def __init__(
        self, where: VocFiles, names: Mapping[Path, Sequence[str]], sure: Sequence[Sequence[str]], findings: Findings
    ) -> None:
        self._where, self._findings = where, findings
        self._lookups: dict[Path, Lookup] = {}
        self._found: dict[Path, Path | None] = {}
        for xmls in _of_one_folder(names):
            found = self._lookup(xmls[0]).files([names[xml] for xml in xmls])
            self._found |= zip(xmls, found, strict=True)
        others = () if where.images or any(self._found.values()) else others_in((where.root,))
        if other := only_one(others, sure, where.root, findings):
            self._found = dict(zip(names, Lookup([other], findings).files(list(names.values())), strict=True))

    def of(self, xml: Path) -> Path | None:
        """The image of an XML file."""
        return self._found.get(xml)

    def has(self, xml: Path, name: str) -> bool:
        """Whether there is an image of exactly this name."""
        return self._lookup(xml).has(name)

    def nearly(self, xml: Path, name: str) -> str:
        """See `Lookup.nearly`."""
        return self._lookup(xml).nearly(name)

    def folder(self, xml: Path) -> Path:
        """Where an image that is not there is said to be missing."""
        return (*self._where.images, xml.parent)[0]

    def _lookup(self, xml: Path) -> Lookup:
        if xml.parent not in self._lookups:
            folders = self._where.images or tuple(_folders_of(xml.parent, self._where.root))
            self._lookups[xml.parent] = Lookup(folders, self._findings)
        return self._lookups[xml.parent]


def _of_one_folder(xmls: Iterable[Path]) -> list[list[Path]]:
    folders: dict[Path, list[Path]] = {}
    for xml in xmls:
        folders.setdefault(xml.parent, []).append(xml)
    return list(folders.values())


def _folders_of(folder: Path, root: Path) -> list[Path]:
    """Folders that may hold the images of the XML files in one: itself, and those called like it but for a part."""
    places, parts = [folder], folder.relative_to(root).parts
    for i in range(len(parts)):
        before, after = root.joinpath(*parts[:i]), Path(*parts[i + 1 :])
        places += [before / name / after for name in _IMAGES] + [before / after]
        places += [before / name for name in _IMAGES] + [before]
    return [place for place in dict.fromkeys(places) if is_folder(place)]
