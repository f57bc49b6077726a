"""Slurm's commands, as far as a sweep needs them: submit workers, see what becomes of them."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from sweeplab import config
from sweeplab.errors import RunFailed
from sweeplab.targets.packages import own_folders

ENDING = 20.0  # seconds in which a worker that is ending has left the queue
PATIENCE = 60.0  # seconds that one of Slurm's commands may take
GONE = ("COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY")
WAITING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT", "CONFIGURING", "SUSPENDED")
HELD = ("launch failed requeued held", "JobHoldMaxRequeue")  # by Slurm, until an administrator acts
COMPLETING = "COMPLETING"  # it has ended; how can be asked when it has left the queue
MAIN = "from sweeplab.commands.cli import main; main()"
CANCELLED = "CANCELLED"
# Not of lines in files that are sourced: those may fail on purpose, and their last one counts.
SETUP_FAILED = """code=$? line=$LINENO
if [ ${#BASH_SOURCE[@]} = 1 ]; then
    echo "hydra.launcher.setup: exit code $code of: $(sed -n ${line}p "$0")" >&2
    exit $code
fi
"""
NO_NUMBER = "4294967294"  # of an element of an array: Slurm's NO_VAL
LAUNCH_FAILED = "LAUNCH_FAILED"


class SlurmError(RunFailed):
    """One of Slurm's commands has failed. The message is what it said."""


@dataclass(kw_only=True, slots=True, frozen=True)
class Element:
    """A worker in Slurm's queue: an element of an array of jobs."""

    id: str  # 39_1
    state: str
    reason: str  # why it waits
    node: str

    @property
    def is_ending(self) -> bool:
        return self.state == COMPLETING

    @property
    def waits(self) -> bool:
        return self.state in WAITING


@dataclass(kw_only=True, slots=True, frozen=True)
class Ended:
    """A worker that is no longer in the queue, and how Slurm says it ended."""

    id: str
    state: str  # COMPLETED, CANCELLED, FAILED, OUT_OF_MEMORY, ...; '' if Slurm has forgotten it
    words: str


@dataclass(kw_only=True, slots=True)
class Report:
    """What a look at the queue has shown, and what was submitted at once."""

    elements: list[Element] = field(default_factory=list)
    ended: list[Ended] = field(default_factory=list)
    submitted: list[str] = field(default_factory=list)  # Slurm jobs
    refused: str | None = None  # why Slurm takes no more workers
    silent: str | None = None  # why nothing is known now


class SlurmQueue:
    """The workers of one sweep in Slurm's queue, by the name that they have there."""

    def __init__(self, name: str, arguments: Sequence[str], script: str) -> None:
        self._name = name
        self._arguments = arguments
        self._script = script
        self._known: dict[str, Element] = {}
        self._ending_since: float | None = None

    @property
    def jobs(self) -> list[str]:
        """The Slurm jobs that have workers in the queue."""
        return sorted({element.id.partition("_")[0] for element in self._known.values()})

    @property
    def ending(self) -> list[str]:
        """The workers that were ending when the queue was last seen."""
        return [element.id for element in self._known.values() if element.is_ending]

    def look(self, wanted: int) -> Report:
        """See who is in the queue, and submit what is missing of so many workers."""
        try:
            elements, held = self._sort_out(self._elements())
        except SlurmError as error:
            return Report(elements=list(self._known.values()), silent=str(error))
        now = {element.id: element for element in elements}
        ended = [Ended(id=one.id, state=LAUNCH_FAILED, words=one.reason) for one in held]
        gone = self._known.keys() - now.keys() - {one.id for one in held}
        ended += [self._fate(self._known[name]) for name in sorted(gone)]
        self._known = now
        alive = [element for element in elements if not element.is_ending]
        report = Report(elements=alive, ended=ended)
        is_cancelled = any(one.state == CANCELLED for one in ended)
        missing = wanted - len(alive)
        if missing > 0 and not is_cancelled and not self._awaits_ends(elements):
            self._submit(missing, report)
        return report

    def _sort_out(self, elements: Sequence[Element]) -> tuple[list[Element], list[Element]]:
        """Cancel the workers that Slurm holds, since they could not be launched; return the others first."""
        held = [element for element in elements if element.reason in HELD]
        if held:
            _say("scancel", "--quiet", *[element.id for element in held])
        return [element for element in elements if element not in held], held

    def _awaits_ends(self, elements: Sequence[Element]) -> bool:
        """Whether workers are just ending, maybe because the user has cancelled them all.

        On a node that is lost that may take for ever: they are not waited for long.
        """
        if not any(element.is_ending for element in elements):
            self._ending_since = None
            return False
        if self._ending_since is None:
            self._ending_since = time.monotonic()
        return time.monotonic() - self._ending_since < ENDING

    def _elements(self) -> list[Element]:
        said = _say(
            "squeue", "--noheader", "--array", f"--name={self._name}", "--format=%i|%T|%r|%N"
        )
        elements = []
        for line in said.splitlines():
            name, state, reason, node = (word.strip() for word in line.split("|", 3))
            if state not in GONE:
                elements.append(Element(id=name, state=state, reason=reason, node=node))
        return elements

    def _submit(self, count: int, report: Report) -> None:
        """Submit workers; if Slurm refuses so many at once, try half as many, and so on."""
        try:
            job = submit([*self._arguments, f"--array=0-{count - 1}"], self._script)
        except SlurmError as error:
            if count > 1:
                self._submit(count // 2, report)
            else:
                report.refused = str(error)
            return
        report.submitted.append(job)
        for index in range(count):
            name = f"{job}_{index}"
            element = Element(id=name, state="PENDING", reason="", node="")
            self._known[name] = element
            report.elements.append(element)

    def _fate(self, element: Element) -> Ended:
        """Ask how a worker ended; Slurm forgets it after some minutes."""
        facts = _facts(element.id)
        if facts.get("JobName") != self._name:  # Slurm has lost its state, and given the id again
            facts = {}
        state = facts.get("JobState", "")
        words = state or "it has left the queue"
        code, _, number = facts.get("ExitCode", "0:0").partition(":")
        if state == "FAILED":
            words += f", exit code {code}" if number == "0" else f", signal {number}"
        elif facts.get("Reason", "None") != "None":
            words += f", {facts['Reason']}"
        return Ended(id=element.id, state=state, words=words)

    def cancel(self) -> None:
        """Cancel the workers that wait, and those that Slurm has lost sight of."""
        left = [element.id for element in self._elements() if not element.is_ending]
        if left:
            _say("scancel", "--quiet", *left)


def submit(arguments: Sequence[str], script: str) -> str:
    """Submit a job, and return its id. Raises SlurmError with what Slurm said."""
    said = _say("sbatch", "--parsable", *arguments, script=script)
    return said.strip().splitlines()[-1].partition(";")[0]


def _facts(element: str) -> dict[str, str]:
    """Return what Slurm knows of an element of an array; nothing if it has forgotten it.

    Elements that were cancelled while they waited have a line for all of them together, with
    numbers such as 0-3, or with none.
    """
    job, _, number = element.partition("_")
    try:
        lines = _say("scontrol", "show", "job", "--oneliner", job).splitlines()
    except SlurmError:
        return {}
    records = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in lines]
    known = [facts for facts in records if facts.get("JobState") not in WAITING]
    by_number = {facts.get("ArrayTaskId", ""): facts for facts in known}
    together = [each for each in by_number if each == NO_NUMBER or not each.isdecimal()]
    return by_number.get(number) or by_number.get("".join(together[:1]), {})


def worker_script(setup: Sequence[str], words: Sequence[str]) -> str:
    """Return the script of a worker: the user's lines, then `sweeplab` with these words.

    A line that fails ends it, but where the shell is to go on: in a condition, or before `||`.
    """
    command = shlex.join([sys.executable, "-c", MAIN, *words])
    path = shlex.quote(":".join(own_folders()))
    # Slurm's word that the time is nearly over would kill what does not know it yet.
    lines = ["#!/bin/bash", "trap '' USR1"]
    if setup:
        lines += [f"trap {shlex.quote(SETUP_FAILED)} ERR", *setup, "trap - ERR"]
    lines += [f"export PYTHONPATH={path}", f"exec {command}"]
    return "\n".join(lines) + "\n"


def summary(elements: Sequence[Element]) -> str:
    """Say in a line how many workers run and wait, and why: `3 running, 5 pending (Priority)`."""
    states = Counter(element.state.lower() for element in elements)
    counts = []
    for state in sorted(states, reverse=True):
        reasons = {
            element.reason
            for element in elements
            if element.waits and element.state.lower() == state and element.reason != "None"
        }
        why = f" ({', '.join(sorted(filter(None, reasons)))})" if any(reasons) else ""
        counts.append(f"{states[state]} {state}{why}")
    return ", ".join(counts)


def _say(*words: str, script: str | None = None) -> str:
    """Run one of Slurm's commands, and return what it says. Raises SlurmError if it fails."""
    try:
        done = subprocess.run(  # noqa: S603  # Slurm's own, with words of ours
            words,
            env=config.environment(),  # which a worker takes over
            input=script,
            stdin=None if script is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise SlurmError(f"{words[0]} does not answer") from error
    except OSError as error:
        raise SlurmError(f"{words[0]}: {error.strerror}") from error
    if done.returncode:
        lines = [line.partition("error: ")[2] or line for line in done.stderr.splitlines()]
        raise SlurmError(f"{words[0]}: {'; '.join(lines) or f'exit code {done.returncode}'}")
    return done.stdout
