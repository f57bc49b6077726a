"""A notebook's "interrupt kernel": a real kernel, and real signals."""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import waiting
from conftest import Write
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager, start_new_kernel
from stored import facts

import sweeplab
from sweeplab.commands.guard import raised
from sweeplab.store import Store
from sweeplab.sweep import server

WORDS = ("data=digits", "model.hidden=8", "trainer.epochs=40", "trainer.patience=null")
CALLER = """
import time
from sweeplab.commands.guard import raised

with raised([]):
    for _ in range(100):
        time.sleep(0.05)
"""
SLOW = "import time\nbegan = time.time()\nwhile time.time() < began + 0.6:\n    time.sleep(0.02)\nwhole = True\n"


class Kernel:
    """A kernel, and what its cells have said."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self.manager, self.client = manager, client
        self.process = psutil.Process(manager.provisioner.process.pid)  # type: ignore[union-attr]
        self.thread = threading.Thread()
        self.said: list[str] = []
        self.errors: list[tuple[str, str]] = []

    def begin(self, code: str) -> None:
        """Begin to carry out a cell."""
        self.said, self.errors = [], []
        run = self.client.execute_interactive
        options = {"output_hook": self._hear, "timeout": 300}
        self.thread = threading.Thread(target=run, args=(code,), kwargs=options)
        self.thread.start()

    def end(self) -> str:
        """Wait for the end of the cell; return all that it said."""
        self.thread.join()
        return "".join(self.said)

    def _hear(self, message: dict[str, Any]) -> None:
        content = message["content"]
        self.said.append(content.get("text", ""))
        if message["msg_type"] == "error":
            self.errors.append((content["ename"], content["evalue"]))

    def interrupt(self, times: int = 1) -> None:
        for _ in range(times):
            self.manager.interrupt_kernel()
            time.sleep(0.1)


@pytest.fixture(autouse=True)
def _sigint() -> Iterator[None]:
    """Put the handler of SIGINT back."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def kernel(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(root))
    yield Kernel(manager, client)
    client.stop_channels()
    manager.shutdown_kernel(now=True)
    del manager, client
    gc.collect()


def epochs(home: Store) -> list[list[int]]:
    """The epochs in the journals of the store."""
    found = []
    for run in home.runs():
        lines = run.journal.path.read_text().splitlines(keepends=True)
        events = [json.loads(line) for line in lines if line.endswith("\n")]
        found.append([event["epoch"] for event in events if event["event"] == "epoch"])
    return found


def workers(kernel: psutil.Process) -> list[int]:
    """The processes below the kernel that train, or could begin to."""
    found = []
    for process in kernel.children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # also one that has ended and is not waited for
            if "forkserver" in " ".join(process.cmdline()):
                found.append(process.pid)
    return found


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore::RuntimeWarning",
    # The client of Jupyter leaves its event loop to the collector.
    "ignore::pytest.PytestUnraisableExceptionWarning",
)
@pytest.mark.full
@pytest.mark.parametrize(
    ("call", "times", "moment"),
    [
        ("run", 1, "training"),
        ("sweep", 1, "training"),
        ("sweep", 2, "training"),
        ("run", 2, "loading"),
    ],
)
def test_an_interrupted_kernel_lives_and_goes_on_to_the_same_bits(
    kernel: Kernel, root: Path, call: str, times: int, moment: str
) -> None:
    words = [*WORDS, *(["seed=0,1"] if call == "sweep" else [])]
    cell = f"import sweeplab\nprint(repr(sweeplab.{call}(*{words})))"
    home = Store(root / "runs")
    kernel.begin(cell)
    if moment == "training":
        waiting.until(lambda: any(len(done) > 1 for done in epochs(home)), 120)
    else:
        # Of a library, so that the import of PyTorch is cut off in its midst.
        waiting.until(lambda: any("libtorch" in m.path for m in kernel.process.memory_maps()), 120)
    kernel.interrupt(times)
    said = kernel.end()
    assert [name for name, _ in kernel.errors] == [
        "KeyboardInterrupt"
    ] or "KeyboardInterrupt" in said
    waiting.until(lambda: not workers(kernel.process))
    assert all(not run.claimed for run in home.runs())
    assert all(run.status in ("interrupted", "unfinished") for run in home.runs())
    kernel.begin(cell)
    said = kernel.end()
    assert kernel.errors == []
    assert ("finished" if call == "run" else "2 runs") in said
    assert set(map(tuple, epochs(home))) == {tuple(range(1, 41))}
    sweeplab.run(*WORDS, "tracking=off", "store.root=whole", "trainer.threads=1")
    whole = Store(root / "whole").runs()[0]
    assert facts(home.run(whole.id)) == facts(whole)


def import_interrupted(module: str, interrupts: list[threading.Timer]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which workers of pytest ignore
    with raised([]):
        for interrupt in interrupts:
            interrupt.start()
        importlib.import_module(module)
        time.sleep(5)


def test_an_interrupt_waits_until_an_import_is_whole(write: Write) -> None:
    write({"slow_to_import.py": SLOW})
    interrupt = threading.Timer(0.2, signal.raise_signal, (signal.SIGINT,))
    with pytest.raises(KeyboardInterrupt, match="what was finished is kept"):
        import_interrupted("slow_to_import", [interrupt])
    assert sys.modules["slow_to_import"].whole
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_who_insists_ends_an_import(write: Write) -> None:
    write({"endless_to_import.py": "import time\nfor _ in range(2000):\n    time.sleep(0.01)\n"})
    interrupts = [
        threading.Timer(0.3 * n, signal.raise_signal, (signal.SIGINT,)) for n in (1, 2, 3)
    ]
    with pytest.raises(KeyboardInterrupt, match="what was finished is kept"):
        import_interrupted("endless_to_import", interrupts)
    assert "endless_to_import" not in sys.modules


def test_a_module_that_calls_sweeplab_can_be_interrupted(write: Write) -> None:
    write({"calls_sweeplab.py": CALLER})
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Timer(0.2, signal.raise_signal, (signal.SIGINT,)).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt, match="what was finished is kept"):
        importlib.import_module("calls_sweeplab")
    assert time.monotonic() - began < 4


def test_an_interrupt_does_not_cut_the_end_of_the_fork_server_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    close = os.close

    def interrupted(descriptor: int) -> None:
        close(descriptor)
        signal.raise_signal(signal.SIGINT)

    server.start()
    monkeypatch.setattr(os, "close", interrupted)
    with pytest.raises(KeyboardInterrupt):
        server.end()
    monkeypatch.setattr(os, "close", close)
    assert server.pid() is None
