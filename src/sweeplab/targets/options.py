"""A class path where an option of a group is expected: `model=mine.Net`, `loss=torch.nn.L1Loss`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from inspect import Parameter
from io import StringIO
from pathlib import Path
from threading import Timer
from typing import Any

from sweeplab.config import COMPONENTS, Node
from sweeplab.targets.defaults import default
from sweeplab.targets.lookup import is_dotted, locate
from sweeplab.targets.signatures import accepts
from sweeplab.targets.sources import is_of_project

GROUPS = (*COMPONENTS, "step", "data")
"""The groups whose options are classes or functions."""

FUNCTION = "sweeplab.models.FunctionLoss"
SIZES = ("in_features", "out_features")
SECONDS = 2
FILES = (".py", ".csv", ".yaml", ".yml")


def search_here() -> None:
    """Let modules in the current folder be found, after all others."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)


def is_class_path(group: str, option: str) -> bool:
    """Whether an option is the dotted name of a class rather than that of a file."""
    if group not in GROUPS or "." not in option or not is_dotted(option):
        return False
    return not option.endswith(FILES)


def option_of(group: str, path: str) -> Node:
    """Return the section that a class stands for, with what it takes of the data's sizes.

    Raises UserError if there is no such class.
    """
    search_here()
    with _watched(f"{group}={path}") if is_of_project(path) else nullcontext():
        target: Any = locate(path, group)
    if group == "data":
        return {"name": path.rpartition(".")[2], "dataset": {"_target_": path}}
    if group == "loss" and not isinstance(target, type):
        return {"_target_": FUNCTION, "function": {"_target_": path, "_partial_": True}}
    node: Node = {"_target_": path}
    if group == "model":
        node |= {size: f"${{data.{size}}}" for size in SIZES if accepts(target, size)}
    if group == "optimizer" and callable(target):
        rate = default(target, "lr")
        if rate is not Parameter.empty:  # which schedules refer to
            node["lr"] = rate
    return node


@contextmanager
def _watched(setting: str) -> Iterator[None]:
    """Say on stderr if a user's file does more than define things when it is imported: it prints,
    or takes long.
    """
    import torch  # noqa: F401  # whose import takes long, too

    def say(what: str) -> None:
        advice = "put what it runs below if __name__ == '__main__':"
        print(f"{setting}: its file {what} when it is imported; {advice}", file=sys.stderr)

    timer = Timer(SECONDS, say, [f"runs for more than {SECONDS} s"])
    timer.start()
    try:
        with redirect_stdout(StringIO()) as printed:
            yield
    finally:
        is_quick = timer.is_alive()  # and has said nothing
        timer.cancel()
        if printed.getvalue() and is_quick:
            say("prints")
        print(printed.getvalue(), end="")
