"""What is asked of a sweep at work, and of its runs, from another terminal."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from typing import Self

from sweeplab import console, store
from sweeplab.store import Status, Wish
from sweeplab.sweep.attempts import Attempt, Attempts
from sweeplab.sweep.halt import Halt
from sweeplab.sweep.jobs import Jobs
from sweeplab.sweep.place import SweepPlace
from sweeplab.sweep.screen import SweepScreen

LOOK = 1.0  # seconds between two looks, at least
STOPPED = "stopped by sweeplab stop"
ENDING = (Wish.STOP, Wish.PAUSE)


class Steering:
    """Heeds requests: what is not to be started now is held here until it may be."""

    def __init__(
        self, home: store.Store, jobs: Jobs, attempts: Attempts, view: SweepScreen
    ) -> None:
        self._jobs, self._attempts, self._view = jobs, attempts, view
        self._sweep_id = jobs.plan.id
        self._request = home.request(self._sweep_id)
        self._presence = home.presence(self._sweep_id)
        self._held: dict[Attempt, Wish | None] = {}  # None: it has failed
        self._looked_at = 0.0
        self.is_paused = self.is_stopped = False

    @property
    def is_waiting(self) -> bool:
        """Whether runs are to be started later, when they are resumed."""
        is_any_held = Wish.PAUSE in self._held.values()
        return is_any_held or (self.is_paused and self._attempts.are_waiting)

    def __enter__(self) -> Self:
        self._enter()
        return self

    def __exit__(self, *_: object) -> None:
        self._presence.leave()

    def _enter(self) -> None:
        """Let others know that requests are heeded from now on."""
        with suppress(OSError):  # on a file system that cannot lock nobody can ask
            self._presence.enter()

    def has_ended(self, halt: Halt, place: SweepPlace) -> bool:
        """Whether no job is to be started any more; then no request is heeded any more."""
        is_any_to_come = self.is_waiting or (self._attempts.are_waiting and place.expecting)
        if is_any_to_come and halt.reason is None:
            return False
        self._presence.leave()  # first: whoever asks from now on issues the command again
        if halt.reason is not None:
            return True
        before = len(self._held)
        self._release()
        if len(self._held) == before:
            return True
        self._enter()
        return False

    def look(self, halt: Halt) -> None:
        """Do what is asked for, if it is time to look again."""
        if halt.reason is not None:
            self._presence.leave()
            return
        if time.monotonic() - self._looked_at < LOOK:
            return
        self._looked_at = time.monotonic()
        wish = self._request.read()
        if wish is Wish.STOP:
            self._stop(halt)
        elif (wish is Wish.PAUSE) != self.is_paused:
            self._pause(wish is Wish.PAUSE)
        self._release()

    def _stop(self, halt: Halt) -> None:
        """End the sweep, unless the request is withdrawn at this very moment."""
        self._presence.leave()
        if not self._request.withdraw():
            self._enter()
            return
        self.is_stopped = True
        self._view.say(f"{STOPPED}: what is at work ends at its last checkpoint")
        halt.end(STOPPED)

    def _pause(self, is_paused: bool) -> None:
        self.is_paused = is_paused
        text = "resumed"
        if is_paused:
            way = console.command(f"sweeplab resume {self._sweep_id[:12]}")
            text = f"paused by sweeplab pause: nothing is trained until {way}"
        self._view.say(text, "yellow")

    def take(self) -> list[Attempt] | None:
        """Return the jobs to be trained as one next; None if there are none, or no room."""
        while (group := self._attempts.take()) is not None:
            free = self._sift(group)
            if free and self.is_paused:
                self._attempts.put_back(free)
                return None
            if free:
                return free
        return None

    def _sift(self, group: list[Attempt]) -> list[Attempt]:
        """Hold those that are asked not to begin; return the others."""
        free = []
        for attempt in group:
            wish = attempt.run.request.read()
            if wish in ENDING:
                self.hold(attempt, wish)
            else:
                if wish is not None:  # a request to try again, which is met now
                    attempt.run.request.withdraw()
                attempt.requested_ends = len(_requested_ends(attempt))
                free.append(attempt)
        return free

    def holds(self, attempt: Attempt) -> bool:
        """Hold a run that has ended by a request; return whether it has."""
        ends = _requested_ends(attempt)
        if attempt.run.status == Status.FINISHED or len(ends) <= attempt.requested_ends:
            return False
        self.hold(attempt, Wish(ends[-1]))
        return True

    def hold(self, attempt: Attempt, wish: Wish | None) -> None:
        """Start a run again only when that is asked for; `wish` is None if it has failed."""
        if wish is not None:
            done = {Wish.STOP: "stopped", Wish.PAUSE: "paused"}[wish]
            way = console.command(f"sweeplab resume {attempt.run.id}")
            epoch = attempt.progress().epoch
            self._view.say(f"{attempt.cell.name}: {done} after epoch {epoch}; {way} goes on")
        if wish is Wish.STOP:
            self._jobs.ended(attempt.cell)
        if not self._jobs.plan.search or wish is Wish.PAUSE:  # Optuna was told that it has ended
            self._held[attempt] = wish

    def _release(self) -> None:
        """Put back what is resumed, or is to be tried again."""
        for attempt, before in list(self._held.items()):
            wish = attempt.run.request.read()
            if wish is Wish.RETRY:
                attempt.run.request.withdraw()
            elif before is None:
                continue
            elif wish is not None:
                self._held[attempt] = wish
                continue
            del self._held[attempt]
            if before is None:
                self._view.retried()
            self._attempts.put_back([replace(attempt, number=1)])
            self._view.say(f"{attempt.cell.name}: is started again")


def _requested_ends(attempt: Attempt) -> list[str]:
    """List the requests by which the run has ended so far."""
    attempt.progress()  # takes in what the journal says now
    return attempt.history.requested_ends
