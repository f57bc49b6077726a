"""What sweeplab costs beside what people use instead, measured side by side in one run: one table, and JSON.

    uv run --group bench python -m benchmarks                       all parts; takes hours
    uv run --group bench python -m benchmarks epoch --rounds 10     the training part of an epoch
    uv run --group bench python -m benchmarks start tracking        parts by name

Run it on a machine that does nothing else. Each figure is a ratio: ours and the peer's are measured in turn, `--rounds`
times, and what is given is the median of the rounds' ratios, with the least and the greatest.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from benchmarks import epoch, machine, start, sweep32, tracking
from benchmarks.measure import PROJECT, Row, say, table

PARTS = ("epoch", "start", "tracking", "sweep")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; none: all"
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=PROJECT / "data",
        help="a data.root with MNIST in it, or for it",
    )
    parser.add_argument(
        "--json", type=Path, default=PROJECT / "benchmarks" / "results.json", help="file to write"
    )
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured, in turn")
    parser.add_argument(
        "--threads",
        type=int,
        default=len(machine.cores()),
        help="of each peer in epoch and tracking",
    )
    parser.add_argument(
        "--device", default="cpu", choices=("cpu", "cuda"), help="epoch: of all peers that know it"
    )
    parser.add_argument(
        "--busy", type=int, default=0, help="epoch: loops of other programs beside all peers"
    )
    parser.add_argument(
        "--seeds", type=int, default=5, help="epoch: trainings of each peer for the accuracy"
    )
    parser.add_argument("--epochs", type=int, default=3, help="epoch: of each of these trainings")
    parser.add_argument(
        "--peers", nargs="+", choices=epoch.PEERS, help="epoch: only these beside sweeplab"
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=sweep32.ALL,
        help="sweep: of the peers, scaled to 32; 1-7 or times 8",
    )
    parser.add_argument(
        "--our-jobs",
        type=int,
        default=sweep32.ALL,
        help="sweep: of sweeplab; fewer is only for a trial",
    )
    given = parser.parse_args()
    for part in given.parts:
        if part not in PARTS:
            parser.error(f"{part}: no such part; choose of {', '.join(PARTS)}")
    return given


def main() -> None:
    given = parsed()
    missing = [
        name for name in ("jax", "lightning", "optax") if importlib.util.find_spec(name) is None
    ]
    if missing:
        raise SystemExit(
            f"not installed: {', '.join(missing)}; use: uv run --group bench python -m benchmarks"
        )
    data = given.data.resolve()
    _fetch(data)
    names = [
        name for name in epoch.PEERS if name == epoch.OURS or not given.peers or name in given.peers
    ]
    if given.device == "cpu":
        here = [] if machine.bf16() else [epoch.BF16, epoch.COMPILED]
        names = [name for name in names if name not in [epoch.FP16, *here]]
    elif not entry_points(group="jax_plugins"):  # JAX is installed for the CPU alone
        names = [name for name in names if name != epoch.JAX]
    how = epoch.How(given.threads, given.device, given.busy)
    measures = {
        "epoch": lambda: epoch.measure(data, given.rounds, how, given.seeds, given.epochs, names),
        "start": lambda: start.measure(data, given.rounds),
        "tracking": lambda: tracking.measure(data, given.rounds, given.threads),
        "sweep": lambda: sweep32.measure(data, given.rounds, given.jobs, given.our_jobs),
    }
    rows: list[Row] = []
    record: dict[str, Any] = {
        "machine": machine.describe(),
        "versions": machine.versions(),
        "rounds": given.rounds,
        "parts": {},
    }
    for part in given.parts or PARTS:
        found, record["parts"][part] = measures[part]()
        rows += found
        record["rows"] = [vars(row) for row in rows]
        given.json.write_text(
            json.dumps(record, indent=1) + "\n"
        )  # after each part: they take long
    say(f"written: {given.json}")
    shown = record["machine"]
    print(
        f"\n{shown['cpu']}, {shown['cores']} cores, load {shown['load'][0]:.1f} before; "
        + ", ".join(f"{n} {v}" for n, v in record["versions"].items())
    )
    print(f"\n{table(rows)}")


def _fetch(data: Path) -> None:
    """MNIST, as train.py fetches it, before any clock runs."""
    if not os.access(data / "MNIST" / "raw" / "train-images-idx3-ubyte", os.R_OK):
        from sweeplab.data import MNIST

        MNIST(data)


if __name__ == "__main__":
    main()
