"""Tell where a class or function is defined, as opposed to merely imported."""

from __future__ import annotations

import sys
from contextlib import suppress
from enum import Enum
from functools import _lru_cache_wrapper, lru_cache, partial
from types import BuiltinFunctionType, FunctionType, ModuleType

from sweeplab.config.nodes import as_plain, strings
from sweeplab.targets.lookup import is_dotted

SCRIPT = "__main__"


def home_of(value: object) -> str:
    """Return the module that defines a class, a function or the member of an enumeration; '' of any
    other instance.

    Of a decorated function, and of a `functools.partial`, that is where the innermost function is
    defined. PyTorch's own functions in C++ (`torch.relu`, `torch.conv2d`) do not say where they
    are: it is `torch._VF`.
    """
    inner = _unwrapped(value)
    home: object = ""
    if isinstance(inner, type):
        home = inner.__module__
    elif isinstance(inner, Enum) or _is_dtype(inner):
        home = type(inner).__module__
    elif isinstance(inner, FunctionType):
        home = inner.__globals__.get("__name__")  # decorators may set its __module__
    elif isinstance(inner, BuiltinFunctionType) and isinstance(inner.__self__, ModuleType):
        home = inner.__self__.__name__
    elif isinstance(inner, BuiltinFunctionType) and _is_of_torch(inner):
        home = "torch._VF"
    return home if isinstance(home, str) else ""


def _is_dtype(value: object) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and type(value) is torch.dtype


def _is_of_torch(function: BuiltinFunctionType) -> bool:
    torch = sys.modules.get("torch")
    if torch is None:
        return False
    return getattr(torch._C._VariableFunctions, function.__name__, None) is function


def _unwrapped(value: object) -> object:
    """Return the innermost function of a decorated one, a static or class method, or a partial."""
    for _ in range(100):  # a circle has no end
        if isinstance(value, classmethod | staticmethod):
            value = value.__func__
        elif type(value) is partial:
            value = value.func
        elif isinstance(value, FunctionType | _lru_cache_wrapper) and "__wrapped__" in vars(value):
            value = vars(value)["__wrapped__"]
        else:
            return value
    return None


def is_at_its_name(value: object) -> bool:
    """Whether the module that a class says defines it has the class under its own name; true of
    functions.

    Of the member of an enumeration, its class is judged.
    """
    if isinstance(value, Enum):
        value = type(value)
    if not isinstance(value, type):
        return True
    place: object = sys.modules.get(value.__module__)
    for name in value.__qualname__.split("."):
        if not isinstance(place, ModuleType | type):
            return False
        place = vars(place).get(name)
    return place is value


def script_names(node: object, key: str) -> dict[str, str]:
    """Return all strings that name something which only this process has, by their dotted keys.

    That is what the started script defines, also where it is reached as `mine.Net`, and whatever is
    in a module that was made by hand, which no other process could import.
    """
    return {at: text for at, text in strings(as_plain(node), key) if _is_of_script(text)}


def _is_of_script(path: str) -> bool:
    """Whether a dotted name, all of which is imported already, stands for what no other process
    has.
    """
    top, _, rest = path.partition(".")
    if not rest or not is_dotted(path) or top not in sys.modules:
        return False
    if top == SCRIPT or not _can_be_imported(top, tuple(sys.path)):
        return True
    value: object = sys.modules[top]
    name = top
    for part in rest.split("."):
        name = f"{name}.{part}"
        value = getattr(value, part, None) or sys.modules.get(name)
    return home_of(value) == SCRIPT


@lru_cache(maxsize=256)
def _can_be_imported(module: str, _path: tuple[str, ...]) -> bool:
    """Whether a finder has the imported module, on `sys.path` or elsewhere."""
    for finder in sys.meta_path:
        with suppress(Exception):
            if finder.find_spec(module, None) is not None:
                return True
    return False
