"""Names that data sets use for train, val and test splits."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from focalkit.errors import InputError

SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "minival", "dev"),
    "test": ("test", "testing"),
}
_SPLIT_OF = {word: split for split, words in SPLITS.items() for word in words}


class SeveralError(InputError):
    """Several data sets lie where one is expected."""


def canonical(word: str) -> str:
    """The split a word means; the word itself where it is none of the known ones.

    Example:
        >>> canonical("validation"), canonical("fold3")
        ('val', 'fold3')
    """
    return _SPLIT_OF.get(word.lower(), word)


def split_in(name: str) -> str | None:
    """The split that a file or folder name speaks of, None where it names none.

    Example:
        >>> split_in("instances_val2017.json"), split_in("annotations.json")
        ('val', None)
    """
    found = {_SPLIT_OF[w] for w in re.findall("[a-z]+", name.lower()) if w in _SPLIT_OF}
    return found.pop() if len(found) == 1 else None


def folders_of_splits(folders: Sequence[Path], used: Callable[[Path], bool]) -> dict[str, Path]:
    """Those of `folders` that are called like a split, perhaps with a year or number behind it, and are `used`.

    Raises:
        SeveralError: Two are of one split.

    Example:
        >>> folders_of_splits([Path("train2017"), Path("valid"), Path("notes")], lambda folder: True)
        {'train': PosixPath('train2017'), 'val': PosixPath('valid')}
    """
    found: dict[str, Path] = {}
    for folder in folders:
        split = split_in(folder.name)
        if split is None or not used(folder):
            continue
        if split in found:
            raise SeveralError(
                f"{found[split]} and {folder} are both called like the split {split!r}; put them into one folder, or"
                " give one of them another name"
            )
        found[split] = folder
    return found


def split_words(name: str) -> list[str]:
    """The words of a name that speak of a split, with the year that may follow them.

    Example:
        >>> split_words("instances_val2017")
        ['val2017', 'val']
    """
    words: list[str] = []
    for word, year in re.findall("([a-z]+)([0-9]*)", name.lower()):
        if word in _SPLIT_OF:
            words += [word + year, word]
    return list(dict.fromkeys(words))


def by_folder(files: Sequence[Path], root: Path) -> dict[str, tuple[Path, ...]]:
    """Files by the split that a folder above them, below `root`, is called like; "all" of those without."""
    found: dict[str, list[Path]] = {}
    for file in files:
        folders = file.relative_to(root).parts[:-1]
        split = next((split for folder in folders if (split := split_in(folder))), "all")
        found.setdefault(split, []).append(file)
    if len(found) > 1 and len(found.get("all", ())) * 10 > len(files):
        return {"all": tuple(files)}  # folders that happen to be called so
    return {split: tuple(chosen) for split, chosen in found.items()}
