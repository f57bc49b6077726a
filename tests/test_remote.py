"""Past one machine: the same sweep on a Ray cluster of two nodes, and on Slurm's executor, has the same bits."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import PROJECT, Command
from filelock import FileLock
from test_dispatch import FAULTY, OURS, SMALL, faults, runs, starts, statuses

from sweeplab import code
from sweeplab.store import Run, Store
from sweeplab.sweep import agent
from sweeplab.sweep.agent import Probe

__all__ = ["faults"]

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed (it has no wheel for this Python)")
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # else Ray takes this machine's own address for 127.0.0.1
WORDS = ("-m", *SMALL, "model.dropout=0.1", "sweep.report=false")
TWELVE = ("model.hidden=16,24", "model.batch_norm=true,false", "seed=range(3)")


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[subprocess.Popen[str]]:
    with nodes() as process:
        yield process


def nodes() -> subprocess.Popen[str]:
    """Two nodes with a CPU each; `address` is theirs."""
    program = [sys.executable, str(PROJECT / "tests/ray_nodes.py"), "1"]
    return subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **LOOPBACK})
