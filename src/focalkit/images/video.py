"""Video files and cameras frame by frame, and videos written frame by frame, by PyAV: `pip install 'focalkit[video]'`.

Not here: sound, tracking, several streams of one file.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from focalkit._files import replacing
from focalkit.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".m2ts")
"""Files that are taken for videos, in upper or lower case."""
CAMERAS = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}"), "win32": ("dshow", "video={}")}
"""System -> FFmpeg's input format and how it names a camera."""
USUAL_RATE = Fraction(25)
"""Frames per second where a source does not say."""
SHORT = 0.5
"""Seconds that may lack at the end before they are missed."""


@dataclass(frozen=True)
class Frame:
    """One picture of a video.

    Attributes:
        number: From 0; those that cannot be decoded count.
        seconds: Since the start; None where the source does not say.
        image: uint8 (3, h, w), upright.
    """

    number: int
    seconds: float | None
    image: Tensor


@dataclass(frozen=True)
class Video:
    """An open video.

    Attributes:
        rate: Frames per second.
        length: Frames, by the file's own word; 0 where it does not say.
        frames: They are decoded when their turn comes.
        problems: What could not be read, in words; complete when the frames have ended.
    """

    rate: Fraction
    length: int
    frames: Iterator[Frame]
    problems: list[str] = field(default_factory=list)


def is_video(path: Path) -> bool:
    """Whether the name says so."""
    return path.suffix.lower() in VIDEO_SUFFIXES


@contextmanager
def open_video(path: Path) -> Iterator[Video]:
    """A video file. Frames that cannot be decoded are left out, as players do, and counted in `Video.problems`.

    Raises:
        InputError: It is missing, cannot be read or has no pictures; or PyAV is not installed.
    """
    with _opened(str(path), str(path), None) as video:
        yield video


@contextmanager
def open_camera(name: str) -> Iterator[Video]:
    """A camera: its number from 0, on Windows its name. Frames come until the block ends.

    Raises:
        InputError: No such camera, or no right to use it; or PyAV is not installed.
    """
    kind, place = CAMERAS.get(sys.platform, CAMERAS["linux"])
    with _opened(place.format(name), f"camera {name}", kind) as video:
        yield video


@contextmanager
def _opened(place: str, shown: str, kind: str | None) -> Iterator[Video]:
    av = _av()
    try:
        container = av.open(place, format=kind)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{shown}: cannot be read as a video ({reason})") from error
    with container:
        if not container.streams.video:
            raise InputError(
                f"{shown}: has no pictures, only {', '.join(s.type for s in container.streams) or 'nothing'}"
            )
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        rate = stream.average_rate or stream.guessed_rate or USUAL_RATE
        problems: list[str] = []
        yield Video(Fraction(rate), stream.frames, _decoded(av, container, stream, problems), problems)


def _decoded(av: Any, container: Any, stream: Any, problems: list[str]) -> Iterator[Frame]:
    """The frames; what is wrong goes into `problems` at the end."""
    found = lost = end = 0
    # subtle: packet by packet, since `container.decode` is over with the first that fails
    for packet in _packets(av, container, stream, problems):
        try:
            decoded = stream.decode(packet)
        except av.error.EOFError:
            break
        except av.error.FFmpegError:
            decoded, lost = [], lost + 1
        for frame in decoded:
            pixels = torch.from_numpy(frame.to_ndarray(format="rgb24"))
            # subtle: telephones hold the sensor still and say by how much a player has to turn
            turns = round((getattr(frame, "rotation", 0) or 0) / 90) % 4
            yield Frame(found + lost, frame.time, torch.rot90(pixels, turns).permute(2, 0, 1).contiguous())
            found += 1
        if packet is not None and packet.pts is not None:
            end = max(end, packet.pts + (packet.duration or 0))
    if lost:
        problems.append(f"{max(lost, stream.frames - found)} of {max(stream.frames, found + lost)} frames are damaged")
    if not problems and stream.duration and (length := float(stream.duration * stream.time_base)):
        reached = float((end - (stream.start_time or 0)) * stream.time_base)
        if reached < length - SHORT:
            problems.append(f"ends after {reached:.1f} of {length:.1f} seconds: the rest of the file is missing")


def _packets(av: Any, container: Any, stream: Any, problems: list[str]) -> Iterator[Any]:
    """The packets; where they end too early one more, None, for which the decoder gives what it still holds."""
    try:
        yield from container.demux(stream)
    except av.error.EOFError:
        yield None
    except av.error.FFmpegError as error:  # a camera that is unplugged, a disk that fails
        problems.append(f"ends before its time: {error.strerror}")
        yield None


@contextmanager
def write_video(path: Path, rate: Fraction) -> Iterator[Callable[["Image.Image"], None]]:
    """Write an MP4 (H.264 where this FFmpeg has it) that appears whole or not at all; the block gets a function.

    Its pictures have the size of the first one, cut to even sides, which H.264 needs. Without pictures it is empty.

    Raises:
        InputError, WriteError: As `focalkit._files.replacing`.
    """
    av = _av()
    with replacing(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        streams: list[Any] = []

        def add(picture: "Image.Image") -> None:
            if not streams:
                codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
                stream = container.add_stream(codec, rate=rate)
                stream.width, stream.height = (max(2, side // 2 * 2) for side in picture.size)
                stream.pix_fmt = "yuv420p"
                streams.append(stream)
            (stream,) = streams
            fitted = picture.crop((0, 0, stream.width, stream.height))
            container.mux(stream.encode(av.VideoFrame.from_image(fitted)))

        yield add
        for stream in streams:
            container.mux(stream.encode(None))


def _av() -> Any:
    try:
        import av
    except ImportError:
        raise InputError("videos need the package av, not installed: pip install 'focalkit[video]'") from None
    return av
