"""The page of a benchmark: medians and quantiles, one chart per case."""

import html
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs

from focalkit._runs import write_text_atomic

from ._plot import NEUTRAL, RUN_COLORS, Figure, axis, figure, plain

COLORS = {"ours": RUN_COLORS[0], "peer": RUN_COLORS[1], "part": RUN_COLORS[2], "floor": NEUTRAL}
STYLE = """:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:960px;margin:2rem auto}
h2{font-size:1.05rem;margin:2rem 0 0}p{margin:.3rem 0}.js-plotly-plot text{fill:currentColor!important}"""


def write_benchmark_plot(result: Mapping[str, Any], out: Path) -> Path:
    """Write one self-contained HTML file with a chart per case: bars to the median, whiskers from p10 to p90.

    Args:
        result: What `focalkit.bench.run_suites` returned, or the JSON of `focalkit bench`.
        out: The HTML file to write.

    Returns:
        `out`.
    """
    machine = result["machine"]
    name = machine.get("gpu", {}).get("name") or f"{machine['cpu']}, {machine['threads']} threads"
    parts = [
        f"<h1>focalkit bench</h1><p>{html.escape(name)}, {html.escape(result['date'])}: the shorter the better.</p>"
    ]
    shapes = []
    for suite in result["suites"]:
        for case in (c for c in suite["cases"] if c["rows"]):
            parts.append(f'<h2>{html.escape(case["title"])}</h2><div id="plot{len(shapes)}"></div>')
            shapes.append(case_figure(case))
    # "</" would end the script early
    data = json.dumps(shapes, allow_nan=False).replace("</", "<\\/")
    draw = f"{data}.forEach((f,i)=>Plotly.newPlot('plot'+i,f.data,f.layout,{{responsive:true,displaylogo:false}}))"
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>focalkit bench</title><style>{STYLE}</style></head>
<body>{"".join(parts)}<script>{get_plotlyjs()}</script><script>{draw}</script></body></html>
"""
    write_text_atomic(Path(out), page)
    return Path(out)


def case_figure(case: Mapping[str, Any]) -> Figure:
    """Horizontal bars on a logarithmic axis of milliseconds, the first row on top."""
    traces = []
    for row in case["rows"]:
        q = row["quantiles_ms"]
        traces.append(
            {
                "type": "bar",
                "orientation": "h",
                "x": [q["median"]],
                "y": [plain(row["name"])],
                "marker": {"color": COLORS[row["role"]]},
                "showlegend": False,
                "error_x": {
                    "type": "data",
                    "symmetric": False,
                    "array": [q["p90"] - q["median"]],
                    "arrayminus": [q["median"] - q["p10"]],
                    "color": NEUTRAL,
                },
                "hovertemplate": f"%{{x:.4g}} ms, fastest {q['min']:.4g} ms, {row['ratio']:.3g}x the first row",
                "name": "",
            }
        )
    y = axis() | {"autorange": "reversed"}
    return figure(traces, axis("milliseconds (log)", kind="log"), y, height=90 + 30 * len(traces), hover="closest")
