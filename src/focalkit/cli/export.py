"""`focalkit export`: a trained detector as an ONNX, OpenVINO or torch.export file, in float32, float16 or int8."""

import dataclasses
import json
import random
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from focalkit._text import printable
from focalkit.cli._flags import Flag
from focalkit.config import LayoutName
from focalkit.errors import InputError

if TYPE_CHECKING:
    from focalkit.detection import Detector
    from focalkit.export import Exported


CHECKED = 16
"""Images that `--check` looks at."""


@dataclass(frozen=True)
class Args:
    """Write a trained detector as a file that other runtimes execute.

    The network takes any batch and any image size (multiples of 32), unless they are fixed. Class names, thresholds,
    anchors and image sizes are in the file's metadata. `focalkit predict FILE` and `focalkit evaluate FILE` run it.
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run directory, as `focalkit train --out` wrote it, or a weights file"""
    format: Literal["onnx", "openvino", "torch-export", "weights"] = "onnx"
    """ONNX, OpenVINO (.xml and .bin), torch.export (.pt2; reading one runs code from it), or weights (.safetensors:
    data alone, for focalkit itself)"""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = None
    """File to write (default: RUN/model.onnx, .xml, .pt2 or .safetensors; of a weights file its own name with that
    ending)"""
    with_nms: Flag = False
    """Put the post-processing into the graph: boxes come out instead of raw outputs"""
    score_threshold: float = 0.05
    """Detections that score no more than this are dropped"""
    calibration: bool = True
    """Put in what `focalkit calibrate` left in the run: calibrated scores and thresholds per class"""
    posterior: Flag = False
    """Undo in the scores what training with focal loss did to them, instead of a calibration"""
    half: Flag = False
    """Write float16 weights: half the size, for GPUs and telephones; inputs and outputs stay float32"""
    opset: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="")] = None
    """Of ONNX, 18 to 23 (default: 20)"""
    image_size: Annotated[int | None, tyro.conf.arg(metavar="PIXELS", help_behavior_hint="")] = None
    """Fix height and width to this multiple of 32, for runtimes that want a fixed shape; images are padded to it"""
    batch: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="")] = None
    """With --image-size: fix the images per pass too (default: 1)"""
    check: Flag = False
    """Run the file and the detector on validation images, and print how far their detections differ"""
    int8: Flag = False
    """Quantise the network on training images of DATA, and print the AP before and after on its validation images"""
    data: Annotated[Path | None, tyro.conf.arg(metavar="DATA", help_behavior_hint="")] = None
    """For --int8 and --check: a data set (default: what the run was trained on)"""
    images: int = 300
    """For --int8: images to measure the ranges of activations on"""
    layout: Annotated[LayoutName, tyro.conf.arg(metavar="NAME")] = "auto"
    """For a weights file: whose it is: auto (looks at its names), focalkit, torchvision, detectron2, mmdet,
    rtdetr, dfine, deim or transformers"""
    coco80: Flag = False
    """For a weights file of torchvision with 91 class channels: keep the 80 classes of COCO"""
    trust: Flag = False
    """For a weights file: read it even if that runs code from it; only for files whose origin you know"""
    json: Flag = False
    """Print one JSON object on stdout"""


def main(argv: list[str]) -> int:
    """Parse and run."""
    return run(tyro.cli(Args, args=argv, prog="focalkit export"))


def run(args: Args) -> int:
    """Export, and say how near the file is to the detector."""
    from focalkit._runs import RunDir
    from focalkit.cli._calibrated import posterior_of, without_calibration
    from focalkit.detection import Detector
    from focalkit.evaluation.run import evaluated_threshold, open_split
    from focalkit.export import FORMATS, export_detector, load_exported

    if args.format == "weights":
        return run_weights(args)
    if args.data is not None and not (args.int8 or args.check):
        raise InputError("--data is for --int8 and --check, which use its images; add one of them or leave --data out")
    ending, single = FORMATS[args.format], args.run.is_file()
    out = args.out or (args.run.with_suffix(ending) if single else args.run / f"model{ending}")
    detector = Detector.open(
        args.run,
        "cpu",
        score_threshold=args.score_threshold,
        layout=args.layout,
        coco80=args.coco80,
        trust=args.trust,
    )
    if args.posterior:
        detector.calibration = posterior_of(args.run, detector)
    elif not args.calibration:
        without_calibration(detector)
    config = None if single else RunDir(args.run).read_config()
    sample = None
    if args.int8:
        train = open_split(config, args.data, "train", run=args.run)
        rng = random.Random(0)
        sample = [image.path for image in rng.sample(train.images, min(args.images, len(train)))]
    done = export_detector(
        detector,
        out,
        format=args.format,
        with_nms=args.with_nms,
        calibrate_on=sample,
        half=args.half,
        opset=args.opset,
        image_size=args.image_size,
        batch=args.batch,
        display_threshold=evaluated_threshold(args.run),
    )
    found: dict[str, Any] = {
        "file": str(done.path),
        "files": [str(file) for file in done.files],
        "bytes": sum(file.stat().st_size for file in done.files),
        "format": args.format,
        "with_nms": args.with_nms,
        "int8": args.int8,
        "half": args.half,
        "shape": done.info["shape"],
        "largest_difference": done.difference,
    }
    if args.int8:
        found |= drop(detector, load_exported(out), open_split(config, args.data, "val", run=args.run))
    if args.check:
        found["check"] = checked(detector, load_exported(out, trust=True), config, args)
    print(json.dumps(found) if args.json else printable(as_text(found, done)))
    return 0


def checked(detector: "Detector", file: "Detector", config: Any, args: Args) -> dict[str, Any]:
    """What both find on some validation images; on noise where no data set is known."""
    import torch

    from focalkit.evaluation.run import open_split
    from focalkit.export import compare_detections

    images: list[Any] = []
    if args.data is not None or config is not None:
        images = [image.path for image in open_split(config, args.data, "val", run=args.run).images[:CHECKED]]
    if not images:
        generator = torch.Generator().manual_seed(0)
        images = [torch.rand(3, side, 320, generator=generator) for side in (240, 320, 400)]
    return dataclasses.asdict(compare_detections(detector, file, images))


def run_weights(args: Args) -> int:
    """Write weights, structure and classes as data that focalkit builds the detector from again."""
    from focalkit.detection import load_weights, save_weights

    if args.int8 or args.with_nms or args.half or args.opset or args.image_size or args.check:
        raise InputError("flags of graphs, such as --int8 and --half; --format weights writes the weights as they are")
    out = args.out or (args.run / "model.safetensors" if args.run.is_dir() else args.run.with_suffix(".safetensors"))
    if out.exists() and args.run.exists() and out.samefile(args.run):
        raise InputError(f"{out}: is the file to read; choose another --out")
    save_weights(load_weights(args.run, args.layout, args.coco80, args.trust), out)
    size = out.stat().st_size
    found = {"file": str(out), "files": [str(out)], "bytes": size, "format": args.format}
    text = f"{out}  {size / 2**20:.1f} MiB\nnext     focalkit predict {shlex.quote(str(out))} PATHS... --out DIR"
    print(json.dumps(found) if args.json else printable(text))
    return 0


def drop(float32: "Detector", int8: "Detector", data: Any) -> dict[str, Any]:
    """AP and speed of both on the same images."""
    from focalkit.evaluation import evaluate_detector

    before = evaluate_detector(float32, data, label="AP of the run")
    after = evaluate_detector(int8, data, label="AP of the int8 file")
    ap = {"float32": before["metrics"]["AP"], "int8": after["metrics"]["AP"]}
    speed = {name: one["speed"]["images_per_second"] for name, one in (("float32", before), ("int8", after))}
    return {"images": len(data), "AP": {**ap, "drop": ap["float32"] - ap["int8"]}, "images_per_second": speed}


def as_text(found: dict[str, Any], done: "Exported") -> str:
    """The file, its size, and its distance from the run."""
    lines = [f"{file}  {file.stat().st_size / 2**20:.1f} MiB" for file in done.files]
    if found["largest_difference"] is not None:
        lines.append(f"raw outputs differ from the detector's by at most {found['largest_difference']:.1e}")
    check = found.get("check")
    if check and not check["detections"] and not check["added"]:
        raw = found["largest_difference"] is not None
        lines.append(
            f"check: neither the run nor the file detects anything on {check['images']} images, so their detections "
            f"say nothing; {'only the raw outputs above were compared' if raw else 'nothing was compared'}"
        )
    elif check:
        lines.append(
            f"check: of {check['detections']} detections on {check['images']} images the file misses "
            f"{check['missing']} and adds {check['added']}; the others differ by at most "
            f"{check['box_difference']:.2g} px and {check['score_difference']:.1e} in their scores"
        )
    if "AP" in found:
        ap = found["AP"]
        lines += [
            f"AP on {found['images']} images: {ap['float32']:.4f} in float32 (the run), {ap['int8']:.4f} in int8, "
            f"a drop of {ap['drop']:.4f}",
        ]
    trust = " --trust" if found["format"] == "torch-export" else ""
    lines += [f"next     focalkit predict {shlex.quote(found['file'])} PATHS... --out DIR{trust}"]
    return "\n".join(lines)
