"""The training part of an epoch: all peers are alive at once and train an epoch each, in turn; and to what accuracy.

Validation does not count. Each peer may use the same cores, as many as `--threads`.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.measure import LIGHTNING, PROJECT, Row, busy, say
from sweeplab.compare.statistics import Mean, mean
from sweeplab.speed import spin_count

OURS, BF16, FP16, COMPILED, JAX, PRODUCTS = (
    "sweeplab",
    "sweeplab bf16",
    "sweeplab fp16",
    "sweeplab bf16, compiled",
    "JAX",
    "matrix products",
)
PEERS = {
    OURS: ("ours",),
    BF16: ("ours", "trainer.precision=bf16"),
    FP16: ("ours", "trainer.precision=fp16"),
    COMPILED: ("ours", "trainer.precision=bf16", "trainer.compile=true"),
    "bare loop": ("bare",),
    "bare loop, no autograd": ("by_hand",),
    "DataLoader": ("dataloader", "0"),
    "DataLoader, 2 workers": ("dataloader", "2"),
    "Lightning, Hydra": (),
    JAX: ("jax_scan",),
    PRODUCTS: ("products",),
}


@dataclass(frozen=True)
class How:
    """How all peers compute."""

    threads: int
    device: str = "cpu"
    busy: int = 0  # loops of other programs beside them


class Peer:
    """A process that trains an epoch when it is told to; it is warm once this is made."""

    def __init__(
        self, name: str, data: Path, epochs: int, seed: int, how: How, folder: Path
    ) -> None:
        self.name, self._printed = name, folder / "printed"
        words = _words(name, data, epochs, seed, how)
        environment = os.environ | {"OMP_NUM_THREADS": str(how.threads), "PYTHONPATH": str(PROJECT)}
        environment |= {"MLFLOW_DISABLE_TELEMETRY": "true"}
        if "ours" in PEERS[name]:  # as every command of sweeplab does, before PyTorch is loaded
            environment["GOMP_SPINCOUNT"] = spin_count.COUNT
        with self._printed.open("wb") as errors:
            self.process = subprocess.Popen(
                words, cwd=folder, env=environment, stdin=-1, stdout=-1, stderr=errors, text=True
            )
        assert "ready" in self._answer()

    def epoch(self) -> float:
        """Train one; its seconds."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self._answer()["seconds"])

    def accuracy(self) -> float:
        """On the test set, once all epochs are trained."""
        return float(self._answer()["accuracy"])

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended too early:\n{self._printed.read_text()[-3000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _words(name: str, data: Path, epochs: int, seed: int, how: How) -> list[str]:
    if not PEERS[name]:
        node = f"_target_:benchmarks.peers.lightning_hydra.callbacks.TakesTurns,epochs:{epochs}"
        turns = f"+callbacks.turns={{{node}}}"
        return [
            *LIGHTNING,
            f"data.root={data}",
            f"seed={seed}",
            f"trainer.max_epochs={epochs}",
            "test=null",
            f"trainer.accelerator={how.device}",
            turns,
        ]
    module, *more = PEERS[name]
    given = [
        f"--data={data}",
        f"--epochs={epochs}",
        f"--seed={seed}",
        f"--threads={how.threads}",
        f"--device={how.device}",
        *more,
    ]
    return [sys.executable, "-m", f"benchmarks.peers.{module}", *given]


@contextmanager
def _at_work(
    names: list[str], data: Path, epochs: int, seed: int, how: How
) -> Iterator[list[Peer]]:
    """These peers, started one after the other; they have ended afterwards."""
    with ExitStack() as stack:
        peers = []
        for name in names:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            peers.append(Peer(name, data, epochs, seed, how, folder))
            stack.callback(_end, peers[-1].process)
        yield peers


def _end(process: subprocess.Popen[str]) -> None:
    """Wait for it, if it has nothing left to do; else end it."""
    assert process.stdin is not None
    process.stdin.close()  # who waits for a turn, gives up
    try:
        process.wait(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def _on_cores(count: int) -> Iterator[None]:
    """What is started meanwhile may use so many cores: JAX takes as many threads as it finds cores."""
    before = machine.cores()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, before[:count])
    try:
        yield
    finally:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, before)


def measure(
    data: Path, rounds: int, how: How, seeds: int, epochs: int, names: list[str]
) -> tuple[list[Row], Any]:
    """`seeds` trainings of `epochs` epochs for the accuracy; (rows, all that was measured)."""
    with _on_cores(how.threads):
        seconds = _seconds(names, data, rounds, how)
        accuracies = _accuracies(
            [name for name in names if name != PRODUCTS], data, seeds, epochs, how
        )
    rows = []
    for ours, peer in [(OURS, name) for name in names if name != OURS] + [
        (BF16, JAX),
        (COMPILED, JAX),
    ]:
        if ours in names and peer in names:
            where = (
                how.device
                if how.device != "cpu"
                else f"{how.threads} thread{'s' if how.threads > 1 else ''}"
            )
            what = f"epoch, {where}, {'fp32' if ours == OURS else 'bf16'}"
            if how.busy:
                what += f", beside {how.busy} busy"
            found = mean(accuracies.get(peer, []))
            notes = [agreement(mean(accuracies[ours]), found, epochs)] if found else []
            rows.append(
                Row(
                    part="epoch",
                    what=what,
                    ours=ours,
                    peer=peer,
                    ours_seconds=seconds[ours],
                    peer_seconds=seconds[peer],
                    notes=notes,
                )
            )
    return rows, {
        "seconds": seconds,
        "test accuracies": accuracies,
        "epochs to the accuracy": epochs,
        "threads": how.threads,
        "device": how.device,
    }


def _seconds(names: list[str], data: Path, rounds: int, how: How) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in names}
    # One to get warm, a round that does not count, and an epoch that nobody asks for: who has trained the last one goes on
    # with what comes after it, while others still train.
    with _at_work(names, data, 3 + rounds, 0, how) as peers, busy(how.busy):
        for number in range(rounds + 1):
            for peer in peers:
                found[peer.name].append(peer.epoch())
            say(
                f"epoch, round {number}: "
                + ", ".join(f"{name} {each[-1]:.3f} s" for name, each in found.items())
            )
    return {name: each[1:] for name, each in found.items()}


def _accuracies(
    names: list[str], data: Path, seeds: int, epochs: int, how: How
) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in names}
    for name in names:
        for seed in range(seeds):
            with _at_work([name], data, epochs, seed, how) as (peer,):
                for _ in range(epochs - 1):
                    peer.epoch()
                found[name].append(peer.accuracy())
        say(
            f"{name}: test accuracy after {epochs} epochs: {', '.join(f'{value:.4f}' for value in found[name])}"
        )
    return found


def agreement(ours: Mean | None, its: Mean | None, epochs: int) -> str:
    """Whether the means differ by no more than their 95 % intervals together: the root of the sum of their squares."""
    assert ours is not None
    assert its is not None
    if ours.half is None or its.half is None:
        return f"accuracy {ours.mean:.4f} and {its.mean:.4f}: one seed tells nothing"
    agree = abs(ours.mean - its.mean) <= math.hypot(ours.half, its.half)
    verdict = "agree" if agree else "DIFFER"
    both = " and ".join(
        f"{100 * one.mean:.2f} ± {100 * one.half:.2f} %"
        for one in (ours, its)
        if one.half is not None
    )
    return f"test accuracy after {epochs} epochs {both} (n={its.n}): {verdict}"
