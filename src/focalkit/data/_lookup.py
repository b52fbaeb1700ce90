"""One look-up for the files that data sets name, where the name as it stands leads to nothing.

Tried then: backslashes as slashes, upper and lower case, both Unicode forms of accented letters, the end of a path that
begins on another machine (`C:\\photos\\train\\a.jpg`), escapes (`a%20b.jpg`), and of pictures the name without the
eight characters that Label Studio puts before it, and with another suffix, in a root that holds others under their own
name if one does. Something is found only where exactly one file answers that no other name has, and every find is
counted as a warning.
"""

import difflib
import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote

from focalkit._files import is_file, is_folder
from focalkit._pictures import SUFFIXES
from focalkit.data._splits import split_in
from focalkit.data.check import Findings

_UPLOAD = re.compile(r"(?=[0-9]*[a-f])[0-9a-f]{8}-(?=.)")  # no date: 20230101-a.jpg
_SUFFIX = "their suffix"


class Lookup:
    """Finds the files of one data set under `roots`, best guess first."""

    def __init__(self, roots: Sequence[Path], findings: Findings) -> None:
        self.roots = tuple(dict.fromkeys(roots))
        self._findings = findings
        self._listings: dict[Path, dict[str, list[str]]] = {}
        self._there: dict[tuple[Path, str], set[str]] = {}
        self._taken: dict[Path, str] = {}
        self._held: set[Path] = set()  # roots that have files of exactly the names that were asked for
        self._answers = 0

    def files(self, images: Sequence[Sequence[str]]) -> list[Path | None]:
        """The file of each image, which may have any of some names: None where there is none or several could be meant.

        What differs is tried after the names of all.
        """
        exact = [next((path for name in names if (path := self.literal(name))), None) for names in images]
        return [
            path or next((near for name in _of_other_stems(names) if (near := self.loosely(name))), None)
            for path, names in zip(exact, images, strict=True)
        ]

    def literal(self, name: str) -> Path | None:
        """The file of exactly this name."""
        root = self._root_of(name)
        if root is None:
            return None
        path = root / name
        self._held.add(root)
        self._taken.setdefault(path, name)
        return path

    def has(self, name: str) -> bool:
        """Whether there is a file of exactly this name; nobody takes it."""
        return self._root_of(name) is not None

    def has_end(self, name: str) -> bool:
        """Whether there is a file whose name differs in slashes, case, accents, escapes or the folders before it."""
        return any(self._end_of(spelt) for spelt in {name, unquote(name)})

    def _root_of(self, name: str) -> Path | None:
        folder, _, last = name.rpartition("/")
        if last in ("", ".", "..") or "\0" in name:
            return next((root for root in self.roots if name and is_file(root / name)), None)
        return next((root for root in self.roots if last in self._files(root, folder)), None)

    def loosely(self, name: str) -> Path | None:
        """The one file whose name differs in the ways that the module tells; counted."""
        for spellings, way in _spellings(name):
            found = [hit for spelt in spellings if (hit := self._end_of(spelt))]
            if not found:
                continue
            (path, moved), more = found[0], found[1:]
            if way == _SUFFIX and self._held and not any(path.is_relative_to(root) for root in self._held):
                return None  # a mask, perhaps
            if more or self._taken.setdefault(path, name) != name:
                return None  # it could mean two files, or two names cannot both mean it
            ways = way or ("another folder" if moved else "slashes, case or accents")
            self._findings.warn(f"files are found under a name that differs in {ways}", f"{name} is {path}")
            return path
        return None

    def _end_of(self, name: str) -> tuple[Path, bool] | None:
        """The file that the longest end of a path leads to, and whether folders were left off."""
        parts = _parts(name)
        for start in range(len(parts)):
            found = self._similar(parts[start:])
            if found is not None and is_file(found):
                return found, start > 0
        return None

    def exactly(self, name: str) -> Path | None:
        """The folder or file of exactly this name."""
        return next((root / name for root in self.roots if is_folder(root / name) or is_file(root / name)), None)

    def folder(self, name: str) -> Path | None:
        """The folder or file called `name`; a part that speaks of a split (`train/`) is never left off."""
        if literal := self.exactly(name):
            return literal
        parts = _parts(name)
        for start in range(len(parts)):
            if start and split_in(parts[start - 1]):
                break
            if found := self._similar(parts[start:]):
                self._findings.warn("folders or lists are found under a similar path", f"{name} is {found}")
                return found
        return None

    def nearly(self, name: str) -> str:
        """What a message may add when nothing was found: the most similar name in the folders looked in, or "".

        Of many files that are missing, the first few are answered: comparing takes long.
        """
        self._answers += 1
        if self._answers > 5:
            return ""
        wanted = (_parts(name) or [""])[-1]
        here = {
            found: root for root in reversed(self.roots) for names in self._listing(root).values() for found in names
        }
        close = difflib.get_close_matches(wanted, list(here)[:20_000], n=1, cutoff=0.75)
        return f"; the most similar name is {here[close[0]] / close[0]}" if close else ""

    def _similar(self, parts: Sequence[str]) -> Path | None:
        """The one path under the first root that has one whose parts are `parts` but for case and Unicode form."""
        for root in self.roots:
            place: Path | None = root if parts else None
            for part in parts:
                names = self._listing(place).get(_folded(part), []) if place is not None else []
                exact = [name for name in names if name == part]
                place = place / (exact or names)[0] if place is not None and len(exact or names) == 1 else None
            if place is not None:
                return place
        return None

    def _files(self, root: Path, folder: str) -> set[str]:
        """The names of the files in a folder: asking for each file by itself takes long where there are many."""
        if (root, folder) not in self._there:
            try:
                with os.scandir(root / folder) as entries:
                    self._there[root, folder] = {entry.name for entry in entries if entry.is_file()}
            except (OSError, ValueError):
                self._there[root, folder] = set()
        return self._there[root, folder]

    def _listing(self, folder: Path) -> dict[str, list[str]]:
        if folder not in self._listings:
            names: dict[str, list[str]] = {}
            try:
                for name in sorted(os.listdir(folder)):
                    names.setdefault(_folded(name), []).append(name)
            except (OSError, ValueError):
                pass
            self._listings[folder] = names
        return self._listings[folder]


def _spellings(name: str) -> Iterator[tuple[list[str], str]]:
    """What a name may be written for, and in which way; of the suffixes all at once."""
    yield [name], ""
    if "%" in name and (plain := unquote(name)) != name:
        yield [plain], "escapes such as %20"
    folder, slash, last = name.rpartition("/")
    stem, suffix = os.path.splitext(name)
    if suffix and suffix.lower() not in SUFFIXES:
        return
    if upload := _UPLOAD.match(last):
        yield [f"{folder}{slash}{last[upload.end() :]}"], "Label Studio's prefix"
    yield [f"{stem}{other}" for other in SUFFIXES if other != suffix.lower()], _SUFFIX


def _of_other_stems(names: Sequence[str]) -> list[str]:
    """The first name of each stem: looking for one tries the suffixes."""
    return list({os.path.splitext(name)[0]: name for name in reversed(names)}.values())[::-1]


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _parts(name: str) -> list[str]:
    """The parts of a path however it is written; none of those that lead upwards or name a drive."""
    parts = re.split(r"\s*[\\/]\s*", name.strip())
    return [part for part in parts if part not in ("", ".", "..") and not part.endswith(":")]
