"""`sweeplab replay`: a recorded run, trained again and compared with its record, bit by bit."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sweeplab import config, console, metrics, store, targets, tracking
from sweeplab.config import Config
from sweeplab.errors import RunFailed, UserError
from sweeplab.replay.record import Record, final_of, places, read, rebuild, show
from sweeplab.runs import identity
from sweeplab.runs import run as running
from sweeplab.runs.job import Job, named, prepare
from sweeplab.train import stopping

LOCAL = ("data.root", "data.workers", "data.memory", "data.dataset.", "store.", "tracking", "trainer.progress")
"""What overrides may say: where things lie and what is seen. All else is the record's."""

_MLFLOW_ID = re.compile(r"[0-9a-f]{32}")


class _Differs(Exception):
    """An epoch came out otherwise: there is no need to train on."""


def main(name: str, overrides: Sequence[str], trusted: Sequence[str] = ()) -> None:
    """Replay a run (store id or the beginning of one, folder, MLflow run id) and say what came out.

    `trusted` are modules whose classes and functions the record may call, besides the networks, losses, optimizers,
    schedulers, sets and metrics of torch.nn, torch.optim and sweeplab.
    Raises UserError for a record that is none, is unfinished or is refused, RunFailed if the bits differ.
    """
    _ensure_local(overrides)
    local = config.compose(overrides)
    with tempfile.TemporaryDirectory(prefix="sweeplab-") as folder:
        scratch = Path(folder)
        record = read(_find(name, local, scratch / name))
        _ensure_local(overrides, set(config.hidden_keys(record.config)))
        with _explained(record):
            settings = rebuild(record, local, scratch / "runs", trusted)
            with console.waiting("checking the record"):
                job = prepare(settings, [])
        _announce(record, settings, local)
        again = _train(record, job)
        if differences := _differences(record, again):
            raise RunFailed("\n".join(_report(record, job, again, differences)))
        put_back = _put_back(record.run, store.Store(job.config.store.root).run(job.fingerprint), scratch)
    digest = record.final["weights_sha256"]
    weights = "no weights in either" if digest is None else f"same weights (sha256 {digest})"
    console.say(f"identical: {len(record.epochs)} epochs, {weights}", style="green")
    if put_back:
        console.say(f"its weights, which were removed, are back in {record.run.folder}")


def _put_back(run: store.Run, again: store.Run, scratch: Path) -> bool:
    """Give a run of a store the weights again that were removed from it; whether there was need to."""
    if run.weights_file.exists() or not again.weights_file.exists() or run.folder.is_relative_to(scratch):
        return False
    with run.claim():
        store.write_atomic(run.folder / again.weights_file.name, again.weights_file.read_bytes())
    return True


@contextmanager
def _explained(record: Record) -> Iterator[None]:
    """Say of a config that is refused that it is not the one that was trained, if so: the file may be damaged."""
    try:
        yield
    except UserError as error:
        if not _changed(record):
            raise
        raise UserError(f"{error} ({record.run.config_file} is not what the journal began with)") from error


def _ensure_local(overrides: Sequence[str], secrets: Collection[str] | None = None) -> None:
    """Raise UserError for an override that says what to train; `secrets` that the record hides may be given."""
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        secret = config.redact_override(override) != override if secrets is None else key in secrets
        if not key.startswith(LOCAL) and not secret:
            raise UserError(f"{override}: replay trains what the record says; only {', '.join(LOCAL)} can be given")


def _find(name: str, local: Config, copy: Path) -> store.Run:
    try:
        return store.Store(local.store.root).find(name)
    except UserError:
        if name and (folder := config.expand_home(name)).is_dir():
            return store.Run(folder.resolve())  # reading it will say what it lacks
        if not _MLFLOW_ID.fullmatch(name):
            raise
    tracking.download(tracking.resolve_uri(local.tracking), name, copy)
    return store.Run(copy)


def _announce(record: Record, settings: Config, local: Config) -> None:
    """What is trained, where config.yaml is not what the journal began with, and what is left aside."""
    how = f"on {settings.trainer.device}, trainer.threads={settings.trainer.threads}"
    console.say(f"replaying {record.run.id}: {len(record.epochs)} epochs {how}")
    if changed := _changed(record):
        console.say("\n".join(["config.yaml, which is trained, differs from the journal's first line:", *changed]))
    theirs = config.flatten(record.config)
    aside = [key for key, value in places(local).items() if theirs.get(key) not in (None, value)]
    if aside:
        console.say(f"not taken from the record, but from this machine's config: {', '.join(aside)}")


def _train(record: Record, job: Job) -> store.History:
    """The history of the new training, which ends at the first epoch that differs."""
    home = store.Store(job.config.store.root).open()
    again = store.History(home.run(job.fingerprint).journal)

    def compare() -> None:
        again.read()
        n, values = max(_comparable(record, again).items())
        if store.differing(record.epochs.get(n, {}), values):
            raise _Differs

    try:
        running.train(job, home, job.load(), compare)
    except RunFailed as error:
        if not isinstance(error.__cause__, _Differs):
            raise RunFailed(f"replaying {record.run.id} failed: {error.__cause__!r}") from error
    again.read()
    return again


def _comparable(record: Record, again: store.History) -> dict[int, dict[str, float]]:
    """The epochs of the new training, without learning rates if the record is from before these were recorded."""
    epochs = again.epochs
    if any(metrics.is_learning_rate(name) for values in record.epochs.values() for name in values):
        return epochs
    return {n: {k: v for k, v in values.items() if not metrics.is_learning_rate(k)} for n, values in epochs.items()}


def _differences(record: Record, again: store.History) -> list[str]:
    """The first metric of the first epoch that differs; if none does, all that differs at the end."""
    epochs = _comparable(record, again)
    for n in sorted({*record.epochs, *epochs}):
        if found := _unequal(record.epochs.get(n, {}), epochs.get(n, {}), f"epoch {n}, "):
            return found[:1]
    final = final_of(again.end)
    if record.final["stop_reason"] == stopping.TIME_LIMIT:
        final["stop_reason"] = stopping.TIME_LIMIT
    return _unequal(record.final, final)


def _report(record: Record, job: Job, again: store.History, differences: Sequence[str]) -> list[str]:
    """What differs, and all that could explain it."""
    start = again.first_start
    reasons = [*_changed(record), *_code(record, job), *_unequal(record.start["data"], start["data"], "data.")]
    then, now = (config.flatten(origin) for origin in (record.provenance, start["provenance"]))
    aside = {"cores", "git.dirty"} | ({"git.commit"} if None in (then.get("git.commit"), now["git.commit"]) else set())
    reasons += _unequal(then, now, aside=aside)
    if job.config.trainer.compile or not job.config.trainer.deterministic:
        reasons.append("  trainer.compile=true and trainer.deterministic=false promise no bits")
    why = ["it may be due to:", *reasons] if reasons else ["nothing that was recorded explains it"]
    return [f"{record.run.id} came out otherwise:", *differences, *why]


def _changed(record: Record) -> list[str]:
    then, now = config.flatten(record.start["config"]), config.flatten(record.config)
    return _unequal(then, now, there="in the journal", here="in config.yaml")


def _code(record: Record, job: Job) -> list[str]:
    """Whether the journal's first line, data included, would have another fingerprint now, by its code alone; and which
    modules, packages and files are other than then.
    """
    try:
        settings = config.validate(record.start["config"])
    except UserError:
        return ["  the config: this version of sweeplab does not take the journal's first line"]
    weights = None
    if job.config.trainer.init_from is not None:
        weights = identity.initial_run(job.config, store.Store(job.config.store.root))[1]
    asked = identity.asked(settings, job.facts, weights)
    if secrets := list(config.hidden_keys(asked)):
        return [f"  {', '.join(secrets)}: with a secret that is hidden, it cannot be told whether the code is the same"]
    given = named(job.config, job.facts)
    digest = targets.digest(*given)
    now = identity.identify(asked, record.start["data"].get("digest"), digest)
    if now.question != record.start.get("question"):
        return ["  the question: this version of sweeplab puts it otherwise, or trainer.init_from holds other weights"]
    if now.fingerprint == record.start.get("fingerprint"):
        return []
    then = record.start.get("code")
    pieces = _unequal(then, targets.parts(*given), "code.") if isinstance(then, dict) else []
    return ["  the code: sweeplab's own (NUMERICS), or that of the record's classes", *pieces]


def _unequal(
    then: Mapping[str, Any],
    now: Mapping[str, Any],
    prefix: str = "",
    *,
    there: str = "then",
    here: str = "now",
    aside: Collection[str] = (),
) -> list[str]:
    """A line for each key that has not the same value in both."""
    keys = [key for key in {**then, **now} if key not in aside]
    pairs = {key: [show(side[key]) if key in side else "nothing" for side in (then, now)] for key in keys}
    return [f"  {prefix}{key}: {a} {there}, {b} {here}" for key, (a, b) in pairs.items() if a != b]
