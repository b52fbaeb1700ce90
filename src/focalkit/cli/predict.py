"""`focalkit predict`: objects in image files and folders, as COCO results and as drawn images."""

import json
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from focalkit._text import printable
from focalkit.cli._flags import Flag, require_threshold
from focalkit.config import LayoutName
from focalkit.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from focalkit.detection import AugmentedDetector, Detections, Detector, TiledDetector
    from focalkit.detection.inference.calibrated import Cut

THRESHOLD = 0.3
"""Where the run has not been evaluated."""
STDOUT = Path("-")


@dataclass(frozen=True)
class Args:
    """Detect objects in image files and folders (PNG, JPEG, WebP, TIFF), or use the winner of `focalkit compare`.

    Writes into OUT: predictions.json (COCO results: a list of image_id, category_id, bbox, score), images.json (which
    image has which id, and the categories, in COCO form), and drawn/ with the boxes on the images. A file that cannot
    be read is reported and left out; the exit status is then 2.

    With a cell of a comparison (`OUT/best`) and a file of new data: a csv with the probability and the decision for
    every row, into --out (a csv file or a folder) or to stdout. The winner of a comparison of detectors is used as any
    other detector.
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run directory, as `focalkit train --out` wrote it, a file that `focalkit export` wrote, a weights file, or
    `OUT/best` of `focalkit compare --out OUT`"""
    paths: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PATHS...", help_behavior_hint="")]
    """Image files and folders; folders with their subfolders. With a cell of a comparison: one file of new data"""
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
    batch_size: int = 8
    """Images per pass through the model"""
    tta: Flag = False
    """Look at every image at several sizes and mirrored, and merge what is found"""
    tta_scales: Annotated[tuple[float, ...], tyro.conf.arg(metavar="FLOAT...")] = (0.8, 1.0, 1.25)
    """For --tta: factors on the size to which images are resized"""
    tiles: Annotated[int | None, tyro.conf.arg(metavar="PIXELS", help_behavior_hint="")] = None
    """Cut large images into overlapping tiles of this side, for objects that are small in them"""
    overlap: float = 0.2
    """For --tiles: share of a tile's side; objects should be smaller than three quarters of it"""
    layout: Annotated[LayoutName, tyro.conf.arg(metavar="NAME")] = "auto"
    """For a weights file: whose it is: auto (looks at its names), focalkit, torchvision, detectron2 or mmdet"""
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
    from focalkit._files import make_folder, write_json_atomic
    from focalkit._progress import track

    if is_cell_of_comparison(args.run):
        cell = detector_of_cell(args.run)
        if cell is None:
            from focalkit.cli._rows import predict_rows

            out = None if args.out == STDOUT else args.out
            return predict_rows(args.run, args.paths, out, args.json, args.posterior)
        weights, best = cell
        # the cell's threshold is of the scores as they come out, not of posteriors
        threshold = best if args.score_threshold is None and not args.posterior else args.score_threshold
        args = replace(args, run=weights, score_threshold=threshold)
    if args.out == STDOUT:
        raise InputError("--out is missing; expected `focalkit predict RUN PATHS... --out DIR`")
    if args.split is not None:
        args = replace(args, paths=paths_of_split(args))
    if not args.paths:
        raise InputError("no images given; expected `focalkit predict RUN PATHS... --out DIR`")
    require_threshold(args.score_threshold)
    if args.batch_size < 1:
        raise InputError(f"--batch-size must be at least 1, got {args.batch_size}")
    note_left_out(args.paths)
    files = inputs(args)  # everything is there, before the model is loaded
    drawn = targets(files, args.out / "drawn") if args.draw else {}
    detector, threshold = open_detector(args)
    if args.draw:
        note_undrawable(detector.names or ())
    make_folder(args.out)  # a place that cannot be written to is known before the work
    images: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    unreadable: list[str] = []
    stream = detections(detector, files, args.batch_size, unreadable, threshold)
    for image_id, file, size, found in stream if args.tiles else track(stream, len(files), "detecting"):
        images.append({"id": image_id, "file_name": str(file), "height": size[0], "width": size[1]})
        results += found.to_coco(image_id, detector.category_ids)
        if args.draw:
            save_drawn(found, file, drawn[file])
    categories = [{"id": i, "name": n} for i, n in zip(detector.category_ids or (), detector.names or (), strict=True)]
    write_json_atomic(args.out / "predictions.json", results, indent=None)
    write_json_atomic(args.out / "images.json", {"images": images, "categories": categories})
    report(args, threshold, len(images), len(results), unreadable)
    return 2 if unreadable else 0


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
    from focalkit.detection import AugmentedDetector, Detector, TiledDetector
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
    threshold: Cut = THRESHOLD if usual is None or single.calibration is not None else usual
    if single.calibration is not None and single.calibration.thresholds is not None:
        threshold = "calibrated"
    threshold = threshold if args.score_threshold is None else args.score_threshold
    detector: Detector | AugmentedDetector | TiledDetector = single
    try:
        if args.tta:
            detector = AugmentedDetector(single, args.tta_scales)
        if args.tiles is not None:
            progress = lambda found, total: track(found, total, "tiles")  # noqa: E731
            detector = TiledDetector(detector, args.tiles, args.overlap, progress=progress)
    except ValueError as error:
        raise InputError(str(error)) from error
    return detector, threshold


def paths_of_split(args: Args) -> tuple[Path, ...]:
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
    return tuple(image.path for image in data.images)


def inputs(args: Args) -> list[Path]:
    """The images, each once. A folder that holds OUT gives them without what an earlier call has drawn into it."""
    from focalkit.images import find_images

    drawn = (args.out / "drawn").resolve()
    files: dict[Path, Path] = {}
    for given in args.paths:
        around = given.resolve() in drawn.parents
        for file in find_images(given):
            place = file.resolve()
            if not (around and drawn in place.parents):
                files.setdefault(place, file)
    return list(files.values())


def note_left_out(paths: Iterable[Path]) -> None:
    """Say which files of the folders are not taken for images."""
    from focalkit._files import is_folder
    from focalkit.images import left_out

    for folder in filter(is_folder, paths):
        if rest := left_out(folder):
            listed = ", ".join(f"{count} {suffix}" for suffix, count in list(rest.items())[:10])
            print(printable(f"note: {folder}: left out, not images by their names: {listed}"), file=sys.stderr)


def note_undrawable(names: Sequence[str]) -> None:
    """Say which classes are drawn by their number."""
    from focalkit.images.draw import undrawable

    if missing := undrawable(names):
        listed = ", ".join(f"class {names.index(name)} = {name}" for name in missing[:10])
        print(printable(f"note: no font here has the letters of {len(missing)} class names: {listed}"), file=sys.stderr)


def targets(files: Iterable[Path], folder: Path) -> dict[Path, Path]:
    """Where each image is drawn to: its own name as a JPEG, numbered where two files share one.

    Raises:
        InputError: It would replace one of the images.
    """
    taken: set[str] = set()
    places: dict[Path, Path] = {}
    for file in files:
        name, number = file.stem, 1
        while name.lower() in taken:
            number += 1
            name = f"{file.stem}-{number}"
        taken.add(name.lower())
        places[file] = folder / f"{name}.jpg"
    sources = {file.resolve() for file in places}
    for place in places.values():
        if place.resolve() in sources:
            raise InputError(f"{place}: is one of the images and would be drawn over; choose another --out")
    return places


def detections(
    detector: "Detector | AugmentedDetector | TiledDetector",
    files: list[Path],
    batch_size: int,
    unreadable: list[str],
    threshold: "Cut" = None,
) -> Iterator[tuple[int, Path, tuple[int, int], "Detections"]]:
    """(image id, file, (height, width), detections) of what can be read; a line per file that cannot."""
    from focalkit.detection import read_image

    read: deque[tuple[int, Path, tuple[int, int]]] = deque()

    def readable() -> Iterator["Tensor"]:
        for image_id, file in enumerate(files, 1):
            try:
                image = read_image(file)
            except InputError as error:
                unreadable.append(str(error))
            else:
                read.append((image_id, file, (image.shape[1], image.shape[2])))
                yield image

    for found in detector.stream(readable(), threshold, batch_size):
        yield *read.popleft(), found


def save_drawn(found: "Detections", file: Path, place: Path) -> None:
    """Draw and write, whole or not at all."""
    from focalkit._files import replacing

    picture = found.draw(file)
    with replacing(place) as temporary:
        picture.save(temporary, "JPEG", quality=90)


def report(args: Args, threshold: "Cut", images: int, objects: int, unreadable: list[str]) -> None:
    """Unreadable files to stderr, the result to stdout."""
    for line in unreadable:
        print(printable(f"skipped: {line}"), file=sys.stderr)
    places = {"predictions": args.out / "predictions.json", "images_list": args.out / "images.json"}
    if args.draw:
        places["drawn"] = args.out / "drawn"
    if args.json:
        files = {key: str(place) for key, place in places.items()}
        found = {"images": images, "detections": objects, "score_threshold": threshold, "unreadable": unreadable}
        print(json.dumps({**found, **files}))
    else:
        skipped = f", {len(unreadable)} skipped" if unreadable else ""
        above = f"above {threshold:g}" if isinstance(threshold, float) else "at the calibrated thresholds"
        print(f"{objects} detections {above} in {images} images{skipped}")
        print("\n".join(str(place) for place in places.values()))
