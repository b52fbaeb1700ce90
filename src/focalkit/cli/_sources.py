"""What `focalkit predict` is given: image files, folders, patterns, video files, addresses; each once, with a name."""

import hashlib
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from focalkit._text import printable
from focalkit.errors import InputError

ADDRESS = re.compile(r"https?:/+", re.IGNORECASE)
MOST_BYTES = 2**30
SECONDS = 30.0
OWN = ("drawn", "crops", "downloads")
"""Folders of OUT in which `predict` leaves pictures."""
FRAME = re.compile(r"-[0-9]{6,}$")
"""What follows a video's name in those of its frames."""


@dataclass(frozen=True)
class Sources:
    """Attributes:
    images: Files.
    videos: Files.
    """

    images: list[Path]
    videos: list[Path]


def open_sources(given: Sequence[str | Path], out: Path, allow_network: bool) -> Sources:
    """The files behind what was given. What an earlier call wrote into OUT is passed over, unless given by itself.

    Raises:
        InputError: An address without `allow_network`, or one that cannot be fetched; what `find_images` refuses.
    """
    from focalkit.images import find_images
    from focalkit.images.video import is_video

    texts = [str(one) for one in given]
    addresses = {text for text in texts if ADDRESS.match(text)}
    if addresses and not allow_network:
        raise InputError(
            f"{min(addresses)}: is not fetched without --allow-network; or download it and give the file's path"
        )
    written, passed = [(out / name).resolve() for name in OWN], 0
    images: dict[Path, Path] = {}
    videos: dict[Path, Path] = {}
    for text in texts:
        path = fetch(text, out / "downloads") if text in addresses else Path(text)
        given_place = path.resolve()
        own = [folder for folder in written if not given_place.is_relative_to(folder)]
        if path.is_file() and is_video(path):
            videos.setdefault(given_place, path)
            continue
        for file in find_images(path):
            place = file.resolve()
            if any(place.is_relative_to(folder) for folder in own):
                passed += 1
            else:
                images.setdefault(place, file)
    if passed:
        what = f"left out, {passed} pictures that an earlier call wrote into {', '.join(OWN)}"
        print(printable(f"note: {out}: {what}"), file=sys.stderr)
    return Sources(list(images.values()), list(videos.values()))


def fetch(address: str, folder: Path) -> Path:
    """The file at an http(s) address, kept in `folder` under the last part of its name and a hash of the whole.

    Raises:
        InputError: It cannot be fetched, or is larger than 1 GiB.
    """
    from focalkit._files import write_bytes_atomic

    last = urllib.parse.unquote(urllib.parse.urlsplit(address).path).rsplit("/", 1)[-1]
    name = Path(re.sub(r"[^\w.-]", "_", last).lstrip(".") or "image")
    place = folder / f"{name.stem[:80]}-{hashlib.sha256(address.encode()).hexdigest()[:10]}{name.suffix}"
    try:
        request = urllib.request.Request(address, headers={"User-Agent": "focalkit"})
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            content = answer.read(MOST_BYTES + 1)
    except (OSError, ValueError, urllib.error.URLError) as error:
        raise InputError(f"{address}: cannot be fetched ({getattr(error, 'reason', error)})") from error
    if len(content) > MOST_BYTES:
        raise InputError(f"{address}: is larger than 1 GiB; download it and give the file's path")
    write_bytes_atomic(place, content)
    return place


def names_of(images: Iterable[Path], videos: Iterable[Path] = ()) -> dict[Path, str]:
    """A name for each file's own results: its stem, numbered where two share one, or a frame's name would be another's.

    Example:
        >>> list(names_of([Path("a.png"), Path("clip-000001.png")], [Path("a.mp4"), Path("clip.mp4")]).values())
        ['a', 'clip-000001', 'a-2', 'clip-2']
    """
    taken: set[str] = set()
    framed: set[str] = set()
    names: dict[Path, str] = {}
    for file, frames in [*((file, False) for file in images), *((file, True) for file in videos)]:
        name, number = file.stem, 1
        while name.lower() in taken or (frames and name.lower() in framed):
            number += 1
            name = f"{file.stem}-{number}"
        taken.add(name.lower())
        if found := FRAME.search(name):
            framed.add(name[: found.start()].lower())
        names[file] = name
    return names


def refuse_overwriting(sources: Iterable[Path], places: Iterable[Path]) -> None:
    """Raises InputError where a picture or video would be drawn over one of the sources."""
    originals = {file.resolve() for file in sources}
    for place in places:
        if place.resolve() in originals:
            raise InputError(f"{place}: is one of the images and would be drawn over; choose another --out")


def note_left_out(paths: Iterable[str | Path]) -> None:
    """Say which files of the folders are not taken for images."""
    from focalkit._files import is_folder
    from focalkit.images import left_out

    for folder in filter(is_folder, map(Path, paths)):
        if rest := left_out(folder):
            listed = ", ".join(f"{count} {suffix}" for suffix, count in list(rest.items())[:10])
            print(printable(f"note: {folder}: left out, not images by their names: {listed}"), file=sys.stderr)


def note_earlier(out: Path, folders: Iterable[str]) -> None:
    """Say which folders of OUT hold files already, which stay there."""
    counts = {name: sum(file.is_file() for file in (out / name).rglob("*")) for name in folders}
    if any(counts.values()):
        listed = ", ".join(f"{count} in {name}" for name, count in counts.items() if count)
        what = f"files from before this call: {listed}; those that this call does not write anew stay"
        print(printable(f"note: {out}: {what}"), file=sys.stderr)


def note_undrawable(names: Sequence[str]) -> None:
    """Say which classes are drawn by their number."""
    from focalkit.images.draw import undrawable

    if missing := undrawable(names):
        listed = ", ".join(f"class {names.index(name)} = {name}" for name in missing[:10])
        print(printable(f"note: no font here has the letters of {len(missing)} class names: {listed}"), file=sys.stderr)
