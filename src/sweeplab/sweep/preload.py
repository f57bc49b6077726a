"""Load once what every job of a sweep needs; a fork server imports this, and forks its jobs.

Importing it does all that, unlike any other module: the fork server of the standard library is
told only the names of modules. The server never computes, and never touches a GPU: a process
forked after either would hang.
"""

import os
import signal
import sys

os.setsid()  # Ctrl-C in the terminal is the launcher's to handle
# Slurm sends it to all processes of a job alike: the server is to outlive those that it has forked.
# They unblock it when they are ready for it, so that none is lost.
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # which `server` has blocked for this
if "" in sys.path:
    sys.path.remove("")  # a file in the current folder is not to stand for a package

import torch  # noqa: E402

# Before all else: a process forked from one with a thread pool hangs.
torch.set_num_threads(1)

import atexit  # noqa: E402
import gc  # noqa: E402
from pathlib import Path  # noqa: E402

import hydra.utils  # noqa: E402, F401
import safetensors.torch  # noqa: E402, F401
import yaml  # noqa: E402, F401

import sweeplab.models  # noqa: E402, F401
from sweeplab import console  # noqa: E402
from sweeplab.runs import provenance  # noqa: E402
from sweeplab.speed import huge_pages  # noqa: E402
from sweeplab.sweep import worker  # noqa: E402, F401

console.start_streams(encoding="utf-8")  # what jobs print is in their logs
provenance.remember(Path.cwd())
atexit.register(os._exit, 0)  # the interpreter's own way out of PyTorch takes a second, and noise
gc.collect()
gc.freeze()  # garbage collection in a job would write to the shared memory, and so copy it
huge_pages.collapse()
