"""Sweeps: the plan of one, made and checked before anything is trained; carrying it out; ranking what came out."""

from sweeplab.sweep.conduct import conduct
from sweeplab.sweep.plan import Cell, Plan, make

__all__ = ["Cell", "Plan", "conduct", "make"]
