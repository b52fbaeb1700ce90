"""Image files in `focalkit predict`: read in turn, looked at, drawn."""

from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from focalkit.cli._predictions import Predictions, Shot
from focalkit.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

    from focalkit.cli.predict import Args
    from focalkit.detection import AugmentedDetector, Detections, Detector, TiledDetector
    from focalkit.detection.inference.calibrated import Cut

DRAWN = 4096
"""Long side in pixels to which an image that is too large for memory is reduced to be drawn on."""


def predict_images(
    args: "Args", detector: Any, threshold: "Cut", files: Sequence[Path], names: dict[Path, str], into: Predictions
) -> list[str]:
    """Look at the image files; a line per file that cannot be read."""
    from focalkit._progress import track

    unreadable: list[str] = []
    stream = detections(detector, files, args.batch_size, unreadable, threshold, windows=args.tiles is not None)
    for image_id, file, size, found in stream if args.tiles else track(stream, len(files), "detecting"):
        shot = Shot(names[file], str(file), size, lambda file=file: picture_of(file))
        into.add(image_id, shot, found)
        if args.draw:
            save_drawn(found, shot, args.out / "drawn" / f"{shot.name}.jpg")
    return unreadable


def detections(
    detector: "Detector | AugmentedDetector | TiledDetector",
    files: Sequence[Path],
    batch_size: int,
    unreadable: list[str],
    threshold: "Cut" = None,
    *,
    windows: bool = False,
) -> Iterator[tuple[int, Path, tuple[int, int], "Detections"]]:
    """(image id, file, (height, width), detections) of what can be read; a line per file that cannot.

    With `windows` files that are too large for memory are read piece by piece.
    """
    from focalkit.images import LargePicture, is_large, read_image

    read: deque[tuple[int, Path, tuple[int, int]]] = deque()

    def readable() -> Iterator[Any]:
        for image_id, file in enumerate(files, 1):
            try:
                if windows and is_large(file):
                    image: Any = LargePicture(file)
                    size = image.height, image.width
                else:
                    image = read_image(file)
                    size = image.shape[1], image.shape[2]
            except InputError as error:
                unreadable.append(str(error))
            else:
                read.append((image_id, file, size))
                yield image

    if not windows:
        for found in detector.stream(readable(), threshold, batch_size):
            yield *read.popleft(), found
        return
    for image in readable():  # one by one: of a large one the damage shows while its windows are read
        try:
            (found,) = detector.stream([image], threshold, batch_size)
        except InputError as error:
            unreadable.append(str(error))
            read.popleft()
        else:
            yield *read.popleft(), found


def picture_of(file: Path) -> "Image.Image":
    """The image; of one that is too large for memory, the whole of it reduced."""
    from focalkit.images import LargePicture, is_large
    from focalkit.images.draw import to_pil

    return to_pil(LargePicture(file).overview(DRAWN) if is_large(file) else file)


def save_drawn(found: "Detections", shot: Shot, place: Path) -> None:
    """Draw and write, whole or not at all."""
    from focalkit._files import replacing

    picture = shot.picture()
    drawn = found.rescale(shot.size, (picture.height, picture.width)).draw(picture)
    with replacing(place) as temporary:
        drawn.save(temporary, "JPEG", quality=90)
