"""`sweeplab replay`: a recorded run, trained again and compared with its record, bit by bit."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from sweeplab import config, console, metrics, store, targets
from sweeplab.config import Config
from sweeplab.console import counted
from sweeplab.errors import RunFailed, UserError
from sweeplab.replay.rebuild import places, rebuild
from sweeplab.replay.record import Record, ensure_local, outcome, show
from sweeplab.runs import identity
from sweeplab.runs import run as running
from sweeplab.runs.job import Job, named, prepare
from sweeplab.train.stopping import StopReason


class _Differs(Exception):
    """An epoch came out otherwise: there is no need to train on."""


def replay(
    record: Record,
    local: Config,
    scratch: Path,
    overrides: Sequence[str] = (),
    trusted: Sequence[str] = (),
) -> None:
    """Train a record again in the folder `scratch`, and say what came out.

    `local` is the config of this machine, composed of the `overrides`. `trusted` are modules whose
    classes and functions the record may call, besides the networks, losses, optimizers, schedulers,
    sets and metrics of torch.nn, torch.optim and sweeplab. Raises UserError for a record that is
    refused, RunFailed if the bits differ.
    """
    ensure_local(overrides, set(config.hidden_keys(record.config)))
    job = check(record, local, scratch / "runs", trusted)
    _announce(record, job.config, local)
    retrained = retrain(record, job)
    if retrained.differences:
        raise RunFailed("\n".join(report(record, job, retrained)))
    is_restored = _restore_weights(record.run, retrained.run, scratch)
    digest = record.outcome["weights_sha256"]
    weights = "no weights in either" if digest is None else f"same weights (sha256 {digest})"
    console.say(f"identical: {counted(len(record.epochs), 'epoch')}, {weights}", style="green")
    if is_restored:
        console.say(f"its weights, which were missing, are in {record.run.folder}")


def check(record: Record, local: Config, home: Path, trusted: Sequence[str] = ()) -> Job:
    """Make the job that trains a record again in the store `home`.

    Raises UserError for a record that is refused, or that this machine cannot train.
    """
    try:
        settings = rebuild(record, local, home, trusted)
        with console.waiting("checking the record"):
            return prepare(settings, [])
    except UserError as error:
        if not _edits(record):
            raise
        # The file may be damaged.
        raise UserError(
            f"{error} ({record.run.config_file} is not what the journal began with)"
        ) from error


def _announce(record: Record, settings: Config, local: Config) -> None:
    """Say what is trained, where config.yaml was edited, and what is left aside."""
    how = f"on {settings.trainer.device}, trainer.threads={settings.trainer.threads}"
    console.say(f"replaying {record.run.id}: {counted(len(record.epochs), 'epoch')} {how}")
    edits = _edits(record)
    if edits:
        console.say(
            "\n".join(
                ["config.yaml, which is trained, differs from the journal's first line:", *edits]
            )
        )
    recorded = config.flatten(record.config)
    aside = [key for key, value in places(local).items() if recorded.get(key) not in (None, value)]
    if aside:
        console.say(
            f"not taken from the record, but from this machine's config: {', '.join(aside)}"
        )


@dataclass(kw_only=True, slots=True, frozen=True)
class Retrained:
    """A record that was trained again."""

    run: store.Run
    history: store.History  # of what was trained
    differences: list[str]  # a line each; of epochs the first one that differs


def retrain(record: Record, job: Job, *, to_the_end: bool = False) -> Retrained:
    """Train again, until the first epoch that differs or `to_the_end`.

    Raises RunFailed if it cannot be trained any more.
    """
    home = store.Store(job.config.store.root).open()
    run = home.run(job.fingerprint)
    history = store.History(run.journal)

    def compare() -> None:
        if to_the_end:
            return
        history.read()
        epoch, values = max(_comparable_epochs(record, history).items())
        if store.differing(record.epochs.get(epoch, {}), values):
            raise _Differs

    try:
        running.train(job, home, job.load(), compare)
    except RunFailed as error:
        if not isinstance(error.__cause__, _Differs):
            raise RunFailed(f"replaying {record.run.id} failed: {error.__cause__!r}") from error
    history.read()
    return Retrained(run=run, history=history, differences=_differences(record, history))


def _restore_weights(run: store.Run, replayed: store.Run, scratch: Path) -> bool:
    """Give a run of a store the weights that it lacks; tells whether there was need to."""
    if run.folder.is_relative_to(scratch):
        return False
    names = [file.relative_to(replayed.folder) for file in store.weights.own(replayed)]
    missing = [name for name in names if not (run.folder / name).exists()]
    if not missing:
        return False
    with run.claim():
        for name in missing:
            (run.folder / name).parent.mkdir(exist_ok=True)
            store.write_atomic(run.folder / name, (replayed.folder / name).read_bytes())
        known = store.History.of(run.journal).kept_weights
        for epoch, digest in store.History.of(replayed.journal).kept_weights.items():
            if known.get(epoch) != digest:
                run.journal.append(store.Event.WEIGHTS, epoch=epoch, sha256=digest)
    return True


# --- what differs, and why


def _comparable_epochs(record: Record, replayed: store.History) -> Mapping[int, dict[str, float]]:
    """Return the epochs of the new training; without learning rates if the record has none."""
    epochs = replayed.epochs
    if any(metrics.is_learning_rate(name) for name in chain.from_iterable(record.epochs.values())):
        return epochs
    comparable = {}
    for epoch, values in epochs.items():
        comparable[epoch] = {
            name: value for name, value in values.items() if not metrics.is_learning_rate(name)
        }
    return comparable


def _differences(record: Record, replayed: store.History) -> list[str]:
    """List the first metric of the first epoch that differs, else all that differs at the end."""
    epochs = _comparable_epochs(record, replayed)
    for epoch in sorted({*record.epochs, *epochs}):
        differing = unequal(record.epochs.get(epoch, {}), epochs.get(epoch, {}), f"epoch {epoch}, ")
        if differing:
            return differing[:1]
    result = outcome(replayed.end)
    if record.outcome["stop_reason"] == StopReason.TIME_LIMIT:
        result["stop_reason"] = StopReason.TIME_LIMIT
    return unequal(record.outcome, result)


def report(record: Record, job: Job, retrained: Retrained) -> list[str]:
    """Say what differs, and all that could explain it."""
    start = retrained.history.first_start
    reasons = [*_edits(record), *_code_reasons(record, job)]
    reasons += unequal(record.start["data"], start["data"], "data.")
    then, now = config.flatten(record.provenance), config.flatten(start["provenance"])
    ignored = {"cores", "git.dirty", "git.diff"} | {
        key for key in then if key.startswith(("slurm.", "ray."))
    }
    if None in (then.get("git.commit"), now["git.commit"]):
        ignored.add("git.commit")
    reasons += unequal(_without(then, ignored), _without(now, ignored))
    if job.config.trainer.compile or not job.config.trainer.deterministic:
        reasons.append("  trainer.compile=true and trainer.deterministic=false promise no bits")
    why = ["it may be due to:", *reasons] if reasons else ["nothing that was recorded explains it"]
    return [f"{record.run.id} came out otherwise:", *retrained.differences, *why]


def _edits(record: Record) -> list[str]:
    """List where config.yaml is not what the journal began with."""
    then, now = config.flatten(record.start["config"]), config.flatten(record.config)
    return unequal(then, now, there="in the journal", here="in config.yaml")


def _code_reasons(record: Record, job: Job) -> list[str]:
    """Say whether the journal's first line would have another fingerprint now, by its code alone.

    If so, say which modules, packages and files are other than then.
    """
    try:
        settings = config.validate(record.start["config"])
    except UserError:
        return ["  the config: this version of sweeplab does not take the journal's first line"]
    weights = None
    if job.config.trainer.init_from is not None:
        weights = identity.initial_run(job.config.trainer.init_from, job.config.store.root)[1]
    asked = identity.asked(settings, job.facts, weights)
    secrets = list(config.hidden_keys(asked))
    if secrets:
        return [
            f"  {', '.join(secrets)}: with a secret that is hidden, it cannot be told whether the code is the same"
        ]
    named_targets = named(job.config, job.facts)
    now = identity.identify(
        asked, record.start["data"].get("digest"), targets.digest(*named_targets)
    )
    if now.question != record.start.get("question"):
        return [
            "  the question: this version of sweeplab puts it otherwise, or trainer.init_from holds other weights"
        ]
    if now.fingerprint == record.start.get("fingerprint"):
        return []
    reasons = ["  the code: sweeplab's own (NUMERICS), or that of the record's classes"]
    parts = record.start.get("code")
    if isinstance(parts, dict):
        reasons += unequal(parts, targets.parts(*named_targets), "code.")
    return reasons


def _without(values: Mapping[str, Any], ignored: Collection[str]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in ignored}


def unequal(
    then: Mapping[str, Any],
    now: Mapping[str, Any],
    prefix: str = "",
    *,
    there: str = "then",
    here: str = "now",
) -> list[str]:
    """Write a line for each key that has not the same value in both."""
    lines = []
    for key in {**then, **now}:
        a = show(then[key]) if key in then else "nothing"
        b = show(now[key]) if key in now else "nothing"
        if a != b:
            lines.append(f"  {prefix}{key}: {a} {there}, {b} {here}")
    return lines
