"""Files that appear whole or not at all: written beside their place, then renamed.

A process that is killed leaves at most `.NAME.PID.tmp` beside the target, which the next one that writes NAME removes.
A full disk leaves nothing, the earlier file stays, and the error names the file. Free of torch.
"""

import errno
import glob
import hashlib
import json
import math
import os
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from focalkit._memory import memory_for_a_file
from focalkit.errors import InputError, WriteError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_FOLDER = {errno.EEXIST, errno.ENOTDIR}
_WRONG_PLACE = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP,
    errno.ENOENT,
}  # fmt: skip


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A place beside `path` to write to; when the block ends it takes the place of `path`, when it fails it is deleted.

    Folders are made.

    Raises:
        InputError: Nothing can be written there: no such folder, no permission, a file in the place of a folder.
        WriteError: The disk is full, or fails.

    Example:
        >>> with replacing(Path("out/model.bin")) as temporary:     # doctest: +SKIP
        ...     temporary.write_bytes(content)
    """
    path = Path(path)
    name = _temporary_name(path)
    temporary = path.with_name(f".{name}.{os.getpid()}.tmp")
    try:
        make_folder(path.parent)
        remove_leftovers(path.parent, glob.escape(name))
        yield temporary
        os.replace(temporary, path)
    except BaseException as error:
        explained = _explained(path, error)
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if explained is not None:
            raise explained from error
        raise


def _temporary_name(path: Path) -> str:
    short = len(os.fsencode(path.name)) < 240  # of 255 bytes that a name may have
    return path.name if short else hashlib.sha256(os.fsencode(path.name)).hexdigest()


def remove_leftovers(folder: Path, name: str = "*") -> None:
    """Delete what killed processes left of a file, or of all files in a folder, and our own of a moment ago."""
    for file in folder.glob(f".{name}.*.tmp"):
        pid = file.name.removesuffix(".tmp").rpartition(".")[2]
        if pid.isdigit() and (int(pid) == os.getpid() or not alive(int(pid))):
            file.unlink(missing_ok=True)


def alive(pid: int) -> bool:
    """Whether a process runs; one that was killed does not, though it can be signalled until somebody waits for it."""
    with suppress(OSError, IndexError):
        if Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[0] == "Z":
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


@contextmanager
def replacing_all(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """`replacing` of files that belong together: all are written before the first is renamed."""
    with ExitStack() as stack:
        # leaving goes backwards: the first path is renamed last
        yield [stack.enter_context(replacing(path)) for path in paths]


def make_folder(folder: Path) -> None:
    """Make a folder and those above it.

    Raises:
        InputError, WriteError: As `replacing`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except ValueError as error:  # a NUL
        raise InputError(f"{str(folder)!r}: cannot be a path ({error}); choose another place") from error
    except OSError as error:
        raise _explained(folder, error) or error from error


def check_writable(path: Path) -> None:
    """Before work that takes long: that its file can be written at the end. Folders are made.

    Raises:
        InputError, WriteError: As `replacing`.
    """
    probe = path.with_name(f".{_temporary_name(path)}.{os.getpid()}.tmp")
    make_folder(path.parent)
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise _explained(path, error) or error from error


def append_text(path: Path, text: str) -> None:
    """Add to the end of a file.

    Raises:
        InputError, WriteError: As `replacing`.
    """
    make_folder(path.parent)
    try:
        with open(path, "a", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except OSError as error:
        raise _explained(path, error) or error from error


def write_bytes_atomic(path: Path, content: bytes | memoryview) -> None:
    """Write `content` so that a reader sees the old file or the whole new one, never a part; folders are made.

    Raises:
        InputError, WriteError: As `replacing`.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text_atomic(path: Path, text: str) -> None:
    """`write_bytes_atomic` of text in UTF-8; bytes of names that are none are written as escape sequences."""
    write_bytes_atomic(path, text.encode("utf-8", "backslashreplace"))


def write_json_atomic(path: Path, value: object, *, indent: int | None = 1) -> None:
    """`write_text_atomic` of `value` as strict JSON: NaN and infinities, which JSON lacks, become null."""
    write_text_atomic(path, dump_json(value, indent=indent) + "\n")


def write_jsons_atomic(files: Mapping[Path, object]) -> None:
    """Write JSON files that belong together: all are whole before the first takes its place, the first of them last.

    Raises:
        InputError, WriteError: As `replacing`.
    """
    with replacing_all(list(files)) as places:
        for place, value in zip(places, files.values(), strict=True):
            # a list has an entry for each detection: there is no reading it, and an indent would double its size
            text = dump_json(value, indent=None if isinstance(value, list) else 1) + "\n"
            place.write_bytes(text.encode("utf-8", "backslashreplace"))


def dump_json(value: object, *, indent: int | None = None) -> str:
    """`value` as strict JSON text: NaN and infinities become null, paths become strings."""
    try:
        return json.dumps(value, indent=indent, allow_nan=False)
    except (ValueError, TypeError):
        return json.dumps(_plain(value), indent=indent, allow_nan=False)


def no_file(path: Path) -> str:
    """What a path is if not a file, such as "a pipe": opening one could wait for ever. "" for files.

    Raises:
        OSError: It is not there.
    """
    mode = path.stat().st_mode
    if stat.S_ISREG(mode):
        return ""
    return "a folder" if stat.S_ISDIR(mode) else "a pipe" if stat.S_ISFIFO(mode) else "a device or socket"


def special(path: Path) -> str:
    """What a path is if not a file to read whole: `no_file`, or one of more bytes than half the machine's memory.

    Nobody means such a file, and reading it would end the process, or take minutes (a sparse file costs nothing to
    make).

    Raises:
        OSError: It is not there.
    """
    if kind := no_file(path):
        return kind
    size = path.stat().st_size
    return f"a file of {size / 1e9:,.0f} GB, too large for the memory" if size > memory_for_a_file() else ""


def read_text(path: Path, errors: str = "strict") -> str:
    """The UTF-8 text of a file.

    Raises:
        OSError: It is missing or cannot be read.
        ValueError: It is not UTF-8, or `special`.
    """
    if kind := special(path):
        raise ValueError(f"is {kind}, expected a file")
    return path.read_text(encoding="utf-8", errors=errors)


def read_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises:
        OSError, ValueError: As `read_text`, or it is not JSON, or nested beyond what Python reads.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def is_file(path: Path) -> bool:
    """`Path.is_file`, and False for what no path can be: too long, or with a NUL."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """`Path.is_dir`, in the same way."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def hidden(path: Path, below: Path) -> bool:
    """Whether a part of `path` under `below` begins with a dot: `.ipynb_checkpoints`, macOS's `._a.jpg`, `.git`."""
    return any(part.startswith(".") for part in path.relative_to(below).parts)


def visible(folder: Path, pattern: str) -> list[Path]:
    """`folder.glob(pattern)`, sorted, without what is hidden."""
    return sorted(path for path in folder.glob(pattern) if not hidden(path, folder))


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted, without what is hidden; none where it cannot be listed.

    Quick where thousands of files lie beside them.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(folder / e.name for e in entries if not e.name.startswith(".") and e.is_dir())
    except OSError:
        return []


def files_ending(folder: Path, suffix: str) -> list[Path]:
    """The files in a folder whose names end so, in any case, by name; without what is hidden."""
    try:
        with os.scandir(folder) as entries:
            names = [e.name for e in entries if e.name.lower().endswith(suffix) and not e.name.startswith(".")]
    except OSError:
        return []
    return [folder / name for name in sorted(names)]


_OUTPUTS = (("run.json", "metrics.jsonl"), ("run.json", "checkpoints"), ("predictions.json", "images.json"))
"""What lies together in a folder that training or prediction wrote."""


def walk(folder: Path, *, outputs: bool = True) -> list[Path]:
    """The files below a folder, sorted, through links to other folders, without what is hidden.

    A folder that is reached again through a link, as in a loop, is not entered again. Without `outputs`, folders below
    it that a run or `predict` wrote are not entered: pictures drawn there are no data.
    """
    found: list[Path] = []
    entered: set[str] = set()
    for here, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        if not outputs and Path(here) != folder and any({*folders, *names} >= set(pair) for pair in _OUTPUTS):
            folders[:] = []
            continue
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if real not in entered else []
        if real not in entered:
            found += [Path(here, name) for name in names if not name.startswith(".")]
        entered.add(real)
    return sorted(found)


def unwritable(path: Path, error: OSError) -> InputError | WriteError:
    """The error that says why `path` cannot be written and what to do."""
    reason = "there is a file where a folder is needed" if error.errno in _NO_FOLDER else error.strerror or str(error)
    if error.errno in _WRONG_PLACE:
        return InputError(f"{path}: cannot be written: {reason}; choose another place")
    hint = ""
    if error.errno in _FULL:
        hint = "; free some space there, or choose another place. Files that were complete are kept"
    return WriteError(f"{path}: cannot be written: {reason}{hint}")


def _explained(path: Path, error: BaseException) -> InputError | WriteError | None:
    """The same for whatever a library made of the system's error; None where the system is not to blame."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno is not None:
            return unwritable(path, seen) if _concerns(path, seen.filename) else None
        seen = seen.__cause__ or seen.__context__
    if isinstance(error, Exception) and ("os error 28" in str(error) or _is_full(path)):
        return unwritable(path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    return None


def _concerns(path: Path, filename: object) -> bool:
    """Whether a failure at `filename` is one of writing `path`: it is that file, what is written in its place, or a
    folder above it; and not a file that was read meanwhile."""
    if not isinstance(filename, str | bytes | os.PathLike):
        return filename is None
    target, failed = Path(os.path.abspath(path)), Path(os.path.abspath(os.fsdecode(filename)))
    if failed == target or failed in target.parents:
        return True
    beside = target.parent in failed.parents and failed.relative_to(target.parent).parts[0]
    return bool(beside) and (beside == target.name or beside.startswith(f".{_temporary_name(target)}."))


def _is_full(path: Path) -> bool:
    """Whether the file system has no room at all, as after a write that failed for it."""
    try:
        return shutil.disk_usage(path.parent).free < 2**16
    except OSError:
        return False


def _plain(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(v) for v in value]
    return value
