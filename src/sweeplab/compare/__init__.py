"""Comparisons: which config is better, by how much, and whether that can be believed."""

from sweeplab.compare.comparison import Comparison
from sweeplab.compare.making import compare, summarise
from sweeplab.compare.report import write_report
from sweeplab.compare.tables import markdown, show

__all__ = ["Comparison", "compare", "markdown", "show", "summarise", "write_report"]
