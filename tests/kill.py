"""The kill program: a run is killed at random moments and issued again until it ends, and must then be as if never killed.

    uv run python tests/kill.py --count 50
    uv run python tests/kill.py --count 5 --config mnist --data data

Killed (SIGKILL) are, in turn, the training process, the feeder, and both. The moments are those of the clock, over the
whole life of the command, and those just after the n-th change of the journal, a checkpoint, MLflow's database or the
feeder's record. Linux only: the feeder's process is found in /proc.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ready

from sweeplab import metrics
from sweeplab.store import Event, Run, Status, Store
from sweeplab.tracking import database, goals
from sweeplab.tracking.process import PROGRAM

PROJECT = Path(__file__).parent.parent
COMMON = (
    "trainer.patience=null",
    "trainer.threads=1",
    "model.dropout=0.2",
    "trainer.checkpoint_every=0",
)
CONFIGS = {
    "digits": ("data=digits", "trainer.epochs=6", *COMMON),
    "mnist": (
        "model=mlp",
        "scheduler=one_cycle",
        "trainer.precision=bf16",
        "trainer.epochs=3",
        *COMMON,
    ),
}
TRAINING, FEEDER, BOTH = "training", "feeder", "both"
VICTIMS = (TRAINING, FEEDER, BOTH)
WATCHED = {  # what a moment waits for -> (its files, how many changes there are about)
    "journal": ("runs/*/journal.jsonl", 8),
    "checkpoint": ("runs/*/checkpoints/*", 12),
    "database": ("mlflow.db*", 10),
    "record": ("runs/*/mlflow.json", 3),
}
TIMES = (metrics.SECONDS, metrics.EXAMPLES_PER_SECOND)
LIMIT = 300.0  # seconds after which a command hangs
LEAVING = 60.0  # seconds after which a feeder that has nothing left to do hangs


class WrongError(Exception):
    """The run is not as if it had never been killed."""


@dataclass(frozen=True)
class Outcome:
    """All that must be the same, killed or not."""

    stop_reason: str | None
    weights_sha256: str | None
    weights: bytes
    epochs: dict[int, dict[str, float]]
    final: dict[str, float]
    logged: dict[tuple[str, int], float]  # (metric, step) -> value in MLflow
    params: dict[str, str]


@dataclass(frozen=True)
class Reference:
    """The uninterrupted run."""

    overrides: tuple[str, ...]
    seconds: float  # of the whole command
    outcome: Outcome
    database: bytes  # an empty one of MLflow's
    loaded: bool  # forked from a process that has loaded PyTorch, as each trial is then


@dataclass
class Trial:
    """What was done to a run, and what it left behind at those moments."""

    number: int
    kills: list[str] = field(default_factory=list)
    found: Counter[str] = field(default_factory=Counter)
    wrong: str | None = None
    seconds: float = 0.0

    def __str__(self) -> str:
        end = "as the reference" if self.wrong is None else f"WRONG: {self.wrong}"
        return (
            f"trial {self.number:>2}: {end}, {self.seconds:.0f} s; killed {'; '.join(self.kills)}"
        )


# ---- processes ----


def command(
    root: Path, *words: str, out: str = "out", loaded: bool = True
) -> subprocess.Popen[bytes]:
    """`python ...` in this root, in a process group of its own; what it says is added to the file `out`.

    `loaded`: forked from a process that has loaded PyTorch already.
    """
    gone = ("MLFLOW_TRACKING_URI", "SWEEPLAB_ROOT", "HYDRA_FULL_ERROR")
    environment = {k: v for k, v in os.environ.items() if k not in gone} | {"OMP_NUM_THREADS": "1"}
    # Trials that run side by side do not wait for one another.
    environment.setdefault("SWEEPLAB_LEASES", f"{root}.leases")
    with (root / out).open("ab") as file:
        return (ready.Popen if loaded else subprocess.Popen)(
            [sys.executable, *words],
            cwd=root,
            env=environment,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )


def train(
    root: Path, overrides: Sequence[str], out: str = "out", *, loaded: bool = True
) -> subprocess.Popen[bytes]:
    return command(root, str(PROJECT / "train.py"), *overrides, out=out, loaded=loaded)


def end(process: subprocess.Popen[bytes], what: str) -> int:
    """Its exit code; WrongError if it hangs."""
    try:
        return process.wait(LIMIT)
    except subprocess.TimeoutExpired as error:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise WrongError(f"{what} hangs") from error


def feeders(root: Path) -> list[int]:
    """The feeders of this root's store, also those that have not said so yet."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
                if PROGRAM.encode() in words and (folder / "cwd").resolve() == root.resolve():
                    found.append(int(folder.name))
            except OSError:  # gone meanwhile
                continue
    return found


def kill(process: subprocess.Popen[bytes], root: Path, victim: str) -> bool:
    """Kill now, the training first, since its moments are short; False if there was nobody to kill."""
    hit = victim != FEEDER and process.poll() is None
    if hit:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for pid in feeders(root) if victim != TRAINING else []:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            hit = True
    return hit


# ---- moments ----


@dataclass(frozen=True)
class Moment:
    """`delay` seconds after the start of the command, or after the n-th change of what is watched."""

    what: str
    nth: int
    delay: float

    def __str__(self) -> str:
        return (
            f"at {self.delay:.2f} s"
            if self.what == "clock"
            else f"{self.delay * 1000:.0f} ms after {self.what} {self.nth}"
        )

    def come(self, root: Path, process: subprocess.Popen[bytes], *, feeding: bool) -> bool:
        """Wait for it; False if all that could be killed has ended before."""
        seen, changes, began = _stamps(root, self.what), 0, time.monotonic()
        while changes < self.nth:
            if _over(root, process, feeding=feeding) or time.monotonic() - began > LIMIT:
                return False
            time.sleep(0.001)
            if (now := _stamps(root, self.what)) != seen:
                seen, changes = now, changes + 1
        until = time.monotonic() + self.delay
        while (left := until - time.monotonic()) > 0 and not _over(root, process, feeding=feeding):
            time.sleep(min(left, 0.05))
        return not _over(root, process, feeding=feeding)


def _over(root: Path, process: subprocess.Popen[bytes], *, feeding: bool) -> bool:
    return process.poll() is not None and not (feeding and feeders(root))


def _stamps(root: Path, what: str) -> list[tuple[str, int, int]]:
    if what == "clock":
        return []
    return [
        (f.name, s.st_size, s.st_mtime_ns)
        for f in sorted(root.glob(WATCHED[what][0]))
        if (s := _stat(f))
    ]


def _stat(file: Path) -> os.stat_result | None:
    try:
        return file.stat()
    except FileNotFoundError:
        return None


def draw(rng: random.Random, seconds: float, victim: str) -> Moment:
    """Half of the moments by the clock, which is mostly start-up and waiting; the others where something is written."""
    if rng.random() < 0.5:
        return Moment("clock", 0, rng.uniform(0, seconds))
    what = rng.choice(["database", "record"] if victim == FEEDER else list(WATCHED))
    return Moment(what, rng.randint(1, WATCHED[what][1]), rng.choice([0.0, rng.uniform(0, 0.05)]))


# ---- what came out ----


def outcome(root: Path) -> Outcome:
    """Of a run that has ended. Raises WrongError if the store or MLflow is not as it must be after any run."""
    runs = Store(root / "runs").runs()
    _same("runs in the store", len(runs), 1)
    run = runs[0]
    result = run.result()
    if result is None or result.status != Status.FINISHED:
        raise WrongError(f"the run is {run.status}")
    _same("differing epochs", [e for e in run.journal.events() if e["event"] == Event.DIFFERS], [])
    _same("checkpoints left", run.checkpoints.exists(), False)
    logged, params = mlflow(root, run)
    return Outcome(
        stop_reason=result.stop_reason,
        weights_sha256=result.weights_sha256,
        weights=run.weights_file.read_bytes(),
        epochs=run.epochs(),
        final={k: v for k, v in result.metrics.items() if k not in TIMES},
        logged={at: value for at, value in logged.items() if at[0] not in TIMES},
        params={k: v for k, v in params.items() if k != "data.root"},
    )


def mlflow(root: Path, run: Run) -> tuple[dict[tuple[str, int], float], dict[str, str]]:
    """(metrics, params) of the one run in MLflow's database."""
    database = sqlite3.connect(root / "mlflow.db", timeout=30)
    try:
        found = database.execute(
            "select run_uuid, status, lifecycle_stage, start_time, artifact_uri from runs"
        ).fetchall()
        rows = database.execute("select key, step, value from metrics").fetchall()
        latest = database.execute("select key, step, value from latest_metrics").fetchall()
        params = dict(database.execute("select key, value from params").fetchall())
        tags = dict(database.execute("select key, value from tags").fetchall())
    finally:
        database.close()
    _same("runs in MLflow", len(found), 1)
    first = next(e for e in run.journal.events() if e["event"] == Event.START)
    _same("MLflow's run", found[0][1:4], ("FINISHED", "active", round(first["time"] * 1000)))
    _same(
        "metrics logged more than once",
        [k for k, n in Counter((r[0], r[1]) for r in rows).items() if n > 1],
        [],
    )
    logged = {(key, step): value for key, step, value in rows}
    _same("latest metrics", latest_of(logged), {key: (step, value) for key, step, value in latest})
    result = run.result()
    assert result is not None
    last = max(run.epochs())
    expected = {
        (name, epoch): value
        for epoch, values in run.epochs().items()
        for name, value in values.items()
    }
    _same(
        "metrics",
        logged,
        expected | {(name, last): value for name, value in result.metrics.items()},
    )
    _same(
        "tags", (tags["fingerprint"], tags["stop_reason"]), (result.fingerprint, result.stop_reason)
    )
    artifacts = Path(found[0][4].removeprefix("file://"))
    for name in goals.FILES if artifacts.is_absolute() else ():  # a server keeps them as it likes
        _same(f"artifact {name}", _content(artifacts / name), _content(run.folder / name))
    return logged, params


def latest_of(logged: dict[tuple[str, int], float]) -> dict[str, tuple[int, float]]:
    return {
        key: (step, value)
        for (key, step), value in sorted(logged.items(), key=lambda item: item[0][1])
    }


def _content(file: Path) -> bytes | None:
    return file.read_bytes() if file.exists() else None


def _same(what: str, found: Any, expected: Any) -> None:
    if found != expected:
        if isinstance(found, dict):
            expected, found = (
                {k: v for k, v in one.items() if k not in other or other[k] != v}
                for one, other in ((expected, found), (found, expected))
            )
        raise WrongError(f"{what}: {str(found)[:300]}, expected {str(expected)[:300]}")


def left_behind(root: Path) -> Iterator[str]:
    """What a kill has cut through, if anything can be seen of it."""
    runs = Store(root / "runs").runs()
    if not runs:
        yield "before the journal"
        return
    if not (content := runs[0].journal.path.read_bytes()).endswith(b"\n"):
        yield "a torn journal line" if content else "an empty journal"
    epochs, status = runs[0].epochs(), runs[0].status
    yield (
        "after the result"
        if status == Status.FINISHED
        else f"after epoch {max(epochs)}"
        if epochs
        else "before epoch 1"
    )
    if list(runs[0].checkpoints.glob(".*")):
        yield "a half-written checkpoint"
    if list(runs[0].folder.glob(".*")):
        yield "a half-written file of the run"
    if (root / "mlflow.db-journal").exists():
        yield "an open transaction of MLflow's database"


# ---- the program ----


def refer(folder: Path, overrides: Sequence[str], *, loaded: bool = False) -> Reference:
    """Train without being killed. Raises WrongError if even that goes wrong."""
    root = folder / "reference"
    root.mkdir()
    began = time.monotonic()
    code = end(train(root, overrides, loaded=loaded), "the reference")
    _same("the reference's exit code", code, 0)
    seconds = time.monotonic() - began
    sync(root)
    return Reference(
        tuple(overrides),
        seconds,
        outcome(root),
        database.make_empty(folder / "empty.db").read_bytes(),
        loaded,
    )


def sync(root: Path, *overrides: str) -> None:
    _same(
        "sync's exit code",
        end(command(root, "-m", "sweeplab.commands.cli", "sync", *overrides), "sync"),
        0,
    )


def trial(number: int, seed: int, reference: Reference, folder: Path) -> Trial:
    """Kill and issue again until the run ends by itself; what was found then. What is wrong stays in `folder`."""
    rng, result = random.Random(f"{seed}/{number}"), Trial(number)
    began, root = time.monotonic(), folder / f"trial{number}"
    try:
        while not result.kills:  # a moment that came too late is drawn again
            shutil.rmtree(root, ignore_errors=True)
            root.mkdir()
            if number % 4 != 3:  # else MLflow's database is made meanwhile, too
                (root / "mlflow.db").write_bytes(reference.database)
            torment(rng, root, reference, result)
            leave(root)
        check(root, reference)
        shutil.rmtree(root)
    except WrongError as error:
        result.wrong = f"{error} (see {root})"
    result.seconds = time.monotonic() - began
    return result


def torment(rng: random.Random, root: Path, reference: Reference, result: Trial) -> None:
    """Issue the command until it ends by itself, killing at most three times, less and less likely."""
    code = -signal.SIGKILL
    while code != 0:
        process = train(root, reference.overrides, loaded=reference.loaded)
        while process.poll() is None and rng.random() < (1.0, 0.6, 0.4, 0.0)[len(result.kills)]:
            victim = rng.choice(VICTIMS) if result.kills else VICTIMS[result.number % 3]
            strike(process, root, victim, draw(rng, reference.seconds, victim), result)
        code = end(process, "the command")
        if code not in (0, -signal.SIGKILL):
            raise WrongError(f"the command ended with {code}")
        if code != 0:
            time.sleep(
                rng.choice([0.0, rng.uniform(0, 1), 5.5])
            )  # the feeder is there, is leaving, is gone


def strike(
    process: subprocess.Popen[bytes], root: Path, victim: str, moment: Moment, result: Trial
) -> None:
    """Kill the victim at this moment, a feeder that is not there yet as soon as it is; noted if it came to that."""
    if not moment.come(root, process, feeding=victim == FEEDER):
        return
    while victim == FEEDER and process.poll() is None and not feeders(root):
        time.sleep(0.01)
    if kill(process, root, victim):
        found = list(left_behind(root))
        result.kills.append(f"{victim} {moment} ({', '.join(found)})")
        result.found.update([victim, *found])


def leave(root: Path) -> None:
    """Wait for the feeder to go by itself, as it has to without a client."""
    until = time.monotonic() + LEAVING
    while pids := feeders(root):
        if time.monotonic() > until:
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            raise WrongError(f"a feeder is there {LEAVING:.0f} s after its last client")
        time.sleep(0.1)


def check(root: Path, reference: Reference) -> None:
    """Bring MLflow level; everything must then be as in the reference."""
    sync(root)
    now = outcome(root)
    for name in Outcome.__dataclass_fields__:
        _same(name, getattr(now, name), getattr(reference.outcome, name))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--config", choices=CONFIGS, default="digits")
    parser.add_argument("--data", type=Path, help="data.root, for mnist")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first trial")
    parser.add_argument("--jobs", type=int, default=1, help="trials at the same time")
    given = parser.parse_args()
    overrides = [
        *CONFIGS[given.config],
        *([f"data.root={given.data.resolve()}"] if given.data else []),
    ]
    folder = Path(tempfile.mkdtemp(prefix="kill-"))
    reference = refer(folder, overrides)
    print(
        f"reference: {reference.seconds:.1f} s, weights_sha256 {reference.outcome.weights_sha256}",
        flush=True,
    )
    trials = []
    with ThreadPoolExecutor(given.jobs) as pool:
        numbers = range(given.first, given.first + given.count)
        for done in pool.map(lambda number: trial(number, given.seed, reference, folder), numbers):
            trials.append(done)
            print(done, flush=True)
    good = sum(each.wrong is None for each in trials)
    found: Counter[str] = sum((each.found for each in trials), Counter())
    print(
        f"{good} of {len(trials)} ended as the reference, after {sum(len(t.kills) for t in trials)} kills:"
    )
    print("\n".join(f"  {count:>4} {what}" for what, count in found.most_common()))
    if good == len(trials):
        shutil.rmtree(folder)
    sys.exit(good != len(trials))


if __name__ == "__main__":
    main()
