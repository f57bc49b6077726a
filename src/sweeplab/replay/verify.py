"""Train runs of a sweep again, drawn at random: which are as recorded, and what it tells of the rest."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sweeplab import config, console
from sweeplab.compare import runs as compared
from sweeplab.compare.statistics import ALPHA
from sweeplab.config import Config, Node
from sweeplab.errors import RunFailed, UserError, one_line
from sweeplab.replay import agreement, replay
from sweeplab.replay.consistency import contradictions, further_differences
from sweeplab.replay.record import Record, ensure_local, read
from sweeplab.replay.verification import (
    AGREES,
    DIFFERS,
    DISAGREES,
    GOOD,
    IDENTICAL,
    UNTOLD,
    UNTRAINED,
    Verdict,
    Verification,
)
from sweeplab.runs.job import Job
from sweeplab.runs.provenance import provenance
from sweeplab.store import DamagedError, Store
from sweeplab.train.device import set_up

MOST_LINES = 8  # of what differs, and may be why

SAME_BITS = ("device", "threads", "ranks", "plain", "cpu", "versions.torch", "torch.")
"""The keys of a provenance that must be equal for equal bits; one that ends in a dot is many."""


def verify(
    result: Verification,
    home: Store,
    local: Config,
    overrides: Sequence[str] = (),
    trusted: Sequence[str] = (),
) -> None:
    """Train the drawn runs again, one after the other, and note what became of each.

    All records are read before the first is trained. Raises UserError for an override that would
    change what is trained, or if every record is refused.
    """
    with tempfile.TemporaryDirectory(prefix="sweeplab-") as folder:
        scratch = Path(folder)
        candidates = [_read(home, cell, local, scratch, trusted) for cell in result.cells]
        secrets: set[str] = set()
        for candidate in candidates:
            if candidate.record is not None:
                secrets |= set(config.hidden_keys(candidate.record.config))
        ensure_local(overrides, secrets)
        verdicts = [candidate.verdict for candidate in candidates]
        if all(each.verdict == UNTRAINED and each.said for each in verdicts):
            raise UserError(*dict.fromkeys(each.said[0] for each in verdicts))
        _say_elsewhere(candidates)
        for number, candidate in enumerate(candidates, 1):
            place = f"{number} of {len(candidates)}: {candidate.verdict.run}"
            _train(candidate, place, home, result)
            result.verdicts.append(candidate.verdict)
            _say(candidate.verdict, place)


@dataclass(kw_only=True, slots=True)
class _Candidate:
    """A run that was drawn; without a job if its verdict is known without training."""

    verdict: Verdict
    record: Record | None = None
    job: Job | None = None
    no_bits: list[str] = field(default_factory=list)  # why equal bits cannot be expected


def _read(
    home: Store, cell: Node, local: Config, scratch: Path, trusted: Sequence[str]
) -> _Candidate:
    """Read a record, and make the job that trains it."""
    run = home.run(cell["fingerprint"])
    candidate = _Candidate(verdict=Verdict(run=run.id, name=cell["name"]))
    verdict = candidate.verdict
    try:
        candidate.record = record = read(run)
        verdict.said = contradictions(record, cell["fingerprint"])
        if verdict.said:
            verdict.verdict = DIFFERS
            return candidate
        # A store for each, where it can take over nothing.
        job = replay.check(record, local, scratch / run.id, trusted)
    except DamagedError as error:
        verdict.verdict, verdict.said = DIFFERS, [str(error)]
    except UserError as error:
        verdict.said = [f"{run.id}: {str(error).removeprefix(f'{run.id}: ')}"]
    else:
        job.config.sweep.id = run.id  # as in a sweep, a bar is shown and no table
        candidate.job, candidate.no_bits = job, _why_no_bits(record, job)
    return candidate


def _why_no_bits(record: Record, job: Job) -> list[str]:
    """List what keeps a training here from having the recorded bits, by the record's own words."""
    trainer = job.config.trainer
    there = config.flatten(record.provenance)
    here = config.flatten(provenance(set_up(trainer, record.threads), Path.cwd()))
    for key in ("ranks", "plain"):  # which are recorded where they are not usual only
        there.setdefault(key, None)
        here.setdefault(key, None)
    known = {key: value for key, value in here.items() if key in there and _is_of_bits(key)}
    reasons = replay.unequal({key: there[key] for key in known}, known)
    if trainer.compile or not trainer.deterministic:
        reasons.append("trainer.compile=true and trainer.deterministic=false promise no bits")
    return reasons


def _is_of_bits(key: str) -> bool:
    return key in SAME_BITS or key.startswith("torch.")


def _say_elsewhere(candidates: Sequence[_Candidate]) -> None:
    """Say first where equal bits cannot be expected."""
    affected = [each for each in candidates if each.no_bits]
    if not affected:
        return
    runs = console.counted(len(affected), "run")
    console.say(f"of {runs} equal bits cannot be expected here:", style="yellow")
    console.warn(line for each in affected for line in each.no_bits)
    console.say(
        "where bits differ, it is told whether the results agree within the spread of seeds: a weaker "
        "statement,\nby which a number that is false by less is not found",
        style="yellow",
    )


def _train(candidate: _Candidate, place: str, home: Store, result: Verification) -> None:
    """Train a candidate that has a job, and note what came of it."""
    verdict, record, job = candidate.verdict, candidate.record, candidate.job
    if record is None or job is None:
        return
    epochs = console.counted(record.last_epoch, "epoch")
    console.say(f"{place}: training {epochs} ({verdict.name})")
    try:
        retrained = replay.retrain(record, job, to_the_end=bool(candidate.no_bits))
    except (RunFailed, UserError) as error:
        verdict.said = [one_line(error)]
        return
    differences = further_differences(record, retrained.history)
    if retrained.differences:
        differences = replay.report(record, job, retrained)[1:]
    if not differences:
        verdict.verdict = IDENTICAL
    elif not candidate.no_bits:
        verdict.verdict, verdict.said = DIFFERS, differences
    else:
        others = agreement.replicas(home, record.run, result.sweep["replicate"])
        then, now = compared.read_run(record.run), compared.read_run(retrained.run)
        level = ALPHA / (agreement.METRICS * len(result.cells))  # Bonferroni
        said, too_far = agreement.compare(then, now, others, level)
        if too_far:
            verdict.verdict, verdict.said = DISAGREES, too_far
        elif said:
            verdict.verdict, verdict.said = AGREES, said
        else:
            verdict.verdict, verdict.said = UNTOLD, [agreement.TOO_FEW, *differences]


def _say(verdict: Verdict, place: str) -> None:
    style = ""
    if verdict.verdict in GOOD:
        style = "green"
    elif verdict.verdict in (DIFFERS, DISAGREES):
        style = "red"
    console.say(f"{place}: {verdict.verdict}", style=style)
    for line in verdict.said[:MOST_LINES]:
        console.say(f"  {line.strip()}")
    if len(verdict.said) > MOST_LINES:
        console.say(f"  ... and {len(verdict.said) - MOST_LINES} more")
