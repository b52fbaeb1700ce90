"""Every command of the how-to pages is one that the program takes, on data of the kind that the page is about.

Commands are read from the pages. `inspect` runs; training stops when its configuration is made and its data are read
and divided; of the others the flags are read. In the soak tests all run, on tiny networks.
"""

import importlib
import json
import re
import shlex
import shutil
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from focalkit.cli import main
from focalkit.config import ModelConfig
from focalkit.data import Selection, open_train_and_val
from focalkit.images.video import write_video

PAGES = sorted((Path(__file__).parents[2] / "docs/howto").glob("*.md"))
NAMES = ("car", "truck", "person")


def write_coco(file: Path, images: Path, first: int = 1) -> None:
    """Noise, named as frames of three videos, with a box of every class."""
    rng, rows, boxes = np.random.default_rng(first), [], []
    images.mkdir(parents=True, exist_ok=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    for i in range(first, first + 12):
        name = f"video{i % 3}_frame{i}.png"
        Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(images / name)
        rows.append({"id": i, "file_name": name, "width": 64, "height": 48})
        for k in range(3):
            box = [4 + 16 * k, 4 + i % 20, 12, 10]
            boxes.append(
                {"id": len(boxes) + 1, "image_id": i, "category_id": k + 1, "bbox": box, "area": 120, "iscrowd": 0}
            )
    categories = [{"id": k + 1, "name": name} for k, name in enumerate(NAMES)]
    file.write_text(json.dumps({"images": rows, "annotations": boxes, "categories": categories}))


def write_cvat(folder: Path) -> None:
    """The same as CVAT for images 1.1."""
    write_coco(folder / "coco.json", folder / "images")
    content = json.loads((folder / "coco.json").read_text())
    (folder / "coco.json").unlink()
    labels = "".join(f"<label><name>{name}</name></label>" for name in NAMES)
    images = ""
    for image in content["images"]:
        boxes = [row for row in content["annotations"] if row["image_id"] == image["id"]]
        corners = [(NAMES[row["category_id"] - 1], x, y, x + w, y + h) for row in boxes for x, y, w, h in [row["bbox"]]]
        drawn = "".join(
            f'<box label="{name}" xtl="{x}" ytl="{y}" xbr="{xx}" ybr="{yy}"/>' for name, x, y, xx, yy in corners
        )
        images += f'<image id="{image["id"]}" name="{image["file_name"]}" width="64" height="48">{drawn}</image>'
    meta = f"<meta><task><labels>{labels}</labels></task></meta>"
    (folder / "annotations.xml").write_text(f"<annotations>{meta}{images}</annotations>")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with the data that the pages name."""
    monkeypatch.chdir(tmp_path)
    write_cvat(Path("cvat-export"))
    write_coco(Path("pictures/annotations/instances_default.json"), Path("pictures/images/default"))
    for name in ("aerial", "my-data", "yolo-data"):
        for split, first in (("train", 1), ("val", 101)):
            write_coco(Path(name, f"annotations/instances_{split}.json"), Path(name, f"images/{split}"), first)
    for split, first in (("train", 201), ("val", 301)):
        write_coco(Path(f"{split}.json"), Path("pictures"), first)
    return tmp_path


@pytest.fixture
def done(monkeypatch):
    """What the commands were told, in place of what takes long."""
    seen = []

    def read(config, out, **_):
        data = config.data
        more = {"train_json": data.train_json, "val_json": data.val_json, "images": data.images}
        train, val = open_train_and_val(data.path, **more, selection=Selection.of(data), check=False)
        seen.append((config, train, val))
        return {}

    monkeypatch.setattr(importlib.import_module("focalkit.training"), "train", read)
    for name in ("evaluate", "predict", "export", "report", "calibrate", "compare"):
        monkeypatch.setattr(importlib.import_module(f"focalkit.cli.{name}"), "run", lambda args: seen.append(args) or 0)
    loaded = SimpleNamespace(card=SimpleNamespace(config=ModelConfig(), min_size=800, max_size=1333))
    monkeypatch.setattr(importlib.import_module("focalkit.detection"), "load_weights", lambda *_, **__: loaded)
    return seen


def commands(page: Path) -> list[list[str]]:
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [shlex.split(line, comments=True)[1:] for block in blocks for line in block.splitlines()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_of_a_page_work(page, place, done, capsys):
    for words in commands(page):
        before = len(done)
        assert main(words) == 0, (words, capsys.readouterr().err)
        assert len(done) == before + (words[0] != "inspect"), words
    assert len(done) >= 3


QUICK = shlex.split(
    "--model.backbone tiny --model.backbone-norm batch --model.fpn-channels 16 --model.head-channels 16 --min-size 64"
    " --max-size 64 --batch-size 4 --workers 0 --accelerator cpu --logger none"
)
STEPS = {"rare-classes": 150}
"""More than two where a page calibrates, for which something has to be found."""


@pytest.mark.soak
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_of_a_page_run_to_their_end(page, place, capsys):
    """All but those that begin with weights of other libraries; trainings of two steps, from scratch."""
    Image.new("RGB", (96, 64)).save("aerial.tif")
    shutil.copytree("pictures", "new-pictures")
    with write_video("clip.mp4", Fraction(10)) as add:
        add(Image.new("RGB", (64, 48)))
    ran = 0
    for words in commands(page):
        if any(word.endswith((".pth", ".pkl")) for word in words):
            continue
        if words[0] == "train":
            words = [word for word in words if word != "--pretrained-backbone"]
            words += [*QUICK, "--max-steps", str(STEPS.get(page.stem, 2))]
        assert main(words) == 0, (words, capsys.readouterr().err)
        ran += 1
    assert ran >= 3


def test_what_the_pages_promise_of_splits_and_classes(place, done):
    by_words = {}
    for words in commands(PAGES[[page.stem for page in PAGES].index("cvat")]):
        main(words)
        by_words[" ".join(words)] = done[-1] if done else None
    (_, train, val), *_ = [found for words, found in by_words.items() if "--group-by" in words]
    groups = [{image.file_name.split("_")[0] for image in part.images} for part in (train, val)]
    assert groups[0]
    assert groups[1]
    assert not groups[0] & groups[1], "a video's frames stay together"
    (_, train, _), *_ = [found for words, found in by_words.items() if "--merge" in words]
    assert train.names == ("vehicle",)


def test_every_page_has_commands_and_leads_on():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert len(commands(page)) >= 4, page
        assert "../" in text, page
