"""A stand-in for torch._dynamo, torch.compile's front end, whose import takes nearly as long as all else of PyTorch.

The first network on the meta device imports it, and the first optimizer, only to be left out of what is compiled.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

NAME = "torch._dynamo"


class _StandIn(ModuleType):
    """Has what PyTorch asks for where nothing is compiled; who asks for more gets the module itself, imported then."""

    __file__ = None

    @staticmethod
    def disable(function: Any = None, *_: object, **__: object) -> Any:
        """What is not compiled need not be kept from it."""
        return function

    @staticmethod
    def graph_break(*_: object, **__: object) -> None:
        """There is no graph."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__path__":  # which its submodules are found by
            raise AttributeError(name)
        if sys.modules.get(NAME) is self:
            del sys.modules[NAME]
        return getattr(importlib.import_module(NAME), name)


def spare() -> None:
    """Do without torch._dynamo for as long as that goes; for a process that has nothing to compile."""
    if NAME not in sys.modules:
        sys.modules[NAME] = _StandIn(NAME)
