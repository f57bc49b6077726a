"""Have OpenMP's threads spin for a shorter time before they sleep, for machines that others use, too.

Threads of libgomp that wait for each other spin 300,000 times by default. Where the one that they
wait for has lost its core to another program, they keep the cores that it needs.

20 steps of the default network on 2 cores (AMD EPYC of family 25, model 1), medians in turn: 115 ms
instead of 109 while little else was at work (n=33), 0.35 instead of 2.6 s at a load of 8 (n=23).
10,000 took 112 ms and 0.76 s, `OMP_WAIT_POLICY=passive` 140 ms and 0.18 s (`python -m benchmarks.spin`).

It has to be in the environment when libgomp is loaded, that is before the first import of torch. What
OMP_WAIT_POLICY or GOMP_SPINCOUNT say of their own accord stays.

Results have the same bits. Off with SWEEPLAB_PLAIN=1.
"""

from __future__ import annotations

import os
import sys

from sweeplab import speed

COUNT = "3000"
NAMES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def shorten() -> None:
    """Set the spin count of this process and those it starts, unless PyTorch is loaded or it is set."""
    is_set = any(name in os.environ for name in NAMES)
    if not (speed.is_plain() or is_set or "torch" in sys.modules):
        os.environ["GOMP_SPINCOUNT"] = COUNT
