"""The `focalkit` command: picks a command by its first word, runs it, turns what goes wrong into an exit status.

Each command is a module of this package with `main(argv) -> int`, imported only when it is asked for, so that
`focalkit --help` answers without importing torch. This file parses no command's flags; every command does its own.

Exit status: 0 done; 1 it failed; 2 wrong usage or bad input; 130 interrupted; 143 and 129 ended by SIGTERM and SIGHUP.
`--debug` shows the traceback.
"""

import errno
import importlib
import io
import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Any

from focalkit._text import printable
from focalkit.cli._debug import DEBUG
from focalkit.cli._openmp import bound_spinning
from focalkit.errors import FocalkitError, InputError

COMMANDS = {
    "demo": "train and compare two small detectors on built-in scenes: needs no data, no network, no GPU",
    "inspect": "look at a data set: format, counts, classes, every problem found",
    "train": "train a detector on images with boxes, from a folder as the tools write it",
    "evaluate": "COCO AP of a trained run, over all classes and per class",
    "calibrate": "make a detector's scores mean what they say, and choose its thresholds",
    "predict": "detect objects in image files, folders, videos and what a camera sees",
    "export": "a trained run as an ONNX, OpenVINO or torch.export file, in float32 or int8",
    "compare": "which treatment of imbalance is best on your data, by how much",
    "report": "one HTML file from one or more runs",
    "losses": "the losses there are; with a name, its formula, defaults and paper",
    "bench": "measure speed and memory against other libraries, with bars to meet",
    "doctor": "what this machine has: versions, devices, compiler, missing extras",
}
"""Command -> one line of help. The command `x` lives in `focalkit.cli.x`."""

INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it
READER_LEFT = 141  # 128 + SIGPIPE


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The words after `focalkit`; `None` takes them from `sys.argv`.

    Returns:
        The exit status.
    """
    words, debug = _without_debug(sys.argv[1:] if argv is None else argv)
    bound_spinning(os.environ)  # no command has imported torch yet
    before, handlers = DEBUG.set(debug), _handle_stops()
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names may hold what the terminal's encoding has not
            stream.reconfigure(errors="backslashreplace")
    try:
        status = _dispatch(words) if debug else _guarded(words)
        if status == INTERRUPTED and argv is None:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # whoever presses Ctrl-C again is in a hurry
        return status
    finally:
        DEBUG.reset(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _open_closed_streams() -> None:
    """Where a program was started with stdin, stdout or stderr closed, Python has None, and libraries print to it.

    What is opened here gets the lowest numbers that are free, theirs: otherwise the next file would, and what C code
    prints would go into it.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  open until the process ends


def _handle_stops() -> dict[int, Any]:
    """Make exits of the signals by which a scheduler and a terminal end a program, so that it leaves no half file.

    Returns the handlers that were there before.
    """
    if threading.current_thread() is not threading.main_thread():
        return {}

    def stop(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    numbers = [n for n in (getattr(signal, name) for name in names) if signal.getsignal(n) is signal.SIG_DFL]
    return {number: signal.signal(number, stop) for number in numbers}


def _dispatch(words: list[str]) -> int:
    match words:
        case []:
            print(_help(), file=sys.stderr)
            status = 2
        case ["-h" | "--help" | "help", *_]:
            print(_help())
            status = 0
        case ["-V" | "--version", *_]:
            from importlib.metadata import version

            print(f"focalkit {version('focalkit')}")
            status = 0
        case [command, *rest] if command in COMMANDS:
            status = importlib.import_module(f"focalkit.cli.{command}").main(rest)
        case _:
            status = _fail(_unknown(words[0]), 2)
    sys.stdout.flush()  # here, so that a reader who has left is met inside the guard
    return status


def _guarded(words: list[str]) -> int:
    """Run a command; every exception becomes a message on stderr and an exit status."""
    try:
        return _dispatch(words)
    except SystemExit as exit_:  # how argument parsers end
        return _fail(exit_.code, 1) if isinstance(exit_.code, str) else exit_.code or 0
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:
        # Python flushes stdout once more at exit; give it somewhere to write to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_LEFT
    except FocalkitError as error:
        return _fail(str(error), 2 if isinstance(error, InputError) else 1)
    except ImportError as error:
        return _fail(_not_importable(words[0], error), 1)
    except MemoryError:
        return _fail("the memory is used up; a smaller --batch-size or fewer --workers need less", 1)
    except OSError as error:
        if error.filename is None and not _is_somewhere():
            return _fail("the working directory is no longer there; change to another", 2)
        if error.filename is None or not error.strerror:
            return _unforeseen(error)
        return _fail(f"{os.fsdecode(error.filename)}: {error.strerror}", 2 if error.errno in _BAD_PATH else 1)
    except Exception as error:  # a bug of ours, a device out of memory
        if isinstance(error, RuntimeError) and str(error).startswith("Symlink loop"):  # pathlib's, until Python 3.13
            return _fail(f"{error}: it leads to itself; choose another place", 2)
        return _unforeseen(error)


_BAD_PATH = {
    errno.ENOENT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG,
    errno.ELOOP,
}  # fmt: skip
"""What the caller can mend by naming another file."""


def _is_somewhere() -> bool:
    """Whether the working directory is there."""
    try:
        return bool(os.getcwd())
    except OSError:
        return False


def _unforeseen(error: Exception) -> int:
    return _fail(f"{type(error).__name__}: {error}\n  run again with --debug for the traceback", 1)


def _fail(message: str, status: int) -> int:
    print(f"focalkit: {printable(message)}", file=sys.stderr)
    return status


def _without_debug(argv: Sequence[str]) -> tuple[list[str], bool]:
    """Take `--debug` out, wherever it stands before a bare `--`."""
    end = list(argv).index("--") if "--" in argv else len(argv)
    kept = [word for word in argv[:end] if word != "--debug"]
    return kept + list(argv[end:]), len(kept) < end


def _not_importable(command: str, error: ImportError) -> str:
    package = (error.name or "").partition(".")[0]
    if isinstance(error, ModuleNotFoundError) and package not in ("", "focalkit"):
        return f"`{command}` needs the package {package!r}, which is not installed: pip install 'focalkit[all]'"
    return f"`{command}` cannot start: {error}\n  run again with --debug for the traceback"


def _unknown(word: str) -> str:
    from focalkit._config_io import nearest

    return f"there is no command {word!r}{nearest(word, list(COMMANDS))}\n  `focalkit --help` lists the commands"


def _help() -> str:
    width = max(map(len, COMMANDS))
    table = "\n".join(f"  {name:<{width}}  {line}" for name, line in COMMANDS.items())
    return f"""usage: focalkit COMMAND [arguments]

Focal losses, RetinaNet, and a workbench for imbalanced data.

commands:
{table}

`focalkit COMMAND --help` shows a command's flags. For all commands:
  --debug    show the traceback when something fails
  --version  print the version (instead of a command)"""
