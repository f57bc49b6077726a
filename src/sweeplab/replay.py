"""`sweeplab replay`: a recorded run, trained again and compared with its record, bit by bit.

A record may come from anyone (DESIGN 9): what it would call is judged before it is looked up, and nothing in it decides
where we read or write.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeplab import code, config, data, metrics, parts, runtime, screen, stopping, store, tracking
from sweeplab import run as running
from sweeplab.config import Config, Node
from sweeplab.errors import RunFailed, UserError
from sweeplab.job import Job, initial_run, prepare

LOCAL = ("data.root", "data.workers", "data.memory", "data.dataset.", "store.", "tracking", "trainer.progress")
"""What overrides may say: where things lie and what is seen. All else is the record's."""

PLACES = ("data.root", "store.root", "tracking.uri")
TIMES = (metrics.SECONDS, metrics.EXAMPLES_PER_SECOND)
MOST_THREADS = 1024  # a record that asks for more would only exhaust the machine

_PLACE = re.compile(r"_args_|(?:.*_)?(?:root|path|file|filename|folder|dir|directory|uri|url)s?", re.IGNORECASE)
_RUN_ID = re.compile(rf"[0-9a-f]{{1,{store.FINGERPRINT_LENGTH}}}")
_MLFLOW_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(kw_only=True, slots=True, frozen=True)
class Record:
    """A run as it was written down."""

    run: store.Run
    config: Node  # config.yaml
    start: Node  # the journal's first start
    provenance: Node  # of the last start or resume; device and threads are its
    device: str
    threads: int
    resumed: bool
    epochs: dict[int, dict[str, float]]
    last_epoch: int
    status: str
    final: dict[str, Any]  # of a finished run: what came out, but the times


class _Differs(Exception):
    """An epoch came out otherwise: there is no need to train on."""


def main(name: str, overrides: Sequence[str], trusted: Sequence[str] = ()) -> None:
    """Replay a run (store id or the beginning of one, folder, MLflow run id) and say what came out.

    `trusted` are modules whose classes the record may use, besides those of torch.nn, torch.optim and sweeplab.
    Raises UserError for a record that is none, is unfinished or is refused, RunFailed if the bits differ.
    """
    local = _local(overrides)
    with tempfile.TemporaryDirectory(prefix="sweeplab-") as folder:
        scratch = Path(folder)
        record = _read(_find(name, local, scratch / name))
        settings = rebuild(record, local, scratch / "runs", trusted)
        job = prepare(settings, [])
        _announce(record, settings, local)
        again = _train(record, job)
        if differences := _differences(record, again):
            raise RunFailed("\n".join(_report(record, job, again, differences)))
    digest = record.final["weights_sha256"]
    weights = "no weights in either" if digest is None else f"same weights (sha256 {digest})"
    screen.say(f"identical: {len(record.epochs)} epochs, {weights}", style="green")


def _local(overrides: Sequence[str]) -> Config:
    for override in overrides:
        if not override.lstrip("+~").startswith(LOCAL):
            raise UserError(f"{override}: replay trains what the record says; only {', '.join(LOCAL)} can be given")
    return config.compose(overrides)


def _find(name: str, local: Config, copy: Path) -> store.Run:
    try:
        return store.Store(local.store.root).find(name)
    except UserError:
        if name and Path(name).is_dir():
            return store.Run(Path(name).resolve())  # reading it will say what it lacks
        if not _MLFLOW_ID.fullmatch(name):
            raise
    tracking.download(tracking.resolve_uri(local.tracking), name, copy)
    return store.Run(copy)


# --- what a record says


def _read(run: store.Run) -> Record:
    for file in (run.config_file, run.journal.path):
        if not file.is_file():
            raise UserError(f"{run.id}: has no {file.name}; a record is a config.yaml and a journal.jsonl")
    settings = _load(run.config_file)
    try:
        record = _parsed(run, settings)
    except (ValueError, TypeError, LookupError, StopIteration, AttributeError, RecursionError) as error:
        raise UserError(f"{run.id}: journal.jsonl is not that of a run: {type(error).__name__}: {error}") from error
    if record.status != store.FINISHED:
        raise UserError(f"{run.id}: is {record.status}; only a finished run can be replayed")
    return record


def _parsed(run: store.Run, settings: Node) -> Record:
    """Raises any of the errors of plain values that are not what they should be."""
    events = run.journal.events()
    marks = [e for e in events if e["event"] in (store.START, store.RESUME, store.END)]
    start, end = next(e for e in marks if e["event"] == store.START), marks[-1]
    provenance = next(e["provenance"] for e in reversed(marks) if e["event"] != store.END)
    epochs = run.journal.epochs()
    return Record(
        run=run,
        config=settings,
        start={**start, "config": dict(start["config"]), "data": dict(start["data"])},
        device=str(provenance["device"]).partition(" ")[0],
        threads=int(provenance["threads"]),
        provenance=provenance,
        resumed=any(e["event"] == store.RESUME for e in marks),
        epochs=epochs,
        last_epoch=max(int(n) for n in epochs),
        status=end["status"] if end["event"] == store.END else store.UNFINISHED,
        final=_final(end) if end.get("status") == store.FINISHED else {},
    )


def _final(end: Node) -> dict[str, Any]:
    values = {name: value for name, value in store.numbers(end["metrics"]).items() if name not in TIMES}
    return {"stop_reason": end["stop_reason"], "weights_sha256": end["weights_sha256"], **values}


def _load(file: Path) -> Node:
    """The record's config: plain values only, nothing resolved and nothing built."""
    import yaml

    try:
        text = file.read_text()
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise UserError(f"{file.name}: refused: a record has no aliases")  # a few lines of them fill the memory
        loaded = yaml.safe_load(text)
    except (OSError, UnicodeError, yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{file.name}: refused: {' '.join(str(error).split())}") from error
    if not isinstance(loaded, dict):
        raise UserError(f"{file.name}: is not a config")
    return loaded


# --- from a record to a config of this machine


def rebuild(record: Record, local: Config, home: Path, trusted: Sequence[str] = ()) -> Config:
    """What to train, in the store `home`: the record's config, computed as it was then; every place is the local one.

    Raises UserError for what could call, read or write anything else than the trusted classes do.
    """
    raw = record.config
    _refuse_odd_values(raw, "")
    _refuse_odd_values(record.start["config"], "journal")
    _refuse_moved(record, local)
    if record.threads > MOST_THREADS:
        raise UserError(f"{record.run.id}: refused: {record.threads} threads would exhaust this machine")
    if trusted:  # where the user's own modules are; last, so that they take no other's place
        sys.path.append(str(config.root()))
    code.ensure_trusted(raw, "", trusted)
    known = config.flat({"data": {"dataset": local.data.dataset}})
    wanted = {key: _placed(value, key, known if key == "data" else {}) for key, value in {**raw, **_ours(raw, local)}}
    return config.parse(wanted)


def _refuse_odd_values(value: Any, key: str) -> None:
    """A record is resolved, and holds what a command line can say."""
    if isinstance(value, Mapping | list):
        for name, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            _refuse_odd_values(name, key)
            _refuse_odd_values(item, f"{key}.{name}" if key else str(name))
    elif isinstance(value, str) and "${" in value:
        raise UserError(f"{key}={_show(value)}: refused: a record is resolved, and refers to nothing")
    elif not isinstance(value, str | int | float | None) or not str(value).isprintable():
        raise UserError(f"{key}={_show(value)}: refused: only plain numbers and words are expected")


def _refuse_moved(record: Record, local: Config) -> None:
    """Places are never taken from a record; one that was changed in it afterwards shows what it was meant for."""
    now, then = config.flat(record.config), config.flat(record.start["config"])
    for key in PLACES:
        moved = now.get(key) not in (then.get(key), _here(local)[key])
        if moved and not record.resumed:  # which may have been on another machine
            raise UserError(f"{key}={_show(now.get(key))}: refused: it is neither this machine's nor the journal's")


def _here(local: Config) -> dict[str, str | None]:
    return {"data.root": local.data.root, "store.root": local.store.root, "tracking.uri": local.tracking.uri}


def _placed(value: Any, key: str, known: Mapping[str, Any]) -> Any:
    """A node with the local config's value for every argument that is a place, or hidden; UserError if it has none."""
    if isinstance(value, dict):
        return {name: _placed(item, f"{key}.{name}", known) for name, item in value.items()}
    if isinstance(value, list):
        return [_placed(item, f"{key}[{index}]", known) for index, item in enumerate(value)]
    name = re.sub(r"\[\d+\]", "", key.rpartition(".")[2])
    if not isinstance(value, str) or not (_PLACE.fullmatch(name) or re.search(r"[/\\]|^~|^\.|^\*\*\*$", value)):
        return value
    if key in known:
        return known[key]
    advice = f"; give it: +{key}=..." if key.startswith("data.dataset.") and "[" not in key else ""
    raise UserError(f"{key}={_show(value)}: refused: a record does not say where to read or write{advice}")


def _device(record: Record) -> str:
    """The device of then; where there is none like it, what there is: the report will name it."""
    name = record.provenance["device"].partition(" ")[0]
    try:
        return str(runtime.choose_device(name))
    except UserError:
        return "auto"


def _initial(name: Any, local: Config) -> str | None:
    """The folder of the run whose weights come first; a run of this store, by its id alone."""
    if name is None:
        return None
    run_id = str(name).rstrip("/").rpartition("/")[2]
    if not _RUN_ID.fullmatch(run_id):
        raise UserError(f"trainer.init_from={_show(name)}: refused: a record can only name a run's id")
    try:
        return str(store.Store(local.store.root).find(run_id).folder)
    except UserError as error:
        raise UserError(f"trainer.init_from={error}; the weights to start from must be there") from error


# --- training and comparing


def _announce(record: Record, settings: Config, local: Config) -> None:
    """What is trained, where config.yaml is not what the journal began with, and what is left aside."""
    threads = settings.trainer.threads
    screen.say(f"replaying {record.run.id}: {len(record.epochs)} epochs, {threads} threads, {settings.trainer.device}")
    if changed := _changed(record):
        screen.say("\n".join(["config.yaml, which is trained, differs from the journal's first line:", *changed]))
    theirs = config.flat(record.config)
    aside = [key for key, value in _here(local).items() if theirs.get(key) not in (None, value)]
    if aside:
        screen.say(f"not taken from the record, but from this machine's config: {', '.join(aside)}")


def _changed(record: Record) -> list[str]:
    then, now = config.flat(record.start["config"]), config.flat(record.config)
    return _unequal(then, now, "in the journal", "in config.yaml")


def _unequal(then: Mapping[str, Any], now: Mapping[str, Any], there: str = "then", here: str = "now") -> list[str]:
    pairs = {key: [_show(side[key]) if key in side else "nothing" for side in (then, now)] for key in {**then, **now}}
    return [f"  {key}: {a} {there}, {b} {here}" for key, (a, b) in pairs.items() if a != b]


def _show(value: Any) -> str:
    """One line of printable characters; nan and infinities as in the journal or as in YAML look the same."""
    return re.sub(r'"(NaN|-?Infinity)"', r"\1", json.dumps(value, default=str))


def _train(record: Record, job: Job) -> store.Journal:
    """The journal of the new training, which ends at the first epoch that differs."""
    home = store.Store(job.config.store.root).open()
    journal = home.run(job.fingerprint).journal

    def compare() -> None:
        n, values = max(journal.epochs().items())
        if store.differing(record.epochs.get(n, {}), values):
            raise _Differs

    try:
        running.train(job, home, data.load(job.config.data), compare)
    except RunFailed as error:
        if not isinstance(error.__cause__, _Differs):
            raise RunFailed(f"replaying {record.run.id} failed: {error.__cause__!r}") from error
    return journal


def _differences(record: Record, again: store.Journal) -> list[str]:
    """The first metric of the first epoch that differs; if none does, all that differs at the end."""
    epochs = again.epochs()
    for n in sorted({*record.epochs, *epochs}):
        then, now = (
            {f"epoch {n}, {name}": v for name, v in side.get(n, {}).items()} for side in (record.epochs, epochs)
        )
        if found := _unequal(then, now):
            return found[:1]
    now = _final(again.events()[-1])
    if record.final["stop_reason"] == stopping.TIME_LIMIT:
        now["stop_reason"] = stopping.TIME_LIMIT
    return _unequal(record.final, now)


def _report(record: Record, job: Job, again: store.Journal, differences: Sequence[str]) -> list[str]:
    """What differs, and all that could explain it."""
    start = again.events()[0]
    provenance = _unequal(_relevant(record.provenance), _relevant(start["provenance"]))
    facts = _unequal(*({f"data.{key}": value for key, value in side["data"].items()} for side in (record.start, start)))
    reasons = [*_changed(record), *_code(record, job), *facts, *provenance]
    if job.config.trainer.compile or not job.config.trainer.deterministic:
        reasons.append("  trainer.compile=true and trainer.deterministic=false promise no bits")
    why = ["it may be due to:", *reasons] if reasons else ["nothing that was recorded explains it"]
    return [f"{record.run.id} came out otherwise:", *differences, *why]


def _relevant(provenance: Node) -> Node:
    known = config.flat(provenance)
    return {key: value for key, value in known.items() if key not in ("cores", "git.dirty") and value is not None}


def _code(record: Record, job: Job) -> list[str]:
    """Whether the journal's first line, data included, would have another fingerprint now, by its code alone."""
    try:
        canonical = config.canonical(config.parse(record.start["config"]))
    except UserError:
        return ["  the config: this version of sweeplab reads it otherwise"]
    if job.config.trainer.init_from is not None:
        canonical["trainer"]["init_from"] = initial_run(job.config, store.Store(job.config.store.root))[1]
    now = store.fingerprint(canonical, record.start["data"]["digest"], code.digest(parts.targets(job.config)))
    if now[1] != record.start["question"]:
        return ["  the question: this version of sweeplab, or trainer.init_from, gives it another hash"]
    return [] if now[0] == record.start["fingerprint"] else ["  the code: sweeplab's NUMERICS, or that of your classes"]
