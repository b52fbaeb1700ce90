"""Damaged data sets: COCO, Pascal VOC, YOLO, and the images in them."""

import json
import os
from collections.abc import Iterator
from typing import Any

from corrupt.base import IMAGES, XML, Case, annotation, changed, coco, jpeg, png, png_header, voc, yolo

BIG = 10**400
LONG = "x" * 5000
INSPECT = ("inspect", "{data}")


def in_data(files: dict[str, Any]) -> dict[str, Any]:
    return {f"data/{name}": content for name, content in files.items()}


def of_coco(name: str, content: Any, status: int = 2, *says: str) -> Case:
    files = {**IMAGES, "instances_train.json": content}
    return Case(f"coco: {name}", INSPECT, in_data(files), status, ("instances_train.json", *says) if status else says)


def coco_files() -> Iterator[Case]:
    text = json.dumps(coco())
    yield of_coco("sound", coco(), 0, "no problems found")
    for name, content in {
        "empty": b"",
        "blank": b"  \n",
        "no JSON": b"images: []",
        "cut off": text[:90].encode(),
        "binary": bytes(range(256)),
        "neither UTF-8 nor Windows-1252": text.replace("dog", "d\x81g").encode("latin-1"),
        "a NUL byte": text.encode().replace(b"dog", b"d\0g"),
        "two objects": text.encode() * 2,
        "nested beyond bounds": b"[" * 100_000,
        "a list": b"[]",
        "a number": b"5",
        "a string": b'"images"',
        "null": b"null",
        "an integer beyond bounds": text.replace("11", "1" * 5000).encode(),
    }.items():
        yield of_coco(f"the file is {name}", content)
    yield of_coco("the file has a byte order mark", b"\xef\xbb\xbf" + text.encode(), 0)
    yield of_coco("the file is UTF-16", text.encode("utf-16"), 0)
    yield of_coco("the file is Latin-1", text.replace("dog", "d\xf6g").encode("latin-1"), 0, "Windows-1252", "d\xf6g")
    for key in ("images", "annotations", "categories"):
        for kind, value in {"missing": ..., "null": None, "an object": {}, "a string": "x", "a number": 1}.items():
            yield of_coco(f"{key} is {kind}", changed(coco(), {key: value}), 2, key)
    for key in ("images", "categories"):
        yield of_coco(f"{key} is empty", coco(**{key: []}), 2)


KINDS: dict[str, Any] = {"null": None, "true": True, "a float": 1.5, "a string": "1", "a list": [1], "an object": {}}


def coco_entries() -> Iterator[Case]:
    sound = coco()
    for key in ("images", "annotations", "categories"):
        for kind in ("null", "a float", "a string", "a list"):
            yield of_coco(f"an entry of {key} is {kind}", coco(**{key: [KINDS[kind], *sound[key]]}), 2, f"{key}[0]")
        for field in sound[key][0]:
            if field != "iscrowd":
                entry = changed(sound[key][0], {field: ...})
                taken = field in ("width", "height") or (key, field) == ("annotations", "id")
                content = coco(**{key: [entry, *sound[key][1:]]})
                yield of_coco(f"{field} is missing in {key}", content, 0 if taken else 2, field)
    for kind, value in {**KINDS, "beyond bounds": BIG}.items():
        if kind != "beyond bounds":
            images = [changed(sound["images"][0], {"id": value}), sound["images"][1]]
            yield of_coco(f"the id of an image is {kind}", coco(images=images))
            categories = [{"id": value, "name": "x"}, *sound["categories"]]
            status = 0 if kind == "a string" else 2  # "1" is plain
            yield of_coco(f"the id of a category is {kind}", coco(categories=categories), status, "categories[0]")
            status = 0 if kind in ("a string", "null") else 2
            content = coco(annotations=[annotation(id=value)])
            yield of_coco(f"the id of an annotation is {kind}", content, status, "annotation")
            yield of_coco(f"category_id is {kind}", coco(annotations=[annotation(category_id=value)]), 2, "category")
            yield of_coco(f"image_id is {kind}", coco(annotations=[annotation(image_id=value)]), 2, "image")
            yield of_coco(f"bbox is {kind}", coco(annotations=[annotation(bbox=value)]), 2, "bbox")
        for side in ("width", "height"):
            images = [changed(sound["images"][0], {side: value}), sound["images"][1]]
            yield of_coco(f"the {side} of an image is {kind}", coco(images=images), 0 if value is None else 2, "a.png")
    for kind in ("null", "true", "a float", "a list", "an object"):
        images = [changed(sound["images"][0], {"file_name": KINDS[kind]}), sound["images"][1]]
        yield of_coco(f"file_name is {kind}", coco(images=images), 2, "file_name")
    for name, value in {
        "empty": "", "a dot": ".", "two dots": "..", "a folder": "../images", "absent": "none.png",
        "5,000 characters long": LONG, "with a NUL": "a\0.png", "half a surrogate pair": "\ud800.png",
    }.items():  # fmt: skip
        images = [changed(sound["images"][0], {"file_name": value}), sound["images"][1]]
        yield of_coco(f"file_name is {name}", coco(images=images), 2, "image 11")
    for name, box in {
        "three numbers": [1, 2, 3], "five numbers": [1, 2, 3, 4, 5], "strings": ["1", "2", "three", "4"],
        "booleans": [True, True, True, True], "nulls": [None] * 4, "nested": [[1, 2], [3, 4]],
        "without area": [5, 5, 0, 5], "of negative size": [5, 5, -3, 5], "outside": [100, 100, 5, 5],
        "far too large": [0, 0, 400, 300], "beyond bounds": [BIG, 0, 5, 5],
    }.items():  # fmt: skip
        yield of_coco(f"bbox is {name}", coco(annotations=[annotation(bbox=box)]), 2, "annotation 1")
    for name in ("NaN", "Infinity", "-Infinity", "1e999"):
        text = json.dumps(coco()).replace("[5, 6, 10, 12]", f"[5, 6, {name}, 12]")
        yield of_coco(f"bbox holds {name}", text.encode(), 2, "annotation 1")
    for name, value in {"2": 2, "a string": "x", "null": None, "a list": []}.items():
        content = coco(annotations=[annotation(iscrowd=value)])
        yield of_coco(f"iscrowd is {name}", content, 0 if value is None else 2, "iscrowd")
    for name, value in {"a string": "x", "negative": -1, "a list": [], "true": True, "beyond bounds": BIG}.items():
        yield of_coco(f"area is {name}", coco(annotations=[annotation(area=value)]), 0, "areas are no positive number")
    for name, value in {"twice": [annotation(), annotation()]}.items():
        yield of_coco(f"annotation ids are {name}", coco(annotations=value), 0, "ids are missing or given twice")
    for name, value in {"null": None, "a list": [], "an object": {}, "true": True, "empty": ""}.items():
        categories = [{"id": 1, "name": value}, *sound["categories"]]
        yield of_coco(f"the name of a category is {name}", coco(categories=categories), 2, "categories[0]")
    for name, value, shown in (
        ("an escape sequence", "\x1b[2Jdog\x07", "\\x1b[2Jdog\\x07"),
        ("half a surrogate pair", "d\ud800g", "d\\ud800g"),
        ("a line end", "dog\ncat", ""),
    ):
        yield of_coco(f"the name of a category holds {name}", coco(categories=[{"id": 7, "name": value}]), 0, shown)


def of_image(name: str, content: Any, status: int = 2, *says: str, file: str = "a.png") -> Iterator[Case]:
    """An image in a data set, and the same for prediction."""
    data = coco()
    data["images"][0]["file_name"] = file
    files = {
        "images/a.png": png(),
        "images/b.png": png(shade=9),
        f"images/{file}": content,
        "instances_train.json": data,
    }
    yield Case(f"image of a data set: {name}", INSPECT, in_data(files), status, says if status == 0 else (file, *says))


def images() -> Iterator[Case]:
    def fifo(path: Any) -> None:
        os.mkfifo(path)

    def loop(path: Any) -> None:
        path.symlink_to(path.name)

    def dangling(path: Any) -> None:
        path.symlink_to("nowhere.png")

    def folder(path: Any) -> None:
        path.mkdir()

    noise = bytearray(png(40, 30, compress_level=0))
    for name, content in {
        "empty": b"", "text": b"not an image", "cut off": png()[:60], "half a JPEG": jpeg()[:200], "SVG": b"<svg/>",
        "of another size": png(30, 40), "a pipe": fifo, "a link to itself": loop, "a link to nothing": dangling,
        "a folder": folder, "a decompression bomb": png_header(60_000, 60_000),
        "large and empty": png_header(10_000, 10_000), "of no size": png_header(0, 30),
        "only zeros": bytes(500), "only a header": b"\x89PNG\r\n\x1a\n",
    }.items():  # fmt: skip
        yield from of_image(name, content)
    for name, content in {
        "grey": png(mode="L"), "one bit": png(mode="1"), "palette": png(mode="P"), "grey and alpha": png(mode="LA"),
        "alpha": png(mode="RGBA"), "16 bit": png(mode="I;16"), "CMYK": jpeg(mode="CMYK"), "uncompressed": bytes(noise),
    }.items():  # fmt: skip
        yield from of_image(name, content, 0, "no problems found")


def of_voc(name: str, status: int = 2, *says: str, **files: Any) -> Case:
    return Case(f"voc: {name}", INSPECT, in_data(voc(**files)), status, says)


def voc_cases() -> Iterator[Case]:
    yield of_voc("sound", 0, "no problems found")
    xml = XML.format(name="a.png")
    bomb = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 9))
    for name, text in {
        "empty": "", "cut off": xml[:60], "binary": bytes(range(256)), "two roots": xml + xml, "text": "dog 1 2 3 4",
        "in a code that nobody knows": b'<?xml version="1.0" encoding="klingon"?>' + xml.encode(),
        "a bomb of entities": f'<!DOCTYPE a [<!ENTITY e0 "aaaaaaaaaa">{bomb}]>{xml.replace("dog", "&e8;")}',
        "with a file from outside": f'<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/hosts">]>{xml.replace("dog", "&e;")}',
    }.items():  # fmt: skip
        yield of_voc(f"an annotation is {name}", 2, "a.xml", **{"Annotations/a.xml": text})
    for name, content in {
        "in a code of several bytes": b'<?xml version="1.0" encoding="gb2312"?>' + xml.encode(),
        "not UTF-8": xml.replace("dog", "d\xf6g").encode("latin-1"),
    }.items():
        yield of_voc(f"an annotation is {name}", 0, "no problems found", **{"Annotations/a.xml": content})
    for name, old, new in (
        ("a coordinate is text", "<xmin>5<", "<xmin>five<"), ("a coordinate is missing", "<xmin>5</xmin>", ""),
        ("a coordinate is NaN", "<xmin>5<", "<xmin>nan<"), ("a coordinate is infinite", "<xmin>5<", "<xmin>inf<"),
        ("a coordinate is beyond bounds", "<xmin>5<", f"<xmin>{'9' * 500}<"), ("the name is empty", ">dog<", "><"),
        ("the name is missing", "<name>dog</name>", ""), ("the box is missing", "bndbox", "bandbox"),
        ("the box is turned around", "<xmax>15<", "<xmax>2<"), ("the width is another", "<width>40<", "<width>80<"),
    ):  # fmt: skip
        yield of_voc(name, 2, "a.", **{"Annotations/a.xml": xml.replace(old, new)})
    for name, old, new in (
        ("the size is missing", "size>", "sise>"), ("the size is text", "<width>40<", "<width>wide<"),
        ("the file name is missing", "<filename>a.png</filename>", ""),
        ("the file name is long", "a.png", f"{LONG}.png"),
    ):  # fmt: skip
        yield of_voc(name, 0, **{"Annotations/a.xml": xml.replace(old, new)})
    for name, text in {"not UTF-8": b"\xff\xfe\x00a", "empty": ""}.items():
        yield of_voc(f"a list is {name}", 2, "train", **{"ImageSets/Main/train.txt": text})
    yield of_voc("a list names what is not there", 2, "none.xml", **{"ImageSets/Main/train.txt": "none\n"})
    yield of_voc("an annotation is a folder", 2, "a.xml", **{"Annotations/a.xml": lambda path: path.mkdir()})
    yield of_voc("an annotation is a pipe", 2, "a.xml", **{"Annotations/a.xml": os.mkfifo})
    yield of_voc("an image is missing", 2, "a.png", **{"JPEGImages/a.png": ...})


def of_yolo(name: str, status: int = 2, *says: str, **files: Any) -> Case:
    return Case(f"yolo: {name}", INSPECT, in_data(yolo(**files)), status, says)


def yolo_cases() -> Iterator[Case]:
    yield of_yolo("sound", 0, "no problems found")
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{','.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(8)
    )
    for name, text in {
        "empty": "", "binary": bytes(range(256)), "not UTF-8": "names: [d\xf6g]".encode("latin-1"),
        "no YAML": "a: [1\n b", "a list": "- a\n- b", "a number": "5", "without names": "train: images/train\n",
        "with a tag that runs code": "names: !!python/object/apply:os.mkdir ['code-has-run']\ntrain: images/train",
        "a bomb of aliases": f"{bomb}names: *i\ntrain: images/train\n", "nested beyond bounds": "[" * 5000,
    }.items():  # fmt: skip
        yield of_yolo(f"data.yaml is {name}", 2, "data", **{"data.yaml": text})
    for name, line in {
        "names is a number": "names: 5", "names is null": "names:", "names is text": "names: dog",
        "names is keyed by text": "names: {a: dog}", "names is a list of objects": "names: [{a: 1}, {b: 2}]",
        "names is nested": "names: [[dog], [cat]]", "nc is another": "names: [dog, cat]\nnc: 5",
        "nc is text": "names: [dog, cat]\nnc: two",
    }.items():  # fmt: skip
        text = f"train: images/train\nval: images/val\n{line}\n"
        yield of_yolo(name, 2, "data.yaml", **{"data.yaml": text})
    for name, entry in {
        "absent": "images/none", "a number": "5", "an object": "{a: 1}", "a list of numbers": "[1, 2]",
        "a binary file": "images/train/a.png", "a file of absent images": "list.txt", "a long name": LONG,
    }.items():  # fmt: skip
        text = f"train: {entry}\nval: images/val\nnames: [dog, cat]\n"
        yield of_yolo(f"train is {name}", 2, "data", **{"data.yaml": text, "list.txt": "none.png\n"})
    for name, text in {
        "of text": "dog .5 .5 .2 .2", "of four numbers": "0 .5 .5 .2", "of eight numbers": "0 .5 .5 .2 .2 .9 1 1",
        "of NaN": "0 nan .5 .2 .2", "of infinity": "0 inf .5 .2 .2", "of a class that is not there": "9 .5 .5 .2 .2",
        "of a class between two": "0.5 .5 .5 .2 .2", "of a negative class": "-1 .5 .5 .2 .2",
        "of NaN as class": "nan .5 .5 .2 .2", "in pixels": "0 20 15 8 6", "without area": "0 .5 .5 0 .2",
        "binary": bytes(range(128, 256)), "with commas": "0,.5,.5,.2,.2", "beyond bounds": f"0 .5 .5 {'9' * 400} .2",
    }.items():  # fmt: skip
        yield of_yolo(f"a label file is {name}", 2, "a.", **{"labels/train/a.txt": text})
    yield of_yolo("a label file is a folder", 2, "a.txt", **{"labels/train/a.txt": lambda path: path.mkdir()})
    yield of_yolo("a label file is a pipe", 2, "a.txt", **{"labels/train/a.txt": os.mkfifo})
    more = {"images/train/c.png": png(shade=7), "labels/train/c.txt": "0 .5 .5 .2 .2"}
    yield of_yolo("a label file is missing", 0, "no label file", **{"labels/train/a.txt": ...}, **more)
    yield of_yolo("all label files are missing", 2, "labels/train/a.txt", **{"labels/train/a.txt": ...})
    yield of_yolo("a label file is empty", 0, **{"labels/train/a.txt": ""})


def places() -> Iterator[Case]:
    yield Case("data: absent", ("inspect", "{none}"), {}, 2, ("none",))
    yield Case("data: an empty folder", INSPECT, {"data": lambda path: path.mkdir()}, 2, ("data",))
    yield Case("data: a file of text", ("inspect", "{a.txt}"), {"a.txt": "x"}, 2, ("a.txt",))
    yield Case("data: a pipe", ("inspect", "{p}"), {"p": os.mkfifo}, 2, ("p",))
    yield Case("data: a pipe as JSON", ("inspect", "{p.json}"), {"p.json": os.mkfifo}, 2, ("p.json",))
    yield Case("data: nothing", ("inspect",), {}, 2, ())
    yield Case("data: a long name", ("inspect", "x" * 5000), {}, 2, ("xxx",))
    yield Case("data: a NUL in its name", ("inspect", "a\0b"), {}, 2, ("a",))
    yield Case(
        "data: two formats",
        INSPECT,
        in_data({**yolo(), **voc(), **IMAGES, "instances_train.json": coco()}),
        2,
        ("data",),
    )


CASES = [*coco_files(), *coco_entries(), *images(), *voc_cases(), *yolo_cases(), *places()]
