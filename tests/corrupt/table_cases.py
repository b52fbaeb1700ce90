"""Damaged tables, arrays and folders for `compare` and `inspect`, results and truth for `calibrate`."""

# ruff: noqa: E501  a table, a case each

import gzip
import io
import json
import os
import pickle
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from corrupt.base import Case, annotation, coco, png

BINARY = bytes(range(256))
ROWS = "".join(f"{i % 7},{i % 5}.5,{int(i % 4 == 0)}\n" for i in range(80))
TABLE = f"a,b,target\n{ROWS}"
DRY = ("--out", "out", "--dry-run")


def of_table(
    name: str, content: Any, status: int = 2, *says: str, file: str = "t.csv", words: tuple[str, ...] = DRY
) -> Case:
    return Case(f"table: {name}", ("compare", file, *words), {file: content}, status, (file, *says) if status else says)


def tables() -> Iterator[Case]:
    yield of_table("sound", TABLE, 0, "2 seeds", words=(*DRY, "--seeds", "2", "--methods", "ce", "focal"))
    for name, content in {
        "empty": b"", "blank": b" \n\n", "binary": BINARY, "UTF-16": TABLE.encode("utf-16"), "a header alone": "a,b,target\n",
        "one row": "a,b,target\n1,2,0\n", "one column": "target\n" + "0\n1\n" * 20, "without a header": ROWS,
        "of two columns of one name": f"a,a,target\n{ROWS}", "of rows of several lengths": f"a,b,target\n{ROWS}1,2,3,4\n",
        "of one class": "a,target\n" + "1,0\n" * 40, "of a class for each row": "a,target\n" + "".join(f"{i},x{i}\n" for i in range(40)),
        "of no target": "a,target\n" + "1,\n" * 40, "a quote without end": 'a,target\n"1,0\n' + "2,1\n" * 30,
        "of a class of one row": "a,target\n" + "1,0\n" * 40 + "2,1\n",
    }.items():  # fmt: skip
        yield of_table(name, content)
    for name, content in {
        "of NUL bytes in a cell": TABLE.replace("3,", "\0,"), "of numbers beyond bounds": TABLE.replace("3,", "1e999,"),
        "of an escape sequence in a class": TABLE.replace(",1\n", ",\x1b[2Jx\n"), "of an escape sequence in a name": TABLE.replace("a,b", "\x1b[31ma,b"),
        "with a byte order mark": b"\xef\xbb\xbf" + TABLE.encode(), "of semicolons": TABLE.replace(",", ";"), "of long cells": TABLE.replace("3,", "x" * 5000 + ","),
        "of a column of nothing": "n," + TABLE.replace("\n", "\n,").rstrip(","),
    }.items():  # fmt: skip
        yield of_table(name, content, 0, words=(*DRY, "--seeds", "1", "--methods", "ce"))
    sound = gzip.compress(TABLE.encode())
    for name, content in {"not compressed": TABLE, "cut off": sound[:60], "empty": b"", "another file": BINARY}.items():
        yield of_table(f"gz {name}", content, file="t.csv.gz")
    for name, content in {"empty": b"", "binary": BINARY, "a pickle that runs code": pickle.dumps(Payload())}.items():
        yield of_table(f"parquet {name}", content, file="t.parquet")
    yield of_table("a folder", lambda path: path.mkdir())
    yield of_table("a pipe", os.mkfifo)
    yield of_table("of an ending that nobody knows", TABLE, file="t.xls")
    yield Case("table: absent", ("compare", "t.csv", *DRY), {}, 2, ("t.csv",))
    for flag, value in {"--target": "c", "--group": "c", "--metric": "beauty", "--seeds": "0", "--tune": "-1", "--steps": "0", "--yardstick": "fokal",
                        "--preset": "fast", "--engine": "steam", "--task": "chess", "--methods": "fokal", "--rope": "nan", "--jobs": "0"}.items():  # fmt: skip
        yield Case(f"compare: {flag} {value}", ("compare", "t.csv", *DRY, flag, value), {"t.csv": TABLE}, 2, ())
    for name, text in {
        "empty": "",
        "no Python": "methods = [",
        "absent": ...,
        "binary": BINARY,
        "without methods": "x = 1",
    }.items():
        files = {"t.csv": TABLE} | ({} if text is ... else {"m.py": text})
        yield Case(
            f"compare: methods of a file that is {name}",
            ("compare", "t.csv", *DRY, "--methods", "m.py"),
            files,
            2,
            ("m.py",),
        )


class Payload:
    """Unpickling it makes a folder."""

    def __reduce__(self):
        return os.mkdir, ("code-has-run",)


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **{name: np.asarray(value) for name, value in arrays.items()})
    return buffer.getvalue()


def with_pickle() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        array = io.BytesIO()
        np.lib.format.write_array(array, np.array([Payload()], dtype=object), allow_pickle=True)
        for name in ("X", "y", "images", "labels"):
            archive.writestr(f"{name}.npy", array.getvalue())
    return buffer.getvalue()


X, Y = np.arange(160.0).reshape(80, 2), np.arange(80) % 4 == 0
IMAGES, LABELS = np.zeros((20, 8, 8, 3), np.uint8), np.arange(20) % 2


def arrays() -> Iterator[Case]:
    yield of_table("npz sound", npz(X=X, y=Y.astype(int)), 0, file="t.npz", words=(*DRY, "--methods", "ce"))
    for name, content in {
        "empty": b"", "binary": BINARY, "cut off": npz(X=X, y=Y)[:300], "a pickle": pickle.dumps(Payload()),
        "of a pickle that runs code": with_pickle(), "without X": npz(y=Y), "of X in one dimension": npz(X=X[:, 0], y=Y),
        "of y of another length": npz(X=X, y=Y[:5]), "of no rows": npz(X=X[:0], y=Y[:0]), "of X of texts alone": npz(X=[["a"]] * 80, y=[0] * 80),
        "of a zip without arrays": npz(), "of complex numbers": npz(X=X + 1j, y=Y),
    }.items():  # fmt: skip
        yield of_table(f"npz {name}", content, file="t.npz")
    for name, content in {
        "of negative labels": npz(images=IMAGES, labels=LABELS - 5), "of floats": npz(images=IMAGES / 1.0, labels=LABELS),
        "of fewer labels": npz(images=IMAGES, labels=LABELS[:4]), "of one class": npz(images=IMAGES, labels=LABELS * 0),
        "of no images": npz(images=IMAGES[:0], labels=LABELS[:0]), "of four channels": npz(images=np.zeros((20, 8, 8, 4), np.uint8), labels=LABELS),
        "of labels between two": npz(images=IMAGES, labels=LABELS + 0.5), "of labels of text": npz(images=IMAGES, labels=[["a", "b"][i] for i in LABELS]),
        "of offsets beyond the end": npz(jpeg=np.zeros(10, np.uint8), offsets=np.array([0, 5, 500]), labels=[0, 1]),
        "of bytes that are no JPEG": npz(jpeg=np.zeros(10, np.uint8), offsets=np.array([0, 5, 10]), labels=[0, 1]),
    }.items():  # fmt: skip
        yield of_table(f"npz of images {name}", content, file="t.npz")


def folders() -> Iterator[Case]:
    sound = {f"d/{c}/{i}.png": png(8, 8, "L", compress_level=i) for c in ("cat", "dog") for i in range(8)}
    for name, files in {
        "an image is empty": {"d/cat/9.png": b""}, "an image is text": {"d/cat/9.png": b"cat"}, "an image is cut off": {"d/cat/9.png": png()[:60]},
        "an image is a pipe": {"d/cat/9.png": os.mkfifo}, "an image is a folder": {"d/cat/9.png/x.png": b""},
        "an image is a bomb": {"d/cat/9.png": lambda path: path.symlink_to(path.name)},
    }.items():  # fmt: skip
        yield Case(f"folder: {name}", ("inspect", "{d}", "--no-labels"), {**sound, **files}, 2, ("9.png",))


IDS = range(11, 17)
RESULTS = [
    {"image_id": i, "category_id": 7, "bbox": [5, 6, 10 + n, 12], "score": 0.1 * n} for i in IDS for n in range(1, 6)
]
TRUTH = coco(
    images=[{"id": i, "file_name": f"{i}.png", "width": 40, "height": 30} for i in IDS],
    annotations=[annotation(id=i, image_id=i) for i in IDS],
)
CALIBRATE = ("calibrate", "p.json", "--truth", "t.json", "--out", "out")


def changed_result(**changes: Any) -> list[dict[str, Any]]:
    first = {key: value for key, value in {**RESULTS[0], **changes}.items() if value is not ...}
    return [first, *RESULTS[1:]]


def of_calibration(name: str, *says: str, status: int = 2, words: tuple[str, ...] = (), **files: Any) -> Case:
    every = {"p.json": RESULTS, "t.json": TRUTH} | {key.replace("_", "."): value for key, value in files.items()}
    return Case(
        f"calibrate: {name}", (*CALIBRATE, *words), {k: v for k, v in every.items() if v is not ...}, status, says
    )


def calibrations() -> Iterator[Case]:
    for file in ("p.json", "t.json"):
        for name, content in {
            "missing": ..., "empty": b"", "binary": BINARY, "cut off": b'[{"image_id": 1', "a number": b"5", "nested beyond bounds": b"[" * 100_000,
            "an empty list": [], "an empty object": {}, "a folder": lambda path: path.mkdir(), "a pipe": os.mkfifo, "a list of numbers": [1, 2],
        }.items():  # fmt: skip
            place = "" if (file, name) == ("p.json", "a folder") else file  # taken for a run
            yield of_calibration(f"{file} is {name}", place, **{file.replace(".", "_"): content})
    for field in ("image_id", "category_id", "bbox", "score"):
        for kind, value in {"missing": ..., "null": None, "text": "x", "a list": [], "true": True}.items():
            yield of_calibration(f"{field} is {kind}", "p.json", p_json=changed_result(**{field: value}))
    for name, changes in {
        "a score of NaN": {"score": float("nan")}, "a score of 2": {"score": 2}, "a score below 0": {"score": -0.5}, "a box of three numbers": {"bbox": [1, 2, 3]},
        "a box of NaN": {"bbox": [1, 2, float("nan"), 3]}, "an image that is not there": {"image_id": 99},
        "a category that is not there": {"category_id": 99}, "a category between two": {"category_id": 7.5},
    }.items():  # fmt: skip
        yield of_calibration(name, "p.json", p_json=json.dumps(changed_result(**changes)))
    for key in ("images", "annotations", "categories"):
        yield of_calibration(f"truth of no {key}", "t.json", t_json={**TRUTH, key: []})
        yield of_calibration(f"truth of {key} as numbers", "t.json", t_json={**TRUTH, key: [1, 2]})
    for name, text in {
        "empty": "",
        "of text": "a,b\nc,d",
        "of three rows": "0,1\n1,0\n0,0",
        "binary": BINARY,
        "of NaN": "0,nan\n1,0",
    }.items():
        yield of_calibration(f"costs that are {name}", "c.csv", words=("--cost", "c.csv"), c_csv=text)
    for flag, value in {
        "--target-precision": "2",
        "--target-recall": "-1",
        "--f-beta": "0",
        "--confidence": "1.5",
        "--fraction": "0",
        "--method": "magic",
    }.items():
        yield of_calibration(f"{flag} {value}", words=(flag, value))
    yield of_calibration("--out is a file", "out", out="x")
    yield Case("calibrate: a folder without a run", ("calibrate", "d"), {"d": lambda path: path.mkdir()}, 2, ("d",))


def comparisons() -> Iterator[Case]:
    for name, content in {
        "missing": ...,
        "empty": b"",
        "binary": BINARY,
        "a list": [],
        "of nothing": {},
        "of another schema": {"schema": 9},
    }.items():
        files: dict[str, Any] = {"t.csv": TABLE, "cmp/data.json": {}}
        files |= {} if content is ... else {"cmp/plan.json": content}
        yield Case(f"plan.json is {name}: report", ("report", "cmp"), files, 2, ("cmp",))
        if content is not ...:
            yield Case(
                f"plan.json is {name}: compare",
                ("compare", "t.csv", "--out", "cmp", "--methods", "ce"),
                files,
                2,
                ("plan.json",),
            )
    for name, words in {
        "a file": ("--out", "t.csv"), "below a file": ("--out", "t.csv/x"), "in /proc": ("--out", "/proc/nowhere"), "long": ("--out", "x" * 5000),
    }.items():  # fmt: skip
        yield Case(
            f"compare: --out is {name}", ("compare", "t.csv", "--methods", "ce", *words), {"t.csv": TABLE}, 2, ()
        )
    for name, files in {
        "an empty folder": {"cell": lambda path: path.mkdir()},
        "a cell of nothing": {"cell/cell.json": {}},
        "a cell without a model": {"cell/cell.json": {"schema": 1, "status": "done"}},
    }.items():
        yield Case(
            f"predict: {name}", ("predict", "cell", "t.csv", "--out", "p.csv"), {"t.csv": TABLE, **files}, 2, ("cell",)
        )


CASES = [*tables(), *arrays(), *folders(), *calibrations(), *comparisons()]
