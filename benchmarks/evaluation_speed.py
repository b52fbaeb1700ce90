"""How long the evaluation of many detections takes, the model and its images aside, and how much memory.

    python benchmarks/evaluation_speed.py --out benchmarks/results/evaluation_speed.json

Made-up ground truth of 80 classes with seven boxes an image on average, and detections that are jittered truth, wrong
classes and noise, the best first. Timed is what `focalkit evaluate` does with them: COCO AP, matching, thresholds,
confusion, kinds of errors, and the two files; not the gallery, which reads a dozen images.
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import torch

from focalkit._files import dump_json, write_json_atomic
from focalkit.data import Category, DetectionData, ImageRecord
from focalkit.detection import Detections
from focalkit.evaluation.evaluate import Evaluation
from focalkit.evaluation.predict import coco_results
from focalkit.metrics import coco_ap

CLASSES, SIDE = 80, 640


def made_up(images: int, detections: int) -> tuple[DetectionData, dict[int, Detections]]:
    """A split and what a middling detector finds on it."""
    generator = torch.Generator().manual_seed(0)
    records, found = [], {}
    names = tuple(f"class {k}" for k in range(CLASSES))
    for number in range(1, images + 1):
        count = int(torch.randint(0, 15, (), generator=generator))
        corner = torch.rand(count, 2, generator=generator) * SIDE * 0.8
        boxes = torch.cat([corner, corner + 8 + torch.rand(count, 2, generator=generator) * SIDE * 0.2], 1)
        labels = torch.randint(0, CLASSES, (count,), generator=generator)
        records.append(
            ImageRecord(
                number,
                Path(f"{number}.jpg"),
                SIDE,
                SIDE,
                boxes=tuple((x0, y0, x1, y1) for x0, y0, x1, y1 in boxes.tolist()),
                labels=tuple(labels.tolist()),
                areas=tuple((boxes[:, 2:] - boxes[:, :2]).prod(1).tolist()),
                crowd=(False,) * count,
                annotation_ids=tuple(range(20 * number, 20 * number + count)),
            )
        )
        # a third near a box, the rest anywhere
        near = min(detections, 3 * count)
        rows = torch.randint(0, max(count, 1), (near,), generator=generator)
        moved = boxes[rows] + torch.randn(near, 4, generator=generator) * 4 if near else boxes.new_zeros(0, 4)
        noise_corner = torch.rand(detections - near, 2, generator=generator) * SIDE * 0.8
        noise = torch.cat(
            [noise_corner, noise_corner + 8 + torch.rand(detections - near, 2, generator=generator) * 90], 1
        )
        said = torch.cat([labels[rows], torch.randint(0, CLASSES, (detections - near,), generator=generator)])
        scores = torch.rand(detections, generator=generator) ** 2
        order = scores.argsort(descending=True)
        found[number] = Detections(torch.cat([moved, noise])[order], scores[order], said[order], names)
    categories = tuple(Category(k + 1, name) for k, name in enumerate(names))
    return DetectionData("val", categories, tuple(records), (), Path("made-up")), found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--detections", type=int, default=100)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    data, found = made_up(args.images, args.detections)
    before = peak()
    parts: dict[str, float] = {}
    processor: dict[str, float] = {}

    def timed(name, work):
        start, used = time.perf_counter(), time.process_time()
        result = work()
        parts[name] = round(time.perf_counter() - start, 2)
        processor[name] = round(time.process_time() - used, 2)
        return result

    truth = data.to_coco()
    results = timed("results", lambda: coco_results(found, data.category_ids))
    coco = timed("AP", lambda: coco_ap(truth, results, curves=True))
    evaluation = Evaluation(data, coco, found, 0.05, 0.0, "cpu", results)
    timed("matching", lambda: evaluation.matched)
    timed("images of the gallery", lambda: evaluation.matched.images)
    summary = timed("decisions", evaluation.summary)
    with tempfile.TemporaryDirectory() as folder:
        timed("evaluation.json", lambda: write_json_atomic(Path(folder) / "evaluation.json", summary))
        timed(
            "predictions.json",
            lambda: write_json_atomic(Path(folder) / "predictions.json", evaluation.predictions, indent=None),
        )
    result = {
        "images": args.images,
        "detections": args.images * args.detections,
        "boxes": sum(len(image.boxes) for image in data.images),
        "threads": torch.get_num_threads(),
        "seconds": round(sum(parts.values()), 2),
        "parts": parts,
        "processor_seconds": round(sum(processor.values()), 2),
        "processor_parts": processor,
        "gib": round((peak() - before) / 2**20, 2),
        "AP": coco.metrics["AP"],
    }
    print(json.dumps(result, indent=1))
    if args.out:
        write_json_atomic(args.out, json.loads(dump_json(result)))


def peak() -> int:
    """KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
