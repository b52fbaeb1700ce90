"""`focalkit predict`: objects in images, folders and videos, as COCO results and drawn, and in other formats."""

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from focalkit._text import printable
from focalkit.cli._flags import Flag, require_threshold
from focalkit.cli._frames import CAMERA, predict_videos
from focalkit.cli._images import predict_images
from focalkit.cli._predictions import Predictions
from focalkit.cli._sources import (
    names_of,
    note_earlier,
    note_left_out,
    note_undrawable,
    open_sources,
    refuse_overwriting,
)
from focalkit.config import LayoutName
from focalkit.errors import InputError

if TYPE_CHECKING:
    from focalkit.detection import AugmentedDetector, Detector, TiledDetector
    from focalkit.detection.inference.calibrated import Cut

THRESHOLD = 0.3
"""Where the run has not been evaluated."""
STDOUT = Path("-")


@dataclass(frozen=True)
class Args:
    """Detect objects in images, folders of images and videos, or use the winner of `focalkit compare`.

    Writes into OUT: predictions.json (COCO results: a list of image_id, category_id, bbox, score), images.json (which
    image or frame has which id, and the categories, in COCO form), and drawn/ with the boxes on the images and videos.
    A file, or a part of a video, that cannot be read is reported and left out; the exit status is then 2.

    With a cell of a comparison (`OUT/best`) and a file of new data: a csv with the probability and the decision for
    every row, into --out (a csv file or a folder) or to stdout. The winner of a comparison of detectors is used as any
    other detector.
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run directory, as `focalkit train --out` wrote it, a file that `focalkit export` wrote, a weights file, or
    `OUT/best` of `focalkit compare --out OUT`"""
    paths: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PATHS...", help_behavior_hint="")]
    """Image and video files, folders with their subfolders, patterns such as 'photos/*.jpg' in quotes, addresses (with
    --allow-network). With a cell of a comparison: one file of new data"""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR", help_behavior_hint="")] = STDOUT
    """Folder to write to; needed for images"""
    score_threshold: Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="")] = None
    """Detections that score no more than this are left out (default: the thresholds of the run's calibration, or the
    one with the best F1 in its evaluation or on a cell's validation data, else 0.3)"""
    calibration: bool = True
    """Apply what `focalkit calibrate` left in the run or the file: calibrated scores and thresholds per class"""
    posterior: Flag = False
    """Undo in the scores what training with focal loss did to them (gamma and alpha of the run), instead of a
    calibration; for detectors whose score is the class's probability alone"""
    draw: bool = True
    """Write the images with the boxes drawn on them"""
    save_txt: Flag = False
    """Write labels/ in YOLO's form too: class and box, without the score, as labels are; and classes.txt"""
    save_voc: Flag = False
    """Write voc/ too: an XML file per image, as Pascal VOC's"""
    save_csv: Flag = False
    """Write predictions.csv too: a row per box"""
    save_crops: Flag = False
    """Write crops/CLASS/ too: what is inside each box"""
    batch_size: int = 8
    """Images per pass through the model"""
    compile: Flag = False
    """Compile the network first, half a minute or more for each new size: for a GPU and thousands of images of few
    sizes; on CPUs it has gained nothing"""
    every: int = 1
    """Of a video: look at every n-th frame"""
    camera: Annotated[str | None, tyro.conf.arg(metavar="NUMBER", help_behavior_hint="")] = None
    """Look at what a camera sees, 0 for the first (on Windows its name), until Ctrl-C or --seconds"""
    seconds: Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="")] = None
    """Of a video or camera: end after so many"""
    allow_network: Flag = False
    """Fetch images and videos given by their http(s) address, into OUT/downloads"""
    tta: Flag = False
    """Look at every image at several sizes and mirrored, and merge what is found"""
    tta_scales: Annotated[tuple[float, ...], tyro.conf.arg(metavar="FLOAT...")] = (0.8, 1.0, 1.25)
    """For --tta: factors on the size to which images are resized"""
    tiles: Annotated[int | None, tyro.conf.arg(metavar="PIXELS", help_behavior_hint="")] = None
    """Cut large images into overlapping tiles of this side, for objects that are small in them"""
    overlap: float = 0.2
    """For --tiles: share of a tile's side; objects should be smaller than three quarters of it"""
    layout: Annotated[LayoutName, tyro.conf.arg(metavar="NAME")] = "auto"
    """For a weights file: whose it is: auto (looks at its names), focalkit, torchvision, detectron2, mmdet,
    rtdetr, dfine, deim or transformers"""
    coco80: Flag = False
    """For a weights file of torchvision with 91 class channels: keep the 80 classes of COCO"""
    trust: Flag = False
    """For a weights file or a .pt2: read it even if that runs code from it; only for files whose origin you know"""
    device: Annotated[str | None, tyro.conf.arg(metavar="DEVICE", help_behavior_hint="")] = None
    """cpu, cuda, cuda:1, ... (default: a GPU where there is one)"""
    split: Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")] = None
    """Of a run, instead of PATHS: the images of this split of its data: train, val, test or all"""
    json: Flag = False
    """Print one JSON object on stdout"""


def main(argv: list[str]) -> int:
    """Parse and run."""
    return run(tyro.cli(Args, args=argv, prog="focalkit predict"))


def run(args: Args) -> int:
    """Predict, write, and say what was found and what could not be read."""
    from focalkit._files import make_folder

    if is_cell_of_comparison(args.run):
        cell = detector_of_cell(args.run)
        if cell is None:
            from focalkit.cli._rows import predict_rows

            out = None if args.out == STDOUT else args.out
            return predict_rows(args.run, tuple(map(Path, args.paths)), out, args.json, args.posterior)
        weights, best = cell
        # the cell's threshold is of the scores as they come out, not of posteriors
        threshold = best if args.score_threshold is None and not args.posterior else args.score_threshold
        args = replace(args, run=weights, score_threshold=threshold)
    if args.split is not None:
        args = replace(args, paths=paths_of_split(args))
    check(args)
    note_left_out(args.paths)
    sources = open_sources(args.paths, args.out, args.allow_network)  # everything is there, before the model is loaded
    names = names_of(sources.images, [*sources.videos, *[CAMERA][: args.camera is not None]])
    if args.draw:
        endings = [(file, "jpg") for file in sources.images] + [(file, "mp4") for file in sources.videos]
        drawn = [args.out / "drawn" / f"{names[file]}.{ending}" for file, ending in endings]
        refuse_overwriting(names, drawn)
    detector, threshold = open_detector(args)
    if args.draw:
        note_undrawable(detector.names or ())
    make_folder(args.out)  # a place that cannot be written to is known before the work
    flags = {"drawn": args.draw, "labels": args.save_txt, "voc": args.save_voc, "crops": args.save_crops}
    note_earlier(args.out, [name for name, asked in flags.items() if asked])
    into = Predictions(
        args.out,
        detector.names or (),
        detector.category_ids,
        txt=args.save_txt,
        voc=args.save_voc,
        csv=args.save_csv,
        crops=args.save_crops,
    )
    unreadable = predict_images(args, detector, threshold, sources.images, names, into)
    unreadable += predict_videos(args, detector, threshold, sources.videos, names, into, len(sources.images) + 1)
    into.finish()
    report(args, threshold, into, unreadable)
    return 2 if unreadable else 0


def check(args: Args) -> None:
    """Raises InputError where the flags cannot be."""
    if args.out == STDOUT:
        raise InputError("--out is missing; expected `focalkit predict RUN PATHS... --out DIR`")
    if not args.paths and args.camera is None:
        raise InputError("no images given; expected `focalkit predict RUN PATHS... --out DIR`")
    require_threshold(args.score_threshold)
    for flag, value in (("--batch-size", args.batch_size), ("--every", args.every)):
        if value < 1:
            raise InputError(f"{flag} must be at least 1, got {value}")
    if args.seconds is not None and not args.seconds > 0:
        raise InputError(f"--seconds must be above 0, got {args.seconds:g}")


def is_cell_of_comparison(run: Path) -> bool:
    """Whether RUN is one, without importing what comparisons need."""
    return any((run / name).is_file() for name in ("cell.json", "plan.json")) or (run.is_file() and run.name == "best")


def detector_of_cell(run: Path) -> tuple[Path, float] | None:
    """The weights file of a cell that found boxes and its threshold; None where its task has one class per item."""
    from focalkit.compare.predictor import cell_folder
    from focalkit.compare.store import Cell
    from focalkit.tasks import is_built_in, open_task

    cell = Cell(cell_folder(run))
    task = cell.record.get("task", "")
    if not is_built_in(task) or open_task(task).name != "detection":
        return None
    from focalkit.tasks.detection import best_threshold

    return cell.folder / "model.safetensors", best_threshold(cell.val)


def open_detector(args: Args) -> "tuple[Detector | AugmentedDetector | TiledDetector, Cut]":
    """The detector that the flags describe, and the score from which on its detections are reported.

    Raises:
        InputError: No such run or file, or flags with impossible values.
    """
    from focalkit._progress import track
    from focalkit.cli._calibrated import posterior_of, without_calibration
    from focalkit.cli._exported import metadata, open_exported
    from focalkit.detection import AugmentedDetector, Detector, TiledDetector, compiled, folded
    from focalkit.detection.inference.tiles import check_tiles
    from focalkit.detection.inference.tta import check_scales
    from focalkit.evaluation.run import evaluated_threshold
    from focalkit.export import is_exported

    if is_exported(args.run):
        single = open_exported(args.run, args.device, trust=args.trust)
        usual = metadata(single)["display_threshold"]
    else:
        single = Detector.open(args.run, args.device, layout=args.layout, coco80=args.coco80, trust=args.trust)
        usual = evaluated_threshold(args.run)
    if args.posterior:
        single.calibration = posterior_of(args.run, single)
    elif not args.calibration:
        without_calibration(single)
    if not is_exported(args.run):
        single = compiled(single) if args.compile else folded(single)
    elif args.compile:
        raise InputError(f"--compile is for PyTorch; {args.run} runs in a runtime of its own")
    threshold: Cut = THRESHOLD if usual is None or single.calibration is not None else usual
    if single.calibration is not None and single.calibration.thresholds is not None:
        threshold = "calibrated"
    threshold = threshold if args.score_threshold is None else args.score_threshold
    detector: Detector | AugmentedDetector | TiledDetector = single
    try:
        check_scales(args.tta_scales)  # in any case: a wrong flag is told
        check_tiles(1 if args.tiles is None else args.tiles, args.overlap)
        if args.tta:
            detector = AugmentedDetector(single, args.tta_scales)
        if args.tiles is not None:
            progress = lambda found, total: track(found, total, "tiles")  # noqa: E731
            detector = TiledDetector(detector, args.tiles, args.overlap, progress=progress)
    except ValueError as error:
        raise InputError(str(error)) from error
    return detector, threshold


def paths_of_split(args: Args) -> tuple[str, ...]:
    """The images of a split of the run's data.

    Raises:
        InputError: No run, paths beside it, or data that are not there any more.
    """
    from focalkit._runs import RunDir
    from focalkit.evaluation.run import open_split

    if args.paths or args.run.is_file():
        raise InputError(
            f"--split {args.split}: takes the images of a run's data, and goes with neither paths nor files"
        )
    data = open_split(RunDir(args.run).read_config(), None, args.split or "", check=False, run=args.run)
    return tuple(str(image.path) for image in data.images)


def report(args: Args, threshold: "Cut", found: Predictions, unreadable: list[str]) -> None:
    """Unreadable files to stderr, the result to stdout."""
    for line in unreadable:
        print(printable(f"skipped: {line}"), file=sys.stderr)
    places = {"predictions": args.out / "predictions.json", "images_list": args.out / "images.json"}
    images, objects = len(found.images), len(found.results)
    wanted = {
        "drawn": (args.draw and images, "drawn"),
        "labels": (args.save_txt and images, "labels"),
        "classes": (args.save_txt, "classes.txt"),
        "voc": (args.save_voc and images, "voc"),
        "csv": (args.save_csv, "predictions.csv"),
        "crops": (args.save_crops and objects, "crops"),
    }
    places |= {key: args.out / name for key, (written, name) in wanted.items() if written}
    if args.json:
        files = {key: str(place) for key, place in places.items()}
        numbers = {"images": images, "detections": objects, "score_threshold": threshold, "unreadable": unreadable}
        print(json.dumps({**numbers, **files}))
    else:
        skipped = f", {len(unreadable)} skipped" if unreadable else ""
        above = f"above {threshold:g}" if isinstance(threshold, float) else "at the calibrated thresholds"
        print(printable(f"{objects} detections {above} in {images} images{skipped}"))
        print(printable("\n".join(str(place) for place in places.values())))
