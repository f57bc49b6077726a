"""`sweeplab stop`, `pause`, `resume` and `retry`: steer a run or a sweep from another terminal."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import NoReturn

from sweeplab import config, console
from sweeplab.commands.compare import LATEST, named_sweep
from sweeplab.config import Config, Node
from sweeplab.errors import UserError
from sweeplab.store import DamagedError, History, Run, Status, Store, Wish

ENDING = (Wish.STOP, Wish.PAUSE)


def add_options(parser: ArgumentParser) -> None:
    """Add what is steered."""
    name = "the beginning of an id of a run or a sweep, an experiment, or latest"
    parser.add_argument("NAME", metavar="RUN|SWEEP", help=name)


def main(arguments: Namespace, settings: Config) -> None:
    """Do what is asked for. Raises UserError, with nothing changed, where it has no effect."""
    home = Store(settings.store.root)
    sweep, run = _named(home, arguments.NAME, settings)
    _ensure_own(home, sweep, run)
    if run is not None:
        steered: RunSteering | SweepSteering = RunSteering(home, run)
    else:
        assert sweep is not None
        steered = SweepSteering(home, sweep)
    match arguments.command:
        case "resume":
            steered.resume()
        case "retry":
            steered.retry()
        case wish:
            steered.ask(Wish(wish))


def _named(home: Store, name: str, settings: Config) -> tuple[Node | None, Run | None]:
    """Find the sweep or the run of this name. Raises UserError unless there is just one."""
    sweep = run = None
    try:
        sweep = named_sweep(home, name, settings)
    except UserError:
        if name == LATEST:
            raise
    try:
        run = home.find(name)
    except UserError as error:
        run = _waiting(home, name)
        if run is None and sweep is None:
            raise UserError(f"{error}; nor is a sweep or an experiment of that name") from None
    if run is not None and sweep is not None:
        problem = f"sweep {sweep['id'][:12]} and run {run.id} begin so; give more of the id"
        raise UserError(f"{name}: {problem}")
    return sweep, run


def _waiting(home: Store, name: str) -> Run | None:
    """Find a run that a sweep at work is still to begin."""
    for sweep in home.manifests():
        if name and home.presence(sweep["id"]).is_there:
            for cell in sweep["cells"]:
                if str(cell["fingerprint"]).startswith(name):
                    return home.run(cell["fingerprint"])
    return None


def _ensure_own(home: Store, sweep: Node | None, run: Run | None) -> None:
    """Raise UserError for what came from elsewhere: nothing of it is run."""
    if run is not None:
        name, file, origin = f"run {run.id}", run.journal.path, (run.origin() or {}).get("file")
    else:
        assert sweep is not None
        name, file = f"sweep {sweep['id'][:12]}", home.report_folder(sweep["id"])
        file, origin = file.with_suffix(".json"), sweep.get("origin")
    if origin is not None:
        raise UserError(f"{name} was unpacked from {origin}: nothing of it is run here")
    if file.exists() and file.stat().st_uid != os.getuid():
        raise UserError(f"{file}: is another user's, who alone steers it")


class SweepSteering:
    """Steers a sweep."""

    def __init__(self, home: Store, sweep: Node) -> None:
        self._home, self._sweep = home, sweep
        self._request = home.request(sweep["id"])
        self._presence = home.presence(sweep["id"])
        self._name = f"sweep {sweep['id'][:12]}"
        self._runs = [home.run(cell["fingerprint"]) for cell in sweep["cells"]]

    def ask(self, wish: Wish) -> None:
        """Ask the sweep to stop or to pause."""
        if not self._presence.is_there:
            raise UserError(f"{self._name} is not at work: {self._state()}")
        self._request.write(wish)
        _say_asked(self._name, wish, self._sweep["id"][:12])

    def resume(self) -> None:
        """Let the sweep go on; its command is issued again if there is none at work."""
        is_held = self._request.withdraw()
        for run in self._runs:
            if run.request.read() in ENDING:
                is_held |= run.request.withdraw()
        if not self._presence.is_there:
            self._reissue()
        if not is_held:
            raise UserError(f"{self._name} is at work, and nothing of it is paused or stopped")
        console.say(f"{self._name} goes on")

    def retry(self) -> None:
        """Let the runs that failed be trained anew."""
        failed = [run for run in self._runs if run.status == Status.FAILED]
        if not failed:
            raise UserError(f"{self._name}: none of its runs has failed")
        if self._presence.is_there:
            _retry(failed, [self._sweep])
        if not self._presence.is_there:
            self._reissue()
        console.say(f"{self._name}: {console.counted(len(failed), 'run')} are tried again")

    def _state(self) -> str:
        """Say why it is not at work, and what to do."""
        at_work = [run.id for run in self._runs if run.claimed]
        if at_work:
            names = f"{at_work[0]}{', ...' if len(at_work) > 1 else ''}"
            return f"no command heeds it, but runs are at work, which can be named: {names}"
        if all(run.status == Status.FINISHED for run in self._runs):
            return "it is finished"
        resume = console.command(f"sweeplab resume {self._sweep['id'][:12]}")
        return f"its command has ended; {resume} issues it again"

    def _reissue(self) -> NoReturn:
        if self._sweep["status"] == Status.FINISHED:
            raise UserError(f"{self._name} is finished: there is nothing to go on with")
        _reissue(self._sweep.get("command"), self._name)


class RunSteering:
    """Steers a run."""

    def __init__(self, home: Store, run: Run) -> None:
        self._run = run
        self._name = f"run {run.id}"
        self._sweeps = [sweep for sweep in home.manifests() if _has(sweep, run)]
        self._presences = [home.presence(sweep["id"]) for sweep in self._sweeps]

    def ask(self, wish: Wish) -> None:
        """Ask the run to stop or to pause."""
        if not self._is_at_work or (self._is_over and not self._run.claimed):
            raise UserError(f"{self._name} is not at work: it is {self._run.status}")
        self._run.request.write(wish)
        _say_asked(self._name, wish, self._run.id)

    def resume(self) -> None:
        """Let the run go on; its command, or that of its sweep, is issued again if need be."""
        is_held = self._run.request.read() in ENDING and self._run.request.withdraw()
        if self._is_at_work:
            if not is_held:
                raise UserError(f"{self._name} is neither paused nor stopped")
            console.say(f"{self._name} goes on")
            return
        if self._run.status == Status.FINISHED:
            raise UserError(f"{self._name} is finished: there is nothing to go on with")
        self._reissue()

    def retry(self) -> None:
        """Let the run be trained anew, if it has failed."""
        if self._run.status != Status.FAILED:
            raise UserError(f"{self._name} has not failed: it is {self._run.status}")
        both = zip(self._sweeps, self._presences, strict=True)
        at_work = [sweep for sweep, presence in both if presence.is_there]
        if at_work:
            _retry([self._run], at_work)
        if not self._is_at_work:
            self._reissue()
        console.say(f"{self._name} is tried again")

    @property
    def _is_at_work(self) -> bool:
        """Whether it is trained, or a sweep that may start it is at work."""
        is_any_there = any(presence.is_there for presence in self._presences)
        return self._run.claimed or is_any_there

    @property
    def _is_over(self) -> bool:
        return self._run.status in (Status.FINISHED, Status.FAILED)

    def _reissue(self) -> NoReturn:
        try:
            start = History.of(self._run.journal).start
        except DamagedError as error:
            raise UserError(f"{self._name}: {error}") from error
        ids = [sweep["id"] for sweep in self._sweeps]
        if start.get("sweep") not in ids:
            _reissue(start.get("command"), self._name)
        sweep = self._sweeps[ids.index(start["sweep"])]
        if sweep.get("origin") is not None:
            raise UserError(f"{self._name}: its sweep was unpacked from {sweep['origin']}")
        _reissue(sweep.get("command"), f"{self._name}: sweep {sweep['id'][:12]}")


def _has(sweep: Node, run: Run) -> bool:
    return any(str(cell["fingerprint"]).startswith(run.id) for cell in sweep["cells"])


def _say_asked(name: str, wish: Wish, name_of_it: str) -> None:
    way = console.command(f"sweeplab resume {name_of_it}")
    console.say(f"{name} is asked to {wish}: it ends at a checkpoint; {way} lets it go on")


def _retry(runs: Sequence[Run], sweeps: Sequence[Node]) -> None:
    """Ask that failed runs are trained anew. Raises UserError for those of a search."""
    if any(sweep.get("search") for sweep in sweeps):
        raise UserError("a search goes on with other trials: a failed one is not trained again")
    for run in runs:
        run.request.write(Wish.RETRY)


def _reissue(command: Node | None, name: str) -> NoReturn:
    """Issue a recorded command in this terminal. Raises UserError if that cannot be."""
    if command is None:
        reason = "it was called from Python, or recorded by an earlier version"
        raise UserError(f"{name}: its command is not known ({reason}); issue it again yourself")
    console.say(f"{name} goes on by its command: {config.command_text(command)}")
    config.reissue(command, name)
