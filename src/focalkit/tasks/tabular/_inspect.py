"""What a table looks like before any training."""

from collections import Counter

import numpy as np

from focalkit.findings import check_classes, check_columns, check_duplicates, hash_rows, suspect_labels

from .._task import Inspection, Source
from ._read import PARTS, files_of, read_frames, spellings_of_missing
from ._table import Table, read_table


def inspect(source: Source, labels: bool = True) -> Inspection:
    """Classes, copies, columns, and labels that look wrong; see `Task.inspect`."""
    import polars

    table: Table = read_table(source)
    frames = list(read_frames(files_of(source.path)).values())
    frame = polars.concat(frames, how="vertical_relaxed")
    frame = frame.filter(frame[table.target].is_not_null()).drop(table.target, *source.leave_out)
    columns = {name: column.to_numpy() for name, column in frame.to_dict().items()}
    parts = None if table.part is None else {p: np.flatnonzero(table.part == i) for i, p in enumerate(PARTS)}
    counts = np.bincount(table.labels, minlength=len(table.classes)).tolist()
    found = check_classes(counts, table.classes)
    found += check_duplicates(hash_rows(list(columns.values())), table.labels, parts)
    features = [name for name in columns if name != source.group]
    gaps = [name for name in features if frame[name].null_count()]
    spelt: Counter[str] = Counter()
    for file in files_of(source.path).values():
        spelt.update(spellings_of_missing(file, gaps))
    found += check_columns({name: columns[name] for name in features}, table.labels, spellings=spelt)
    if labels:
        x = np.concatenate([table.rows.numbers, table.rows.codes.astype(np.float64)], axis=1)
        found += suspect_labels(x, table.labels, list(table.classes))
    return Inspection(dict(zip(table.classes, counts, strict=True)), tuple(found), table.facts, table.notes)
