"""What outlives the terminal of a sweep, and what follows the sweep: `sweep.detach`, `sweep.then`."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sweeplab import config, console
from sweeplab.errors import RunFailed, UserError, exit_code
from sweeplab.store import Status, Store
from sweeplab.sweep.plan import Plan
from sweeplab.sweep.steering import STOPPED

VARIABLE = "SWEEPLAB_DETACHED"
LOOK = 0.1  # seconds between two looks whether the other process has begun


def goes_on_apart(plan: Plan, home: Store) -> bool:
    """Let another process carry the sweep out, if `sweep.detach` says so; return whether it does.

    Raises UserError if nobody knows the command, RunFailed if that process ends at once.
    """
    if not plan.settings.sweep.detach:
        return False
    if os.environ.pop(VARIABLE, None):  # this is the other process
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        return False
    if config.issued_command() is None:
        reason = "from Python there is no command that could go on without this process"
        raise UserError(f"sweep.detach=true: {reason}; leave it out")
    home.open()
    log, name = home.manifest_file(plan.id).with_suffix(".log"), plan.id[:12]
    with log.open("ab") as file:
        process = config.issue_apart(file, {VARIABLE: "1"})
    with console.waiting("waiting until it has begun"):
        while process.poll() is None and not home.presence(plan.id).is_there:
            time.sleep(LOOK)
    if process.returncode:
        raise RunFailed(f"sweep {name} ended at once with {process.returncode}; its log: {log}")
    console.say(f"sweep {name} goes on without this terminal; its log: {log}")
    for way in ("watch", "stop", "compare"):
        console.say(f"  {console.command(f'sweeplab {way} {name}')}")
    process.returncode = 0  # it outlives this process on purpose, of which Popen would warn
    return True


@contextmanager
def concluded(
    plan: Plan, home: Store, cut: Callable[[], str | None], record: Callable[[int], None]
) -> Iterator[None]:
    """Record the exit code of the block, and then carry out `sweep.then`."""
    error: BaseException | None = None
    try:
        yield
    except BaseException as raised:
        error = raised
        raise
    finally:
        code = exit_code(error)
        record(code)
        if plan.settings.sweep.then is not None:
            _carry_out(plan.settings.sweep.then, _outcome(plan, home, error, cut()))


def _outcome(
    plan: Plan, home: Store, error: BaseException | None, cut: str | None
) -> dict[str, str]:
    """Return what `sweep.then` finds in its environment."""
    states = Counter(home.run(cell.job.fingerprint).status for cell in plan.cells)
    status = "finished" if error is None else "failed"
    if isinstance(error, KeyboardInterrupt):
        status = "interrupted"
    elif cut == STOPPED:
        status = "stopped"
    report = home.report_folder(plan.id) / "report.html"
    return {
        "SWEEPLAB_SWEEP": plan.id,
        "SWEEPLAB_STATUS": status,
        "SWEEPLAB_EXIT": str(exit_code(error)),
        "SWEEPLAB_REPORT": str(report.resolve()) if report.exists() else "",
        "SWEEPLAB_STORE": str(home.root.resolve()),
        "SWEEPLAB_FINISHED": str(states[Status.FINISHED]),
        "SWEEPLAB_FAILED": str(states[Status.FAILED]),
    }


def _carry_out(command: str, outcome: dict[str, str]) -> None:
    """Run the user's command by the shell; that it fails changes nothing for the sweep."""
    environment = {**config.environment(), **outcome}
    environment.pop(VARIABLE, None)
    done = subprocess.run(  # noqa: S602  # the user's own words
        command, shell=True, env=environment, stdin=subprocess.DEVNULL, check=False
    )
    if done.returncode:
        own = f"the sweep's own exit code stays {outcome['SWEEPLAB_EXIT']}"
        console.complain(f"sweep.then ended with exit code {done.returncode}; {own}")
