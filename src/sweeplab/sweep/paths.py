"""Let the jobs of a sweep import the same modules as this process, whoever starts them."""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

VARIABLE = "PYTHONPATH"


@contextmanager
def same_modules() -> Iterator[None]:
    """Let programs that are started meanwhile look for modules where this one does, in that order.

    A launcher of Hydra may start a job as another program, which would not find the modules beside
    train.py or in a folder that train.py added to `sys.path`. Python's own folders are left out: a
    job may use another Python.
    """
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = os.pathsep.join(_own_folders())
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


def _own_folders() -> list[str]:
    """List the folders of `sys.path` that are not Python's own, each once."""
    # Unlike Path.resolve, abspath makes the current folder of "" and keeps links.
    folders = dict.fromkeys(os.path.abspath(entry) for entry in sys.path)  # noqa: PTH100
    return [path for path in folders if os.pathsep not in path and not _is_of_python(path)]


def _is_of_python(path: str) -> bool:
    """Whether it is a folder of the standard library or of installed packages."""
    standard = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    installed = {*site.getsitepackages(), site.getusersitepackages()}
    zipped = f"python{sys.version_info.major}{sys.version_info.minor}.zip"
    return path in standard | installed or Path(path).name in (zipped, "lib-dynload")
