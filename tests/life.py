"""Commands of milliseconds: each is a process of its own, forked from this one, which has loaded all that they need.

What Hydra would compose is copied from what it composed once, and figures are not drawn; all else is what a command
does. A command can be killed (SIGKILL) at any line that has to do with files, journals, jobs or MLflow, or meet a full
disk. Linux only.
"""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import gc
import logging
import os
import pickle
import resource
import select
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, NoReturn
from unittest import mock

import pytest
import yaml
from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf

import sweeplab
from sweeplab import compare, config
from sweeplab.commands import cli
from sweeplab.runs.job import Job
from sweeplab.speed import head_start, quick_exit
from sweeplab.store import Store, locked
from sweeplab.sweep import local, worker
from sweeplab.sweep.conduct import conduct
from sweeplab.sweep.jobs import Jobs
from sweeplab.sweep.leases import Lease
from sweeplab.sweep.plan import make
from sweeplab.tracking import database, feeder, library, records
from sweeplab.tracking import process as starting

PACKAGE = Path(sweeplab.__file__).parent
WATCHED = tuple(str(PACKAGE / name) for name in ("store", "tracking", "sweep", "runs", "commands"))
MLFLOW = "sqlalchemy_store.py"
CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "shutil.copyfile")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND
LIMIT = 60.0  # seconds after which a command hangs
LEAVING = 20.0  # and a feeder
DEATH = 1  # PR_SET_PDEATHSIG, from Linux's prctl.h
WORKERS = 2

TOY = '''"""A user's network and set."""

from pathlib import Path

import torch
from torch import nn
from torch.utils.data import Dataset

SCALE = {scale}


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 2), nn.Linear(2, 2)

    def forward(self, inputs):
        return self.last(torch.tanh(self.first(SCALE * inputs)))


class Rows(Dataset):
    def __init__(self, path: str) -> None:
        self.rows = [[float(number) for number in line.split(",")] for line in Path(path).read_text().split()]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index):
        *inputs, target = self.rows[index]
        return torch.tensor(inputs), int(target)
'''

COMPOSED = (
    "data=digits",
    "model=linear",
    "optimizer=sgd",
    "trainer.epochs=2",
    "trainer.batch_size=8",
    "trainer.threads=1",
    "data.name=rows",
    "data.in_features=3",
    "data.out_features=2",
    "data.shape=[3]",
    "data.valid=12",
    "data.test=12",
    "data.std=null",
    "data.mean=null",
    "tracking.wait=0",
    f"sweep.workers={WORKERS}",
)
NETS = {
    "net": {"_target_": "toy.Net"},
    "linear": {"_target_": "torch.nn.Linear", "in_features": 3, "out_features": 2},
}


def write_code(root: Path, scale: int) -> None:
    (root / "toy.py").write_text(TOY.format(scale=scale))


def write_rows(root: Path, version: int) -> None:
    """48 rows of three numbers and a class."""
    rows = [[(7 * n + 3 * column + version) % 11 - 5 for column in range(3)] for n in range(48)]
    (root / "rows.csv").write_text("\n".join(f"{a},{b},{c},{int(a + b > c)}" for a, b, c in rows))


class Fault(NamedTuple):
    """What a command meets: `kill` or `terminate`, at the n-th moment of the victim; `full`, files of n bytes."""

    kind: str = "none"
    victim: str = "command"  # or job, or feeder
    number: int = 0
    moment: str = "line"  # of what has to do with files, journals, jobs or MLflow; or a `change` of a file or a folder

    def strike(self, victim: str) -> None:
        """Have this process, if it is the victim, get its signal."""
        if self.kind in SIGNALS and self.victim == victim:
            (at_line if self.moment == "line" else at_change)(self.number, SIGNALS[self.kind])


NO_FAULT = Fault()
SIGNALS = {"kill": signal.SIGKILL, "terminate": signal.SIGTERM}


@dataclass(frozen=True)
class Ended:
    code: int  # or minus the signal
    out: str


# ---- this process ----


@cache
def _bases() -> dict[str, bytes]:
    """Of each network the config, as Hydra composes it, pickled."""
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(config.conf_dir()), version_base="1.3"):
        raw = compose("config", overrides=list(COMPOSED))
    raw.data.dataset = {"_target_": "toy.Rows", "path": "rows.csv"}
    found = {}
    for name, node in NETS.items():
        raw.model = node
        found[name] = pickle.dumps(raw)
    return found


def composed(words: Sequence[str]) -> DictConfig:
    given = dict(word.split("=", 1) for word in words)
    raw: DictConfig = pickle.loads(_bases()[given.pop("model", "net")])  # noqa: S301  # our own
    for key, value in given.items():
        OmegaConf.update(raw, key, yaml.safe_load(value))
    return raw


@contextmanager
def loaded(folder: Path) -> Iterator[Path]:
    """Load meanwhile what all commands need; an empty database of MLflow's is in the folder, to be copied."""
    with warnings.catch_warnings(action="ignore"):  # of libraries
        made, head = _load(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlflow.store.db.utils._get_latest_schema_revision", lambda: head)
        gc.collect()
        gc.freeze()  # or each process would copy the memory that its garbage collection looks through
        try:
            yield made
        finally:
            gc.unfreeze()


def _load(folder: Path) -> tuple[Path, str]:
    """The database, and the name of its schema, for which MLflow reads 70 files."""
    library.quieten()
    for name in ("sympy", "torch.fx.experimental.symbolic_shapes", "scipy.special"):
        import_module(name)
    for name in ("commands.compare", "models", "commands.runs"):
        import_module(f"sweeplab.{name}")
    made = database.make_empty(folder / "empty.db")
    from mlflow.store.db import utils

    head: str = utils._get_latest_schema_revision()
    _bases()
    return made, head


class Command:
    """A command at work, in this root: `action` done in a process of its own."""

    def __init__(
        self, root: Path, action: Callable[[], object], fault: Fault = NO_FAULT, feeds: bool = False
    ) -> None:
        self._out, into = os.pipe()
        fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, 2**20)
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _become(root, action, fault, feeds, into)
        os.close(into)
        self._root = root

    def ended(self) -> Ended:
        """Wait for its end. Raises AssertionError if it hangs."""
        said, deadline = b"", time.monotonic() + LIMIT
        while (left := deadline - time.monotonic()) > 0 and select.select(
            [self._out], [], [], left
        )[0]:
            if not (more := os.read(self._out, 2**16)):
                break
            said += more
        else:
            os.kill(self.pid, signal.SIGKILL)
            said += b"\nHANGS"
        os.close(self._out)
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        out = said.decode(errors="replace")
        assert not out.endswith("HANGS"), out
        return Ended(code, out)


def wait_for_feeder(root: Path) -> None:
    deadline = time.monotonic() + LEAVING
    lock = records.lock_file(Store(root / "runs"))
    while lock.exists() and locked(lock):
        assert time.monotonic() < deadline, "the feeder hangs"
        time.sleep(0.01)


# ---- there ----


def _become(
    root: Path, action: Callable[[], object], fault: Fault, feeds: bool, out: int
) -> NoReturn:
    code = 70
    try:
        for number in (1, 2):
            os.dup2(out, number)
        os.close(out)
        sys.stdout, sys.stderr = (
            os.fdopen(n, "w", closefd=False, encoding="utf-8") for n in (1, 2)
        )
        os.chdir(root)
        sys.path.insert(0, str(root))
        warnings.resetwarnings()
        warnings.simplefilter("ignore")
        sys.dont_write_bytecode = (
            True  # it would be taken for that of a file that is edited in the same second
        )
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _prepare(fault, feeds)
        action()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.settrace(None)
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _prepare(fault: Fault, feeds: bool) -> None:
    # As in a process of its own; here another test may have imported MLflow before.
    logging.getLogger("mlflow").setLevel(logging.CRITICAL)
    mock.patch.object(config, "compose", lambda words, *_: config.parse(composed(words))).start()
    mock.patch.object(quick_exit, "leave").start()
    mock.patch.object(
        starting, "start", lambda *given: _feed(*given, fault) if feeds else None
    ).start()
    mock.patch.object(compare, "write_report", _write_report).start()
    if fault.kind == "full":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault.number, fault.number))
    fault.strike("command")


def at_line(number: int, sent: signal.Signals) -> None:
    """Send this process a signal at the n-th line of what has to do with files, journals, jobs or MLflow."""
    watched: dict[str, bool] = {}
    left = number

    def line(_frame: FrameType, event: str, _given: object) -> Any:
        nonlocal left
        left -= event == "line"
        if left <= 0:
            sys.settrace(None)
            os.kill(os.getpid(), sent)
        return line if left > 0 else None

    def call(frame: FrameType, _event: str, _given: object) -> Any:
        name = frame.f_code.co_filename
        if name not in watched:
            watched[name] = name.startswith(WATCHED) or name.endswith(MLFLOW)
        return line if watched[name] else None

    sys.settrace(call)


def at_change(number: int, sent: signal.Signals) -> None:
    """Send this process a signal just before Python changes a file or a folder for the n-th time."""
    left, victim = number, os.getpid()

    def hook(event: str, given: tuple[Any, ...]) -> None:
        nonlocal left
        if event in CHANGES or (event == "open" and given[2] & WRITES):
            left -= 1
            if left == 0 and os.getpid() == victim:  # not what it has forked
                os.kill(victim, sent)

    sys.addaudithook(hook)


def _write_report(_found: object, folder: Path) -> Path:
    """Something for MLflow in the place of the report, whose figures take a second."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.html").write_text("what came out")
    return folder / "index.html"


def _feed(store: Store, uri: str, fault: Fault) -> int:
    """A feeder, as the command would start it."""
    process = os.fork()
    if process:
        return process
    try:
        sys.settrace(None)
        os.setsid()
        with (store.root / "feeder.log").open("ab") as log:
            for number in (1, 2):
                os.dup2(log.fileno(), number)
        os.closerange(3, 1024)  # the command's locks and its tie to the feeder
        fault.strike("feeder")
        lock = FileLock(records.lock_file(store), thread_local=False)
        with suppress(Timeout):
            lock.acquire(timeout=1)
            at_work = feeder.Feeder(store, uri, lock)
            signal.signal(feeder.WAKE, lambda *_: at_work.wake())
            at_work.run()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)


class Forked(local.Local):
    """Workers of this machine, each forked from the launcher itself, and ended with it."""

    def __init__(self, fault: Fault) -> None:
        super().__init__()
        self._fault = fault

    def share(self, *_: object) -> None: ...

    def start(self, jobs: Sequence[Job], lease: Lease, splits: str) -> ForkedProcess:  # type: ignore[override]
        launcher, process = os.getpid(), os.fork()
        if process == 0:
            self._work(jobs, launcher)
        return ForkedProcess(process)

    def _work(self, jobs: Sequence[Job], launcher: int) -> NoReturn:
        code = 1
        try:
            sys.settrace(None)
            ctypes.CDLL(None).prctl(DEATH, signal.SIGKILL, 0, 0, 0)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._fault.strike("job")
            if os.getppid() == launcher:
                code = worker.train(jobs, None)
        finally:
            os._exit(code)


class ForkedProcess:
    """A child of this process."""

    def __init__(self, process: int) -> None:
        self._process = process

    async def ended(self) -> int:
        while True:
            found, status = os.waitpid(self._process, os.WNOHANG)
            if found:
                return os.waitstatus_to_exitcode(status)
            await asyncio.sleep(0.003)

    def send(self, number: signal.Signals) -> None:
        os.kill(self._process, number)


# ---- what a command does ----


def train(words: Sequence[str]) -> Callable[[], None]:
    """`train.py WORDS`."""

    def action() -> None:
        with (
            mock.patch.object(config, "task_overrides", return_value=list(words)),
            mock.patch.object(head_start, "allowed", return_value=nullcontext()),
        ):
            cli.train(composed(words))

    return action


def sweep(
    jobs: Sequence[Sequence[str]], given: Sequence[str], fault: Fault = NO_FAULT
) -> Callable[[], None]:
    """`train.py -m GIVEN`, which asks for these jobs."""

    def action() -> None:
        with cli.reported(), Forked(fault) as place:
            conduct(Jobs(make(jobs, given, composed)), place)

    return action


def tool(*words: str) -> Callable[[], None]:
    """`sweeplab WORDS`."""
    return lambda: cli.main(words)


def own(action: Callable[[Any], object], uri: str) -> Callable[[], None]:
    """Something done with MLflow's own client, as its page would."""

    def program() -> None:
        from mlflow import MlflowClient

        action(MlflowClient(tracking_uri=uri))

    return program
