"""Let the jobs of a sweep import the same modules as this process, whoever starts them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from sweeplab.targets.packages import own_folders

VARIABLE = "PYTHONPATH"


@contextmanager
def same_modules() -> Iterator[None]:
    """Let programs that are started meanwhile look for modules where this one does, in that order.

    A launcher of Hydra may start a job as another program, which would not find the modules beside
    train.py or in a folder that train.py added to `sys.path`. Python's own folders are left out: a
    job may use another Python.
    """
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = os.pathsep.join(own_folders())
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before
