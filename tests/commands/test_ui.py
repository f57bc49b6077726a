"""`sweeplab ui`: the browser opens on the very page that was named; without one its address is printed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import Command, Ended
from feeding import make
from waiting import until

from sweeplab import tracking
from sweeplab.store import Store
from sweeplab.tracking import records

RUN, OTHER = "1" + "0" * 15, "2" + "0" * 15
SWEEP = "c3" * 32
BASE = "http://127.0.0.1:5000"


@pytest.fixture
def opened(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the browser was asked to open: a program in its place writes that down."""
    program, told = root / "browser", root / "opened"
    program.write_text(f"#!/bin/sh\necho \"$1\" >>'{told}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("BROWSER", f"{program} %s")
    monkeypatch.setattr(webbrowser, "_tryorder", None)  # it looks for browsers once
    return told


@pytest.fixture
def served(root: Path, home: Store, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A store with a sweep and a run that MLflow has, and a run that it lacks; no server is started."""
    uri = f"sqlite:///{root}/mlflow.db"
    run, _ = make(home, 1), make(home, 2)
    sweep = {"id": SWEEP, "name": "model.hidden=8,16", "experiment": "demo", "time": 1.0}
    home.write_manifest({**sweep, "cells": [{"fingerprint": run.id * 4, "overrides": []}]})
    entry = {"experiment": "1", "run": "5", "fed": {"lines": 1}}
    records.write_entry(run.mlflow_file, uri, "demo", entry)
    view = {"experiment": "1", "run": "6", "view": "sweeplab_c3", "fed": {"lines": 1}}
    records.write_entry(records.sweep_record(home, SWEEP), uri, "demo", view)
    started: list[str] = []

    @contextmanager
    def serve(uri: str, port: int) -> Iterator[str]:
        started.append(uri)
        yield BASE

    monkeypatch.setattr(tracking, "serve", serve)
    monkeypatch.setattr(tracking, "refresh", lambda *_: None)
    monkeypatch.setattr(tracking, "has_page", lambda _: True)  # it does not wait for Ctrl-C
    return started


VIEW = f"{BASE}/#/experiments/1/runs?viewStateShareKey=sweeplab_c3&compareRunsMode=CHART&workflowType=machine_learning"
PAGE = f"{BASE}/#/experiments/1/runs/5/model-metrics?workflowType=machine_learning"


@pytest.mark.parametrize(
    ("name", "link", "what"),
    [
        ([], VIEW, "configs of the latest sweep (model.hidden=8,16)"),
        (["latest"], VIEW, f"configs of the sweep {SWEEP[:12]} (model.hidden=8,16)"),
        ([SWEEP[:8]], VIEW, f"configs of the sweep {SWEEP[:12]} (model.hidden=8,16)"),
        ([RUN[:4]], PAGE, f"the run {RUN}"),
    ],
)
def test_the_browser_opens_on_what_is_named(
    served: list[str], opened: Path, sweeplab: Command, name: list[str], link: str, what: str
) -> None:
    ended = sweeplab("ui", *name)
    assert ended == Ended(0, f"opened in the browser: {what}; MLflow is at {BASE}\n", "")
    assert opened.read_text() == f"{link}\n"


def test_the_address_is_printed_where_there_is_no_browser(
    served: list[str], opened: Path, sweeplab: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = Ended(0, f"the run {RUN}:\n  {PAGE}\n", "")
    assert sweeplab("ui", RUN, "--no-browser") == printed
    monkeypatch.setenv("BROWSER", "false")  # one that cannot start
    monkeypatch.setattr(webbrowser, "_tryorder", None)
    assert sweeplab("ui", RUN) == printed
    for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert sweeplab("ui", RUN) == printed
    monkeypatch.setenv("DISPLAY", ":10")  # forwarded
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.1 1 10.0.0.2 22")
    assert sweeplab("ui", RUN) == printed
    assert not opened.exists()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["nope"], 2, "nope: no sweep and no run in "),
        (["a", "b"], 2, "a b: name one sweep or run; sweeplab compare takes several\n"),
        (
            [OTHER[:4]],
            1,
            f"the run {OTHER} is not in MLflow at sqlite:///",
        ),
    ],
)
def test_what_cannot_be_opened_is_said_before_a_server_starts(
    served: list[str],
    opened: Path,
    sweeplab: Command,
    words: list[str],
    code: int,
    message: str,
) -> None:
    ended = sweeplab("ui", *words)
    assert (ended.code, ended.out) == (code, "")
    assert ended.err.startswith(message)
    assert served == []
    assert not opened.exists()


@pytest.mark.full
@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")  # mlflow's own code
def test_the_page_that_is_opened_is_the_real_servers(
    train: Command, root: Path, uri: str, opened: Path
) -> None:
    words = ("-m", "data=digits", "model=linear", "trainer.epochs=1", "seed=0,1")
    assert train(*words, "tracking.wait=60", tracking=True).code == 0
    run = Store(root / "runs").runs()[0]
    for name, form in ((["latest"], r"/runs\?viewStateShareKey=\w+"), ([run.id], r"/runs/\w{32}/")):
        opened.unlink(missing_ok=True)
        command = [sys.executable, "-m", "sweeplab.commands.cli", "ui", *name, "--port", "0"]
        with subprocess.Popen(command, cwd=root, env=os.environ) as process:
            try:
                until(lambda: opened.exists() and opened.read_text().endswith("\n"), 120)
                link = opened.read_text().strip()
                found = re.match(rf"(http://127\.0\.0\.1:\d+)/#/experiments/\d+{form}", link)
                assert found is not None, link
                with urllib.request.urlopen(f"{found[1]}/health") as answer:  # noqa: S310
                    assert answer.read() == b"OK"
            finally:
                process.send_signal(signal.SIGTERM)
        assert process.returncode == 0  # as after Ctrl-C


def test_a_server_that_does_not_answer_is_told(home: Store, sweeplab: Command) -> None:
    make(home, 1)
    shown = sweeplab("ui", "--no-browser", "tracking.uri=http://127.0.0.1:9")
    assert shown.err == "MLflow at http://127.0.0.1:9 cannot be reached: Connection refused\n"
