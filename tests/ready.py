"""Processes that need not load PyTorch or MLflow, which takes seconds each time: forked from one that has.

`ready.Popen` is `subprocess.Popen` for `python ...`, on Linux. The first one starts a process that loads what a command
loads, and each of them is forked from that, with the arguments, the environment and the files that it was given.
What a command does before it has loaded everything is not tested so; a test of that starts a real one.
"""

from __future__ import annotations

import ctypes
import fcntl
import gc
import inspect
import json
import multiprocessing.util
import os
import runpy
import socket
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT, TimeoutExpired
from typing import Any, NamedTuple
from unittest import mock

from sweeplab.tracking import process

__all__ = ["DEVNULL", "PIPE", "STDOUT", "Popen", "TimeoutExpired"]

SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER, from Linux's prctl.h
NEW_USER, NEW_MOUNTS = 0x10000000, 0x00020000  # from Linux's sched.h
HIGH = 500  # file descriptors from there are in nobody's way
COMMAND, FEEDER = "command", "feeder"
FEEDS = {"sync", process.PROGRAM}  # words of what loads MLflow instead of PyTorch
PIPES = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
_Popen = subprocess.Popen
_spawn = multiprocessing.util.spawnv_passfds
_execute = inspect.signature(_Popen._execute_child)  # type: ignore[attr-defined]


class Order(NamedTuple):
    """What a process is to become."""

    words: list[str]
    cwd: str
    environment: dict[str, str]
    files: list[int]  # the numbers that the files have there, which are sent along
    session: bool


class Popen(_Popen[Any]):
    """A child of this process, like any other; of `python`, whose options but -P, -c, -m and -u it does not know.

    `[sys.executable, "--apart", SHELL, ...]`: as root in a mount namespace of its own, where SHELL is done first.
    """

    def _execute_child(self, *given: Any) -> None:
        if sys.platform != "linux":
            super()._execute_child(*given)  # type: ignore[misc]
            return
        told = _execute.bind(self, *given).arguments
        streams = [told["p2cread"], told["c2pwrite"], told["errwrite"]]
        mine = [number if file == -1 else file for number, file in enumerate(streams)]
        words = [os.fspath(word) for word in told["args"][1:]]
        order = Order(
            words,
            os.fspath(told["cwd"] or Path.cwd()),
            dict(os.environ if told["env"] is None else told["env"]),
            [0, 1, 2, *told["pass_fds"]],
            told["start_new_session"],
        )
        with _adopting():
            self.pid = _ask(FEEDER if FEEDS.intersection(words) else COMMAND, order, mine)
        self._child_created = True
        self._close_pipe_fds(*(told[name] for name in PIPES))  # type: ignore[attr-defined]


def spawn(path: bytes, words: list[bytes], files: Sequence[int]) -> int:
    """Do what multiprocessing's `spawnv_passfds` does, for its fork server."""
    program = [os.fsdecode(word) for word in words]
    is_orphan = _standing_by not in (None, os.getpid())  # the fork server would be another's child
    if is_orphan or "forkserver" not in program[-1]:  # or another helper, which loads nothing
        return int(_spawn(path, words, files))
    process = Popen(program, stdin=DEVNULL, pass_fds=files)
    process.returncode = 0  # multiprocessing waits for it
    return process.pid


def run(*given: Any, **how: Any) -> subprocess.CompletedProcess[Any]:
    """`subprocess.run`, which starts what that module calls Popen."""
    with mock.patch.object(subprocess, "Popen", Popen):
        return subprocess.run(*given, **how)


@contextmanager
def _adopting() -> Iterator[None]:
    """Children of a child that ends meanwhile become this process's own, for which it can wait."""
    prctl = ctypes.CDLL(None).prctl
    before = ctypes.c_int()
    prctl(SUBREAPER + 1, ctypes.byref(before), 0, 0, 0)
    prctl(SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        prctl(SUBREAPER, before.value, 0, 0, 0)


def _ask(kind: str, order: Order, files: list[int]) -> int:
    """The id of the process that was forked for it."""
    with tempfile.TemporaryFile("w", encoding="utf-8") as file:  # however long the environment is
        json.dump(order, file)
        file.flush()
        server = _server(kind)
        socket.send_fds(server, [b"!"], [file.fileno(), *files, *order.files[3:]])
        return int.from_bytes(server.recv(8), "big")


_servers: dict[str, socket.socket] = {}
_standing_by: int | None = None  # the process for which one stands by, if this is a command


def end() -> None:
    """Have the processes that others are forked from end."""
    while _servers:
        _servers.popitem()[1].close()


def _server(kind: str) -> socket.socket:
    if kind not in _servers:
        _servers[kind] = _start(kind)
    return _servers[kind]


def _start(kind: str) -> socket.socket:
    ours, theirs = socket.socketpair()
    with theirs:
        words = [sys.executable, "-P", __file__, kind, str(theirs.fileno())]
        process = _Popen(words, stdin=DEVNULL, pass_fds=[theirs.fileno()], start_new_session=True)
    process.returncode = 0  # it ends when this process does
    return ours


# ---- there ----


def _load(kind: str) -> None:
    if kind == FEEDER:
        from sweeplab.tracking import database, library

        library.quieten()
        sys.modules["pandas"] = None  # type: ignore[assignment]  # as the feeder does
        with tempfile.TemporaryDirectory() as folder:
            database.make_empty(Path(folder) / "mlflow.db")  # imports the rest
    else:
        import torch

        from sweeplab import config
        from sweeplab.speed import dynamo

        torch.set_num_threads(1)  # a process forked from one with a thread pool hangs
        dynamo.spare()
        for name in (
            "sympy",
            "matplotlib.figure",
            "torch.fx.experimental.symbolic_shapes",
            "torch.nested._internal.nested_tensor",
        ):
            import_module(name)
        for name in ("compare", "models", "runs.run", "sweep.worker"):
            import_module(f"sweeplab.{name}")
        config.compose([])  # loads Hydra, and its plugins


def _serve(launcher: socket.socket) -> Order | None:
    """Fork for each order, and return in the process that is to become it; None at the end."""
    while True:
        message, files, _, _ = socket.recv_fds(launcher, 1, 64)
        if not message:
            return None
        told, tell = os.pipe()
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        between = os.fork()
        if between == 0:
            if process := os.fork():
                os.write(tell, process.to_bytes(8, "big"))
                os._exit(0)  # which leaves the process to who has asked for it
            launcher.close()
            return _dressed([*files, told, tell])
        os.waitpid(between, 0)
        launcher.send(os.read(told, 8))
        for file in (*files, told, tell):
            os.close(file)


def _dressed(files: list[int]) -> Order:
    """Give this process what its order says."""
    moved = [fcntl.fcntl(file, fcntl.F_DUPFD, HIGH) for file in files[:-2]]
    for file in files:
        os.close(file)
    with os.fdopen(moved[0], encoding="utf-8") as told:
        told.seek(0)
        order = Order(*json.load(told))
    for here, there in zip(moved[1:], order.files, strict=True):
        os.dup2(here, there)
        os.close(here)
    if order.session:
        os.setsid()
    os.chdir(order.cwd)
    os.environ.clear()
    os.environ.update(order.environment)
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        setattr(sys, name, os.fdopen(number, mode, closefd=False))
    return order


def _apart(shell: str) -> None:
    """As `unshare -rm sh -c SHELL` would be, but in this process."""
    own = {"uid_map": f"0 {os.getuid()} 1", "gid_map": f"0 {os.getgid()} 1"}
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(NEW_USER | NEW_MOUNTS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    for name, text in ({"setgroups": "deny"} | own).items():
        Path(f"/proc/self/{name}").write_text(text)
    subprocess.run(["sh", "-c", f"mount --make-rprivate / && {shell}"], check=True)


def _stand_by(kind: str, launcher: socket.socket) -> None:
    """Become the last of what is ordered; at the end of the orders, end."""
    order = _serve(launcher)
    if order is None:
        os._exit(0)
    words = order.words
    if words[0] == "--apart":
        _apart(words[1])
        del words[:2]
    if "sweeplab.sweep.preload" in words[-1]:
        Path("/proc/self/comm").write_text("sweep")  # told apart so, and its jobs
    elif kind == COMMAND:
        _have_one_stand_by()
    _become(words)


def _have_one_stand_by() -> None:
    """Keep a child as this process is now: the command's sweep gets its fork server from it."""
    global _standing_by
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        ours.close()
        _stand_by(COMMAND, theirs)
        sys.exit()
    theirs.close()
    _servers[COMMAND] = ours
    _standing_by = os.getpid()
    multiprocessing.util.spawnv_passfds = spawn


def _become(words: list[str]) -> None:
    """Run the program as Python would."""
    before = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    here = ""
    while words[0] in ("-P", "-u", "-B"):
        here = None if words[0] == "-P" else here
        del words[0]
    if words[0] not in ("-c", "-m"):
        here = str(Path(words[0]).parent)
    sys.path[:0] = [*([] if here is None else [here]), *before]
    kind, *words = words if words[0] in ("-c", "-m") else ["", *words]
    sys.argv = [kind or words[0], *words[1:]]
    if kind == "-c":
        exec(words[0], {"__name__": "__main__"})  # noqa: S102
    elif kind == "-m":
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    _load(sys.argv[1])
    gc.freeze()  # or each of them would copy the memory that its garbage collection looks through
    _stand_by(sys.argv[1], socket.socket(fileno=int(sys.argv[2])))
