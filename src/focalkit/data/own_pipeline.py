"""An augmentation of your own, named as `my.py:pipeline`: albumentations', torchvision's, or any callable.

It gets each image of the training split in the size of its file, after copy-paste. Nothing is imported unless the
configuration names it.
"""

import hashlib
import importlib
import random
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torchvision import tv_tensors

from focalkit._modules import run_file
from focalkit.data.transforms import Sample
from focalkit.errors import ConfigError, InputError

IGNORED = -1
"""Label of the regions to ignore that a pipeline moves along with the boxes"""
_SPEC = re.compile(r"([A-Za-z_][\w.]*|.*\.py):([A-Za-z_]\w*)", re.DOTALL)

Pipeline = Callable[..., Mapping[str, Any]]


def content_of(spec: str) -> str:
    """A hash of the file of `folder/my.py:pipeline`, to tell later whether it is the same; "" of a module or none."""
    file = Path(spec.strip().rpartition(":")[0])
    try:
        return hashlib.blake2b(file.read_bytes(), digest_size=8).hexdigest() if file.suffix == ".py" else ""
    except OSError:
        return ""


@lru_cache(maxsize=8)
def load_pipeline(spec: str, content: str = "") -> Pipeline:
    """Import what `folder/my.py:pipeline` or `my_package.module:pipeline` names, which runs that file.

    Once for each `content` (`content_of`): an edited file is another pipeline, to all that ask for it from then on.

    Raises:
        ConfigError: It cannot be imported, or is no callable.
    """
    match = _SPEC.fullmatch(spec.strip())
    if match is None:
        raise ConfigError(f"augment.pipeline is {spec!r}, expected a file and a name in it, such as my.py:pipeline")
    where, name = match.groups()
    try:
        module = (
            run_file(Path(where), f"focalkit_pipeline_{Path(where).stem}")
            if where.endswith(".py")
            else importlib.import_module(where)
        )
        found = getattr(module, name)
    except Exception as error:
        raise ConfigError(f"augment.pipeline {spec}: cannot be imported: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise ConfigError(f"augment.pipeline {spec}: is {type(found).__name__}, expected something to call")
    return cast("Pipeline", found)


def run_pipeline(pipeline: Pipeline, sample: Sample, generator: torch.Generator, source: str = "pipeline") -> Sample:
    """Let a pipeline change a sample.

    A torchvision transform (an `nn.Module`) is called with one dictionary of `image`, `bboxes` and `labels`, of
    torchvision's types. Anything else, as albumentations has it, with these three as keyword arguments: `image` uint8
    (h, w, 3), `bboxes` float32 (m, 4), xyxy in pixels (albumentations' "pascal_voc"), `labels` int64 (m,), where -1
    marks regions to ignore; it returns a mapping with the same keys. Python's, numpy's and torch's sources of chance,
    and the pipeline's own `set_random_seed` where it has one, are set from the sample's generator.

    Raises:
        InputError: It fails, or returns something else.
    """
    boxes = torch.cat([sample.boxes, sample.ignore_boxes])
    labels = torch.cat([sample.labels, torch.full((len(sample.ignore_boxes),), IGNORED)])
    with _seeded(pipeline, generator):
        try:
            if isinstance(pipeline, torch.nn.Module):
                typed = tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=sample.size)  # pyright: ignore[reportCallIssue]
                found = pipeline({"image": tv_tensors.Image(sample.image), "bboxes": typed, "labels": labels})
                image = torch.as_tensor(found["image"]).as_subclass(torch.Tensor)
            else:
                array = np.ascontiguousarray(sample.image.permute(1, 2, 0).numpy())
                found = pipeline(image=array, bboxes=boxes.numpy(), labels=labels.numpy())
                image = torch.from_numpy(np.ascontiguousarray(found["image"])).permute(2, 0, 1).contiguous()
            boxes = torch.as_tensor(np.asarray(found["bboxes"], dtype=np.float32)).reshape(-1, 4)
            labels = torch.as_tensor(np.asarray(found["labels"])).to(torch.int64).reshape(-1)
        except Exception as error:
            raise InputError(f"{source}: the augmentation fails: {type(error).__name__}: {error}") from error
    _check(image, boxes, labels, source)
    ignored = labels == IGNORED
    return Sample(image, boxes[~ignored], labels[~ignored], boxes[ignored])


def _check(image: torch.Tensor, boxes: torch.Tensor, labels: torch.Tensor, source: str) -> None:
    if image.ndim != 3 or image.shape[0] != 3 or image.dtype != torch.uint8:
        raise InputError(f"{source}: the image is {image.dtype} {tuple(image.shape)}, expected uint8 of three colours")
    height, width = image.shape[-2:]
    most = torch.tensor([width, height, width, height])
    if len(boxes) != len(labels):
        raise InputError(f"{source}: {len(boxes)} boxes and {len(labels)} labels, expected as many")
    wrong = ~((boxes >= 0) & (boxes <= most)).all(1) | ~(boxes[:, 2:] > boxes[:, :2]).all(1)
    if wrong.any():
        raise InputError(
            f"{source}: box {boxes[wrong][0].tolist()} is not inside of the {width}x{height} image or has no area;"
            " expected x0, y0, x1, y1 in pixels (albumentations' pascal_voc)"
        )


@contextmanager
def _seeded(pipeline: Pipeline, generator: torch.Generator) -> Iterator[None]:
    """The global sources of chance set for the block, and put back."""
    seed = int(torch.randint(2**31, (), generator=generator))
    python, tensor = random.getstate(), torch.get_rng_state()
    array = np.random.get_state()  # noqa: NPY002  pipelines may draw from it
    try:
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.default_generator.manual_seed(seed)
        if callable(reseed := getattr(pipeline, "set_random_seed", None)):
            reseed(seed)
        yield
    finally:
        random.setstate(python)
        np.random.set_state(array)  # noqa: NPY002
        torch.set_rng_state(tensor)
