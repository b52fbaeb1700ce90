"""A fitted network for images, and the same from its files."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from focalkit._files import read_json, write_json_atomic
from focalkit.errors import DataError

from .. import _ranks
from .._task import Link, Outputs
from ._network import NAMES, Network, build_network, name_of

if TYPE_CHECKING:
    from ._read import Pictures

SCHEMA = 1
CHUNK = 500


@dataclass(frozen=True)
class ImageModel:
    """From images to logits.

    Attributes:
        classes: Names.
        network_name: See `name_of`.
        size: Images are brought to so many pixels.
        network: With its weights, on the CPU.
        link: How logits become probabilities.
    """

    classes: tuple[str, ...]
    network_name: str
    size: int
    network: nn.Module
    link: Link = "softmax"

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n, k) of uint8 images (n, size, size, 3)."""
        return self._joined([self._of_chunk(images[i : i + CHUNK]) for i in range(0, len(images), CHUNK)])

    def shared_logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The same, computed by all processes that share the training, chunk by chunk in turn; all call it."""
        starts = range(_ranks.rank() * CHUNK, len(images), _ranks.count() * CHUNK)
        return self._joined(_ranks.gathered([self._of_chunk(images[i : i + CHUNK]) for i in starts]))

    @torch.no_grad()
    def _of_chunk(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        part = torch.from_numpy(np.ascontiguousarray(images))
        return self.network.eval()(part.permute(0, 3, 1, 2).float() / 255).numpy()

    def _joined(self, chunks: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        return np.concatenate(chunks) if chunks else np.zeros((0, len(self.classes)), dtype=np.float32)

    def predict(self, source: Any) -> Outputs:
        """Logits of image files: a path, a folder, or what `focalkit.images.each_image` takes. Targets are -1.

        Raises:
            InputError: A file that is no image.
        """
        from PIL import Image

        from focalkit.images import as_image, each_image

        from ._read import square

        given = list(each_image(source))
        pictures = [square(Image.fromarray(as_image(x).permute(1, 2, 0).numpy()), self.size) for x in given]
        ids = np.asarray([str(x) if isinstance(x, str | Path) else str(i) for i, x in enumerate(given)])
        return Outputs(ids, np.full(len(given), -1), self.logits(np.stack(pictures)), link=self.link)

    def save(self, folder: Path) -> None:
        """Write `model.safetensors` and `model.json`."""
        from safetensors.torch import save_file

        weights = {name: value.contiguous() for name, value in self.network.state_dict().items()}
        save_file(weights, folder / "model.safetensors")
        about = {"classes": list(self.classes), "network": self.network_name, "size": self.size, "link": self.link}
        write_json_atomic(folder / "model.json", {"schema": SCHEMA, **about})

    @staticmethod
    def load(folder: Path, known: Network = "small") -> "ImageModel":
        """What `save` wrote.

        Args:
            folder: With the files.
            known: The task's own network: one that is no name is built by nothing else, since no file names code.

        Raises:
            DataError: The files cannot be read, or another version wrote them.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            about = read_json(folder / "model.json")
            if about["schema"] != SCHEMA:
                raise ValueError(f"schema {about['schema']!r}, this focalkit reads {SCHEMA}")
            name = about["network"]
            if name not in NAMES and name != name_of(known):
                raise ValueError(f"the network {name!r} is not focalkit's; load it by the task that trained it")
            network = build_network(name if name in NAMES else known, len(about["classes"]), about["size"])
            network.load_state_dict(load_file(folder / "model.safetensors"))
            return ImageModel(tuple(about["classes"]), name, about["size"], network, about["link"])
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise DataError(folder, [f"holds no model for images that could be read ({error})"]) from error


@dataclass(frozen=True)
class ImageFitted:
    """A model with the parts that it was fitted on, and its logits of them where several processes computed them."""

    model: ImageModel
    parts: "Mapping[str, Pictures | None]"
    facts: Mapping[str, Any] = field(default_factory=dict)
    shared: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    def outputs(self, part: Literal["val", "test"]) -> Outputs:
        """What the model says about a part."""
        pictures = self.parts[part]
        assert pictures is not None
        logits = self.shared[part] if part in self.shared else self.model.logits(pictures.images)
        return Outputs(pictures.ids, pictures.labels, logits, link=self.model.link)

    def save(self, folder: Path) -> None:
        """Write the model."""
        self.model.save(folder)
