"""Compose a PyTorch experiment with Hydra, run it or a thousand variations of it, and get an answer you can trust."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweeplab.commands.python import compare, results, run, sweep
    from sweeplab.commands.results import ComparisonFrames as Comparison
    from sweeplab.commands.results import RunResults as Run
    from sweeplab.commands.results import SweepResults as Sweep
    from sweeplab.errors import RunFailed, UserError
    from sweeplab.runs.loading import load_model, load_predictor
    from sweeplab.runs.predictions import Predictor

__all__ = [
    "Comparison",
    "Predictor",
    "Run",
    "RunFailed",
    "Sweep",
    "UserError",
    "compare",
    "load_model",
    "load_predictor",
    "results",
    "run",
    "sweep",
]

_PLACES = {
    "Comparison": "commands.results.ComparisonFrames",
    "Predictor": "runs.predictions.Predictor",
    "Run": "commands.results.RunResults",
    "RunFailed": "errors.RunFailed",
    "Sweep": "commands.results.SweepResults",
    "UserError": "errors.UserError",
    "load_model": "runs.loading.load_model",
    "load_predictor": "runs.loading.load_predictor",
    "results": "commands.python.results",
    "run": "commands.python.run",
}
_CALLED = ("compare", "sweep")


def __getattr__(name: str) -> Any:
    # Only when it is asked for: importing sweeplab must not import torch.
    if name in _CALLED:
        return import_module(f"sweeplab.{name}")
    if name not in _PLACES:
        raise AttributeError(f"module 'sweeplab' has no attribute '{name}'")
    module, _, attribute = _PLACES[name].rpartition(".")
    return getattr(import_module(f"sweeplab.{module}"), attribute)


class _CalledRoom(ModuleType):
    """A package that is called like a function: `sweeplab.sweep(...)` beside `sweeplab.sweep.plan`."""

    def __call__(self, *given: Any, **options: Any) -> Any:
        python = import_module("sweeplab.commands.python")
        return getattr(python, self.__name__.rpartition(".")[2])(*given, **options)


class _Package(ModuleType):
    """This package, which Python gives its parts as attributes when they are imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _CALLED and isinstance(value, ModuleType):
            value.__class__ = _CalledRoom
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
