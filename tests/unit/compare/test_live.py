"""What a running comparison says of itself, on a terminal and elsewhere."""

import os
import select
import signal
import sys
import time
from pathlib import Path

import pytest

from focalkit.cli._live import watching
from focalkit.compare import Method, compare
from focalkit.compare.run import Event


def test_the_time_left_is_known_from_the_first_cell_and_at_once_when_a_comparison_goes_on(
    toy, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    methods = [
        "ce",
        Method("adjusted", adjust="logit_adjustment", tasks=None),
        Method("other", loss="focal", tasks=None),
    ]
    found = compare(data, methods, out=tmp_path / "out", seeds=1)
    plan = found.plan
    jobs = {job.method.name: job for job in plan.jobs(tmp_path)}
    with watching(plan, tmp_path / "fresh", 1, quiet=False) as tell:
        tell(Event("started", jobs["ce"]))
        tell(Event("done", jobs["ce"], seconds=40.0))
        tell(Event("failed", jobs["other"], seconds=20.0, error="it failed"))
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("ce, seed 0: 40 s; 1 of 3 done")
    assert first.endswith("about 40 s left"), "what is made from another cell's files takes no time"
    assert second.startswith("other, seed 0: failed: it failed; 1 of 3 done, 1 failed")
    with watching(plan, tmp_path / "out", 1, quiet=True) as tell:
        board = tell.__self__
    assert board.line().startswith("3 of 3 done (3 from before)")
    assert board.left() == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a pseudo-terminal")
@pytest.mark.soak
def test_ctrl_c_on_a_terminal_ends_with_how_to_go_on(data: Path, tmp_path: Path):
    import pty

    table = tmp_path / "t.csv"
    rows = [f"{i % 7},{i % 5},{int(i % 6 == 0)}" for i in range(400)]
    table.write_text("\n".join(["a,b,target", *rows]) + "\n")
    words = ["compare", str(table), "--methods", "ce", "focal", "--seeds", "4", "--out", str(tmp_path / "out")]
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(COLUMNS="120", LINES="40", TERM="xterm")
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # which `&` in a script ignores
        os.execv(sys.executable, [sys.executable, "-m", "focalkit", *words])
    shown, sent, until = b"", False, time.monotonic() + 200
    while time.monotonic() < until:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                shown += os.read(terminal, 65536)
            except OSError:
                break
        if not sent and list((tmp_path / "out").glob("cells/*/*/cell.json")):
            os.kill(pid, signal.SIGINT)
            sent = True
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    text = shown.decode(errors="replace")
    assert "2 methods x 4 seeds = 8 cells" in text
    assert " left" in text
    assert "what is finished is kept, and the same command goes on" in text
