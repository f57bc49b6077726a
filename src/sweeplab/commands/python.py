"""Runs and sweeps from Python: `sweeplab.run`, `sweep`, `results` and `compare`.

They go the way of train.py and of `sweeplab compare`, with the same bits and fingerprints. What the
shell is told with an exit code is raised: UserError, RunFailed, KeyboardInterrupt.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from threading import Lock, get_ident
from typing import Any

from sweeplab import config, console, targets, tracking
from sweeplab.commands import compare as shell
from sweeplab.commands.guard import raised
from sweeplab.commands.results import (
    ComparisonFrames,
    RecordedRuns,
    RunResults,
    SweepResults,
    cell_of,
    single,
)
from sweeplab.commands.train import train
from sweeplab.errors import TrackerBehind, UserError, one_line
from sweeplab.store import Store

_at_work = Lock()
_thread: int | None = None  # that of the call at work

BUSY = (
    "this process is at work on another call of sweeplab already, and the random generators of "
    "PyTorch are one for a process; sweeplab.sweep trains several runs at once"
)
WITHIN = (
    "this is called from within another call of sweeplab, by a module that it imports, say; put "
    "what such a module runs below if __name__ == '__main__':"
)
IN_MAIN = (
    "is defined in this notebook or script itself, which other processes cannot import and whose "
    "code cannot be told apart; put it into a module beside it (in a notebook: %%writefile mine.py) "
    "and name that: mine."
)


def run(
    *overrides: str, config_dir: str | Path | None = None, config_name: str | None = None
) -> RunResults:
    """Train one run, as `python train.py OVERRIDES` does, and return it.

    A finished run is taken from the store; an interrupted one goes on. `config_dir` is your own
    folder of configs; without it that of the train.py in this folder, else what ships with
    sweeplab. Raises UserError for bad input, RunFailed if training raises, KeyboardInterrupt after
    Ctrl-C. That MLflow lags behind is only said.
    """
    try:
        root, fingerprint = _call(overrides, config_dir, config_name, is_sweep=False)
    except TrackerBehind as behind:
        console.complain(str(behind))
        root, fingerprint = behind.root, behind.trained
    home = Store(root)
    return RunResults(home, cell_of(home.run(fingerprint), fingerprint))


def sweep(
    *overrides: str, config_dir: str | Path | None = None, config_name: str | None = None
) -> SweepResults:
    """Train all combinations, as `python train.py -m OVERRIDES` does, and return the sweep.

    Each run is a process of its own. Raises as `run` does; after RunFailed or KeyboardInterrupt
    `sweeplab.results()` has what was finished.
    """
    try:
        plan = _call(overrides, config_dir, config_name, is_sweep=True)
    except TrackerBehind as behind:
        console.complain(str(behind))
        home = Store(behind.root)
        return SweepResults(home, [home.manifest(behind.trained)])
    home = Store(plan.settings.store.root)
    try:
        manifest = home.manifest(plan.id)
    except UserError:  # sweep.plan=true, or a store that cannot be written
        manifest = plan.manifest(None, "planned", 0.0)
    return SweepResults(home, [manifest])


def results(
    names: str | Sequence[str] = shell.LATEST, *, root: str | Path | None = None
) -> SweepResults:
    """Read what is there of sweeps or runs; nothing is trained.

    `names` is `latest`, the beginning of a sweep's id, an experiment, an MLflow parent run, the
    beginning of a run's id, or a list of these. `root` is the folder of runs (default: `runs`).
    Raises UserError for a name that nothing has.
    """
    with raised([]):
        home = _store(root)
        return SweepResults(home, _chosen(home, _listed(names)))


def compare(
    *names: str | SweepResults | RunResults | Sequence[str | SweepResults | RunResults],
    where: str | None = None,
    baseline: str | Sequence[str] = (),
    target: float | None = None,
    margin: float | None = None,
    root: str | Path | None = None,
) -> ComparisonFrames:
    """Compare sweeps or runs, as `sweeplab compare` does: by what `results` takes, or has returned.

    `where` keeps the runs whose config fits ("model.hidden < 512"); `baseline` is what the others
    are compared with ("model.batch_norm=false"); `target` is that of the monitored metric, for
    epochs to it; `margin` is how much worse a smaller config may be and still as good.
    """
    with raised([]):
        found = _together(names or (shell.LATEST,), root)
        return found.compare(where=where, baseline=baseline, target=target, margin=margin)


def _call(
    overrides: Sequence[str],
    config_dir: str | Path | None,
    config_name: str | None,
    *,
    is_sweep: bool,
) -> Any:
    """Compose the config in this process, and have train.py's own functions carry it out."""
    with _alone(), raised([word for word in overrides if isinstance(word, str)]), _environment():
        words = _checked(overrides)
        entry = _entry(config_dir, config_name)
        from sweeplab.train import device

        with device.put_back(), targets.long_lived():
            task = partial(train, edge=nullcontext)
            return config.call(task, words, entry.folder, entry.name, is_sweep=is_sweep)


def _entry(config_dir: str | Path | None, config_name: str | None) -> config.Entry:
    """Find the primary config as sweeplab's commands do."""
    entry = config.entry(config_dir, config_name)
    if entry.problem:
        console.complain(entry.problem)
    return entry


def _checked(overrides: Sequence[str]) -> list[str]:
    """Return the overrides as Hydra can read them. Raises UserError for what is none."""
    for word in overrides:
        if not isinstance(word, str):
            advice = "give texts, as in sweeplab.run('model.hidden=64', 'seed=1')"
            raise UserError(f"{word!r}: {advice}")
        if word.startswith("-"):
            advice = "no option of the shell is taken; sweeplab.sweep is -m"
            raise UserError(f"{word}: {advice}")
        if "__main__." in word:
            name = word.rpartition("__main__.")[2]
            raise UserError(f"{word}: {IN_MAIN}{name}")
    config.ensure_readable(overrides)
    return config.quote_words(overrides)


@contextmanager
def _alone() -> Iterator[None]:
    """Refuse a second call at once, in another thread or from within the first."""
    global _thread
    if not _at_work.acquire(blocking=False):
        raise UserError(WITHIN if _thread == get_ident() else BUSY)
    _thread = get_ident()
    try:
        yield
    finally:
        _at_work.release()


@contextmanager
def _environment() -> Iterator[None]:
    """Put the environment of this process back afterwards."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def _listed(names: object) -> list[str]:
    """Return the names as a list. Raises UserError for none, and for what is no name."""
    listed = [names] if isinstance(names, str) else names
    if not isinstance(listed, list | tuple) or not all(isinstance(each, str) for each in listed):
        shown = config.brief(one_line(repr(names)))
        raise UserError(f"{shown}: give a name, or a list of names, as in 'latest'")
    if not all(name.strip() for name in listed):
        raise UserError("'': an empty name; 'latest' is the latest sweep")
    if not listed:
        raise UserError("[]: names no sweep and no run; 'latest' is the latest sweep")
    return list(listed)


def _together(names: Sequence[object], root: str | Path | None) -> SweepResults:
    """Put what is named, and what the other functions returned, together.

    Raises UserError if it is of several stores.
    """
    names = list(_flat(names))
    results = [name for name in names if isinstance(name, RecordedRuns)]
    home = results[0]._home if results and root is None else _store(root)
    sweeps = []
    for name in names:
        if not isinstance(name, RecordedRuns):
            sweeps += _chosen(home, _listed(name))
            continue
        if name._home.root.resolve() != home.root.resolve():
            raise UserError(f"{name!r}: is of the store {name._home.root}, and not of {home.root}")
        sweeps += name._sweeps
    return SweepResults(home, sweeps)


def _flat(names: Sequence[object]) -> Iterator[object]:
    """Yield what is named, what was returned in a list, such as `sweep.runs`, one by one."""
    for name in names:
        if isinstance(name, list | tuple) and any(isinstance(each, RecordedRuns) for each in name):
            yield from name
        else:
            yield name


def _store(root: str | Path | None) -> Store:
    default = config.absolute(config.StoreSection().root)
    return Store(default if root is None else config.expand_home(root))


def _chosen(home: Store, names: Sequence[str]) -> list[config.Node]:
    """List the manifests of these sweeps; runs among them are put together as one."""
    uri = tracking.resolve_uri(config.Tracking())
    of_runs, of_sweeps = [], []
    for name in names:
        if shell.sweeps(home, name, uri):
            of_sweeps.append(name)
            continue
        try:
            of_runs.append(cell_of(home.find(name)))
        except UserError:
            of_sweeps.append(name)  # of which the shell's message tells
    chosen = [single(*of_runs)] if of_runs else []
    if of_sweeps or not names:
        chosen += shell.chosen(home, of_sweeps, uri)
    return chosen
