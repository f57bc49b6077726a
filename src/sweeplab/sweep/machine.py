"""Leases that all sweeps of a user on this machine share, so that they never ask for more than it has.

A sweep that finds too little waits in a queue, by `sweep.priority` and then by its age in it. Whoever
comes after it leaves alone what it lacks, so that a job of many threads gets its turn, too.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sweeplab import console
from sweeplab.store import ID_LENGTH
from sweeplab.sweep.leases import CORES, Lease, Leases
from sweeplab.sweep.ledger import OFF, VARIABLE, Ledger, Note, NoteFile
from sweeplab.train import cpus

PATIENCE = 2.0  # seconds of waiting after which it is said who has the cores


def name_of(sweep_id: str) -> str:
    """Return how this process of a sweep is named to others."""
    return f"sweep {sweep_id[:ID_LENGTH]} (process {os.getpid()} in {Path.cwd()})"


class MachineLeases(Leases):
    """The part of this machine that other sweeps leave to this one."""

    def __init__(self, room: Leases, who: str, priority: int = 0) -> None:
        """`room`: what the machine has, other sweeps aside. `who` names the sweep to others."""
        super().__init__(cores=room.cores, gpus=room.gpus, workers=room.workers)
        self._note = Note(who=who, cpus=cpus.usable(), priority=priority)
        # More workers than cores share them: each counts as a part of one.
        self._workers_per_core = self.cores / cpus.count()
        self._ticket: NoteFile | None = None
        self._said: list[str] = []
        self._ledger: Ledger | None = None
        if os.environ.get(VARIABLE) != OFF:
            try:
                self._ledger = Ledger()
            except OSError as error:
                self._be_alone(error)

    def take(self, cores: int, gpus: float = 0.0, others: Sequence[Lease] = ()) -> Lease | None:
        self.is_queued = False
        if self._ledger is None or self.lack(cores, gpus, others):
            return super().take(cores, gpus, others)
        try:
            with self._ledger.locked() as is_locked:
                if is_locked:
                    return self._take(self._ledger, cores, gpus)
        except OSError as error:
            self._be_alone(error)
            return super().take(cores, gpus, others)
        self.is_queued = True
        return None

    def give(self, lease: Lease) -> None:
        super().give(lease)
        if lease.file is not None:
            lease.file.remove()

    def _take(self, ledger: Ledger, cores: int, gpus: float) -> Lease | None:
        """Lease what the others leave, or wait in the queue."""
        notes = ledger.others()
        others = [self._lease(note) for note in notes]
        lack = self.lack(cores, gpus, others) or self._lack_of_those_before(notes, gpus)
        if lack:
            self._wait(ledger, lack, notes)
            return None
        if self._ticket is not None:
            self._ticket.remove()
            self._ticket = None
        lease = super().take(cores, gpus, others)
        assert lease is not None
        note = replace(self._note, lacks="", gpus=list(lease.gpus), share=lease.share)
        note.cores = lease.cores / self._workers_per_core
        try:
            return replace(lease, file=ledger.add(note))
        except OSError as error:
            self._be_alone(error)
            return lease

    def _lease(self, note: Note) -> Lease:
        """Return what another sweep has of the cores and GPUs that this one may use."""
        cores = note.cores * self._workers_per_core if self._shares_cores(note) else 0.0
        return Lease(cores, tuple(note.gpus), note.share)

    def _shares_cores(self, note: Note) -> bool:
        return not set(note.cpus).isdisjoint(self._note.cpus)

    def _lack_of_those_before(self, notes: Sequence[Note], gpus: float) -> str:
        """Name what a sweep ahead in the queue lacks and this one would take from it; '' if nothing."""
        since = self._note.since if self._ticket is not None else time.time()
        for note in notes:
            is_before = (-note.priority, note.since) < (-self._note.priority, since)
            wanted = self._shares_cores(note) if note.lacks == CORES else gpus > 0
            if note.lacks and is_before and wanted:
                return note.lacks
        return ""

    def _wait(self, ledger: Ledger, lack: str, notes: Sequence[Note]) -> None:
        """Take a place in the queue, or show that it is still wanted."""
        self.is_queued = True
        self._note.lacks = lack
        if self._ticket is None:
            self._note.since = time.time()
            self._ticket = ledger.add(self._note)
        else:
            self._ticket.write(self._note)
        if time.time() - self._note.since > PATIENCE:
            self._say(lack, notes)

    def _say(self, lack: str, notes: Sequence[Note]) -> None:
        """Say who has what this sweep waits for, unless that has just been said."""
        amounts: dict[str, float] = defaultdict(float)
        for note in notes:
            amounts[note.who] += note.cores if lack == CORES else note.share * len(note.gpus)
        holders = sorted(who for who, amount in amounts.items() if amount)
        if holders and holders != self._said:
            self._said = holders
            parts = [f"{who} has {amounts[who]:g}" for who in holders]
            console.say(f"waiting for {lack}: {', '.join(parts)}", style="yellow")

    def _be_alone(self, error: OSError) -> None:
        """Go on without the others."""
        self._ledger = None
        reason = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        console.say(f"cores are not shared with other sweeps of this machine: {reason}", "yellow")
