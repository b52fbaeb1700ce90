"""`focalkit predict` on videos, patterns, addresses and pictures too large for memory, in every format."""

import csv
import functools
import http.server
import json
import random
import threading
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from focalkit.cli import _frames, _sources, main, predict
from focalkit.data import open_detection_data
from focalkit.detection import DenseOutputs, Detector
from focalkit.errors import InputError
from focalkit.images import LargePicture, read_image, video
from focalkit.images.draw import to_pil

CELL = 16


class Red(nn.Module):
    """Finds red squares of 16 pixels: one prior per cell, whose logit is its redness."""

    num_classes = 2

    def __init__(self):
        super().__init__()
        self.register_buffer("pixel_mean", torch.zeros(3))
        self.weight = nn.Parameter(torch.tensor(20.0))

    def forward(self, images):
        red = (nn.functional.avg_pool2d(images[:, :1], CELL) - 0.6) * self.weight
        h, w = red.shape[-2:]
        y, x = torch.meshgrid(torch.arange(h) * 16.0, torch.arange(w) * 16.0, indexing="ij")
        priors = torch.stack([x, y, x + CELL, y + CELL], -1).view(-1, 4)
        logits = torch.cat([red, torch.full_like(red, -20.0)], 1)
        return DenseOutputs((logits,), (logits.new_zeros(len(images), 4, h, w),), (priors,), 2)


@pytest.fixture(autouse=True)
def opened(monkeypatch, tmp_path):
    """Whatever the run is, its detector is the one above."""
    monkeypatch.chdir(tmp_path)
    detector = Detector(Red(), names=("red one", "other"), category_ids=(5, 9), min_size=64, max_size=64)
    real = predict.open_detector

    def open_detector(args):
        with monkeypatch.context() as patch:
            patch.setattr(Detector, "open", lambda *_, **__: detector)
            return real(args)

    monkeypatch.setattr(predict, "open_detector", open_detector)


def picture(*cells, size=(64, 64)):
    image = Image.new("RGB", size)
    for x, y in cells:
        image.paste((255, 0, 0), (CELL * x, CELL * y, CELL * x + CELL, CELL * y + CELL))
    return image


def boxes(folder="out"):
    return [row["bbox"] for row in json.loads((Path(folder) / "predictions.json").read_text())]


def write_clip(path, count=6):
    with video.write_video(path, Fraction(10)) as add:
        for number in range(count):
            add(picture((number % 4, 1)))


def test_frames_of_a_video_are_found_by_number_and_drawn_into_a_video(tmp_path, capsys):
    pytest.importorskip("av")
    write_clip(tmp_path / "clip.mp4")
    assert main(["predict", "run", "clip.mp4", "--out", "out", "--every", "2", "--save-csv", "--batch-size", "2"]) == 0
    images = json.loads((tmp_path / "out/images.json").read_text())["images"]
    assert [(row["id"], row["frame"], row["seconds"]) for row in images] == [(1, 0, 0.0), (2, 2, 0.2), (3, 4, 0.4)]
    assert {row["file_name"] for row in images} == {"clip.mp4"}
    assert boxes() == [pytest.approx([16 * x, 16, 16, 16]) for x in (0, 2, 0)]
    with video.open_video(tmp_path / "out/drawn/clip.mp4") as drawn:
        frames = list(drawn.frames)
    assert (drawn.rate, len(frames)) == (5, 3)
    rows = list(csv.DictReader((tmp_path / "out/predictions.csv").read_text().splitlines()))
    assert [row["frame"] for row in rows] == ["0", "2", "4"]
    assert "3 detections above 0.3 in 3 images" in capsys.readouterr().out


def test_a_camera_is_looked_at_until_ctrl_c(tmp_path, monkeypatch, capsys):
    pytest.importorskip("av")
    write_clip(tmp_path / "clip.mp4")
    monkeypatch.setattr(video, "CAMERAS", {"linux": (None, "clip{}.mp4")})
    real, asked = _frames.chosen, []

    def interrupted(source, every, seconds):
        asked.append(seconds)
        yield from list(real(source, every, seconds))[:3]
        raise KeyboardInterrupt

    monkeypatch.setattr(_frames, "chosen", interrupted)
    words = ["predict", "run", "--camera", "", "--out", "out", "--seconds", "9", "--no-draw", "--batch-size", "1"]
    assert main(words) == 0
    assert asked == [9.0]
    assert len(boxes()) == 3
    assert "stopped after 3 frames" in capsys.readouterr().err


def write_noise(path, count=40):
    """Every frame has a packet of its own weight, so that damage can hit it."""
    pixels = np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8)
    with video.write_video(path, Fraction(10)) as add:
        for number in range(count):
            add(Image.fromarray(np.roll(pixels, 3 * number, axis=1)))


def test_a_damaged_video_gives_its_other_frames_and_says_how_many_are_lost(tmp_path, capsys):
    pytest.importorskip("av")
    write_noise(tmp_path / "bad.mp4")
    data = bytearray((tmp_path / "bad.mp4").read_bytes())
    first, last = data.find(b"mdat") + 4, data.find(b"moov") - 4
    chance = random.Random(1)
    for place in chance.sample(range(first, last), (last - first) // 20):
        data[place] = chance.randrange(256)
    (tmp_path / "bad.mp4").write_bytes(data)
    assert main(["predict", "run", "bad.mp4", "--out", "out", "--no-draw", "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert found["unreadable"] == [f"bad.mp4: {40 - found['images']} of 40 frames are damaged"]
    times = [row["seconds"] for row in json.loads(Path("out/images.json").read_text())["images"]]
    assert times[-1] > 2.5  # far beyond the first damage
    assert 10 < len(times) < 40


def test_a_video_that_was_cut_off_says_so(tmp_path):
    av = pytest.importorskip("av")
    write_noise(tmp_path / "whole.mp4")
    with av.open("whole.mp4") as source, av.open("cut.mp4", "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    content = (tmp_path / "cut.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) // 2])
    for name, said in (("whole", []), ("cut", ["4.0 seconds: the rest of the file is missing"])):
        with video.open_video(tmp_path / f"{name}.mp4") as opened:
            assert len(list(opened.frames)) > 5
        assert [problem.partition(" of ")[2] for problem in opened.problems] == said


def test_a_camera_that_is_unplugged_keeps_what_was_found(tmp_path, monkeypatch, capsys):
    av = pytest.importorskip("av")
    write_clip(tmp_path / "clip.mp4")
    real = video._decoded

    class Unplugged:
        def __init__(self, container):
            self.container = container

        def demux(self, stream):
            yield from islice(self.container.demux(stream), 4)
            raise av.error.OSError(5, "Input/output error")

    monkeypatch.setattr(video, "_decoded", lambda av, container, *rest: real(av, Unplugged(container), *rest))
    monkeypatch.setattr(video, "CAMERAS", {"linux": (None, "clip{}.mp4")})
    assert main(["predict", "run", "--camera", "", "--out", "out", "--no-draw", "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert found["images"] == len(boxes()) == 4
    assert found["unreadable"] == ["camera : ends before its time: Input/output error"]


def test_bytes_that_are_no_video_are_reported_and_the_rest_done(tmp_path, capsys):
    pytest.importorskip("av")
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    picture((1, 1)).save("a.png")
    assert main(["predict", "run", "bad.mp4", "a.png", "--out", "out", "--json"]) == 2
    assert "bad.mp4: cannot be read as a video" in json.loads(capsys.readouterr().out)["unreadable"][0]
    assert len(boxes()) == 1
    assert not (tmp_path / "out/drawn/bad.mp4").exists()


def test_every_format_says_the_same(tmp_path):
    (tmp_path / "photos").mkdir()
    picture((1, 2), (3, 0)).save("photos/a.png")
    picture().save("photos/b.png")
    flags = ["--save-txt", "--save-voc", "--save-csv", "--save-crops", "--no-draw"]
    assert main(["predict", "run", "photos/*.png", "--out", "out", *flags]) == 0
    expected = [[16, 32, 32, 48], [48, 0, 64, 16]]
    assert sorted([x, y, x + w, y + h] for x, y, w, h in boxes()) == expected
    assert (tmp_path / "out/labels/b.txt").read_text() == ""
    assert (tmp_path / "out/classes.txt").read_text() == "red one\nother\n"
    crops = list((tmp_path / "out/crops/red one").iterdir())
    assert sorted(file.name for file in crops) == ["a-1.jpg", "a-2.jpg"]
    assert [to_pil(file).size for file in crops] == [(16, 16)] * 2
    rows = list(csv.DictReader((tmp_path / "out/predictions.csv").read_text().splitlines()))
    assert sorted([float(row[key]) for key in ("xmin", "ymin", "xmax", "ymax")] for row in rows) == expected
    # labels and XML are what the readers take for a data set
    for name in ("labels", "voc"):
        root = tmp_path / name
        images, notes = ("images/train", "labels/train") if name == "labels" else ("JPEGImages", "Annotations")
        for folder, source in ((images, tmp_path / "photos"), (notes, tmp_path / "out" / name)):
            (root / folder).parent.mkdir(parents=True, exist_ok=True)
            (root / folder).symlink_to(source)
    (tmp_path / "labels/data.yaml").write_text("train: images/train\nval: images/train\nnames: [red one, other]\n")
    (tmp_path / "voc/ImageSets/Main").mkdir(parents=True)
    (tmp_path / "voc/ImageSets/Main/train.txt").write_text("a\n")
    for name in ("labels", "voc"):
        first = open_detection_data(tmp_path / name, "train").images[0]
        assert sorted(map(list, first.boxes)) == expected


def test_what_an_earlier_call_wrote_is_no_picture_to_look_at(tmp_path, capsys):
    (tmp_path / "pics").mkdir()
    picture((1, 2)).save("pics/a.png")
    (tmp_path / "pics/out/downloads").mkdir(parents=True)
    picture().save("pics/out/downloads/b.png")
    for paths in ("pics", "pics", "pics/**/*.*g"):
        assert main(["predict", "run", paths, "--out", "pics/out", "--save-crops", "--no-draw"]) == 0
        assert len(json.loads(Path("pics/out/images.json").read_text())["images"]) == 1
    assert "note: pics/out: left out, 2 pictures that an earlier call wrote" in capsys.readouterr().err
    assert main(["predict", "run", "pics/out/downloads", "--out", "pics/out", "--no-draw"]) == 0  # asked for


def test_what_was_written_is_announced_and_nothing_else(tmp_path, capsys):
    picture().save("empty.png")
    picture((1, 2)).save("full.png")
    flags = ["--out", "out", "--save-txt", "--save-crops"]
    assert main(["predict", "run", "empty.png", *flags]) == 0
    first = capsys.readouterr()
    assert "before this call" not in first.err
    assert [Path(line).name for line in first.out.splitlines()[1:]] == [
        *("predictions.json", "images.json", "drawn", "labels", "classes.txt")
    ]
    assert main(["predict", "run", "full.png", *flags]) == 0
    second = capsys.readouterr()
    assert "out: files from before this call: 1 in drawn, 1 in labels; those that" in second.err
    assert Path(second.out.splitlines()[-1]).name == "crops"
    assert (tmp_path / "out/crops/red one/full-1.jpg").is_file()


def test_a_picture_and_a_frame_of_a_video_never_share_a_name():
    pictures = [Path("clip-000001.png"), Path("CAMERA-123456.png"), Path("b-1.png")]
    names = _sources.names_of(pictures, [Path("clip.mp4"), Path("b.mp4"), _frames.CAMERA])
    assert list(names.values()) == ["clip-000001", "CAMERA-123456", "b-1", "clip-2", "b", "camera-2"]


def test_an_address_is_fetched_where_that_is_allowed(tmp_path, capsys):
    (tmp_path / "served").mkdir()
    picture((0, 0)).save(tmp_path / "served/a.png")
    (tmp_path / "served/b").mkdir()
    picture((3, 2)).save(tmp_path / "served/b/a.png")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Quiet, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place = f"http://127.0.0.1:{server.server_port}"
        assert main(["predict", "run", f"{place}/a.png", "--out", "out"]) == 2
        assert "--allow-network" in capsys.readouterr().err
        assert main(["predict", "run", f"{place}/a.png?size=large", "--out", "out", "--allow-network"]) == 0
        assert boxes() == [[0, 0, 16, 16]]
        both = [f"{place}/a.png", f"{place}/b/a.png"]  # of one name
        assert main(["predict", "run", *both, "--out", "out", "--allow-network"]) == 0
        assert boxes() == [[0, 0, 16, 16], [48, 32, 16, 16]]
        assert main(["predict", "run", f"{place}/none.png", "--out", "out", "--allow-network"]) == 2
        assert "none.png: cannot be fetched (" in capsys.readouterr().err
        server.shutdown()


def test_a_picture_too_large_for_memory_is_read_in_tiles(tmp_path, monkeypatch, capsys):
    pytest.importorskip("pyvips")
    picture((0, 0), (9, 5), size=(160, 96)).save("slide.png")
    whole = Image.MAX_IMAGE_PIXELS
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 160 * 96 // 2 - 1)
    assert main(["predict", "run", "slide.png", "--out", "out"]) == 2
    assert "predict --tiles" in capsys.readouterr().err
    monkeypatch.setattr(predict, "THRESHOLD", 0.5)
    assert main(["predict", "run", "slide.png", "--out", "out", "--tiles", "64", "--overlap", "0.5"]) == 0
    assert sorted(boxes()) == [[0, 0, 16, 16], [144, 80, 16, 16]]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", whole)
    assert to_pil("out/drawn/slide.jpg").size == (160, 96)


@pytest.mark.parametrize("dark", [1.0, 4095.0, float("nan")])
def test_a_large_picture_of_floats_follows_the_rule_of_all_pictures(dark, tmp_path):
    vips = pytest.importorskip("pyvips")
    values = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    values[7, 7] = dark
    vips.Image.new_from_array(values).tiffsave(name := f"{dark}.tif")  # libvips remembers by name
    if dark == 1:
        assert (LargePicture(name).window(0, 0, 8, 8) - read_image(name)).abs().max() == 0
        return
    for read in (LargePicture, read_image):
        with pytest.raises(InputError, match=r"tif: grey values from .* to .*; expected 0 to 1 in an image of"):
            read(name)


def test_windows_of_a_large_picture_are_parts_of_what_is_read_otherwise(tmp_path):
    pytest.importorskip("pyvips")
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (40, 60, 3), dtype=torch.uint8, generator=generator).numpy()
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    Image.fromarray(pixels).save("a.png", exif=exif)
    Image.fromarray(pixels[..., 0]).save("grey.png")
    Image.fromarray(np.arange(2400, dtype=np.uint16).reshape(40, 60) * 27).save("deep.png")
    for name in ("a.png", "grey.png", "deep.png"):
        whole, picture = read_image(name), LargePicture(name)
        assert (picture.height, picture.width) == whole.shape[1:]
        assert torch.equal(picture.window(5, 7, 35, 30), whole[:, 7:30, 5:35])
        assert torch.equal(picture.overview(1000), whole)
        assert max(picture.overview(30).shape[1:]) == 30


@pytest.mark.parametrize("words", [["--every", "0"], ["--seconds", "-1"], ["--seconds", "nan"]])
def test_impossible_numbers_are_wrong_usage(words, capsys):
    assert main(["predict", "run", "a.png", "--out", "out", *words]) == 2
    assert words[0] in capsys.readouterr().err


def test_of_damaged_large_pictures_the_others_are_kept(tmp_path, monkeypatch, capsys):
    pytest.importorskip("pyvips")
    noise = np.random.default_rng(0).integers(0, 60, (96, 160, 3), dtype=np.uint8)
    for name in ("b.tif", "c.png"):
        Image.fromarray(noise).save(name)
    damaged = bytearray(Path("c.png").read_bytes())
    damaged[len(damaged) // 2 :: 7] = bytes(len(damaged[len(damaged) // 2 :: 7]))
    Path("c.png").write_bytes(damaged)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 160 * 96 // 2 - 1)
    assert main(["predict", "run", "c.png", "b.tif", "--out", "out", "--tiles", "64", "--no-draw"]) == 2
    assert "skipped: " in (said := capsys.readouterr().err)
    assert "c.png" in said
    assert [row["file_name"] for row in json.loads(Path("out/images.json").read_text())["images"]] == ["b.tif"]
