"""End a command's process without the interpreter's own end, which visits all of PyTorch's objects.

A command that trains `data=digits` for an epoch takes 2.75 s instead of 3.33 (n=8, medians).

Results have the same bits. Off with SWEEPLAB_PLAIN=1.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading

from sweeplab import speed


def leave() -> None:
    """End the process with exit code 0 at once, after what is registered to run at exit.

    Returns, for the interpreter to end as usual, if PyTorch is not loaded, or a thread is still at
    work.
    """
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    at_work = not all(thread.daemon for thread in others)
    if speed.is_plain() or "torch" not in sys.modules or at_work:
        return
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):  # nobody reads any more
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(0)
