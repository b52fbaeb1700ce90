"""`focalkit predict` with the cell of a comparison: a table in, a csv out with probability and decision of every row.

Rows of a table are numbered from 0, in the column `row`; another task of one class per item has its ids in `id`.
"""

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

from focalkit._files import write_text_atomic
from focalkit._text import printable
from focalkit.errors import InputError


def predict_rows(run: Path, paths: tuple[Path, ...], out: Path | None, as_json: bool, posterior: bool = False) -> int:
    """Predict, write a csv (to stdout where no file is named), say where.

    With `posterior` the probabilities are those of the posterior; decisions stay those of the tuned thresholds.

    Raises:
        InputError: No data, or more than one path; the posterior of another loss than focal; as `Predictor.from_run`,
            as the task's reader.
    """
    from focalkit.compare import Predictor
    from focalkit.tasks import open_task

    if len(paths) != 1:
        raise InputError(
            f"expected one file with new data, got {len(paths)}: `focalkit predict RUN DATA --out FILE.csv`"
        )
    predictor = Predictor.from_run(run)
    outputs = predictor.outputs(paths[0])
    probabilities = outputs.probabilities
    decisions = predictor.decide(probabilities)
    if posterior:
        probabilities = predictor.posterior(outputs).probabilities
    classes = predictor.classes
    shown = [1] if len(classes) == 2 else range(len(classes))
    numbered = "rows" in open_task(predictor.record["task"]).kinds  # "id" would be taken for a column of the table
    head = ["row" if numbered else "id", *(f"probability_{classes[c]}" for c in shown), "decision"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    for item, p, decision in zip(outputs.ids.tolist(), probabilities, decisions, strict=True):
        writer.writerow([item, *(f"{p[c]:.6g}" for c in shown), classes[decision]])
    place = None if out is None else out if out.suffix == ".csv" else out / "predictions.csv"
    if place is not None:
        write_text_atomic(place, text.getvalue())
    elif not as_json:
        sys.stdout.write(text.getvalue())
    counts = {name: int((decisions == c).sum()) for c, name in enumerate(classes)}
    facts: dict[str, Any] = {"items": len(outputs), "decisions": counts, "thresholds": predictor.thresholds.values}
    if as_json:
        print(json.dumps({**facts, "predictions": None if place is None else str(place)}))
    elif place is not None:
        said = ", ".join(f"{name} {n:,}" for name, n in counts.items())
        rule = f" (threshold {predictor.thresholds.values[1]:.3g})" if len(classes) == 2 else ""
        print(printable(f"{len(outputs):,} items: {said}{rule}\n{place}"))
    return 0
