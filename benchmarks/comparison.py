"""How long a comparison of 1,000 synthetic runs takes: the table, a frame, the report, and opening that in a browser.

    uv run python -m benchmarks.comparison --runs 1000 --repeat 5

Prints medians with least and greatest. The runs have 20 epochs each.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import math
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import sweeplab
from sweeplab import compare, store
from sweeplab.config import compose as composed
from sweeplab.config import to_dict
from sweeplab.store import Result, Store
from sweeplab.store.journal import written

EPOCHS = 20


def fill(home: Store, runs: int, seeds: int) -> str:
    """A sweep of so many finished runs over width, learning rate and BatchNorm; its id."""
    chance = random.Random(0)  # noqa: S311  # not for secrets
    settings = to_dict(composed([]))
    cells = []
    for number in range(runs):
        group, seed = divmod(number, seeds)
        hidden, rate, norm = (
            16 * (1 + group // 20),
            round(1e-4 * 1.3 ** (group // 2 % 10), 6),
            group % 2 == 0,
        )
        overrides = [
            f"model.hidden={hidden}",
            f"optimizer.lr={rate}",
            f"model.batch_norm={norm}",
            f"seed={seed}",
        ]
        asked = settings | {"seed": seed, "optimizer": settings["optimizer"] | {"lr": rate}}
        asked["model"] = settings["model"] | {"hidden": hidden, "batch_norm": norm}
        digest = hashlib.sha256("\n".join(overrides).encode()).hexdigest()
        best = 0.97 + 0.01 * math.tanh(hidden / 200) + 0.002 * norm + chance.gauss(0, 0.001)
        write(home, digest, asked, overrides, best, 795 * hidden + 10)
        cells.append({"fingerprint": digest, "name": " ".join(overrides), "overrides": overrides})
    sweep_id = hashlib.sha256(json.dumps(cells).encode()).hexdigest()
    sweep = {
        "id": sweep_id,
        "time": 1.8e9,
        "experiment": "synthetic",
        "name": f"{runs} runs",
        "overrides": [],
    }
    home.write_manifest({**sweep, "cells": cells, "status": "finished", "ended": 1.8e9})
    return sweep_id


def write(
    home: Store, digest: str, asked: dict[str, object], overrides: list[str], best: float, size: int
) -> None:
    """One finished run."""
    run = home.run(digest)
    run.folder.mkdir()
    provenance = {
        "device": "cpu",
        "threads": 1,
        "platform": "Linux",
        "versions": {"torch": "2.15.0"},
    }
    data = {"name": "mnist", "digest": "0" * 64}
    lines = [
        {
            "event": store.Event.START,
            "fingerprint": digest,
            "name": " ".join(overrides),
            "overrides": overrides,
            "config": asked,
            "asked": asked,
            "data": data,
            "provenance": provenance,
        }
    ]
    for epoch in range(1, EPOCHS + 1):
        value = best - 0.1 * 0.7**epoch
        values = {
            "train/loss": 0.5 / epoch,
            "train/accuracy": value,
            "valid/loss": 1 - value,
            "valid/accuracy": value,
        }
        lines.append(
            {"event": store.Event.EPOCH, "epoch": epoch, "metrics": values, "seconds": 2.5}
        )
    final = {
        "test/accuracy": best,
        "test/loss": 0.1,
        "best_epoch": float(EPOCHS),
        "early_stop_epoch": float(EPOCHS),
    }
    final |= {"parameters": float(size), "seconds": 50.0, "examples_per_second": 20000.0}
    lines.append(
        {
            "event": store.Event.END,
            "status": "finished",
            "stop_reason": "max_epochs",
            "metrics": final,
        }
    )
    run.journal.path.write_bytes(b"".join(written({"time": 1.8e9, **line}) for line in lines))
    result = Result(
        fingerprint=digest, question="", status="finished", stop_reason="max_epochs", metrics=final
    )
    run.result_file.write_text(json.dumps(vars(result)))


def timed(action: Callable[[], object], repeat: int) -> str:
    """Median, least and greatest seconds."""
    found = []
    for _ in range(repeat):
        began = time.perf_counter()
        action()
        found.append(time.perf_counter() - began)
    return f"{statistics.median(found):.2f} s ({min(found):.2f} to {max(found):.2f}, n={repeat})"


def opened(browser: str, page: Path) -> None:
    """Open the page, draw it whole, and end."""
    folder = page.parent
    words = [
        browser,
        "--headless",
        "--no-sandbox",
        f"--user-data-dir={folder / 'browser'}",
        "--window-size=1300,900",
    ]
    words += [f"--screenshot={folder / 'shot.png'}", page.as_uri()]
    subprocess.run(words, capture_output=True, check=True)  # no shell, our own words


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=5, help="runs of a config")
    parser.add_argument("--repeat", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Store(Path(folder) / "runs").open()
        sweep, report = fill(home, given.runs, given.seeds), Path(folder) / "report"

        def table() -> None:
            with contextlib.redirect_stdout(io.StringIO()):
                compare.show(compare.compare(home, [home.manifest(sweep)]))

        table()  # imports
        print(
            f"{given.runs} runs, {given.seeds} a config, {EPOCHS} epochs each; Python {sys.version.split()[0]}"
        )
        print(f"table: {timed(table, given.repeat)}")
        results = sweeplab.results(sweep, root=home.root)
        print(f"frame: {timed(results.frame, given.repeat)}")
        found = compare.compare(home, [home.manifest(sweep)])
        compare.write_report(found, report)
        print(f"report: {timed(lambda: compare.write_report(found, report), given.repeat)}")
        page = report / "report.html"
        print(f"report.html: {page.stat().st_size / 1e6:.2f} MB")
        if browser := shutil.which("chromium"):
            empty = report / "empty.html"
            empty.write_text("<!doctype html>")
            opened(browser, empty)
            print(
                f"a browser that opens an empty page: {timed(lambda: opened(browser, empty), given.repeat)}"
            )
            print(
                f"a browser that opens the report: {timed(lambda: opened(browser, page), given.repeat)}"
            )


if __name__ == "__main__":
    main()
