"""Comparisons: which config is better, by how much, and whether that can be believed."""

from sweeplab.compare.analysis import compare
from sweeplab.compare.comparison import Comparison
from sweeplab.compare.export import markdown
from sweeplab.compare.report import write_report
from sweeplab.compare.terminal import show

__all__ = ["Comparison", "compare", "markdown", "show", "write_report"]
