"""How costs grow: an epoch with width, depth, batch size and data; a sweep and all around it with the number of runs.

    uv run python -m benchmarks.growth epoch --rounds 7
    uv run python -m benchmarks.growth sweep --runs 10,100,1000,10000
    uv run python -m benchmarks.growth killed --runs 10000
    uv run python -m benchmarks.growth store --runs 1000,10000,100000
    uv run python -m benchmarks.growth draw sweep.json

Prints a table and draws `benchmarks/figures/growth-*.png`. A slope is that of the straight line through the points on
two logarithmic axes (least squares): 1 is linear, less is better. What costs something before the first run flattens
it, so the slope of the last step, from the last but one point to the last, stands beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.comparison import fill
from benchmarks.measure import fresh
from benchmarks.sweeps import PROJECT, STEP, mebibytes, pss, tree
from sweeplab.store import Status, Store

if TYPE_CHECKING:
    from sweeplab.data.splits import InMemorySplit

FIGURES = Path(__file__).parent / "figures"
SWEEPLAB = ("-m", "sweeplab.commands.cli")
FRAME = "import sweeplab; print(sweeplab.results('latest').frame())"
LOOK = (
    "from pathlib import Path; from sweeplab.store import Store; from sweeplab.tracking.view import View; "
    "print(len(View(Store(Path('runs')).open(), 'sqlite:///none.db').jobs()))"
)
TINY = (*(word for word in STEP if word != "tracking=off"), "model=linear", "sweep.workers=2")
MIB, MB = 2**20, 1e6

Points = dict[str, list[tuple[float, float]]]
"""What costs -> (how much of it, its cost)."""


# --- An epoch

BASE = {"width": 256, "depth": 1, "batch size": 128, "examples": 12_800}
AXES = {
    "width": (64, 128, 256, 512, 1024, 2048),
    "depth": (1, 2, 4, 8, 16),
    "batch size": (16, 32, 64, 128, 256, 512, 1024),
    "examples": (3_200, 6_400, 12_800, 25_600, 51_200),
}


def epoch_of(shape: dict[str, int], everything: InMemorySplit) -> Callable[[], object]:
    """An epoch of `depth` layers of `width` with BatchNorm and Adam, on the first of the examples, on one thread."""
    import torch

    from sweeplab import config
    from sweeplab.data.batches import Batches
    from sweeplab.data.splits import InMemorySplit
    from sweeplab.runs.build import build
    from sweeplab.train import loop
    from sweeplab.train.device import Runtime

    split = InMemorySplit(
        everything.inputs[: shape["examples"]], everything.targets[: shape["examples"]]
    )
    hidden = [shape["width"]] * shape["depth"]
    settings = config.compose(
        [f"model.hidden={hidden}", f"trainer.batch_size={shape['batch size']}"]
    )
    batches = Batches(split, shape["batch size"], device="cpu", seed=0, drop_last=True)
    one_thread = Runtime(device=torch.device("cpu"), threads=1, precision="fp32")
    train_state = build(settings, one_thread, len(batches))
    return lambda: loop.train_epoch(train_state, batches.epoch(1)).metrics


def epochs(rounds: int) -> tuple[Points, float]:
    """(median seconds of an epoch along each axis, the widest range of a point's rounds / its median), in turns."""
    import torch

    from sweeplab.data.splits import InMemorySplit

    torch.set_num_threads(1)
    most = max(AXES["examples"])
    everything = InMemorySplit(
        torch.randn(most, 784), torch.randint(10, (most,))
    )  # of MNIST's shape
    shapes = {
        (axis, value): BASE | {axis: value} for axis, values in AXES.items() for value in values
    }
    seconds: dict[tuple[str, int], list[float]] = {key: [] for key in shapes}
    made = {key: epoch_of(shape, everything) for key, shape in shapes.items()}
    for run in made.values():
        run()  # warm
    for number in range(rounds):
        for key, run in made.items():
            began = time.perf_counter()
            run()
            seconds[key].append(time.perf_counter() - began)
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    widest = max((max(took) - min(took)) / statistics.median(took) for took in seconds.values())
    return {
        a: [(v, statistics.median(seconds[a, v])) for v in values] for a, values in AXES.items()
    }, widest


# --- A sweep


@dataclass
class Command:
    """A command in a folder of its own, and what it cost."""

    root: Path
    words: Sequence[str]
    seconds: float = 0.0
    cpu: float = (
        0.0  # seconds, of the command and all below it that it waited for: not of the feeder
    )
    own: float = 0.0  # MiB, the most that the command's own process was resident with
    together: float = 0.0  # MiB, peak of the sum of proportional set sizes: of it and all below it
    process: subprocess.Popen[bytes] = field(init=False)

    def run(self, *, kill: Callable[[], bool] | None = None) -> Command:
        """To its end, or until `kill` says so: then its own process is killed.

        Raises CalledProcessError if it fails.
        """
        began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        with (self.root / "out").open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, *self.words], cwd=self.root, stdout=out, stderr=out
            )
            watch = threading.Thread(target=self._watch)
            watch.start()
            while kill and self.process.poll() is None and not kill():
                time.sleep(0.2)
            if kill:
                os.kill(self.process.pid, signal.SIGKILL)
            code = self.process.wait()
        self.seconds = time.monotonic() - began
        watch.join()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        if code != (-signal.SIGKILL if kill else 0):
            raise subprocess.CalledProcessError(
                code, list(self.words), (self.root / "out").read_text()[-2000:]
            )
        return self

    def _watch(self) -> None:
        looked = 0.0
        while self.process.poll() is None:
            self.own = max(self.own, _peak(self.process.pid))
            if time.monotonic() - looked > 0.5:  # which takes long
                self.together = max(self.together, sum(pss(pid) for pid in tree(self.process.pid)))
                looked = time.monotonic()
            time.sleep(0.05)


def _peak(pid: int) -> float:
    """The most that this process has been resident with, in MiB, by the kernel's own count."""
    return mebibytes(pid, "status", "VmHWM")


def sweep_words(count: int, *, configs: bool) -> list[str]:
    """So many one-step jobs: seeds of one config, or as many configs."""
    axis = f"trainer.patience=range(1,{count + 1})" if configs else f"seed=range({count})"
    return [str(PROJECT / "train.py"), "-m", *TINY, axis]


def grown(count: int, *, configs: bool) -> dict[str, float]:
    """What a sweep of so many runs costs, and what costs more afterwards because of it."""
    with fresh() as root:
        sweep = Command(root, sweep_words(count, configs=configs)).run()
        level = Command(root, [*SWEEPLAB, "sync"]).run()
        again = Command(root, sweep.words).run()
        compare = Command(root, [*SWEEPLAB, "compare"]).run()
        listed = Command(root, [*SWEEPLAB, "runs"]).run()
        files = [Path(where) / name for where, _, names in os.walk(root / "runs") for name in names]
        return {
            "sweep (s)": sweep.seconds,
            "its CPU (s)": sweep.cpu,
            "until MLflow is level (s)": sweep.seconds + level.seconds,
            "issued again (s)": again.seconds,
            "compare (s)": compare.seconds,
            "runs (s)": listed.seconds,
            "launcher (MiB)": sweep.own,
            "launcher, issued again (MiB)": again.own,
            "compare (MiB)": compare.own,
            "all processes (MiB)": sweep.together,
            "store (MB)": sum(file.stat().st_size for file in files) / MB,
            "store (files)": len(files),
            "mlflow.db (MB)": (root / "mlflow.db").stat().st_size / MB,
            "report.html (MB)": sum(f.stat().st_size for f in files if f.name == "report.html")
            / MB,
        }


def stored(count: int, *, configs: bool) -> dict[str, float]:
    """What commands take in a store with so many finished runs, which were written and not trained."""
    with fresh() as root:
        fill(Store(root / "runs").open(), count, 5 if configs else count // 20)
        listed = Command(root, [*SWEEPLAB, "runs"]).run()
        compare = Command(root, [*SWEEPLAB, "compare"]).run()
        paired = Command(root, [*SWEEPLAB, "compare", "--baseline", "model.batch_norm=true"]).run()
        watched = Command(root, [*SWEEPLAB, "watch", "--once"]).run()
        frame = Command(root, ["-c", FRAME]).run()
        plan = Command(root, [*sweep_words(100, configs=False), "sweep.plan=true"]).run()
        look = Command(root, ["-c", LOOK]).run()
        return {
            "runs (s)": listed.seconds,
            "compare, with a report (s)": compare.seconds,
            "compare with a baseline (s)": paired.seconds,
            "watch (s)": watched.seconds,
            "a frame (s)": frame.seconds,
            "a plan of 100 jobs (s)": plan.seconds,
            "a feeder's first look (s)": look.seconds,
            "runs (MiB)": listed.own,
            "compare (MiB)": compare.own,
            "a frame (MiB)": frame.own,
            "a plan (MiB)": plan.own,
            "a feeder's first look (MiB)": look.own,
        }


def killed(count: int) -> dict[str, float]:
    """The same sweep, its launcher killed in the middle and the command issued again; then compared."""
    with fresh() as root:
        words = sweep_words(count, configs=False)

        def half() -> bool:
            return (root / "runs").is_dir() and sum(
                1 for _ in os.scandir(root / "runs")
            ) > count / 2

        first = Command(root, words).run(kill=half)
        before = _finished(root)
        second = Command(root, words).run()
        level = Command(root, [*SWEEPLAB, "sync"]).run()
        compare = Command(root, [*SWEEPLAB, "compare"]).run()
        return {
            "runs": count,
            "finished when killed": before,
            "finished in the end": _finished(root),
            "until killed (s)": first.seconds,
            "the rest (s)": second.seconds,
            "then until MLflow is level (s)": level.seconds,
            "compare (s)": compare.seconds,
            "launcher (MiB)": max(first.own, second.own),
        }


def _finished(root: Path) -> int:
    return sum(run.status == Status.FINISHED for run in Store(root / "runs").runs())


# --- What came out


def slopes(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """(of the line through all points, of the last step), on two logarithmic axes."""
    x, y = np.log([at for at, _ in points]), np.log([max(value, 1e-9) for _, value in points])
    return float(np.polyfit(x, y, 1)[0]), float((y[-1] - y[-2]) / (x[-1] - x[-2]))


def table(kind: str, points: Points) -> str:
    """In Markdown: a table for each axis of an epoch, one with a line for each cost of sweeps."""
    lines: list[str] = []
    for name, values in points.items():
        places = [at for at, _ in values]
        if kind == "epoch" or not lines:
            head = "".join(f" {at:,.0f} |" for at in places)
            axis = name if kind == "epoch" else "runs"
            lines += [
                "",
                f"| {axis} |{head} slope | last step |",
                f"|---|{'---:|' * (len(places) + 2)}",
            ]
        cells = "".join(
            f" {value:,.3g} |" if value < 1000 else f" {value:,.0f} |" for _, value in values
        )
        cost = "an epoch (s)" if kind == "epoch" else name
        lines.append("| {} |{} {:.2f} | {:.2f} |".format(cost, cells, *slopes(values)))
    return "\n".join(lines)


def draw(kind: str, points: Points) -> Path:
    """Each cost against what it grows with, its slopes in the legend."""
    from matplotlib.figure import Figure

    units = ("(s)", "(MiB)", "(MB)") if kind == "sweep" else tuple(points)
    figure = Figure(figsize=(4.2 * len(units), 5.2), layout="constrained")
    for panel, unit in zip(figure.subplots(1, len(units)), units, strict=True):
        for name, values in points.items():
            if name.endswith(unit):
                label = "{}: {:.2f}, last {:.2f}".format(
                    name.removesuffix(unit).strip() or unit, *slopes(values)
                )
                panel.plot(*zip(*values, strict=True), marker="o", markersize=4, label=label)
        panel.set(xscale="log", yscale="log", xlabel="runs" if kind == "sweep" else unit)
        panel.set_ylabel(unit.strip("()") if kind == "sweep" else "seconds an epoch")
        panel.grid(alpha=0.25)
        places = sorted(
            {at for name, values in points.items() if name.endswith(unit) for at, _ in values}
        )
        panel.set_xticks(places, [f"{at:,.0f}" for at in places])
        panel.set_xticks([], minor=True)
        panel.legend(
            fontsize=8,
            title="slope",
            title_fontsize=8,
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
        )
    FIGURES.mkdir(exist_ok=True)
    figure.savefig(FIGURES / f"growth-{kind}.png", dpi=100)
    return FIGURES / f"growth-{kind}.png"


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """The raw numbers; written after each size, too, since the last take long."""
    if given.part == "epoch":
        medians, widest = epochs(given.rounds)
        return {"kind": "epoch", "points": medians, "rounds": given.rounds, "widest": widest}
    points: Points = {}
    found: dict[str, Any] = {"kind": "sweep", "configs": given.configs, "points": points}
    costs = stored if given.part == "store" else grown
    for count in given.runs:
        for name, value in costs(count, configs=given.configs).items():
            points.setdefault(name, []).append((count, value))
        print(
            json.dumps({"runs": count} | {n: round(v[-1][1], 3) for n, v in points.items()}),
            flush=True,
        )
        given.json.write_text(json.dumps(found))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = parser.add_subparsers(dest="part", required=True)
    epoch = parts.add_parser("epoch", help="an epoch, in this process")
    epoch.add_argument("--rounds", type=int, default=7)
    sweep = parts.add_parser("sweep", help="sweeps of one-step jobs, tracked")
    sweep.add_argument(
        "--runs", type=lambda text: [int(n) for n in text.split(",")], default=[10, 100, 1000]
    )
    sweep.add_argument(
        "--configs", action="store_true", help="as many configs, instead of seeds of one"
    )
    store = parts.add_parser("store", help="a store of runs that were written, not trained")
    store.add_argument(
        "--runs", type=lambda text: [int(n) for n in text.split(",")], default=[1000, 10_000]
    )
    store.add_argument("--configs", action="store_true", help="5 seeds each, instead of 20 configs")
    half = parts.add_parser(
        "killed", help="a sweep whose launcher is killed in the middle, and that is issued again"
    )
    half.add_argument("--runs", type=int, default=10_000)
    for part in (epoch, sweep, store):
        part.add_argument(
            "--json", type=Path, default=Path("growth.json"), help="for the raw numbers"
        )
    parts.add_parser("draw", help="table and figure of raw numbers").add_argument("json", type=Path)
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    if given.part == "killed":
        print(json.dumps(killed(given.runs)))
        return
    found = json.loads(given.json.read_text()) if given.part == "draw" else measure(given)
    if given.part != "draw":
        given.json.write_text(json.dumps(found))
    print(table(found["kind"], found["points"]))
    if given.part != "store":
        print(draw(found["kind"], found["points"]))
    if found["kind"] == "epoch":
        print(
            f"medians of {found['rounds']} rounds, which lie within {100 * found['widest']:.0f} % of each other"
        )


if __name__ == "__main__":
    main()
