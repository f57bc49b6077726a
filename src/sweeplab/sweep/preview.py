"""A plan on the screen: a table of its jobs with fate and estimated time, or all that in a line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sweeplab import console, metrics, store
from sweeplab.console import counted
from sweeplab.sweep import fate
from sweeplab.sweep.cell import Cell
from sweeplab.sweep.estimate import Estimate, estimates, wall
from sweeplab.sweep.grouping import shared
from sweeplab.sweep.plan import Plan
from sweeplab.sweep.resolution import resolution

JSON = "json"  # of sweep.plan: for scripts
ROWS, ENDS = 60, 20  # of a longer table the first and the last so many are shown
WORDS = {fate.REUSE: "reused", fate.RESUME: "resumed", fate.FAILED: "failed before"}


def show(plan: Plan, notice: str = "", *, by_workers: bool = True, elsewhere: int = 0) -> None:
    """Print the table of all jobs, and a notice of which of them there will be.

    `by_workers`: this machine's workers train them, and may share epochs. `elsewhere` is the
    number of workers on other machines, if those do.

    Makes and trains nothing; some steps are timed where the store has no earlier run to go by.
    """
    with console.waiting("estimating the time"):
        guesses = estimates([(cell.job, cell.fate) for cell in plan.cells])
    walks, seconds, workers = _wall(plan, guesses, by_workers, elsewhere)
    if plan.settings.sweep.plan == JSON:
        jobs = [_job(cell, guess) for cell, guess in zip(plan.cells, guesses, strict=True)]
        _say_json(plan, jobs=jobs, seconds=seconds, workers=workers, notice=notice)
        return
    keys = list(dict.fromkeys(key for cell in plan.cells for key in cell.varied))
    rows = [_row(cell, guess, keys) for cell, guess in zip(plan.cells, guesses, strict=True)]
    columns = [*(keys or ["job"]), "fate", metrics.PARAMETERS, "seconds, at most", "estimated from"]
    if len(rows) > ROWS:
        gap = [f"... {len(rows) - 2 * ENDS} more"] + [""] * (len(columns) - 1)
        rows = [*rows[:ENDS], gap, *rows[-ENDS:]]
    spare = ("estimated from", metrics.PARAMETERS)
    console.table(plan.name, columns, rows, left=len(columns) - 3, spare=spare)
    can_show = resolution(plan)
    if can_show:
        console.say(can_show)
    notice = f"\n{notice}" if notice else ""
    line = _line(plan, guesses, walks, seconds, workers)
    console.say(f"{line}{notice}\nnothing was trained: sweep.plan=true")


def show_search(plan: Plan, keys: Mapping[str, str], most_jobs: int, notice: str) -> None:
    """Print what the keys of a search are drawn from, and a notice of who would carry it out."""
    if plan.settings.sweep.plan == JSON:
        _say_json(plan, search={"keys": keys, "most_jobs": most_jobs}, notice=notice)
        return
    console.table(plan.name, ("key", "is drawn from"), list(keys.items()), left=2)
    notice = f"\n{notice}" if notice else ""
    console.say(
        f"{counted(most_jobs, 'job')} at most{notice}\nnothing was trained: sweep.plan=true"
    )


def summary(plan: Plan) -> str:
    """Return `24 jobs: 20 reused, 4 new`, without the time: that would read all of the store."""
    kinds = Counter(cell.fate.kind for cell in plan.cells)
    order = [kind for kind in reversed(fate.FATES) if kind in kinds]
    counts = [f"{kinds[kind]} {WORDS.get(kind, kind)}" for kind in order]
    line = f"{counted(len(plan.cells), 'job')}: {', '.join(counts)}"
    other_code = sum(cell.fate.other_code for cell in plan.cells)
    if other_code:
        line += f"; {other_code} of those reused by other code (store.reuse=any)"
        line += "; sweep.plan=true tells which"
    return line


def _row(cell: Cell, guess: Estimate, keys: Sequence[str]) -> list[str]:
    values = [cell.varied.get(key, "-") for key in keys] or [cell.name]
    size = _parameters(cell)
    parameters = f"{size:,}" if size else "-"
    if guess.seconds is None:
        seconds = "-"
    elif not guess.source:  # nothing is trained
        seconds = ""
    else:
        seconds = console.two_digits(guess.seconds)
    return [*values, cell.fate.text, parameters, seconds, guess.source]


def _parameters(cell: Cell) -> int:
    """Count the parameters of the network; 0 if they are not known."""
    if not cell.job.finished:
        return cell.job.parameters
    run = store.Store(cell.job.config.store.root).run(cell.job.fingerprint)
    result = run.result()
    return int(result.metrics.get(metrics.PARAMETERS, 0)) if result else 0


def _wall(
    plan: Plan, guesses: Sequence[Estimate], by_workers: bool, elsewhere: int
) -> tuple[list[list[Cell]], float, int]:
    """Return which jobs are trained as one, how long all of them take, and on how many workers."""
    known = _known(plan, guesses)
    cells = [cell for cell in plan.cells if not cell.job.finished]
    walks = shared(cells) if by_workers else [[cell] for cell in cells]
    longest = [max(known.get(cell.job.fingerprint, 0.0) for cell in walk) for walk in walks]
    seconds, workers = wall(longest, plan.settings, elsewhere)
    return walks, seconds, workers


def _known(plan: Plan, guesses: Sequence[Estimate]) -> dict[str, float]:
    """Map the fingerprints of jobs to seconds, of those whose time is known."""
    known = {}
    for cell, guess in zip(plan.cells, guesses, strict=True):
        if guess.seconds is not None:
            known[cell.job.fingerprint] = guess.seconds
    return known


def _line(
    plan: Plan,
    guesses: Sequence[Estimate],
    walks: Sequence[Sequence[Cell]],
    seconds: float,
    workers: int,
) -> str:
    """Return the summary, what is shared, and how long all of it takes."""
    line = summary(plan)
    if len(walks) < sum(map(len, walks)):
        line += f"; {_sharing(walks)}"
    if not seconds:
        return line
    line += f"; at most {console.duration(max(seconds, 1))} with {counted(workers, 'worker')}"
    unknown = len(plan.cells) - len(_known(plan, guesses))
    if unknown:
        line += f", and {counted(unknown, 'job')} of unknown length"
    return line


def _say_json(
    plan: Plan,
    *,
    jobs: Sequence[dict[str, Any]] = (),
    search: Mapping[str, Any] | None = None,
    seconds: float | None = None,
    workers: int | None = None,
    notice: str = "",
) -> None:
    """Print a plan for scripts: docs/json.md."""
    kinds = Counter(job["fate"] for job in jobs)
    content = {
        "sweep": {
            "id": plan.id,
            "name": plan.name,
            "experiment": plan.settings.tracking.experiment,
        },
        "counts": {kind: kinds[kind] for kind in fate.FATES},
        "seconds": seconds,
        "workers": workers,
        "notice": notice or None,
        "jobs": jobs,
        "search": search,
    }
    print(console.json_text("plan", content))


def _job(cell: Cell, guess: Estimate) -> dict[str, Any]:
    return {
        "fingerprint": cell.job.fingerprint,
        "name": cell.name,
        "overrides": cell.job.overrides,
        "values": cell.varied,
        "fate": cell.fate.kind,
        "about": cell.fate.text,
        "epoch": cell.fate.epoch,
        "parameters": _parameters(cell) or None,
        "seconds": guess.seconds,
        "estimated_from": guess.source or None,
    }


def _sharing(walks: Sequence[Sequence[Cell]]) -> str:
    """Say how many epochs are left, at most, and how many there would be if none were shared."""
    epochs = [[_epochs_left(cell) for cell in walk] for walk in walks]
    runs, all_epochs = sum(map(len, walks)), sum(map(sum, epochs))
    at_most = f"at most {counted(sum(map(max, epochs)), 'epoch')} instead of {all_epochs:,}"
    return f"{runs - len(walks)} of {counted(runs, 'run')} share the epochs of another: {at_most}"


def _epochs_left(cell: Cell) -> int:
    return max(cell.job.config.trainer.epochs - cell.fate.epoch, 0)
