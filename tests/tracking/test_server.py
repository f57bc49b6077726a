"""Many stores on one real PostgreSQL, directly and through the MLflow server of deploy/, which are killed meanwhile.

One store of three runs; with --full eight of 200 each.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import tomllib
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kill
import pytest
import ready
import servers
import yaml
from conftest import PROJECT, Command
from filelock import FileLock
from servers import (
    ADMIN,
    OWNERS_PASSWORD,
    PASSWORD,
    Postgres,
    Server,
    missing,
    until,
)
from sweeps import BY_HAND, starts, work

from sweeplab import config, tracking
from sweeplab.errors import UserError
from sweeplab.store import Store, locked
from sweeplab.tracking import address, causes, feeder, records, terms
from sweeplab.tracking.connection import AwayError, Connection

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning"),  # mlflow's own code
]

DIGITS = ("data=digits", "model=linear", "trainer.epochs=2", "trainer.threads=1")
OURS = shutil.ignore_patterns(
    "feeder.*", "store.json", "mlflow.json", "*.mlflow.json"
)  # of one store alone
METRICS = 17  # of a run of these: 5 in each of its two epochs, and 7 at its end
WRONG = "wr0ng-and-s3cret"


@dataclass(frozen=True)
class Size:
    stores: int
    each: int  # runs of a store

    @property
    def runs(self) -> int:
        return self.stores * self.each


@pytest.fixture(scope="session")
def size(request: pytest.FixtureRequest) -> Size:
    return Size(8, 200) if request.config.getoption("full") else Size(1, 3)


@pytest.fixture(scope="session")
def trained(shared: Path, size: Size) -> Path:
    """A store with a real sweep, of which MLflow has nothing; one for all of pytest's workers."""
    folder = shared / "trained"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            folder.mkdir()
            sweep(folder, size.each)
    return folder / "runs"


def sweep(folder: Path, runs: int) -> None:
    words = [
        "-m",
        *DIGITS,
        f"seed=range({runs})",
        "tracking.uri=http://127.0.0.1:1",
        "tracking.wait=0",
    ]
    done = ready.run(
        [sys.executable, PROJECT / "train.py", *words, "tracking.experiment=many", "sweep.report=false"],
        cwd=folder, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "MLflow lags behind" in done.stderr
    assert len(Store(folder / "runs").runs()) == runs
    until(lambda: not records.has_clients(Store(folder / "runs")), 20)


@pytest.fixture
def fresh(postgres: Postgres, tmp_path: Path) -> str:
    """A database of this test, without a table."""
    return postgres.fresh(tmp_path.name)


def copies(trained: Path, root: Path, count: int) -> list[Store]:
    """Stores of the same runs, each with a name of its own: MLflow runs of their own."""
    return [
        Store(shutil.copytree(trained, root / f"store{number}", ignore=OURS)).open()
        for number in range(count)
    ]


def feed_at_once(
    stores: list[Store], uris: list[str], meanwhile: Any = lambda: None, seconds: float = 200
) -> None:
    """A feeder for each, until all are level."""
    with ExitStack() as stack:
        clients = [
            stack.enter_context(tracking.feeding(store, config.Tracking(uri=uri)))
            for store, uri in zip(stores, uris, strict=True)
        ]
        meanwhile()
        deadline = time.monotonic() + seconds
        for store, client in zip(stores, clients, strict=True):
            while (lag := client.wait(store.runs(), 60)) is not None:
                assert time.monotonic() < deadline, lag


def counted(postgres: Postgres, name: str) -> Counter[str]:
    """What the database itself says."""

    def one(text: str) -> int:
        return int(postgres.query(name, text)[0][0])

    identity = "select distinct s.value, f.value from tags s join tags f using (run_uuid)"
    of_many = "from runs join experiments e using (experiment_id) where e.name = 'many'"
    return Counter(
        {
            "runs": one(f"select count(*) {of_many} and runs.lifecycle_stage = 'active'"),
            "finished": one(
                "select count(*) from runs where status = 'FINISHED' and lifecycle_stage = 'active'"
            ),
            "identities": one(
                f"select count(*) from ({identity} where s.key = 'store.id' and f.key = 'fingerprint') i"
            ),
            "children": one("select count(*) from tags where key = 'mlflow.parentRunId'"),
            "metrics": one("select count(*) from metrics"),
            "values": one(
                "select count(*) from (select distinct run_uuid, key, step from metrics) m"
            ),
            "params": one("select count(*) from params"),
            "datasets": one("select count(*) from inputs"),
        }
    )


def expected(trained: Path, size: Size) -> Counter[str]:
    """None lost and none twice: of each store its runs and their sweep."""
    first = Store(trained).runs()[0].journal.events()[0]
    params = len(terms.params(first))
    return Counter(
        {
            "runs": size.runs + size.stores,
            "finished": size.runs + size.stores,
            "identities": size.runs,
            "children": size.runs,
            "metrics": size.runs * METRICS,
            "values": size.runs * METRICS,
            "params": size.runs * params,
            "datasets": size.runs,
        }
    )


def started(postgres: Postgres, name: str) -> int:
    """How many runs there are so far; none while there is no table."""
    tables = postgres.query(
        name, "select count(*) from pg_tables where tablename in ('runs', 'alembic_version')"
    )
    return int(postgres.query(name, "select count(*) from runs")[0][0]) if tables == [(2,)] else 0


# ---- deploy/ ----


def test_deploy_says_one_thing_in_each_of_its_files() -> None:
    """The compose file cannot be run where there is no Docker; what can be compared is."""
    deploy = PROJECT / "deploy"
    script, readme = ((deploy / name).read_text() for name in ("serve", "README.md"))
    read = set(re.findall(r"\$\{([A-Z_]+)", script))
    services = yaml.safe_load((deploy / "compose.yaml").read_text())["services"]
    assert set(services["server"]["environment"]) <= read
    needs = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]["server"]
    assert (
        " ".join(f'"{need}"' for need in needs) in services["server"]["build"]["dockerfile_inline"]
    )
    assert f"pip install {' '.join(repr(need) for need in needs)}\n" in readme
    table = "".join(line for line in readme.splitlines() if line.startswith("| `"))
    told = set(
        re.findall(
            r"`([A-Z_]{4,})`", table.replace("`READ`, `EDIT`, `MANAGE`, `NO_PERMISSIONS`", "")
        )
    ) - {"EDIT"}
    assert told | set(re.findall(r"export ([A-Z_]+)=", readme)) >= read
    assert told <= read
    assert "max_connections=300" in services["database"]["command"]


# ---- PostgreSQL itself ----


@pytest.mark.full
def test_stores_at_once_on_a_fresh_postgresql_that_crashes(
    trained: Path, postgres: Postgres, fresh: str, root: Path, size: Size
) -> None:
    name = fresh.rpartition("/")[2]
    stores = copies(trained, root, size.stores)

    def crash() -> None:
        until(lambda: started(postgres, name) > size.runs / 4, 120)
        postgres.crash()
        time.sleep(1)
        postgres.start()
        assert started(postgres, name) < size.runs, "crashed too late to be in the middle"

    began = time.monotonic()
    feed_at_once(stores, [fresh] * size.stores, crash)
    print(f"{size.runs} runs in {time.monotonic() - began:.1f} s")
    assert counted(postgres, name) == expected(trained, size)
    logs = "".join((store.root / "feeder.log").read_text() for store in stores)
    assert "Traceback" not in logs
    assert OWNERS_PASSWORD not in logs


@pytest.mark.full
def test_tables_whose_making_is_cut_off_are_made_anew(
    trained: Path, postgres: Postgres, fresh: str, root: Path
) -> None:
    name = fresh.rpartition("/")[2]
    (store,) = copies(trained, root, 1)
    words = f"Connection(store.Store({str(store.root)!r}), {fresh!r}).check()"
    code = f"from sweeplab.tracking.connection import Connection, store; {words}"
    maker = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    until(lambda: postgres.query(name, "select 1 from pg_tables where tablename = 'runs'"), 60)
    maker.kill()
    maker.wait()
    Connection(store, fresh).check()
    assert postgres.query(name, "select count(*) from alembic_version, experiments") == [(1,)]


def test_postgresql_without_its_driver_is_refused_before_any_work(
    train: Command, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(address, "find_spec", lambda name: None)
    ended = train(*DIGITS, "tracking.uri=postgresql://me:pw@127.0.0.1/db", tracking=True)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        "tracking.uri=postgresql://...: psycopg is not installed: pip install 'sweeplab[server]'\n"
    )
    assert address.checked("postgresql+psycopg2://h/d") == "postgresql+psycopg2://h/d", (
        "the user's own choice"
    )
    with pytest.raises(UserError, match="psycopg is not installed"):
        address.checked("postgresql+psycopg://h/d")


# ---- the server ----


@pytest.mark.full
def test_stores_at_once_on_a_server_that_is_killed(
    trained: Path,
    postgres: Postgres,
    server: Server,
    root: Path,
    size: Size,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stores = copies(trained, root, size.stores)
    # Half of them have their password from the environment, which the others' URI goes before.
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", ADMIN)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)

    before, begun = counted(postgres, "served"), started(postgres, "served")  # of other tests

    def kill() -> None:
        until(lambda: started(postgres, "served") - begun > size.runs / 4, 120)
        server.kill()
        time.sleep(1)
        assert started(postgres, "served") - begun < size.runs, (
            "killed too late to be in the middle"
        )
        server.start()

    began = time.monotonic()
    feed_at_once(stores, [server.uri(), server.address] * (size.stores // 2), kill, seconds=900)
    print(f"{size.runs} runs in {time.monotonic() - began:.1f} s")
    after = counted(postgres, "served")
    after.subtract(before)
    assert after == expected(trained, size)
    assert secrets(root, postgres, server) == []


@pytest.mark.full
def test_fifty_feeders_at_once_lose_nothing_and_make_nothing_twice(
    postgres: Postgres, server: Server, root: Path
) -> None:
    sweep(root, 3)
    size = Size(stores=50, each=3)
    stores = copies(root / "runs", root, size.stores)
    before, began = counted(postgres, "served"), time.monotonic()

    def all_at_work() -> None:
        until(lambda: all(locked(records.lock_file(store)) for store in stores), 200)
        print(f"{size.stores} feeders at work after {time.monotonic() - began:.1f} s")

    feed_at_once(stores, [server.uri()] * size.stores, all_at_work, seconds=900)
    print(f"{size.runs} runs in {time.monotonic() - began:.1f} s")
    after = counted(postgres, "served")
    after.subtract(before)
    assert after == expected(root / "runs", size)


@pytest.mark.full
def test_fifty_workers_of_one_sweep_train_and_tell_each_run_once(
    postgres: Postgres, server: Server, root: Path
) -> None:
    size = Size(stores=1, each=200)
    before, began = counted(postgres, "served"), time.monotonic()
    words = ("-m", *DIGITS, f"seed=range({size.each})", BY_HAND, "sweep.report=false")
    told = (f"tracking.uri={server.uri()}", "tracking.experiment=many", "tracking.wait=300")
    launcher = kill.train(root, [*words, *told])
    until(lambda: len(list(root.glob("runs/sweeps/*.work/open/*"))) == size.each, 60)
    workers = [work(root) for _ in range(50)]
    trained = []
    for worker in workers:
        said = worker.communicate(timeout=600)[0]
        trained += re.findall(r"^(\d+) jobs? trained here$", said, re.MULTILINE)
    assert kill.end(launcher, "the launcher") == 0, (root / "out").read_text()
    print(f"{size.runs} runs by {len(trained)} workers in {time.monotonic() - began:.1f} s")
    print("jobs of a worker:", sorted(map(int, trained)))
    assert sum(map(int, trained)) == size.runs
    assert [starts(run) for run in Store(root / "runs").runs()] == [1] * size.runs
    after = counted(postgres, "served")
    after.subtract(before)
    assert after == expected(root / "runs", size)


def secrets(root: Path, postgres: Postgres, server: Server) -> list[str]:
    """Where a password is written down: files of the root and the artifacts, and rows of MLflow's tables."""
    words = [PASSWORD.encode(), OWNERS_PASSWORD.encode(), WRONG.encode()]
    files = [
        path
        for folder in (root, server.folder / "artifacts")
        for path in folder.rglob("*")
        if path.is_file()
    ]
    found = [str(path) for path in files if any(word in path.read_bytes() for word in words)]
    for (table,) in postgres.query(
        "served", "select tablename from pg_tables where schemaname = 'public'"
    ):
        rows = postgres.query("served", f'select t::text from "{table}" t')
        found += [table for (row,) in rows if any(word.decode() in row for word in words)]
    return found


def test_a_server_that_is_too_slow_to_answer_makes_no_run_twice(
    trained: Path, postgres: Postgres, server: Server, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does what it was asked for in the end: after the feeder has given up on it, and looked in vain."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    store = Store(root / "runs").open()
    run = Store(trained).runs()[0]
    shutil.copytree(run.folder, store.root / run.id, ignore=OURS)
    worker = feeder.Feeder(store, server.uri(), FileLock(records.lock_file(store)), log=False)
    worker.writer.connection.experiment("many")
    before = started(postgres, "served")
    with postgres.connect("served") as other, other.transaction():
        other.execute("lock table runs in share mode")  # reading goes on; writing waits
        assert worker.once(has_clients=False) is None
        assert worker.once(has_clients=False) is None
        assert state(store)["lag"][run.id].startswith(
            "the server did not say in time whether it made this run"
        )
    until(lambda: worker.once(has_clients=False), 30)
    assert started(postgres, "served") - before == 1
    (place,) = tracking.run_places(run := store.run(run.id), server.uri())
    assert postgres.query(
        "served", f"select status from runs where run_uuid = '{place.run_id}'"
    ) == [("FINISHED",)]
    assert "asked" not in records.entries(run.mlflow_file, server.uri())["many"]


def state(store: Store) -> dict[str, Any]:
    return records.read_json(records.state_file(store))


def test_training_goes_on_without_the_server_and_says_why_in_one_line(
    train: Command, root: Path, postgres: Postgres, server: Server
) -> None:
    refusals = {
        server.uri(
            WRONG
        ): f"MLflow at http://***@127.0.0.1:{server.port} cannot be reached: {causes.REFUSED}",
        postgres.uri(
            "served", WRONG
        ): f"MLflow at postgresql://***@127.0.0.1:{postgres.port}/served cannot be "
        'reached: FATAL:  password authentication failed for user "owner"',
    }
    for number, (uri, line) in enumerate(refusals.items()):
        place = f"store.root=runs{number}"
        ended = train(*DIGITS, f"tracking.uri={uri}", place, "tracking.wait=60", tracking=True)
        assert ended.code == 1
        whole = f"MLflow lags behind by 1 run: {line} nothing is lost; bring it level with: sweeplab sync"
        assert ended.err.split() == whole.split()
        assert WRONG not in ended.out
        (run,) = Store(root / f"runs{number}").runs()
        assert run.status == "finished"
    assert secrets(root, postgres, server) == []


def test_a_host_that_says_nothing_is_named(home: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")  # instead of 5 seconds
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "2")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        for uri, line in {
            f"http://me:{WRONG}@{host}": f"MLflow at http://***@{host} cannot be reached: Read timed out",
            f"postgresql://me:{WRONG}@{host}/d?password={WRONG}": f"MLflow at postgresql://***@{host}/d cannot be "
            "reached: connection timeout expired",
        }.items():
            with pytest.raises(AwayError) as error:
                Connection(home, uri).check()
            assert str(error.value) == line


# ---- who may do what, and where it is seen ----


def test_the_server_lets_in_who_has_a_password_under_its_own_name(server: Server) -> None:
    def status(password: str | None, host: str) -> int:
        key = base64.b64encode(f"{ADMIN}:{password}".encode()).decode()
        given = {"Authorization": f"Basic {key}"} if password else {}
        return server.get("/api/2.0/mlflow/experiments/search?max_results=1", Host=host, **given)[0]

    here = f"127.0.0.1:{server.port}"
    assert status(PASSWORD, here) == 200
    assert (status(WRONG, here), status(None, here)) == (401, 401)
    assert status(PASSWORD, "evil.example") == 403
    assert server.process is not None
    group = subprocess.check_output(["ps", "-o", "args", "-g", str(server.process.pid)], text=True)
    assert len(group.splitlines()) - 1 == 2, "the server and its one worker"
    assert PASSWORD not in group
    assert OWNERS_PASSWORD not in group


def test_links_go_to_the_server_without_the_password(
    train: Command,
    command: Command,
    root: Path,
    server: Server,
    postgres: Postgres,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri())
    ended = train(
        "-m", *DIGITS, "seed=0,1", "tracking.experiment=links", "tracking.wait=60", tracking=True
    )
    assert (ended.code, ended.err) == (0, "")
    links = [
        line.split(": ")[1] for line in ended.out.splitlines() if line.startswith("  configs:")
    ]
    assert "\nin MLflow:\n" in ended.out
    assert links[0].startswith(f"{server.address}/#/experiments/")
    shown = command("sweeplab", "ui", timeout=30)  # it ends: there is nothing to serve
    assert shown.code == 0
    assert links[0] in shown.out
    found = next(line.strip() for line in shown.out.splitlines() if "model-metrics" in line)
    assert found.startswith(f"{server.address}/#/experiments/")
    run = found.partition("/runs/")[2].partition("/")[0]
    assert "weights.safetensors" in tracking.download(server.uri(), run, root / "fetched")
    assert PASSWORD not in ended.out + shown.out + shown.err
    assert secrets(root, postgres, server) == []


def ask_admin(server: Server, path: str, **body: str) -> None:
    """What deploy/README.md has curl do."""
    import requests

    made = requests.post(f"{server.address}{path}", json=body, auth=(ADMIN, PASSWORD), timeout=10)
    assert made.status_code == 200, made.text


def make_user(server: Server, name: str) -> str:
    """Make a user; return the address with the password, of which the name is a part."""
    ask_admin(
        server, "/api/2.0/mlflow/users/create", username=name, password=f"{name}-long-password"
    )
    return f"http://{name}:{name}-long-password@127.0.0.1:{server.port}"


def grant(
    postgres: Postgres,
    server: Server,
    user: str,
    name: str,
    permission: str,
    *,
    replaced: bool = False,
) -> None:
    """Give a user a permission for an experiment; `replaced`: in the place of the one there is."""
    ((number,),) = postgres.query(
        server.database.rpartition("/")[2],
        f"select experiment_id from experiments where name = '{name}'",
    )
    what = {"username": user, "resource_type": "experiment", "resource_id": str(number)}
    users = "/api/3.0/mlflow/users/permissions"
    if replaced:
        ask_admin(server, f"{users}/revoke", **what)
    ask_admin(server, f"{users}/grant", **what, permission=permission)


def refused(server: Server, name: str) -> str:
    where = f"http://***@127.0.0.1:{server.port}"
    return f"MLflow at {where} refuses experiment '{name}': {causes.NOT_ALLOWED}"


@pytest.mark.full
def test_an_experiment_that_is_refused_holds_up_no_other(
    train: Command, root: Path, server: Server, postgres: Postgres
) -> None:
    uri = make_user(server, "bob")
    Connection(Store(root / "none").open(), server.uri()).experiment("denied")
    grant(postgres, server, "bob", "denied", "DENY")
    words = (*DIGITS, f"tracking.uri={uri}")
    ended = train(*words, "tracking.experiment=denied", "seed=1", "tracking.wait=0", tracking=True)
    assert ended.code == 1
    store = Store(root / "runs")
    (denied,) = store.runs()
    ended = train(*words, "tracking.experiment=allowed", "tracking.wait=60", tracking=True)
    assert (ended.code, ended.err) == (0, "")
    settings = config.Tracking(uri=uri)
    lag = tracking.sync(store, settings, lambda *_: None)
    assert lag == [f"{denied.id}: {refused(server, 'denied')}"]
    grant(postgres, server, "bob", "denied", "EDIT", replaced=True)
    assert tracking.sync(store, settings, lambda *_: None) == []
    assert [len(tracking.run_places(run, uri)) for run in store.runs()] == [1, 1]


@pytest.mark.full
def test_who_has_no_permission_loses_nothing_and_goes_on_once_it_is_granted(
    train: Command,
    command: Command,
    root: Path,
    postgres: Postgres,
    fresh: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DEFAULT_PERMISSION", "NO_PERMISSIONS")
    (root / "server").mkdir()
    of_ours = (
        "select count(*) from runs join experiments e using (experiment_id) where e.name = 'ours'"
    )
    with servers.mlflow_server(fresh, root / "server") as server:
        ann, bob = make_user(server, "ann"), make_user(server, "bob")
        words = (*DIGITS, "tracking.experiment=ours", "tracking.wait=200")
        ended = train(*words, f"tracking.uri={ann}", "store.root=ann", tracking=True)
        assert (ended.code, ended.err) == (0, "")
        bobs = (f"tracking.uri={bob}", "store.root=bob")
        for permission in (None, "READ"):
            if permission:
                grant(postgres, server, "bob", "ours", permission)
            began = time.monotonic()
            ended = train("-m", *words, *bobs, "seed=1,2", tracking=True)
            assert ended.code == 1
            assert time.monotonic() - began < 100, "it does not wait for what is refused"
            line = f"MLflow lags behind by 3 runs: {refused(server, 'ours')} nothing is lost;"
            assert ended.err.split() == f"{line} bring it level with: sweeplab sync".split()
            assert [run.status for run in Store(root / "bob").runs()] == ["finished"] * 2
            synced = command("sweeplab", "sync", *bobs, HYDRA_FULL_ERROR="")
            assert synced.code == 1
            assert synced.err.splitlines()[1].endswith(f" and 2 more: {refused(server, 'ours')}")
            assert postgres.query(fresh.rpartition("/")[2], of_ours) == [(1,)]
        grant(postgres, server, "bob", "ours", "EDIT", replaced=True)
        synced = command("sweeplab", "sync", *bobs, HYDRA_FULL_ERROR="")
        assert (synced.code, synced.err) == (0, "")
        assert postgres.query(fresh.rpartition("/")[2], of_ours) == [(4,)]
        ended = command("sweeplab", "sync", f"tracking.uri={bob}", "store.root=ann")
        assert ended.code == 0, "whoever may write goes on with another's runs"


def test_what_one_user_has_begun_another_goes_on_with(
    trained: Path, root: Path, server: Server, postgres: Postgres
) -> None:
    uri = make_user(server, "lab")
    Connection(Store(root / "none").open(), server.uri()).experiment("many")
    (store,) = copies(trained, root, 1)
    before = started(postgres, "served")
    assert tracking.sync(store, config.Tracking(uri=uri), lambda *_: None) == []
    assert started(postgres, "served") - before == len(store.runs()) + 1


# ---- backup ----


def contents(postgres: Postgres, name: str) -> dict[str, list[tuple[Any, ...]]]:
    """All that MLflow has of runs, by what they are; each has another id once it is made anew."""
    run = "(select string_agg(value, ' ' order by key) from tags where run_uuid = r.run_uuid "
    of = f"{run} and key in ('fingerprint', 'sweep.id', 'store.id'))"
    queries = {
        "runs": f"select {of}, r.status, r.start_time, r.lifecycle_stage from runs r",
        "metrics": f"select {of}, m.key, m.value, m.step, m.timestamp from runs r join metrics m using (run_uuid)",
        "params": f"select {of}, p.key, p.value from runs r join params p using (run_uuid)",
    }
    return {
        table: sorted(postgres.query(name, query), key=repr) for table, query in queries.items()
    }


def tool(postgres: Postgres, program: str, *words: str) -> None:
    """Run a program of PostgreSQL's."""
    home = servers.binaries()
    assert home is not None
    subprocess.run([home / program, *words], check=True, timeout=60)


@pytest.mark.full
def test_a_server_that_is_restored_from_a_backup_is_brought_level(
    train: Command, command: Command, postgres: Postgres, fresh: str, root: Path
) -> None:
    """As deploy/README.md has it: the database first, then the files."""
    folder = root / "server"
    folder.mkdir()
    words = ("-m", *DIGITS, "tracking.wait=60", "tracking.experiment=ours")
    with servers.mlflow_server(fresh, folder) as server:
        uri = f"tracking.uri={make_user(server, 'ann')}"
        assert train(*words, uri, "seed=0,1", tracking=True).code == 0
        tool(postgres, "pg_dump", "--format=custom", f"--file={root}/mlflow.dump", fresh)
        shutil.copytree(folder / "artifacts", root / "copied")
        assert train(*words, uri, "seed=range(4)", tracking=True).code == 0
        assert train(*words, uri, "seed=9,10", "tracking.experiment=later", tracking=True).code == 0
        whole = contents(postgres, fresh.rpartition("/")[2])
        files = Counter(path.name for path in (folder / "artifacts").rglob("*") if path.is_file())
        server.kill()
        shutil.rmtree(folder / "artifacts")
        shutil.move(root / "copied", folder / "artifacts")
        server.database = postgres.fresh("restored")
        tool(
            postgres,
            "pg_restore",
            "--no-owner",
            f"--dbname={server.database}",
            f"{root}/mlflow.dump",
        )
        assert len(contents(postgres, "restored")["runs"]) == 3, "two runs and their sweep"
        server.start()
        synced = command("sweeplab", "sync", uri, loaded=True)
        assert (synced.code, synced.err) == (0, "")
        restored = contents(postgres, "restored")
        assert [len(whole[table]) for table in ("runs", "metrics")] == [9, 6 * METRICS]
        assert {table: set(restored[table]) ^ set(whole[table]) for table in whole} == {
            table: set() for table in whole
        }
        assert [len(restored[table]) for table in whole] == [len(whole[table]) for table in whole]
        assert (
            Counter(path.name for path in (folder / "artifacts").rglob("*") if path.is_file())
            == files
        )
