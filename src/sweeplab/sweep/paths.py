"""The modules that a sweep finds are found by its jobs, too, whoever starts them."""

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
    """Let programs that are started meanwhile look for modules where this one does, in the same order.

    What lies beside train.py, or in a folder that it has added to `sys.path`, is not found by a job that a launcher of
    Hydra's starts as another program. Python's own folders are left out: a job may have another Python.
    """
    before = os.environ.get(VARIABLE)
    own = (os.path.abspath(entry) for entry in sys.path)  # noqa: PTH100  # of "", too
    wanted = [entry for entry in dict.fromkeys(own) if os.pathsep not in entry and not _is_of_python(entry)]
    os.environ[VARIABLE] = os.pathsep.join(wanted)
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


def _is_of_python(entry: str) -> bool:
    """Whether it is a folder of the standard library or of installed packages."""
    standard = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    installed = {*site.getsitepackages(), site.getusersitepackages()}
    zipped = f"python{sys.version_info.major}{sys.version_info.minor}.zip"
    return entry in standard | installed or Path(entry).name in (zipped, "lib-dynload")
