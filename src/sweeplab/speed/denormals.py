"""Count denormal numbers as zero on the CPU.

Weights without gradients decay into numbers below 1.2e-38, and a CPU takes many times as long for each of these.
"""

from __future__ import annotations

import torch

from sweeplab import speed


def flush() -> None:
    """Set the calling thread to take denormal numbers for 0, and to write 0 in their place.

    PyTorch's other threads take this over from the thread that starts them, so call it before the first computation.
    """
    if not speed.is_plain():
        torch.set_flush_denormal(True)
