"""The door to MLflow: where it is, a client that keeps the feeder alive and waits for it, links, the UI, downloads.

What is written to MLflow is written by `feeder`, in a process of its own; mlflow is imported in these two files and
in `database` only.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf

from sweeplab import config, database, feeder
from sweeplab.errors import UserError
from sweeplab.store import Run, Store, locked

DEFAULT_EXPERIMENT = "sweeplab"
PATIENCE = 2.0  # seconds that a client waits at least for a server that does not answer
FLAT = {"orderByKey": "metrics.`valid/loss`", "orderByAsc": "true"}  # the UI folds children away if sorted by time
PORT = 5000  # of `sweeplab ui`
COMPARED = 100  # runs on the compare page at most: it is slow with more
ATTEMPTS = 3  # passes of `sync` without progress before it gives up


def resolve_uri(tracking: config.Tracking) -> str:
    """`tracking.uri`, else MLFLOW_TRACKING_URI, else an SQLite file in the root; relative paths are the root's."""
    return _resolved(tracking.uri)


def _resolved(given: str | None) -> str:
    root = config.root()
    uri = given or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    database = re.fullmatch(r"(sqlite(?:\+\w+)?:///)([^?]+)(.*)", uri)
    if database:
        return f"{database[1]}{root / database[2]}{database[3]}"
    return uri if re.match(r"[\w+]+:", uri) else str(root / uri)


def experiment_name(tracking: config.Tracking) -> str:
    return tracking.experiment or DEFAULT_EXPERIMENT


class Client:
    """A command's tie to the feeder; this one, for `tracking=off`, does nothing."""

    def tend(self) -> None:
        """Start a feeder if none is at work; to be called now and then, and quick."""

    def wait(self, runs: Sequence[Run], seconds: float) -> str | None:
        """Until MLflow has these runs and their sweeps, at most `seconds`; None, or one line on what lags and why."""
        del runs, seconds
        return None


class _Feeding(Client):
    def __init__(self, store: Store, uri: str) -> None:
        self._store, self._uri = store, uri
        self._looked = -10.0
        self._started: int | None = None  # a feeder, by its process id

    def tend(self) -> None:
        if time.monotonic() - self._looked < 1.5:
            return
        self._looked = time.monotonic()
        if not locked(feeder.lock_file(self._store)) and not _alive(self._started):  # or it still loads
            self._started = _start(self._store, self._uri)

    def wait(self, runs: Sequence[Run], seconds: float) -> str | None:
        began = time.monotonic()
        if self._started is not None:
            feeder.give_way(self._started, level=0)  # nor does anything else go before it now

        def give_up(state: Mapping[str, object]) -> bool:
            self.tend()
            waited = time.monotonic() - began
            return waited >= seconds or (waited >= PATIENCE and _hopeless(state, self._uri))

        lag = _until_level(self._store, self._uri, {run.id for run in runs}, give_up)
        count = len(lag)
        return f"MLflow lags behind by {count} run{'s'[: count > 1]}: {next(iter(lag.values()))}" if lag else None


@contextmanager
def feeding(store: Store, tracking: config.Tracking) -> Iterator[Client]:
    """Keep a feeder at work for this store meanwhile; costs milliseconds."""
    if not tracking.enabled:
        yield Client()
        return
    client = _Feeding(store, database.checked(resolve_uri(tracking)))
    store.sweeps.mkdir(parents=True, exist_ok=True)
    with feeder.clients_file(store).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # until the end of this process, however it ends
        client.tend()
        yield client


_early: list[subprocess.Popen[bytes]] = []  # a feeder that is not told yet what to feed


@contextmanager
def early(raw: DictConfig) -> Iterator[None]:
    """Have a feeder load MLflow while this process loads PyTorch, for a config that nobody has checked yet.

    It makes nothing before it is told what to feed, and ends with this if nobody tells it.
    """
    held = feeder.lock_file(Store(config.root() / str(OmegaConf.select(raw, "store.root"))))
    wanted = OmegaConf.select(raw, "tracking.enabled") is True and OmegaConf.select(raw, "sweep.id") is None
    if wanted and not (held.exists() and locked(held)):
        uri = OmegaConf.select(raw, "tracking.uri")
        file = database.file(_resolved(uri if isinstance(uri, str) else None))
        _early.append(_load(*(["fresh"] if file is not None and not file.exists() else [])))
    try:
        yield
    finally:
        while _early:
            _tell(_early.pop(), {})


def _load(*arguments: str) -> subprocess.Popen[bytes]:
    """A feeder in a session of its own, so that Ctrl-C in the terminal does not reach it."""
    return subprocess.Popen(  # noqa: S603  # our own module
        [sys.executable, "-P", "-m", "sweeplab.feeder", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _tell(process: subprocess.Popen[bytes], order: Mapping[str, str]) -> bool:
    """Say once what to feed; False if there is nobody any more."""
    process.returncode = 0  # it outlives its client on purpose, which Popen would warn of
    assert process.stdin is not None
    try:
        with process.stdin:
            process.stdin.write(json.dumps(order).encode())
    except BrokenPipeError:
        return False
    return True


def _start(store: Store, uri: str) -> int:
    """The process id of a feeder for this store."""
    order = {"store": str(store.root.resolve()), "uri": uri, "root": str(config.root())}
    if _early:
        loading = _early.pop()
        if _tell(loading, order):
            return loading.pid
    started = _load()
    _tell(started, order)
    return started.pid


def _alive(child: int | None) -> bool:
    try:
        return child is not None and os.waitpid(child, os.WNOHANG) == (0, 0)
    except ChildProcessError:
        return False


def _state(store: Store) -> dict[str, object]:
    """What the living feeder says of itself; nothing if there is none."""
    try:
        state = feeder.read_json(feeder.state_file(store))
        os.kill(state["pid"], 0)
    except (KeyError, ProcessLookupError):
        return {}
    except PermissionError:  # alive, and another user's
        pass
    return state


def _hopeless(state: Mapping[str, object], uri: str) -> bool:
    return bool(state) and (state["error"] is not None or state["uri"] != feeder.public(uri))


def _why(state: Mapping[str, object], uri: str, run_id: str) -> str:
    if not state:
        return "no feeder is at work yet"
    if state["uri"] != feeder.public(uri):
        return f"this store's feeder is at work for {state['uri']}"
    lag = state["lag"]
    assert isinstance(lag, dict)
    return str(state["error"] or lag.get(run_id) or "the feeder is still at work")


def _until_level(
    store: Store,
    uri: str,
    only: Collection[str] | None,
    give_up: Callable[[Mapping[str, object]], bool],
    progress: Callable[[int, int], None] = lambda *_: None,
) -> dict[str, str]:
    """Wait until each MLflow run of these has been level once; what lags when giving up -> why."""
    view = feeder.View(store, uri)

    def look() -> tuple[set[str], float]:
        began = time.monotonic()
        return view.lagging(only), time.monotonic() - began

    pending, took = look()
    total = len(pending)
    while pending:
        progress(total - len(pending), total)
        state = _state(store)
        if give_up(state):
            return {run_id: view.damaged.get(run_id) or _why(state, uri, run_id) for run_id in sorted(pending)}
        time.sleep(min(max(0.1, 4 * took), 2))  # looking at thousands of runs must not take the feeder's core
        now, took = look()
        pending &= now
    progress(total, total)
    return {}


def sync(store: Store, tracking: config.Tracking, progress: Callable[[int, int], None]) -> list[str]:
    """Bring MLflow level with the store, here or by the feeder that is at work; what still lags, one line each.

    `progress(done, total)` counts MLflow runs.
    """
    if not store.root.is_dir():
        return []
    store.sweeps.mkdir(exist_ok=True)
    uri = database.checked(resolve_uri(tracking))
    lock = FileLock(feeder.lock_file(store), timeout=0)
    try:
        lock.acquire()
    except Timeout:
        lag = _by_the_feeder(store, uri, progress)
    else:
        try:
            lag = _here(store, uri, lock, progress)
        finally:
            lock.release()
        if not feeder.nobody(store):
            _Feeding(store, uri).tend()  # clients came meanwhile, and found the lock taken
    return [f"{run_id}: {why}" for run_id, why in lag.items()]


def _here(store: Store, uri: str, lock: FileLock, progress: Callable[[int, int], None]) -> dict[str, str]:
    worker = feeder.Feeder(store, uri, lock, log=False)
    for _ in range(ATTEMPTS):
        while (level := worker.once(alone=feeder.nobody(store), done=progress)) is False:
            pass
        if level:
            return {}
        time.sleep(feeder.PAUSE)
    state = _state(store)
    lag = feeder.View(store, uri).lagging(None)
    return {run_id: _why(state, uri, run_id) for run_id in sorted(lag)}


def _by_the_feeder(store: Store, uri: str, progress: Callable[[int, int], None]) -> dict[str, str]:
    began = time.monotonic()
    client = _Feeding(store, uri)

    def give_up(state: Mapping[str, object]) -> bool:
        client.tend()
        return time.monotonic() - began > PATIENCE and (_hopeless(state, uri) or bool(state.get("lag")))

    with feeder.clients_file(store).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # or the feeder would leave with what it has
        return _until_level(store, uri, None, give_up, progress)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run is in MLflow."""

    experiment: str
    experiment_id: str
    run_id: str


def _places(record: Path, uri: str) -> list[Place]:
    found = feeder.entries(record, uri).items()
    return [Place(name, entry["experiment"], entry["run"]) for name, entry in found if entry.get("run")]


def run_places(run: Run, uri: str) -> list[Place]:
    """The MLflow runs of this run at this URI, one an experiment; of the feeder's record, without asking MLflow."""
    return _places(run.mlflow_file, uri)


def sweep_places(store: Store, sweep_id: str, uri: str) -> list[Place]:
    """The parent runs of this sweep, one an experiment."""
    return _places(feeder.sweep_record(store, sweep_id), uri)


def _link(base: str, page: str, **query: str) -> str:
    # Without workflowType the UI opens a page for language models, which shows no runs.
    words = urlencode({**query, "workflowType": "machine_learning"}, quote_via=quote, safe="[],")
    return f"{base.rstrip('/')}/#/{page}?{words}"


def sweep_link(base: str, experiment_id: str, sweep_id: str) -> str:
    """Charts of exactly the runs of a sweep."""
    page = f"experiments/{experiment_id}/runs"
    return _link(base, page, searchFilter=_filter(sweep_id), compareRunsMode="CHART", **FLAT)


def table_link(base: str, experiment_id: str, sweep_id: str | None = None) -> str:
    """The table of an experiment's runs, or of those of a sweep."""
    query = {"searchFilter": _filter(sweep_id)} if sweep_id else {}
    return _link(base, f"experiments/{experiment_id}/runs", **query, **FLAT)


def compare_link(base: str, experiment_id: str, run_ids: Sequence[str]) -> str:
    """The page that lays these MLflow runs side by side."""
    runs = ",".join(f'"{run_id}"' for run_id in run_ids)
    return _link(base, "compare-runs", runs=f"[{runs}]", experiments=f'["{experiment_id}"]')


def run_link(base: str, experiment_id: str, run_id: str) -> str:
    """The curves of one MLflow run."""
    return _link(base, f"experiments/{experiment_id}/runs/{run_id}/model-metrics")


def links(home: Store, sweep: Mapping[str, Any], uri: str, base: str) -> dict[str, str]:
    """The two links that matter of a sweep: the charts of exactly its runs, and these laid side by side."""
    found: dict[str, str] = {}
    for place in sweep_places(home, sweep["id"], uri)[:1]:
        cells = (home.run(cell["fingerprint"]) for cell in sweep["cells"][:COMPARED])
        runs = [p.run_id for r in cells for p in run_places(r, uri) if p.experiment == place.experiment]
        found["curves"] = sweep_link(base, place.experiment_id, sweep["id"])
        found["side by side"] = compare_link(base, place.experiment_id, runs)
    return found


def base_of(uri: str, port: int = PORT) -> str:
    """The address of the UI: the server's own, else where `sweeplab ui` serves a database."""
    if not database.served(uri):
        return f"http://127.0.0.1:{port}"
    return feeder.public(uri).replace("://***@", "://").rstrip("/")


def _filter(sweep_id: str) -> str:
    return f'tags.`sweep.{sweep_id[: feeder.SWEEP_LENGTH]}` = "1"'


@contextmanager
def serve(uri: str, port: int = PORT, seconds: float = 90.0) -> Iterator[str]:
    """An MLflow server of this database on 127.0.0.1, at `port` or the next free one; yields its address.

    Of an http(s) URI that is the server itself, and nothing is started. Raises UserError if it does not answer within
    `seconds`.
    """
    if database.served(uri):
        yield base_of(uri)
        return
    port = _free_port(port)
    with tempfile.TemporaryFile() as log, _server(uri, port, log.fileno()) as process:
        deadline = time.monotonic() + seconds
        while not _healthy(port):
            if process.poll() is not None or time.monotonic() > deadline:
                log.seek(0)
                tail = "\n".join(
                    log.read().decode(errors="replace").replace(uri, feeder.public(uri)).splitlines()[-10:]
                )
                raise UserError(f"the MLflow server of {feeder.public(uri)} did not start; its last words:\n{tail}")
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _server(uri: str, port: int, log: int) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, **feeder.ENVIRONMENT, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment |= {"MLFLOW_BACKEND_STORE_URI": uri, "MLFLOW_REGISTRY_STORE_URI": uri}  # not in `ps`
    environment["MLFLOW_LOGGING_LEVEL"] = "WARNING"  # its last words are shown
    words = ["server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    process = subprocess.Popen(  # noqa: S603  # no shell, our own words
        [sys.executable, "-P", "-m", "mlflow", *words],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=environment,
        cwd=config.root(),
        start_new_session=True,
    )
    try:
        yield process
    finally:
        _end_group(process)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(5)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def _healthy(port: int) -> bool:
    import http.client  # takes 50 ms

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _free_port(first: int) -> int:
    """`first`, or the next port that is free. Raises UserError if 20 are taken."""
    for port in range(first, first + 20):
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind(("127.0.0.1", port))
            except (OSError, OverflowError):
                continue
            return port
    raise UserError(f"ports {first} to {first + 19} of 127.0.0.1 are all taken; give another one")


def save_model(network: Any, example: Any, folder: Path, about: Mapping[str, Any]) -> None:
    """Write `network` as an MLflow model, whole or not at all: its graph and weights, which load without its class.

    `example` is a batch (a tensor) of at least two, since torch.export fixes a size of one; batches may have any size.
    Raises what torch.export raises for a network that it cannot take.
    """
    for name, value in feeder.ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings(), tempfile.TemporaryDirectory(dir=folder.parent, prefix=".model-") as scratch:
        warnings.simplefilter("ignore")  # mlflow's import tells of its own type hints
        import mlflow.pytorch
        from mlflow.models import infer_signature

        logging.getLogger("mlflow").setLevel(logging.ERROR)  # uv's environments have no pip, which it would warn of
        inputs, outputs = example.numpy(), network(example).detach().numpy()
        mlflow.pytorch.save_model(
            network,
            f"{scratch}/model",
            signature=infer_signature(inputs, outputs),
            input_example=inputs,
            pip_requirements=[
                f"{name}=={version(name)}" for name in ("mlflow", "numpy", "torch")
            ],  # or it looks for 8 s
            serialization_format="pt2",
            metadata=dict(about),
        )
        Path(scratch, "model").rename(folder)


def download(uri: str, run_id: str, folder: Path) -> list[str]:
    """Fetch the files of an MLflow run that sweeplab recorded into `folder`; their names.

    Raises UserError if there is no such run, or it was not recorded by sweeplab.
    """
    file = database.file(uri)
    if file is not None and not file.exists():  # MLflow would make one
        raise UserError(f"{run_id}: neither a run of this store nor of MLflow: there is no {file}")
    for name, value in feeder.ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    client = MlflowClient(tracking_uri=uri)
    try:
        names = [file.path for file in client.list_artifacts(run_id) if file.path in feeder.FILES]
        if "config.yaml" not in names:
            raise UserError(f"{run_id}: the MLflow run has no config.yaml; was it recorded by sweeplab?")
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            client.download_artifacts(run_id, name, str(folder))
    except (MlflowException, OSError) as error:
        reason = str(error).replace(uri, feeder.public(uri)).splitlines()[0]
        raise UserError(f"{run_id}: cannot be fetched from {feeder.public(uri)}: {config.redact(reason)}") from error
    return names
