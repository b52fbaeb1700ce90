"""The page of a calibration: reliability before and after, the operating point, the confusion matrix."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from markupsafe import Markup
from plotly.offline import get_plotlyjs

from focalkit._files import write_text_atomic

from ._charts import Charts
from ._decisions import view
from ._format import ap
from ._page import environment, finite
from ._read import RunRecord, number

COLUMNS = {"precision": "Map to precision", "localisation": "Map to precision times IoU"}


def write_calibration_page(report: Mapping[str, Any], measures: Mapping[str, str], out: Path) -> Path:
    """Write one self-contained HTML file about a calibration.

    Args:
        report: `DetectionStudy.report_dict()`, also after JSON.
        measures: Rows of the table -> what they mean.
        out: The HTML file to write.

    Returns:
        `out`.
    """
    charts = Charts()
    record = RunRecord(Path(out), "calibration", {}, calibration=dict(report))
    shown = replace(view(record, charts), advice="", notes=[], errors=[])
    rows = [
        (name, measures.get(name, ""), [_four(row[key]) for key in ("before", *COLUMNS)])
        for name, row in report["table"].items()
    ]
    page = (
        environment()
        .get_template("calibration.html")
        .render(
            advice=report["recommendation"],
            notes=report["notes"],
            columns=COLUMNS.values(),
            measures=rows,
            run={"id": "calibration", "decisions": shown},
            figures=finite(charts.figures),
            plotly_js=Markup(get_plotlyjs()),
            written=dt.datetime.now(dt.UTC).strftime("%d %B %Y, %H:%M UTC"),
            ap=ap,
        )
    )
    write_text_atomic(Path(out), page)
    return Path(out)


def _four(value: object) -> str:
    found = number(value)
    return "\u2013" if found is None else f"{found:.4f}"
