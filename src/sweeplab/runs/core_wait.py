"""Notice that the threads of a run wait for cores that other programs use.

Linux counts for each thread how long it has run, and how long it was ready to run and had no core
(/proc/PID/task/TID/schedstat, https://docs.kernel.org/scheduler/sched-stats.html). CPU time beside
wall time would not tell it: threads that wait for each other use no CPU time, either.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

TASKS = Path("/proc/self/task")
EVERY = 10.0  # seconds between two looks
MUCH = 0.4  # the share of waiting, in running and waiting, from which a notice is given


class CoreWait:
    """How long this process's threads have run, and have waited for a core, since the last look."""

    def __init__(self, tasks: Path = TASKS, every: float = EVERY) -> None:
        self._tasks, self._every = tasks, every
        self._looked = time.monotonic()
        self._before = self._total()
        self._is_said = False

    def notice(self, threads: int, *, alone: bool) -> str | None:
        """Say once that the threads wait for cores, and what to do; None as long as they do not."""
        if self._is_said or time.monotonic() - self._looked < self._every:
            return None
        ran, waited = self.seconds()
        self._looked, self._before = time.monotonic(), self._total()
        if waited <= MUCH * (ran + waited):
            return None
        self._is_said = True
        share = f"{waited / (ran + waited):.0%}"
        advice = "with fewer sweep.workers each is quicker"
        if alone:
            advice = "it is quicker once they have ended"
            if threads > 1:
                advice += ", or as a new run with trainer.threads=1"
        return f"other programs use the cores, for which its threads wait {share} of the time; {advice}"

    def seconds(self) -> tuple[float, float]:
        """Return for how many seconds the threads have run, and have waited."""
        ran, waited = self._total()
        return ran - self._before[0], waited - self._before[1]

    def _total(self) -> tuple[float, float]:
        """Return the seconds of all threads; zeros where the system does not count them."""
        ran = waited = 0
        for file in self._tasks.glob("*/schedstat"):
            with suppress(OSError, ValueError):  # a thread may have ended
                of_thread = file.read_text(encoding="ascii").split()
                ran, waited = ran + int(of_thread[0]), waited + int(of_thread[1])
        return ran / 1e9, waited / 1e9
