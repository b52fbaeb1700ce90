"""Opening a data set of the size of COCO's training split: 118,000 images, 750,000 boxes.

Writes annotations with made-up boxes of 80 classes, with polygons where `--polygons` says so (COCO's have about 25
points), and 118,000 links to small JPEGs. Opens them in processes of their own: for the first time, with and without a
look at the header of every image, and for the second time. Time is the wall clock's and the processor's, memory is the
largest resident size of the whole process.

    python benchmarks/open_coco.py --polygons 25 --result benchmarks/results/open_coco.json
"""

import argparse
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from PIL import Image

SIDES = (640, 480)
LINKS = 60_000  # a file of ext4 has at most 65,000
BARS = {"first": {"seconds": 20.0, "megabytes": 1000.0}, "second": {"seconds": 3.0}}


def write(root: Path, images: int, boxes: int, points: int) -> Path:
    """annotations/instances_train2017.json and train2017/*.jpg."""
    random.seed(0)
    folder, file = root / "train2017", root / "annotations/instances_train2017.json"
    for place in (folder, file.parent):
        place.mkdir(parents=True, exist_ok=True)
    for k in range(images // LINKS + 1):
        Image.new("RGB", SIDES, (90, 120, 60)).save(root / f"{k}.jpg", quality=30)
    with file.open("w") as out:
        out.write('{"info": {"year": 2017}, "licenses": [], "images": [')
        for i in range(images):
            name = f"{i:012d}.jpg"
            if not (folder / name).exists():
                os.link(root / f"{i // LINKS}.jpg", folder / name)
            row = {"license": 3, "file_name": name, "coco_url": f"http://images.example.org/train2017/{name}",
                   "height": SIDES[1], "width": SIDES[0], "date_captured": "2013-11-14 11:18:45", "id": i}  # fmt: skip
            out.write((", " if i else "") + json.dumps(row))
        out.write('], "annotations": [')
        for i in range(boxes):
            x, y = random.uniform(0, 500), random.uniform(0, 400)
            w, h = random.uniform(2, 639 - x), random.uniform(2, 479 - y)
            polygon = [
                round(x + w * random.random() if j % 2 == 0 else y + h * random.random(), 2) for j in range(2 * points)
            ]
            row = {"segmentation": [polygon] if points else [], "area": round(w * h / 2, 4), "iscrowd": 0,
                   "image_id": random.randrange(images), "bbox": [round(v, 2) for v in (x, y, w, h)],
                   "category_id": random.randrange(80) + 1, "id": 900000 + i}  # fmt: skip
            out.write((", " if i else "") + json.dumps(row))
        names = [{"supercategory": "thing", "id": k + 1, "name": f"class {k}"} for k in range(80)]
        out.write(f'], "categories": {json.dumps(names)}}}')
    return root


def opened(root: Path, check: bool) -> dict[str, Any]:
    """Open the split in this process."""
    from focalkit.data import open_detection_data

    began, cpu = time.perf_counter(), sum(os.times()[:2])
    data = open_detection_data(root, "train", check=check)
    return {
        "seconds": round(time.perf_counter() - began, 2),
        "cpu_seconds": round(sum(os.times()[:2]) - cpu, 2),
        "megabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "images": len(data),
        "boxes": sum(len(image.boxes) for image in data.images),
    }


def in_a_process(root: Path, check: bool, cache: Path) -> dict[str, Any]:
    words = [sys.executable, __file__, "--open", str(root), *(["--check"] if check else [])]
    done = subprocess.run(
        words, capture_output=True, text=True, check=True, env={**os.environ, "XDG_CACHE_HOME": str(cache)}
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=118_000)
    parser.add_argument("--boxes", type=int, default=750_000)
    parser.add_argument("--polygons", type=int, default=0, metavar="POINTS", help="points of each; COCO has about 25")
    parser.add_argument("--data", type=Path, help="write them there and keep them")
    parser.add_argument("--result", type=Path)
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--check", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.open:
        print(json.dumps(opened(args.open, args.check)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        root = args.data or Path(temporary) / "coco"
        if not (root / "annotations/instances_train2017.json").is_file():
            write(root, args.images, args.boxes, args.polygons)
        rows = {}
        for name, check in (("without a look at the images", False), ("with a look at every header", True)):
            cache = Path(temporary) / f"cache{check}"
            rows[name] = {which: in_a_process(root, check, cache) for which in ("first", "second")}
            print(name, json.dumps(rows[name]), flush=True)
        size = (root / "annotations/instances_train2017.json").stat().st_size
    if args.result:
        from focalkit._runs import write_json_atomic

        about = {
            "command": f"python benchmarks/open_coco.py --polygons {args.polygons}",
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}",
            "load_average": round(os.getloadavg()[0], 1),
            "annotation_file_megabytes": round(size / 1e6),
            "points_per_polygon": args.polygons,
            "bars": BARS,
        }
        write_json_atomic(args.result, {**about, "rows": rows})


if __name__ == "__main__":
    main()
