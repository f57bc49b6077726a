"""What all parts of the suite share: commands with a clock, ratios with their spread, and the one table."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock

from sweeplab.store import Store
from sweeplab.tracking import records

PROJECT = Path(__file__).parent.parent
TRAIN = [sys.executable, str(PROJECT / "train.py")]
LIGHTNING = [sys.executable, str(PROJECT / "benchmarks" / "peers" / "lightning_hydra" / "train.py")]


@dataclass(kw_only=True)
class Row:
    """Ours beside a peer's, round by round: both were measured one after the other in each."""

    part: str
    what: str
    ours: str
    peer: str
    ours_seconds: list[float]
    peer_seconds: list[float]
    notes: list[str] = field(default_factory=list)

    def cells(self) -> list[str]:
        ratios = [a / b for a, b in zip(self.ours_seconds, self.peer_seconds, strict=True)]
        names = [self.part, self.what, self.ours, self.peer]
        seconds = [
            f"{statistics.median(each):.3g}" for each in (self.ours_seconds, self.peer_seconds)
        ]
        return [*names, *seconds, spread(ratios), str(len(ratios)), "; ".join(self.notes)]


HEAD = [
    "part",
    "what",
    "ours",
    "beside",
    "ours (s)",
    "its (s)",
    "ours / its: median (least to greatest)",
    "n",
    "notes",
]


def spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def table(rows: Sequence[Row]) -> str:
    """In Markdown, aligned."""
    cells = [HEAD, *(row.cells() for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(HEAD))]
    cells.insert(1, ["-" * width for width in widths])
    lines = [
        " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True))
        for line in cells
    ]
    return "\n".join(f"| {line} |" for line in lines)


@dataclass(frozen=True)
class Command:
    """A command that has ended well, when it began and how long it took."""

    began: float
    seconds: float


def command(
    words: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None
) -> Command:
    """Run it in the folder, where what it prints is kept. Raises RuntimeError with the end of that if it fails."""
    printed = folder / "printed"
    given = (
        os.environ
        | {"PYTHONPATH": str(PROJECT), "MLFLOW_DISABLE_TELEMETRY": "true"}
        | dict(environment or {})
    )
    for name in ("SWEEPLAB_ROOT", "MLFLOW_TRACKING_URI"):  # everything goes into the folder
        given.pop(name, None)
    with printed.open("wb") as out:
        began, clock = time.time(), time.perf_counter()
        code = subprocess.run(
            words, cwd=folder, env=given, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        ).returncode
        seconds = time.perf_counter() - clock
    if code != 0:
        raise RuntimeError(f"{' '.join(words)}: exit code {code}\n{printed.read_text()[-3000:]}")
    return Command(began, seconds)


@contextmanager
def fresh() -> Iterator[Path]:
    """A folder of its own, with no run and no database yet; sweeplab's feeder, which may outlive a command, has ended
    afterwards, so that it costs the next one nothing.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        yield Path(folder)
        held = records.lock_file(Store(Path(folder) / "runs"))
        if held.parent.exists():
            with FileLock(held, timeout=120):
                pass


@contextmanager
def busy(count: int) -> Iterator[None]:
    """As many processes that do nothing but count beside it, as another user's would be."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def say(line: str) -> None:
    """Progress: on stderr, so that stdout has the table alone."""
    print(line, file=sys.stderr, flush=True)
