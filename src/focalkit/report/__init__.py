"""One self-contained HTML file from one or more run directories, or from a comparison.

Reads what training and evaluation left behind and computes nothing anew: no model is loaded, no image is decoded.
plotly and jinja2 are imported here and nowhere else.
"""

from ._bench import write_benchmark_plot as write_benchmark_plot
from ._calibration import write_calibration_page as write_calibration_page
from ._comparison import write_comparison as write_comparison
from ._write import write_report as write_report

__all__ = ["write_benchmark_plot", "write_calibration_page", "write_comparison", "write_report"]
