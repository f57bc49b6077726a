"""`sweeplab stop`, `pause`, `resume` and `retry`: steer a run or a sweep from another terminal."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from sweeplab import config, console
from sweeplab.commands.naming import sweep_or_run
from sweeplab.compare.runs import RUNNING
from sweeplab.config import Config, Node
from sweeplab.errors import UserError
from sweeplab.store import DamagedError, History, Request, Run, Status, Store, Wish

ENDING = (Wish.STOP, Wish.PAUSE)
PLACES = ("store", "tracking")  # the sections that say where a run is


def add_options(parser: ArgumentParser) -> None:
    """Add what is steered."""
    name = "the beginning of an id of a run or a sweep, an experiment, or latest"
    parser.add_argument("NAME", metavar="RUN|SWEEP", help=name)


def overrides(arguments: Namespace, words: list[str]) -> list[str]:
    """Refuse what would change the runs: they go on as their command was recorded."""
    for word in words:
        key = word.lstrip("+~").partition("=")[0]
        if key.partition(".")[0] not in PLACES:
            kept = f"sweeplab {arguments.command} changes no setting, and takes store.* and tracking.* only"
            advice = "to train with another one, issue the command itself with it"
            raise UserError(f"{word}: {kept}; {advice}")
    return words


def main(arguments: Namespace, settings: Config) -> None:
    """Do what is asked for. Raises UserError, with nothing changed, where it has no effect."""
    home = Store(settings.store.root)
    if home.root.is_dir() and not home.writable:  # its locks cannot be looked at, either
        raise UserError(
            f"{home.root}: cannot be written, so nothing in it can be steered from here"
        )
    target = _find(home, arguments.NAME, settings)
    if arguments.command == "resume":
        _resume(target)
    elif arguments.command == "retry":
        _retry(target)
    else:
        _ask(target, Wish(arguments.command))


@dataclass(kw_only=True, slots=True, frozen=True)
class Steered:
    """A run or a sweep that is to be steered."""

    home: Store
    kind: str  # run | sweep
    id: str
    runs: list[Run]  # of a sweep all, of a run itself
    sweeps: list[Node]  # of a run those of this machine that it belongs to
    request: Request

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return f"{self.kind} {self.id[:12]}"

    @property
    def sweeps_at_work(self) -> list[Node]:
        """List those of its sweeps whose command heeds requests."""
        return [sweep for sweep in self.sweeps if self.home.presence(sweep["id"]).is_there]

    @property
    def is_at_work(self) -> bool:
        """Whether a request would be heeded."""
        return bool(self.sweeps_at_work) or (self.kind == "run" and self.runs[0].claimed)

    @property
    def status(self) -> str:
        """How it ended the last time."""
        status = self.runs[0].status if self.kind == "run" else self.sweeps[0]["status"]
        is_gone = status == RUNNING and not self.home.is_carried_out(self.id)
        return str(Status.INTERRUPTED if is_gone else status)

    @property
    def is_finished(self) -> bool:
        """Whether its command would have nothing to train."""
        is_planned = not any(sweep.get("search") or sweep.get("looks") for sweep in self.sweeps)
        are_all = is_planned and all(run.status == Status.FINISHED for run in self.runs)
        return are_all or self.status == Status.FINISHED

    @property
    def command(self) -> Node | None:
        """The command that trains it, as recorded: that of its sweep, if it has one."""
        start = History.of(self.runs[0].journal).start if self.kind == "run" else {}
        if self.kind == "run" and start.get("sweep") is None:
            return start.get("command")
        return self.sweeps[-1].get("command") if self.sweeps else None

    @property
    def source(self) -> tuple[Path, object]:
        """Return the file that tells of it, and from which archive it came, if from any."""
        if self.kind == "run":
            run = self.runs[0]
            return run.journal.path, (run.origin() or {}).get("file")
        return self.home.manifest_file(self.id), self.sweeps[0].get("origin")


def _find(home: Store, name: str, settings: Config) -> Steered:
    """Find the one sweep or run of this name, and what belongs to it. Raises UserError."""
    found = sweep_or_run(home, name, settings, _waiting(home, name))
    if isinstance(found, dict):
        sweep = found
        runs = [home.run(cell["fingerprint"]) for cell in sweep["cells"]]
        request = home.request(sweep["id"])
        target = Steered(
            home=home, kind="sweep", id=sweep["id"], runs=runs, sweeps=[sweep], request=request
        )
    else:
        run, home = found, Store(found.folder.parent)  # another store, if its folder was named
        sweeps = [sweep for sweep in home.manifests() if _trains(sweep, run)]
        target = Steered(
            home=home, kind="run", id=run.id, runs=[run], sweeps=sweeps, request=run.request
        )
    _ensure_own(target)
    return target


def _trains(sweep: Node, run: Run) -> bool:
    """Whether a run is of a sweep, and the sweep of this machine: others' commands are not run."""
    is_own = sweep.get("origin") is None
    return is_own and any(str(cell["fingerprint"]).startswith(run.id) for cell in sweep["cells"])


def _waiting(home: Store, name: str) -> list[Run]:
    """List the runs of this name that a sweep at work has begun, or is still to begin."""
    runs: list[Run] = []
    for sweep in home.manifests():
        cells = [cell for cell in sweep["cells"] if cell["fingerprint"].startswith(name)]
        if cells and home.presence(sweep["id"]).is_there:
            runs += [home.run(cell["fingerprint"]) for cell in cells]
    return runs


def _ensure_own(target: Steered) -> None:
    """Raise UserError for what came from elsewhere: nothing of it is run."""
    file, origin = target.source
    if origin is not None:
        raise UserError(f"{target.name} was unpacked from {origin}: nothing of it is run here")
    if file.exists() and file.stat().st_uid != os.getuid():
        raise UserError(f"{file}: is another user's, who alone steers it")


def _ask(target: Steered, wish: Wish) -> None:
    """Ask for an end at a checkpoint."""
    is_over = target.status in (Status.FINISHED, Status.FAILED)
    is_claimed = any(run.claimed for run in target.runs)
    if not target.is_at_work or (target.kind == "run" and is_over and not is_claimed):
        reason = f"is not at work: it is {target.status}"
        if target.kind == "sweep" and is_claimed:
            reason = "has no command at work that would heed it; name its runs that are at work"
        raise UserError(f"{target.name} {reason}")
    target.request.write(wish)
    way = console.command(f"sweeplab resume {target.id[:12]}")
    asked = f"{target.name} is asked to {wish}: it ends at a checkpoint"
    console.say(f"{asked}; {way} lets it go on")


def _resume(target: Steered) -> None:
    """Withdraw what was asked for; issue the command again if none is at work."""
    is_held = False
    for request in [target.request, *(run.request for run in target.runs)]:
        if request.read() in ENDING:
            is_held |= request.withdraw()
    if not target.is_at_work:
        _reissue(target)
    dead = _dead(target)
    for run in dead:
        run.request.write(Wish.RETRY)
    if not is_held and not dead:
        raise UserError(f"{target.name} {_why_it_needs_no_resume(target)}")
    console.say(f"{target.name} goes on")


def _dead(target: Steered) -> list[Run]:
    """List the runs whose process was killed, or timed out, while their sweep goes on without them."""
    begun = [sweep["time"] for sweep in target.sweeps_at_work if not sweep.get("search")]
    if not begun:
        return []
    dead = []
    for run in target.runs:
        is_of_now = (run.last_written or 0) >= min(begun)
        is_open = run.status in (Status.UNFINISHED, Status.INTERRUPTED)
        if is_of_now and is_open and not run.claimed and run.request.read() is None:
            dead.append(run)
    return dead


def _why_it_needs_no_resume(target: Steered) -> str:
    if target.kind == "sweep" or target.runs[0].claimed:
        return "is at work: nothing of it is paused or stopped"
    if target.status == Status.FINISHED:
        return "is finished: there is nothing to go on with"
    if target.status == Status.FAILED:
        return f"has failed; {console.command(f'sweeplab retry {target.id[:12]}')} trains it anew"
    return "waits for its turn: it is not paused or stopped"


def _retry(target: Steered) -> None:
    """Let the runs that failed be trained anew."""
    failed = [run for run in target.runs if run.status == Status.FAILED]
    if not failed:
        raise UserError(f"{target.name} {_why_it_needs_no_retry(target)}")
    if any(sweep.get("search") for sweep in target.sweeps_at_work):
        way = console.command(f"sweeplab retry {target.id[:12]}")
        reason = "a search at work trains no failed trial again, but others"
        raise UserError(f"{target.name}: {reason}; when it has ended, {way} does")
    if not target.is_at_work:
        _retry_by_command(target)
    for run in failed:
        run.request.write(Wish.RETRY)
    if target.kind == "run":
        console.say(f"{target.name} begins anew")
    else:
        number = console.counted(len(failed), "failed run")
        console.say(f"{number} of {target.name} {'begins' if len(failed) == 1 else 'begin'} anew")


def _retry_by_command(target: Steered) -> NoReturn:
    """Issue the recorded command, which trains anew all runs that failed.

    A search does so only if that is asked for: Optuna was told that they have failed.
    """
    cells = [cell for sweep in target.sweeps[-1:] for cell in sweep["cells"]]
    runs = [target.home.run(cell["fingerprint"]) for cell in cells]
    failed = [run for run in runs if run.status == Status.FAILED]
    for run in failed:
        run.request.write(Wish.RETRY)
    try:
        _reissue(target)
    except UserError:
        for run in failed:
            run.request.withdraw()
        raise


def _why_it_needs_no_retry(target: Steered) -> str:
    """Say how it stands, and what goes on with runs that ended without an error of theirs."""
    way = f"{console.command(f'sweeplab resume {target.id[:12]}')} goes on"
    begun = [run for run in target.runs if run.last_written is not None]
    left = [run for run in begun if run.status != Status.FINISHED and not run.claimed]
    if target.kind == "run":
        status = "at work" if target.runs[0].claimed else target.status
        return f"has not failed: it is {status}{f'; {way}' if left else ''}"
    if not left:
        working = any(run.claimed for run in target.runs)
        return f"has no failed run: it is {'at work' if working else target.status}"
    number = console.counted(len(left), "run")
    return f"has no failed run: {number} did not finish for another reason; {way} with them"


def _reissue(target: Steered) -> NoReturn:
    """Issue the recorded command in this terminal. Raises UserError if that cannot be."""
    if target.is_finished:
        raise UserError(f"{target.name} is finished: there is nothing to go on with")
    try:
        command = target.command
    except DamagedError as error:
        raise UserError(f"{target.name}: {error}") from error
    if command is None:
        reason = "it was called from Python, or recorded by an earlier version"
        raise UserError(
            f"{target.name}: its command is not known ({reason}); issue it again yourself"
        )
    config.ensure_issuable(command, target.name)
    sweep = target.sweeps[-1] if target.sweeps else None
    resumption = target.home.resumption(target.id if sweep is None else sweep["id"])
    if not resumption.begin() and not _is_ending(target.home, sweep):
        other = f"process {console.shown(resumption.process)} takes it up already"
        way = "sweeplab runs" if sweep is None else f"sweeplab watch {sweep['id'][:12]}"
        raise UserError(f"{target.name}: {other}; {console.command(way)} shows when it trains")
    text = config.command_text(command)
    console.say(f"{target.name} goes on by its command, in {command['folder']}: {text}")
    try:
        config.reissue(command)
    finally:  # of what could not be issued
        resumption.leave()


def _is_ending(home: Store, sweep: Node | None) -> bool:
    """Tell whether a command has trained the sweep, and is about to end."""
    if sweep is None or sweep["status"] == RUNNING:
        return False
    return home.is_carried_out(sweep["id"])
