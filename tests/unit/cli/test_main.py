"""The dispatcher: which command runs, what a failure prints, and the exit status."""

import signal
import subprocess
import sys
from importlib.metadata import version
from types import ModuleType

import pytest

from focalkit.cli import COMMANDS, main
from focalkit.errors import BackendError, DataError, InputError


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch):
    """Puts a function in the place of `focalkit report` and returns the words to call it."""

    def install(run):
        module = ModuleType("focalkit.cli.report")
        module.main = run  # pyright: ignore[reportAttributeAccessIssue]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return ["report"]

    return install


def raising(error: BaseException):
    def run(argv: list[str]) -> int:
        raise error

    return run


@pytest.mark.parametrize("name", COMMANDS)
def test_every_listed_command_has_a_module_with_help(name: str, capsys: pytest.CaptureFixture[str]):
    assert main([name, "--help"]) == 0
    assert f"focalkit {name}" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["help"]])
def test_help_lists_every_command(words: list[str], capsys: pytest.CaptureFixture[str]):
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    listed = [line.split()[0] for line in lines if line.startswith("  ") and line.split()[0] in COMMANDS]
    assert listed == list(COMMANDS)


def test_no_command_is_wrong_usage_and_prints_the_help(capsys: pytest.CaptureFixture[str]):
    assert main([]) == 2
    assert "commands:" in capsys.readouterr().err


def test_version_is_the_installed_one(capsys: pytest.CaptureFixture[str]):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"focalkit {version('focalkit')}\n"


def test_a_typo_names_the_nearest_command(capsys: pytest.CaptureFixture[str]):
    assert main(["trian", "--data", "x"]) == 2
    assert "'trian'; did you mean \"train\"?" in capsys.readouterr().err


def test_a_strange_word_lists_the_commands(capsys: pytest.CaptureFixture[str]):
    assert main(["zzzzzz"]) == 2
    assert ", ".join(COMMANDS) in capsys.readouterr().err


def test_a_command_gets_the_words_after_its_name(command):
    seen = []
    assert main([*command(lambda argv: seen.append(argv) or 0), "a", "--b"]) == 0
    assert seen == [["a", "--b"]]


def test_debug_is_taken_out_before_a_bare_double_dash_only(command):
    seen = []
    main([*command(lambda argv: seen.append(argv) or 0), "--debug", "x", "--", "--debug"])
    assert seen == [["x", "--", "--debug"]]


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (InputError("a.json: no such file"), 2, "focalkit: a.json: no such file\n"),
        (DataError("d", ["one", "two"]), 2, "focalkit: d: 2 problems in the data\n  one\n  two\n"),
        (BackendError("triton needs a GPU"), 1, "focalkit: triton needs a GPU\n"),
        (OSError(28, "No space left on device"), 1, "No space left on device\n  run again with --debug"),
        (NotADirectoryError(20, "Not a directory", "out.html"), 2, "focalkit: out.html: Not a directory\n"),
        (OSError(5, "Input/output error", "a.png"), 1, "focalkit: a.png: Input/output error\n"),
        (MemoryError(), 1, "the memory is used up"),
        (InputError("class 'a\x1b[2Jb\x07\u202e'"), 2, "class 'a\\x1b[2Jb\\x07\\u202e'\n"),
        (InputError("class '\ud800'"), 2, "class '\\ud800'\n"),
        (ModuleNotFoundError("no", name="plotly.graph_objects"), 1, "needs the package 'plotly'"),
        (ModuleNotFoundError("no", name="plotly.graph_objects"), 1, "pip install 'focalkit[all]'"),
        (ImportError("cannot import name 'x'"), 1, "cannot start: cannot import name 'x'"),
        (KeyboardInterrupt(), 130, "focalkit: interrupted\n"),
        (SystemExit(2), 2, ""),
        (SystemExit(None), 0, ""),
        (SystemExit("wrong"), 1, "focalkit: wrong\n"),
    ],
)
def test_a_failure_is_a_message_and_a_status(
    command, error: BaseException, status: int, message: str, capsys: pytest.CaptureFixture[str]
):
    assert main(command(raising(error))) == status
    printed = capsys.readouterr()
    assert message in printed.err
    assert "Traceback" not in printed.err
    assert printed.out == ""


def test_debug_lets_the_exception_through(command):
    with pytest.raises(InputError, match="boom"):
        main([*command(raising(InputError("boom"))), "--debug"])


def test_python_dash_m_is_the_command():
    done = subprocess.run([sys.executable, "-m", "focalkit", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"focalkit {version('focalkit')}\n"


@pytest.mark.skipif(not hasattr(signal, "SIGPIPE"), reason="needs pipes that break, which this platform has not")
def test_a_reader_that_leaves_is_no_error():
    code = "import sys, time; time.sleep(0.5); from focalkit.cli import main; sys.exit(main(['--help']))"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 141
    process.stderr.close()


def test_closed_streams_are_opened(monkeypatch):
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    assert main(["--version"]) == 0
    assert main(["no-such-command"]) == 2
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        stream.close()


def test_a_working_directory_that_is_gone_is_named(command, tmp_path, monkeypatch, capsys):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert main(command(raising(FileNotFoundError(2, "No such file or directory")))) == 2
    assert "working directory is no longer there" in capsys.readouterr().err
