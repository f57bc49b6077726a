"""Comparisons: which config is better, by how much, and whether that can be believed."""

from sweeplab.compare.comparison import Comparison, baseline_of, compare, summarise
from sweeplab.compare.report import write_report
from sweeplab.compare.tables import show

__all__ = ["Comparison", "baseline_of", "compare", "show", "summarise", "write_report"]
