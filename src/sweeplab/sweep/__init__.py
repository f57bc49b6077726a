"""Sweeps: the plan of one, made and checked before anything is trained; carrying it out; ranking what came out."""

from sweeplab.sweep.conduct import conduct
from sweeplab.sweep.plan import Cell, Plan, make
from sweeplab.sweep.pool import Pool

__all__ = ["Cell", "Plan", "Pool", "conduct", "make"]
