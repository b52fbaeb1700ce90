"""Draw docs/assets/augmentations.jpg: each augmentation of training on a demo scene, with the boxes it leaves."""

import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from focalkit.config import AugmentConfig
from focalkit.data import DetectionDataset, open_detection_data, write_demo_scenes

FILE = Path(__file__).parent.parent / "docs/assets/augmentations.jpg"
SIDE = 240
STILL = {"flip": 0.0}
SHOWN = {
    "as it is": {},
    "flip": {"flip": 1.0},
    "scale": {"scale": (1.6, 1.6)},
    "crop": {"crop": 1.0},
    "translate": {"translate": 0.3},
    "color": {"color": 0.5},
    "rotate": {"rotate": 25.0},
    "shear": {"shear": 25.0},
    "blur": {"blur": 1.0},
    "noise": {"noise": 1.0},
    "jpeg": {"jpeg": 1.0},
    "erase": {"erase": 1.0},
    "mosaic": {"mosaic": 1.0},
    "mixup": {"mixup": 1.0},
    "copy_paste": {"copy_paste": 1.0},
}
COLUMNS = 5


def picture(dataset: DetectionDataset, name: str) -> Image.Image:
    image, target = dataset[0]
    drawn = Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).numpy()))
    draw = ImageDraw.Draw(drawn)
    for boxes, colour in ((target.boxes, "yellow"), (target.ignore_boxes, "grey")):
        for box in boxes.tolist():
            draw.rectangle(box, outline=colour, width=2)
    tile = Image.new("RGB", (SIDE + 8, SIDE + 24), "white")
    tile.paste(drawn.resize((SIDE, SIDE)) if max(drawn.size) > SIDE else drawn, (4, 20))
    ImageDraw.Draw(tile).text((6, 4), name, fill="black")
    return tile


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        write_demo_scenes(Path(folder), train=8, val=1, size=SIDE, seed=5)
        data = open_detection_data(folder, "train")
        tiles = []
        for name, changes in SHOWN.items():
            dataset = DetectionDataset(data, SIDE, SIDE, AugmentConfig(**{**STILL, **changes}), seed=3)
            tiles.append(picture(dataset, name))
    width, height = tiles[0].size
    sheet = Image.new("RGB", (COLUMNS * width, -(-len(tiles) // COLUMNS) * height), "white")
    for i, tile in enumerate(tiles):
        sheet.paste(tile, (i % COLUMNS * width, i // COLUMNS * height))
    sheet.save(FILE, quality=70)


if __name__ == "__main__":
    main()
