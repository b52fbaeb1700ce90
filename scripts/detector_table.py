"""Write the table of all detectors into docs/set-prediction.md, from the recipes; `--check`: is it there already?"""

import sys
from pathlib import Path

from focalkit.config import CriterionConfig, ModelConfig
from focalkit.detection import DETECTORS
from focalkit.detection.models.detr.detector import SetDetector

PAGE = Path(__file__).parent.parent / "docs/set-prediction.md"
START, END = "<!-- detector-table -->\n", "<!-- /detector-table -->"
KINDS = {"binary": "labels", "quality": "qualities", "heat map": "heat maps"}
FLOAT = "ONNX, OpenVINO, torch.export"
WEIGHTS = {
    "deim": "DEIM's authors, Apache-2.0 (`--layout deim`)",
    "dfine": "its authors and transformers, Apache-2.0",
    "retinanet": "torchvision, BSD-3-Clause; Detectron2's zoo, CC BY-SA 3.0; MMDetection, Apache-2.0",
    "rtdetrv2": "its authors and transformers, Apache-2.0",
    "rtmdet": "MMDetection, Apache-2.0",
}
"""Whose trained detectors are read, and the licence that their publishers state."""


def table() -> str:
    heads = ("`model.detector`", "", "matched by", "losses of", "its own losses", "written as", "weights that are read")
    rows = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, recipe in DETECTORS.items():
        model = ModelConfig()
        matcher = type(recipe.matcher(model, CriterionConfig())).__name__
        matcher += ", in groups if wanted" if "model.decoder.groups" in recipe.reads else ""
        kinds = ", ".join(KINDS.get(kind, kind) for kind in recipe.class_targets)
        own = f"`{recipe.loss}` + {recipe.box_weight:g} × `{recipe.box_loss}`"
        int8 = "int8 but for the decoder" if recipe.model is SetDetector else "int8"
        cells = (f"`{name}`", recipe.title, matcher, kinds, own, f"{FLOAT}; {int8}", WEIGHTS.get(name, "none"))
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def main() -> int:
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(START)
    wanted = before + START + table() + END + rest.split(END)[1]
    if "--check" in sys.argv[1:]:
        return int(text != wanted)
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
