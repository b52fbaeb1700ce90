"""Detect objects with a trained run, print them, and write drawn copies.

python examples/predict.py RUN OUT IMAGE...
"""

import sys
from pathlib import Path

from focalkit.detection import Detector, read_image


def main(run: Path, out: Path, images: list[Path]) -> None:
    detector = Detector.from_run(run, score_threshold=0.3)
    out.mkdir(parents=True, exist_ok=True)
    for path, found in zip(images, detector.predict(images), strict=True):
        print(f"{path}: {len(found)} objects")
        for box, score, label in zip(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True):
            name = found.names[label] if found.names else label
            print(f"  {name} {score:.2f} at {[round(x) for x in box]}")
        found.draw(read_image(path)).save(out / f"{path.stem}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), [Path(word) for word in sys.argv[3:]])
