"""Count denormal numbers as zero on the CPU.

Weights without gradients decay into numbers below 1.2e-38, which some CPUs compute far more slowly.
An AMD EPYC of family 25, model 17 computes them at full speed, so there nothing is gained
(1 million products, n=10: 0.135 ms both ways).

Results have other bits where a number is that small; a run without it records `plain`. Off with
SWEEPLAB_PLAIN=1.
"""

from __future__ import annotations

import torch

from sweeplab import speed


def flush() -> None:
    """Set the calling thread to take denormal numbers for 0, and to write 0 in their place.

    PyTorch's other threads take this over from the thread that starts them, so call it before the
    first computation.
    """
    if not speed.is_plain():
        torch.set_flush_denormal(True)
