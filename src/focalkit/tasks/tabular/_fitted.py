"""A fitted model for tables, and the same from its files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from focalkit._files import read_json, write_json_atomic
from focalkit.errors import DataError

from .._task import Link, Outputs
from ._columns import Column, Part, Rows, rows_of, schema_from_list, schema_to_list
from ._encode import Encoder
from ._forest import Forest
from ._network import Factory, TableNetwork
from ._peers import Linear, inputs
from ._read import FORMATS, read_frame
from ._train import logits_of

SCHEMA = 1


@dataclass(frozen=True)
class TableModel:
    """Preprocessing and model: from a table to logits.

    Attributes:
        schema: Columns.
        classes: Names.
        model: "default" or the name of a peer.
        encoder: Learned preprocessing.
        body: The model itself.
        link: How logits become probabilities.
    """

    schema: tuple[Column, ...]
    classes: tuple[str, ...]
    model: str
    encoder: Encoder
    body: nn.Module | Linear | Forest
    link: Link = "softmax"

    def logits(self, rows: Rows) -> NDArray[np.float32]:
        """(n, k) of rows."""
        if isinstance(self.body, nn.Module):
            x, codes = torch.from_numpy(self.encoder.normal(rows)), torch.from_numpy(self.encoder.codes(rows))
            return logits_of(self.body, x, codes)
        return self.body.logits(inputs(self.model, self.encoder, rows))

    def predict(self, source: Any) -> Outputs:
        """Logits of a table: a path, or a polars or pandas data frame. Targets are -1.

        Raises:
            DataError: A column is missing or holds something else than in training.
        """
        texts = [column.name for column in self.schema if column.kind == "category"]
        rows = rows_of(frame_of(source, texts), self.schema, source if isinstance(source, str | Path) else "the table")
        n = len(rows)
        return Outputs(np.arange(n), np.full(n, -1), self.logits(rows), link=self.link)

    def save(self, folder: Path) -> None:
        """Write `model.safetensors` and `model.json`."""
        from safetensors.numpy import save_file

        arrays = self.encoder.arrays()
        own = {}
        if isinstance(self.body, nn.Module):
            if not isinstance(self.body, TableNetwork):
                own["network"] = type(self.body).__qualname__
            arrays |= {f"network.{k}": v.detach().numpy() for k, v in self.body.state_dict().items()}
        else:
            arrays |= self.body.arrays()
        save_file({name: np.ascontiguousarray(value) for name, value in arrays.items()}, folder / "model.safetensors")
        about = {"classes": list(self.classes), "model": self.model, "link": self.link, **own}
        write_json_atomic(folder / "model.json", {"schema": SCHEMA, **about, "columns": schema_to_list(self.schema)})

    @staticmethod
    def load(folder: Path, factory: Factory | None = None) -> "TableModel":
        """What `save` wrote.

        Args:
            folder: With the files.
            factory: Makes a network that is not focalkit's, since no file names code.

        Raises:
            DataError: The files cannot be read, or another version wrote them.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            about = read_json(folder / "model.json")
            arrays: dict[str, Any] = load_file(folder / "model.safetensors")
            if about["schema"] != SCHEMA:
                raise ValueError(f"schema {about['schema']!r}, this focalkit reads {SCHEMA}")
            encoder = Encoder.from_arrays(arrays)
            body: nn.Module | Linear | Forest
            if "network" in about and factory is None:
                raise ValueError(f"the network {about['network']!r} is not focalkit's; load it by its own task")
            if about["model"] == "default":
                numbers = len(encoder.median) + len(encoder.flagged)
                make = factory if factory is not None and "network" in about else TableNetwork
                body = make(numbers, encoder.levels.tolist(), len(about["classes"]))
                stored = {
                    k.partition(".")[2]: torch.from_numpy(v) for k, v in arrays.items() if k.startswith("network.")
                }
                body.load_state_dict(stored)
            elif about["model"] == "logistic":
                body = Linear.from_arrays(arrays)
            else:
                body = Forest.from_arrays(arrays)
            schema, classes = schema_from_list(about["columns"]), tuple(about["classes"])
            return TableModel(schema, classes, about["model"], encoder, body, about["link"])
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise DataError(folder, [f"holds no model for tables that could be read ({error})"]) from error


@dataclass(frozen=True)
class TableFitted:
    """A model with the parts that it was fitted on."""

    model: TableModel
    parts: Mapping[str, Part]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def outputs(self, part: Literal["val", "test"]) -> Outputs:
        """What the model says about a part."""
        p = self.parts[part]
        return Outputs(p.ids, p.labels, self.model.logits(p.rows), groups=p.groups, link=self.model.link)

    def save(self, folder: Path) -> None:
        """Write the model."""
        self.model.save(folder)


def frame_of(source: Any, texts: Sequence[str] = ()) -> Any:
    """A polars data frame of a path, or of a polars or pandas one; `texts` are columns of a path that are no numbers.

    Raises:
        DataError: It is neither.
    """
    import polars

    if isinstance(source, str | Path):
        if Path(source).is_dir():
            raise DataError(source, [f"is a folder; expected one table that ends in {', '.join(FORMATS)}"])
        if not Path(source).is_file():
            raise DataError(source, ["no such file"])
        return read_frame(Path(source), texts)
    if isinstance(source, polars.DataFrame):
        return source
    if hasattr(source, "columns") and hasattr(source, "to_dict"):
        return polars.DataFrame({str(name): source[name].tolist() for name in source.columns})
    raise DataError("the table", [f"expected a path or a data frame, got {type(source).__name__}"])
