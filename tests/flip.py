"""The flip program: one file of a store is damaged at random, and every command that reads it must notice, or not care.

    uv run python tests/flip.py --count 200

A store is made once: a finished run, one that was interrupted, a sweep, and MLflow's database beside it. Each trial
damages one file (a flipped bit or byte, cut off, emptied, rubbish at its end, a folder in its place) and then issues
the commands that read it, each on a fresh copy. What comes out must be the same bits as without the damage, or the
file must be named in what is said. A traceback, or other numbers without a word, is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import os
import random
import runpy
import shutil
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import kill
import torch

from sweeplab import load_model, metrics
from sweeplab.commands import cli, ui
from sweeplab.runs import checkpoint
from sweeplab.runs.weights import load_weights, weights_sha256
from sweeplab.speed import quick_exit
from sweeplab.store import Run, Store

PROJECT = Path(__file__).parent.parent
TIMES = (metrics.SECONDS, metrics.EXAMPLES_PER_SECOND)
COMMON = ("data=digits", "trainer.threads=1", "trainer.patience=null", "tracking.wait=60")
FINISHED = (*COMMON, "model.hidden=8", "trainer.epochs=3")
STOPPED = (
    *COMMON,
    "model.hidden=16",
    "model.dropout=0.2",
    "trainer.epochs=5",
    "trainer.checkpoint_every=0",
)
SWEEP = ("-m", *COMMON, "model=linear", "trainer.epochs=2", "seed=0,1")
WARM = (*COMMON, "model.hidden=8", "trainer.epochs=1")


@dataclass
class Said:
    """What a command said, and what came out of it."""

    code: int
    text: str
    facts: Any


@dataclass
class Trial:
    """What was done to which file, and what the commands made of it."""

    number: int
    file: str
    damage: str
    same: list[str] = field(default_factory=list)  # commands that came out as without the damage
    named: list[str] = field(default_factory=list)  # those that named the file
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        end = (
            f"WRONG: {'; '.join(self.wrong)}"
            if self.wrong
            else f"same: {self.same}, named: {self.named}"
        )
        return f"trial {self.number:>3}: {self.damage} {self.file}: {end}"


# ---- the store ----


@contextlib.contextmanager
def inside(root: Path) -> Iterator[None]:
    """In this folder, with nothing of the environment that says where things are, and no log on the screen."""
    before, argv, cwd, path = dict(os.environ), sys.argv, Path.cwd(), list(sys.path)
    for name in (
        "MLFLOW_TRACKING_URI",
        "SWEEPLAB_ROOT",
        "HYDRA_FULL_ERROR",
        "UV_RUN_RECURSION_DEPTH",
    ):
        os.environ.pop(name, None)
    os.chdir(root)
    end, quick_exit.leave = quick_exit.leave, lambda: None  # of a process of its own
    try:
        yield
    finally:
        quick_exit.leave = end
        os.chdir(cwd)
        sys.argv, sys.path[:] = argv, path
        os.environ.clear()
        os.environ.update(before)
        torch.use_deterministic_algorithms(False)


def said(program: Callable[[], object]) -> Said:
    """Run it in this process; what it prints, and how it ends."""
    out, code, facts = io.StringIO(), 0, None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            facts = program()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
    return Said(code, out.getvalue(), facts)


def train(*overrides: str) -> Said:
    """`python train.py ...`, in this process."""
    more = ["hydra/launcher=basic"] if "-m" in overrides else []
    sys.argv = [str(PROJECT / "train.py"), *overrides, *more]
    return said(lambda: runpy.run_path(sys.argv[0], run_name="__main__"))


def sweeplab(*words: str) -> Said:
    """`sweeplab ...`, in this process."""
    return said(lambda: cli.main(words))


def make(root: Path) -> None:
    """The store that is damaged, and MLflow's database."""
    ensure(train(*FINISHED))
    save = checkpoint.save

    def stop(folder: Path, saved: checkpoint.Checkpoint) -> None:
        if saved.epoch == 4:
            raise KeyboardInterrupt
        save(folder, saved)

    checkpoint.save = stop
    try:
        train(*STOPPED)
    finally:
        checkpoint.save = save
    ensure(train(*SWEEP, "tracking.enabled=true"))
    ensure(sweeplab("sync"))
    leave(root)


def ensure(done: Said) -> None:
    if done.code:
        raise RuntimeError(f"ended with {done.code}:\n{done.text}")


def leave(root: Path) -> None:
    """Wait until no feeder is at work in this root, which would write into it."""
    until = time.monotonic() + kill.LIMIT
    while kill.feeders(root):
        if time.monotonic() > until:
            raise RuntimeError("a feeder does not leave")
        time.sleep(0.1)


def named(root: Path, epochs: int) -> Run:
    """The run of the store (not of the sweep) that is to train so many epochs."""
    home = Store(root / "runs")
    swept = {cell["fingerprint"][:16] for sweep in home.manifests() for cell in sweep["cells"]}
    for run in home.runs():
        start = next(e for e in run.journal.events() if e["event"] == "start")
        if run.id not in swept and start["config"]["trainer"]["epochs"] == epochs:
            return run
    raise LookupError(epochs)


# ---- commands ----


@dataclass(frozen=True)
class Place:
    """Where the reference lies, and the ids of its runs."""

    root: Path
    pristine: Path
    finished: str
    stopped: str
    sweep: str


def facts(run: Run) -> Any:
    """All that must be the same bits of a finished run."""
    result = run.result()
    if result is None:
        return None
    final = {name: value for name, value in result.metrics.items() if name not in TIMES}
    weights = weights_sha256(load_weights(run.weights_file)) if run.weights_file.exists() else ""
    return result.status, result.stop_reason, result.weights_sha256, weights, run.epochs(), final


def of_run(place: Place, name: str) -> Any:
    try:
        return facts(Store(place.root / "runs").run(name))
    except Exception as error:  # what lies there now is damaged, as it was before
        return f"{type(error).__name__}"


def list_runs(place: Place) -> Said:
    done = sweeplab("runs", "--json")
    text = done.text[done.text.find("{") :]
    rows = json.loads(text)["runs"] if done.code == 0 else []
    vary = ("bytes", "checkpoint_bytes", "weight_bytes", "time")
    done.facts = sorted(str({k: v for k, v in row.items() if k not in vary}) for row in rows)
    done.text += sweeplab("runs").text
    return done


def compare(place: Place) -> Said:
    return with_text(sweeplab("compare", "--json"), sweeplab("compare").text)


def compare_two(place: Place) -> Said:
    return with_text(sweeplab("compare", place.finished, place.stopped, "--json"))


def with_text(done: Said, more: str = "") -> Said:
    done.facts, done.text = done.text, done.text + more
    return done


def replay(place: Place) -> Said:
    done = sweeplab("replay", place.finished)
    done.facts = [line for line in done.text.splitlines() if line.startswith("identical")]
    return done


def again(place: Place) -> Said:
    done = train(*FINISHED, "tracking=off")
    done.facts = [line.split() for line in done.text.splitlines() if "  " in line.strip()]
    return done


def resume(place: Place) -> Said:
    done = train(*STOPPED, "tracking=off")
    done.facts = of_run(place, place.stopped)
    return done


def load(place: Place) -> Said:
    def output() -> Any:
        model = load_model(place.finished)
        return model(torch.arange(128.0).reshape(2, 64)).detach().numpy().tobytes().hex()

    return said(guarded(output))


def guarded(program: Callable[[], Any]) -> Callable[[], Any]:
    from sweeplab.errors import UserError

    def run() -> Any:
        try:
            return program()
        except UserError as error:
            print(error)
            raise SystemExit(2) from error

    return run


def warm(place: Place) -> Said:
    done = train(*WARM, f"trainer.init_from={place.finished}", "tracking=off", "store.root=runs")
    home = Store(place.root / "runs")
    before = {run.name for run in (place.pristine / "runs").iterdir()}
    done.facts = [of_run(place, run.id) for run in home.runs() if run.id not in before]
    return done


def sweep_again(place: Place) -> Said:
    done = train(*SWEEP, "tracking=off")
    home = Store(place.root / "runs")
    cells = home.manifest(place.sweep)["cells"] if done.code == 0 else []
    done.facts = [of_run(place, cell["fingerprint"]) for cell in cells]
    return done


def plan(place: Place) -> Said:
    return with_text(train(*SWEEP, "tracking=off", "sweep.plan=true"))


def links(place: Place) -> Said:
    """What `sweeplab ui` shows, without a server."""

    def show() -> Any:
        from sweeplab import config, tracking

        settings = config.compose([])
        return ui.links_of(settings, tracking.resolve_uri(settings.tracking), "http://here")

    return said(guarded(show))


def sync(place: Place) -> Said:
    done = sweeplab("sync")
    done.facts = rows(place.root / "mlflow.db")
    return done


def sync_anew(place: Place) -> Said:
    """Into a database that has nothing yet."""
    shutil.copy(place.pristine.parent / "empty.db", place.root / "other.db")
    done = sweeplab("sync", f"tracking.uri=sqlite:///{place.root}/other.db")
    done.facts = rows(place.root / "other.db")
    return done


def rows(file: Path) -> Any:
    """All metrics, with the fingerprint or the sweep of their run; statuses; what stands there twice, twice."""
    database = sqlite3.connect(file, timeout=30)
    try:
        query = "select run_uuid, value from tags where key in ('fingerprint', 'sweep.id')"
        names = dict(database.execute(query).fetchall())
        values = database.execute("select run_uuid, key, step, value from metrics").fetchall()
        states = database.execute(
            "select run_uuid, status from runs where lifecycle_stage = 'active'"
        ).fetchall()
    finally:
        database.close()
    return sorted((names.get(run), *rest) for run, *rest in values), sorted(
        (names.get(r), s) for r, s in states
    )


Action = Callable[[Place], Said]
LOOKS: tuple[Action, ...] = (list_runs, compare, compare_two)
KINDS: dict[
    str, tuple[str, tuple[Action, ...]]
] = {  # what is damaged -> (its files, the commands that read it)
    "checkpoint": ("runs/STOPPED/checkpoints/*.pt", (resume,)),
    "weights": ("runs/FINISHED/weights.safetensors", (load, warm, again)),
    "journal": ("runs/FINISHED/journal.jsonl", (*LOOKS, again, replay, load, warm, sync_anew)),
    "journal, interrupted": ("runs/STOPPED/journal.jsonl", (*LOOKS, resume, sync_anew)),
    "journal, swept": ("runs/SWEPT/journal.jsonl", (*LOOKS, plan, sweep_again, sync_anew)),
    "result": ("runs/FINISHED/result.json", (*LOOKS, again, replay, load, warm, sync_anew)),
    "result, interrupted": ("runs/STOPPED/result.json", (*LOOKS, resume)),
    "result, swept": ("runs/SWEPT/result.json", (*LOOKS, plan, sweep_again)),
    "config": ("runs/FINISHED/config.yaml", (*LOOKS, again, replay, load)),
    "manifest": (
        "runs/sweeps/????????????????.json",
        (*LOOKS, links, plan, sweep_again, sync_anew),
    ),
    "summary": ("runs/sweeps/*/summary.json", (compare, sync_anew)),
    "record": ("runs/*/mlflow.json", (links, sync, compare)),
    "record of a sweep": ("runs/sweeps/*.mlflow.json", (links, sync)),
    "store": ("runs/store.json", (list_runs, sync, again)),
    "feeder": ("runs/feeder.json", (sync, again)),
}


def files(place: Place, pattern: str) -> list[Path]:
    swept = [Path(p).parent.name for p in place.root.glob("runs/*/journal.jsonl")]
    swept = [name for name in swept if name not in (place.finished, place.stopped)]
    pattern = pattern.replace("FINISHED", place.finished).replace("STOPPED", place.stopped)
    return sorted(
        file for name in swept[:1] for file in place.root.glob(pattern.replace("SWEPT", name))
    )


# ---- damage ----


def flip_bit(content: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(content))
    return content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]


def flip_byte(content: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(content))
    return content[:at] + bytes([content[at] ^ rng.randrange(1, 256)]) + content[at + 1 :]


def change_digit(content: bytes, rng: random.Random) -> bytes:
    """Another digit in the place of one: still JSON, and another number."""
    places = [at for at, byte in enumerate(content) if chr(byte).isdigit()]
    if not places:
        return flip_byte(content, rng)
    at = rng.choice(places)
    digits = [digit for digit in b"0123456789" if digit != content[at]]
    return content[:at] + bytes([rng.choice(digits)]) + content[at + 1 :]


def cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def cut_lines(content: bytes, rng: random.Random) -> bytes:
    lines = content.splitlines(keepends=True)
    return b"".join(lines[: rng.randrange(len(lines))])


def empty(content: bytes, rng: random.Random) -> bytes:
    del content, rng
    return b""


def rubbish(content: bytes, rng: random.Random) -> bytes:
    return content + rng.randbytes(rng.randint(1, 40)) + rng.choice([b"", b"\n"])


def another(content: bytes, rng: random.Random) -> bytes:
    """JSON, but not what is expected."""
    del content
    return rng.choice(
        [
            b"[]\n",
            b"{}\n",
            b"null\n",
            b'"x"\n',
            b'{"id": 1}\n',
            b'{"event": "end"}\n',
            b"\xff\xfe\n",
        ]
    )


DAMAGES = (
    flip_bit,
    flip_byte,
    flip_byte,
    change_digit,
    change_digit,
    cut,
    cut_lines,
    empty,
    rubbish,
    another,
    None,
)


def damage(
    file: Path, how: Callable[[bytes, random.Random], bytes] | None, rng: random.Random
) -> None:
    """`how`: None puts a folder in the place of the file."""
    content = file.read_bytes()
    file.unlink()
    if how is None:
        file.mkdir()
    else:
        file.write_bytes(how(content, rng))


# ---- the program ----


def refer(folder: Path) -> Place:
    """Make the store, and keep a copy of it while it is whole."""
    root = folder / "root"
    root.mkdir()
    logging.getLogger("alembic").setLevel(logging.ERROR)
    with inside(root):
        make(root)
        empty_database(folder / "empty.db")
        home = Store(root / "runs")
        finished, stopped = named(root, 3), named(root, 5)
        place = Place(root, folder / "pristine", finished.id, stopped.id, home.manifests()[0]["id"])
    shutil.copytree(root, place.pristine)
    return place


def empty_database(file: Path) -> None:
    from sweeplab.tracking import database

    database.make_empty(file)


def restore(place: Place) -> None:
    for old in place.root.iterdir():
        if old.is_dir():
            shutil.rmtree(old)
        elif old.suffix != ".db":  # which MLflow keeps open, and which is written over
            old.unlink()
    shutil.copytree(place.pristine, place.root, dirs_exist_ok=True)


def issue(action: Action, place: Place, harm: Callable[[], object] = lambda: None) -> Said:
    """A command on a fresh copy of the store, once it is harmed."""
    restore(place)
    harm()
    with inside(place.root):
        try:
            return action(place)
        except Exception as error:
            import traceback

            return Said(-1, f"Traceback {error!r}\n{traceback.format_exc()}", None)


def trial(number: int, seed: int, place: Place, reference: dict[str, Said]) -> Trial:
    """Damage one file, and issue the commands that read it; `reference` keeps what each says of the whole store."""
    rng = random.Random(f"{seed}/{number}")
    restore(place)
    kind = list(KINDS)[number % len(KINDS)]
    pattern, actions = KINDS[kind]
    file, how, state = rng.choice(files(place, pattern)), rng.choice(DAMAGES), rng.getrandbits(64)
    name = file.relative_to(place.root).as_posix()
    done = Trial(number, name, "folder" if how is None else how.__name__)
    for action in actions:
        if action.__name__ not in reference:
            reference[action.__name__] = issue(action, place)
        result = issue(action, place, lambda: damage(file, how, random.Random(state)))
        expected = reference[action.__name__]
        if "Traceback" in result.text:
            done.wrong.append(f"{action.__name__}: a traceback:\n{result.text[-2000:]}")
        elif result.facts == expected.facts and result.code == expected.code:
            done.same.append(action.__name__)
        elif file.name in result.text:
            done.named.append(action.__name__)
        else:
            done.wrong.append(
                f"{action.__name__}: without a word, {str(result.facts)[:300]}, not {str(expected.facts)[:300]}; "
                f"it said {result.text[-300:]}"
            )
    return done


def run(numbers: Sequence[int], seed: int, folder: Path) -> Iterator[Trial]:
    place, reference = refer(folder), dict[str, Said]()
    for number in numbers:
        yield trial(number, seed, place, reference)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first trial")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="flip-"))
    trials = []
    for done in run(range(given.first, given.first + given.count), given.seed, folder):
        trials.append(done)
        print(done, flush=True)
    shutil.rmtree(folder)
    counts = Counter(
        how for done in trials for how in ("same", "named", "wrong") for _ in getattr(done, how)
    )
    bad = [done for done in trials if done.wrong]
    print(f"{len(trials)} damaged files, {len(bad)} wrong; commands: {dict(counts)}")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
