"""A stand-in for torch._dynamo, torch.compile's front end, where nothing is compiled.

Its import takes nearly as long as all else of PyTorch. The first network on the meta device imports
it, and the first optimizer, only to be left out of what is compiled. A command that trains
`data=digits` for an epoch takes 2.46 s instead of 3.57 (n=8, medians).

Results have the same bits. Off with SWEEPLAB_PLAIN=1.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

from sweeplab import speed

NAME = "torch._dynamo"


class _StandIn(ModuleType):
    """What PyTorch uses where nothing is compiled; any other name imports the real module."""

    __file__ = None

    @staticmethod
    def disable(function: Any = None, *_: object, **__: object) -> Any:
        """Return the function: nothing is compiled that it would have to be kept from."""
        return function

    @staticmethod
    def graph_break(*_: object, **__: object) -> None:
        """Do nothing: there is no graph."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__path__":  # which its submodules are found by
            raise AttributeError(name)
        if sys.modules.get(NAME) is self:
            del sys.modules[NAME]
        return getattr(importlib.import_module(NAME), name)


def spare() -> None:
    """Put the stand-in in the place of torch._dynamo, in a process that has nothing to compile."""
    if not speed.is_plain() and NAME not in sys.modules:
        sys.modules[NAME] = _StandIn(NAME)
