"""Have OpenMP's threads spin for a shorter time before they sleep, for machines that others use, too.

Threads of libgomp that wait for each other spin 300,000 times by default. Where the one that they
wait for has lost its core to another program, they keep the cores that it needs.

A step of the default network on 2 cores (AMD EPYC of family 25, model 1) takes 1.03 of its time alone
and 0.61 beside two busy loops; the longest of 25 took 45 ms there, not 384. 3,000 is better beside
others (0.57, 25 ms) and worse alone (1.10); n=25, `python -m benchmarks.spin`.

It has to be in the environment when libgomp is loaded, that is before the first import of torch. What
OMP_WAIT_POLICY or GOMP_SPINCOUNT say of their own accord stays.

Results have the same bits. Off with SWEEPLAB_PLAIN=1.
"""

from __future__ import annotations

import os
import sys

from sweeplab import speed

COUNT = "10000"
NAMES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def shorten() -> None:
    """Set the spin count of this process and those it starts, unless PyTorch is loaded or it is set."""
    is_set = any(name in os.environ for name in NAMES)
    if not (speed.is_plain() or is_set or "torch" in sys.modules):
        os.environ["GOMP_SPINCOUNT"] = COUNT
