"""What nobody makes by accident: files larger than the memory, devices and pipes in the place of files, other plans."""

# ruff: noqa: E501  a table, a case each

import os
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from corrupt.base import IMAGES, Case, coco, jpeg, png, voc, yolo
from corrupt.data_cases import INSPECT, in_data
from corrupt.run_cases import BINARY, PREDICT, TRAIN, config, run
from corrupt.table_cases import CALIBRATE, DRY, RESULTS, TABLE, TRUTH
from focalkit._memory import memory_for_a_file

HUGE = max(100 << 30, 4 * memory_for_a_file())


def sparse(path: Path) -> None:
    """A file of 100 GB, or more than any machine here holds, that takes no room on the disk."""
    with open(path, "wb") as file:
        file.truncate(HUGE)


def huge() -> Iterator[Case]:
    sound = in_data({**IMAGES, "instances_train.json": coco()})
    found: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
        "data/instances_train.json": (INSPECT, sound),
        "data/images/a.png": (INSPECT, sound),
        "data/Annotations/a.xml": (INSPECT, in_data(voc())),
        "data/ImageSets/Main/train.txt": (INSPECT, in_data(voc())),
        "data/labels/train/a.txt": (INSPECT, in_data(yolo())),
        "data/data.yaml": (INSPECT, in_data(yolo())),
        "a.png": (PREDICT, run()),
        "run/run.json": (PREDICT, run()),
        "run/checkpoints/best.ckpt": (PREDICT, run()),
        "c.toml": ((*TRAIN, "--config", "c.toml"), run()),
        "p.json": (CALIBRATE, {"t.json": TRUTH}),
        "t.json": (CALIBRATE, {"p.json": RESULTS}),
        "m.py": (("compare", "t.csv", *DRY, "--methods", "m.py"), {"t.csv": TABLE}),
    }
    found |= {f"t.{kind}": (("compare", f"t.{kind}", *DRY), {}) for kind in ("csv", "npz", "parquet")}
    found |= {
        f"w.{kind}": (("predict", f"w.{kind}", "a.png", "--out", "out"), {"a.png": png()})
        for kind in ("safetensors", "onnx", "xml", "pth")
    }
    for name, (words, files) in found.items():
        yield Case(f"100 GB: {name}", words, {**files, name: sparse}, 2, (Path(name).name,))
    yield Case(
        "100 GB: metrics.jsonl: report", ("report", "run"), run(**{"run/metrics.jsonl": sparse}), 0, ("report.html",)
    )


def specials() -> Iterator[Case]:
    for name, words, files in (
        ("inspect", ("inspect", "/dev/zero"), {}), ("a configuration", (*TRAIN, "--config", "/dev/zero"), run()),
        ("a run", ("predict", "/dev/zero", "a.png", "--out", "out"), run()), ("an image", ("predict", "run", "/dev/zero", "--out", "out"), run()),
        ("a table", ("compare", "/dev/zero", *DRY), {}), ("methods", ("compare", "t.csv", *DRY, "--methods", "/dev/zero"), {"t.csv": TABLE}),
        ("truth", ("calibrate", "p.json", "--truth", "/dev/zero"), {"p.json": RESULTS}), ("weights", (*TRAIN, "--init", "/dev/zero"), run()),
    ):  # fmt: skip
        yield Case(f"/dev/zero: {name}", words, files, 2, ("/dev/zero",))
    yield Case(
        "a pipe: evaluation.json: predict", PREDICT, run(**{"run/evaluation.json": os.mkfifo}), 0, ("detections",)
    )
    for file in ("run.json", "checkpoints/best.ckpt", "calibration.json"):
        status = 0 if file == "calibration.json" else 2
        yield Case(f"a pipe: {file}: predict", PREDICT, run(**{f"run/{file}": os.mkfifo}), status, ())
    photos = {f"d/{c}/{i}.png": png(8, 8, "L", 9 * i + k) for k, c in enumerate(("cat", "dog")) for i in range(12)}
    yield Case(
        "a pipe: lt_counts.json", ("compare", "d", *DRY), {**photos, "d/lt_counts.json": os.mkfifo}, 0, ("image",)
    )
    yield Case(
        "lt_counts.json is binary",
        ("compare", "d", *DRY),
        {**photos, "d/lt_counts.json": BINARY},
        2,
        ("lt_counts.json",),
    )


SOURCE = {"path": "t.csv", "target": None, "group": None}
METHOD = {"name": "ce", "loss": "default", "class_weight": None, "sampler": None, "augment": None, "schedule": None, "adjust": None,
          "model": "default", "settings": {}, "space": {}, "tasks": None, "paper": "", "summary": ""}  # fmt: skip
PLAN = {
    "schema": 1, "source": SOURCE, "task": "tabular", "fingerprint": "x", "methods": [METHOD], "seeds": [0], "metric": "average_precision",
    "tune": 0, "budget": {"steps": 1, "seconds": None, "threads": 1, "beside": 1}, "yardstick": "ce", "rope": None, "resplits": True,
}  # fmt: skip


def plans() -> Iterator[Case]:
    for name, change in {
        "a task that runs code": {"task": "evil:TASK"}, "no task": {"task": None}, "a task of another kind": {"task": 5},
        "methods as numbers": {"methods": [1]}, "no methods": {"methods": []}, "methods in an object": {"methods": {}}, "a yardstick that is no method": {"yardstick": "x"},
        "seeds of text": {"seeds": "abc"}, "negative seeds": {"seeds": [-1]}, "no seeds": {"seeds": None}, "a budget in a list": {"budget": []},
        "a metric that nobody knows": {"metric": "x"}, "a source in a list": {"source": []}, "a path as a number": {"source": {**SOURCE, "path": 5}},
    }.items():  # fmt: skip
        files = {
            "cmp/plan.json": {**PLAN, **change},
            "cmp/data.json": {},
            "evil.py": "import os; os.mkdir('code-has-run')",
        }
        yield Case(f"plan.json has {name}", ("report", "cmp"), files, 2, ())


def npy(shape: str, kind: str = "<f8") -> bytes:
    """The head of an array that claims a shape."""
    head = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode()


def members_of(contents: dict[str, bytes]) -> Any:
    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in contents.items():
                archive.writestr(name, content)

    return make


def members(**contents: bytes) -> Any:
    return members_of({f"{name}.npy": content for name, content in contents.items()})


def arrays() -> Iterator[Case]:
    for name, content in {
        "of a shape beyond bounds": members(X=npy("(1000000000000, 2)"), y=npy("(1000000000000,)")),
        "of a negative shape": members(X=npy("(-1, 2)"), y=npy("(-1,)")), "of one array without a zip": npy("(2,)") + bytes(16),
        "of a file that is no array": members_of({"X.npy": npy("(0, 2)"), "../../X": b"x"}), "whose head is code": members(X=b"\x93NUMPY\x01\x00\x28\x00" + b"__import__('os').mkdir('code-has-run')  ", y=npy("(2,)")),
    }.items():  # fmt: skip
        yield Case(f"npz {name}", ("compare", "t.npz", *DRY, "--methods", "ce"), {"t.npz": content}, 2, ("t.npz",))


def numbers() -> Iterator[Case]:
    for words in (
        (*PREDICT, "--tta-scales", "nan"), (*PREDICT, "--tta-scales", "inf"), (*PREDICT, "--overlap", "nan"), (*PREDICT, "--overlap", "-1"),
        ("evaluate", "run", "--max-detections", str(10**21)), ("compare", "t.csv", *DRY, "--rope", "inf"),
        ("compare", "t.csv", *DRY, "--seeds", str(10**15)), ("compare", "t.csv", *DRY, "--devices", "0"),
    ):  # fmt: skip
        yield Case(f"{words[0]}: {' '.join(words[-2:])}", words, {**run(), "t.csv": TABLE}, 2, ())


def code() -> Iterator[Case]:
    """A run that names code, for commands that do not need it and for those that would run it."""
    loss = "os:mkdir(path='code-has-run')"
    for name, changes in {
        "a loss": {"loss": loss},
        "an own pipeline": {"augment": {"pipeline": "evil.py:make"}},
    }.items():
        files = run(**{"run/run.json": config(**changes), "evil.py": "import os; os.mkdir('code-has-run')"})
        yield Case(f"run.json names {name}: predict", PREDICT, files, 0, ("detections",))
        for command, words in {
            "resume": ("train", "--out", "run", "--resume"),
            "config": (*TRAIN, "--config", "run/run.json"),
        }.items():
            yield Case(f"run.json names {name}: {command}", words, files, 2, ("run.json",))


def places() -> Iterator[Case]:
    files = run()
    yield Case(
        "--out is a link to itself",
        (*PREDICT[:3], "--out", "l"),
        {**files, "l": lambda path: path.symlink_to("l")},
        2,
        ("l",),
    )
    yield Case("--out has an escape sequence", (*PREDICT[:3], "--out", "\x1b[2J"), files, 0, ("\\x1b[2J",))
    named = {name.replace("run/", "r\udcff/", 1): content for name, content in files.items()}
    yield Case("a run's name is no text: report", ("report", "r\udcff"), named, 0, ("report.html",))
    exif = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"
    yield Case("predict: an image has damaged EXIF", PREDICT, {**files, "a.png": jpeg(exif=exif)}, 0, ("detections",))


def tables() -> Iterator[Case]:
    wide = ",".join(f"c{i}" for i in range(5000)) + ",target\n" + "".join(f"{'1,' * 5000}{i % 2}\n" for i in range(12))
    yield Case("table: of 5,000 columns of nothing", ("compare", "t.csv", *DRY), {"t.csv": wide}, 2, ("t.csv",))
    yield Case(
        "table: of one line without end", ("compare", "t.csv", *DRY), {"t.csv": "x" * 6_000_000}, 2, ("line end",)
    )


CASES = [*huge(), *specials(), *plans(), *arrays(), *numbers(), *code(), *places(), *tables()]
