"""What the tests share: an empty root for each, the command line in this process and in one of its own."""

from __future__ import annotations

import copy
import gc
import importlib
import json
import multiprocessing.util
import os
import pickle
import re
import runpy
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hypothesis
import pytest
import ready
import servers
from composed_once import composing_once
from filelock import FileLock
from hydra._internal import config_repository
from omegaconf import OmegaConf

from sweeplab.commands import cli
from sweeplab.config import redaction
from sweeplab.speed import quick_exit
from sweeplab.store import Store
from sweeplab.tracking import process

os.environ["OMP_NUM_THREADS"] = (
    "1"  # before torch is imported: threads would wait for those of other tests
)
os.environ.pop(
    "PYTHONDONTWRITEBYTECODE", None
)  # or each of a hundred processes compiles all of sweeplab
if (
    signal.getsignal(signal.SIGINT) == signal.SIG_IGN
):  # as a shell starts what is to run in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)

PROJECT = Path(__file__).parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--full",
        action="store_true",
        help="the counts of the issues, not just a few trials of the kill programs",
    )

    parser.addoption(
        "--gpu",
        action="store_true",
        help="only the tests of a GPU; the others have none, and compute on the CPU",
    )


def pytest_xdist_auto_num_workers() -> int:
    """One more process than cores: many tests wait, for processes of their own and for the disk."""
    return (os.cpu_count() or 1) + 1


def pytest_configure(config: pytest.Config) -> None:
    if not config.getoption("gpu"):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # which counts from the first look at a GPU on


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Spare the garbage collection what lives to the end: else it looks through PyTorch in each test."""
    gc.disable()
    yield
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)  # a composition makes that many objects, and 700 are usual
    gc.enable()


def _place(item: pytest.Item) -> list[bool]:
    """Order the tests: what one of pytest's workers had better do, while the others compute, comes first.

    That one gets the first tests, and so starts the servers, and the processes that others are forked
    from. No long test is begun at the end.
    """
    names = vars(getattr(item, "module", None) or pytest)
    starts = "kill" in names or "ready" in names or "command" in getattr(item, "fixturenames", ())
    is_first = item.get_closest_marker("server") is not None
    is_long = item.get_closest_marker("long") is not None
    return [not is_first, not is_long, not starts]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("gpu"):
        items[:] = [item for item in items if item.get_closest_marker("gpu")]
    items.sort(key=_place)
    cases: Counter[str] = Counter()
    for item in items:
        name = item.nodeid.partition("[")[0]
        cases[name] += 1
        few = item.get_closest_marker("few")
        is_later = few is not None and cases[name] > few.args[0]
        if (is_later or item.get_closest_marker("full")) and not config.getoption("full"):
            item.add_marker(pytest.mark.skip(reason="takes long: with --full"))
        if item.get_closest_marker("gpu") and not config.getoption("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a GPU: with --gpu"))


@pytest.fixture(scope="session")
def mnist_root() -> Path:
    """A `data.root` with the real MNIST in it, fetched once and kept (in SWEEPLAB_TEST_DATA, if that is set)."""
    from sweeplab.data import MNIST

    root = Path(os.environ.get("SWEEPLAB_TEST_DATA") or Path(__file__).parent / ".data").absolute()
    MNIST(root)
    return root


@dataclass
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Ended]


def ended(program: Callable[[], object], capture: pytest.CaptureFixture[str]) -> Ended:
    """Run a program in this process."""
    capture.readouterr()
    code = 0
    try:
        program()
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    return Ended(code, *capture.readouterr())


Tried = Callable[..., None]


can_mount = pytest.mark.skipif(
    shutil.which("unshare") is None
    or subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode != 0,
    reason="no mount namespace of one's own",
)


def unsealed(content: bytes) -> bytes:
    """A record's file without digest and checksums, as earlier versions wrote it: one that may be edited."""
    return re.sub(rb',\s*"(?:crc|sha256)": "[0-9a-f]+"(?=\s*})', b"", content)


@pytest.fixture(scope="session", autouse=True)
def _loaded() -> Iterator[None]:
    """Feeders and servers of sweeps that are started from here need not load PyTorch or MLflow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "subprocess", ready)
        patch.setattr(multiprocessing.util, "spawnv_passfds", ready.spawn)
        yield
    ready.end()


@pytest.fixture(scope="session", autouse=True)
def _parsed() -> Iterator[None]:
    """The same text of a YAML file is parsed once: a composition reads twenty files.

    And the folders that they are in are not copied with all that plugins have registered.
    """
    load = OmegaConf.load
    parsed: dict[str, bytes] = {}

    def load_once(file: Any) -> Any:
        """Load as OmegaConf does; five times as fast what it has loaded before."""
        try:
            text = file.read() if hasattr(file, "read") else Path(file).read_text("utf-8")
        except (OSError, UnicodeError):  # as told by OmegaConf
            return load(file)
        if text not in parsed:
            if hasattr(file, "read"):
                file.seek(0)
            parsed[text] = pickle.dumps(load(file))
        return pickle.loads(parsed[text])  # noqa: S301

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OmegaConf, "load", load_once)
        patch.setattr(config_repository, "copy", SimpleNamespace(deepcopy=copy.copy))
        with composing_once():
            yield


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder that is the current one, and no tracking server from the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))  # train.py adds the current folder
    for name in (
        "MLFLOW_TRACKING_URI",
        "MLFLOW_EXPERIMENT_NAME",
        "SWEEPLAB_ROOT",
        "SWEEPLAB_PLAIN",
        "HYDRA_FULL_ERROR",
        "UV_RUN_RECURSION_DEPTH",
    ):
        monkeypatch.delenv(name, raising=False)
    # Else sweeps of tests that run side by side would wait for one another.
    monkeypatch.setenv("SWEEPLAB_LEASES", f"{tmp_path}.leases")
    monkeypatch.setattr(redaction, "_known", {})  # of a command: another one has other secrets
    yield tmp_path
    if (said := tmp_path / "out").is_file():
        print(said.read_text(errors="replace"))  # shown by pytest if the test failed


Write = Callable[[dict[str, str]], None]  # name of a file -> what is in it


@pytest.fixture
def write(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write files of a project that lies in the current folder: `write({"mine.py": "x = 1"})`."""
    monkeypatch.syspath_prepend(root)

    def put(texts: dict[str, str]) -> None:
        for name, text in texts.items():
            file = root / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        importlib.invalidate_caches()

    yield put
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(root)):
            del sys.modules[name]


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all of pytest's workers, in which what takes long is made once, under a lock."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def fresh_database(shared: Path) -> bytes:
    """An empty MLflow database; making one takes seconds, copying it none."""
    from mlflow import MlflowClient
    from mlflow.store.db import utils

    # Which reads MLflow's fifty migrations again for each database that is opened.
    utils._get_latest_schema_revision = cache(utils._get_latest_schema_revision)
    path = shared / "mlflow.db"
    with FileLock(f"{path}.lock"):
        MlflowClient(f"sqlite:///{path}").search_experiments()
        return path.read_bytes()


@pytest.fixture(scope="session")
def postgres() -> Iterator[servers.Postgres]:
    """A PostgreSQL, in which each test makes a database of its own."""
    with servers.postgresql() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def server(
    postgres: servers.Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[servers.Server]:
    """An MLflow server on its database `served`, to which tests only add."""
    folder = tmp_path_factory.mktemp("server")
    with servers.mlflow_server(postgres.fresh("served"), folder) as started:
        yield started


@pytest.fixture
def tried(request: pytest.FixtureRequest) -> Tried:
    """Try a check on what a strategy draws: `few` times, `many` with --full, and the same ones each time."""

    def run(
        check: Callable[[Any], None],
        drawn: hypothesis.strategies.SearchStrategy[Any],
        few: int,
        many: int,
    ) -> None:
        settings = hypothesis.settings(
            max_examples=many if request.config.getoption("full") else few,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[hypothesis.Phase.generate],  # to make a failing one smaller takes minutes
            report_multiple_bugs=False,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        settings(hypothesis.given(drawn)(check))()

    return run


@pytest.fixture
def home(root: Path) -> Store:
    """The store of the root."""
    return Store(root / "runs").open()


@pytest.fixture
def sweeplab(root: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """`sweeplab ...` in this process."""

    def run(*arguments: str) -> Ended:
        return ended(lambda: cli.main(arguments), capsys)

    return run


@pytest.fixture
def replay(
    root: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Command]:
    """`sweeplab replay ...` in this process."""
    monkeypatch.setattr(sys, "path", [*sys.path])

    def run(*arguments: str) -> Ended:
        return ended(lambda: cli.main(["replay", *arguments]), capfd)

    yield run
    import torch

    torch.use_deterministic_algorithms(False)


@pytest.fixture
def train(
    root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Command]:
    """`python train.py ...` in this process (which has imported torch already), with tracking off."""

    def run(
        *arguments: str,
        tracking: bool = False,
        script: Path = PROJECT / "train.py",
    ) -> Ended:
        more = [] if tracking else ["tracking=off"]
        sweeps = "-m" in arguments or any(word.startswith("experiment=") for word in arguments)
        if sweeps and not any(word.startswith("hydra/launcher=") for word in arguments):
            more.append("hydra/launcher=basic")  # in this process: ours starts others
        if sweeps and not any(word.startswith("sweep.report=") for word in arguments):
            more.append("sweep.report=false")  # figures that nobody looks at take seconds
        monkeypatch.setattr(sys, "argv", [str(script), *arguments, *more])
        monkeypatch.setattr(quick_exit, "leave", lambda: None)  # of a process of its own
        return ended(lambda: runpy.run_path(str(script), run_name="__main__"), capfd)

    yield run
    import torch

    torch.use_deterministic_algorithms(False)


@pytest.fixture
def die_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Cut the next run off in an epoch, before the checkpoint of that: `die_at(3)`."""

    def at(epoch: int) -> None:
        from sweeplab.runs.training import Training

        save = Training._save

        def dying(training: Training) -> None:
            if training.epoch == epoch:
                monkeypatch.setattr(Training, "_save", save)
                raise KeyboardInterrupt
            save(training)

        monkeypatch.setattr(Training, "_save", dying)

    return at


@pytest.fixture
def command(root: Path) -> Command:
    """A command in a process of its own: `command("train.py", "data=digits")` or `command("sweeplab", "sync")`.

    `loaded=True`: forked from a process that has loaded PyTorch, or MLflow for `sync`.
    """

    def run(
        name: str, *arguments: str, timeout: float = 120, loaded: bool = False, **environment: str
    ) -> Ended:
        program = [str(PROJECT / name)] if name.endswith(".py") else ["-m", "sweeplab.commands.cli"]
        env = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
        how: dict[str, Any] = {
            "cwd": root,
            "env": env,
            "capture_output": True,
            "text": True,
            "check": False,
        }
        done = (ready if loaded else subprocess).run(
            [sys.executable, *program, *arguments], timeout=timeout, **how
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def planned(root: Path) -> Iterator[Callable[..., Any]]:
    """Make the plan that `train.py -m ...` makes, on digits, in this process."""
    from planning import planner

    with planner() as plan:
        yield plan


@pytest.fixture
def faults(root: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`faults(h7="kill")`: the job with model.hidden=7 dies. Without arguments: none does."""
    monkeypatch.setenv("PYTHONPATH", str(PROJECT / "tests"))

    def write(**kinds: str) -> None:
        new = root / "faults.new"
        new.write_text(json.dumps({name.removeprefix("h"): kind for name, kind in kinds.items()}))
        new.replace(
            root / "faults.json"
        )  # at once: a job may be reading it, and half of it is no JSON

    write()
    return write


@pytest.fixture
def uri(root: Path, fresh_database: bytes) -> str:
    """The address of MLflow's database in the root, which is there and empty."""
    (root / "mlflow.db").write_bytes(fresh_database)
    return f"sqlite:///{root / 'mlflow.db'}"
