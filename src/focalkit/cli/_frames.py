"""Videos and cameras in `focalkit predict`: every n-th frame looked at, and a video with the boxes drawn."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from focalkit._text import printable
from focalkit.cli._predictions import Predictions, Shot
from focalkit.errors import InputError

CAMERA = Path("camera")
"""Stands for the camera where files have names."""

if TYPE_CHECKING:
    from focalkit.cli.predict import Args
    from focalkit.detection.inference.calibrated import Cut
    from focalkit.images.video import Frame, Video


def predict_video(
    detector: Any,
    video: "Video",
    source: str,
    name: str,
    into: Predictions,
    first_id: int,
    *,
    every: int,
    seconds: float | None,
    threshold: "Cut",
    batch_size: int,
    drawn: Path | None,
) -> int:
    """Look at the frames and put what is found into `into`; the number of frames looked at.

    Ctrl-C ends the video and keeps what was found until then.

    Args:
        detector: With `predict`.
        video: Open.
        source: The file, or the camera; for the results.
        name: Of its frames' own files.
        into: Gets a picture per frame, with the ids from `first_id` on.
        every: Look at every n-th frame.
        seconds: End after so many.
        threshold, batch_size: As `Detector.predict`.
        drawn: Write a video with the boxes here.
    """
    from focalkit._progress import track
    from focalkit.images.draw import to_pil
    from focalkit.images.video import write_video

    count = 0
    with ExitStack() as stack:
        write = None if drawn is None else stack.enter_context(write_video(drawn, video.rate / every))
        try:
            frames = track(chosen(video, every, seconds), video.length // every, "detecting")
            while batch := list(islice(frames, batch_size)):
                for frame, found in zip(
                    batch, detector.predict([f.image for f in batch], threshold, batch_size), strict=True
                ):
                    size = (frame.image.shape[1], frame.image.shape[2])
                    picture = lambda frame=frame: to_pil(frame.image)  # noqa: E731
                    shot = Shot(f"{name}-{frame.number:06d}", source, size, picture, (frame.number, frame.seconds))
                    into.add(first_id + count, shot, found)
                    if write is not None:
                        write(found.draw(frame.image))
                    count += 1
        except KeyboardInterrupt:
            print(printable(f"{source}: stopped after {count} frames"), file=sys.stderr)
        if not count:
            raise InputError(f"{source}: not one frame of it can be decoded")
    return count


def chosen(video: "Video", every: int, seconds: float | None) -> "Iterator[Frame]":
    """Every n-th frame, up to a time."""
    for frame in video.frames:
        time = float(frame.number / video.rate) if frame.seconds is None else frame.seconds
        if seconds is not None and time > seconds:
            return
        if frame.number % every == 0:
            yield frame


def predict_videos(
    args: "Args",
    detector: Any,
    threshold: "Cut",
    files: Sequence[Path],
    names: dict[Path, str],
    into: Predictions,
    first_id: int,
) -> list[str]:
    """Look at the video files and the camera; a line for what cannot be read."""
    from focalkit.images.video import open_camera, open_video

    unreadable: list[str] = []
    opened = [(str(file), names[file], open_video(file)) for file in files]
    if args.camera is not None:
        opened.append((f"camera {args.camera}", names[CAMERA], open_camera(args.camera)))
    for source, name, video in opened:
        try:
            with ExitStack() as stack:
                opened_video = stack.enter_context(video)
                first_id += predict_video(
                    detector,
                    opened_video,
                    source,
                    name,
                    into,
                    first_id,
                    every=args.every,
                    seconds=args.seconds,
                    threshold=threshold,
                    batch_size=args.batch_size,
                    drawn=args.out / "drawn" / f"{name}.mp4" if args.draw else None,
                )
                unreadable += [f"{source}: {problem}" for problem in opened_video.problems]
        except InputError as error:
            unreadable.append(str(error))
    return unreadable
