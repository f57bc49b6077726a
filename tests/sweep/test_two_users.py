"""Sweeps of two users side by side: leases in a folder that both can write to, each with its own store."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import kill
import pytest
from waiting import until

from sweeplab.store import Status, Store
from sweeplab.train import cpus

NOBODY = 65534
WORDS = (
    *("-m", "data=digits", "tracking=off", "model=linear", "trainer.threads=1"),
    *("trainer.epochs=60", "trainer.patience=null", "sweep.report=false"),
)
AS_NOBODY = (  # who may read all, as Python may lie where another user cannot, but not write
    *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
    *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
)

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(os.getuid() != 0, reason="only root can act as another user"),
    pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv of util-linux"),
]


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that both users can enter, with `leases` in it for both."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    (folder / "leases").mkdir()
    (folder / "leases").chmod(0o1777)
    for home in ("root", "nobody"):
        (folder / home).mkdir()
    os.chown(folder / "nobody", NOBODY, NOBODY)
    yield folder
    shutil.rmtree(folder)


def train(place: Path, user: str, *words: str) -> subprocess.Popen[bytes]:
    """Start a sweep of this user in a folder of its own, with a umask that hides files from others."""
    home = place / user
    program = [sys.executable, str(kill.PROJECT / "train.py"), *WORDS, *words]
    environment = {**os.environ, "HOME": str(home), "USER": user, "OMP_NUM_THREADS": "1"}
    environment |= {"SWEEPLAB_LEASES": str(place / "leases"), "PYTHONDONTWRITEBYTECODE": "1"}
    with (place / f"{user}.out").open("ab") as file:
        return subprocess.Popen(
            [*AS_NOBODY, *program] if user == "nobody" else program,
            cwd=home,
            env=environment,
            stdout=file,
            stderr=file,
            umask=0o077,
            start_new_session=True,
        )


def at_work(place: Path) -> dict[str, int]:
    """User -> runs that a living process has claimed, each of which uses one core."""
    stores = {user: Store(place / user / "runs") for user in ("root", "nobody")}
    return {user: sum(run.claimed for run in home.runs()) for user, home in stores.items()}


def test_two_users_share_the_cores_and_none_waits_for_who_was_killed(place: Path) -> None:
    mine, other = train(place, "root", "seed=range(10)"), train(place, "nobody", "seed=range(200)")
    most: dict[str, int] = {"root": 0, "nobody": 0, "both": 0}
    killed = 0.0
    deadline = time.monotonic() + 300
    while mine.poll() is None and time.monotonic() < deadline:
        now = at_work(place)
        now["both"] = sum(now.values())
        most = {user: max(number, now[user]) for user, number in most.items()}
        finished = sum(run.status == Status.FINISHED for run in Store(place / "root/runs").runs())
        if not killed and now["nobody"] and finished >= 4:
            other.kill()  # its workers outlive it for a moment
            other.wait()
            killed = time.monotonic()
        time.sleep(0.02)
    said = (place / "root.out").read_text()
    assert mine.wait(10) == 0, said
    assert killed, "the other one was at work meanwhile"
    assert most["root"] > 0
    assert most["nobody"] > 0
    assert most["both"] <= cpus.count()
    until(lambda: at_work(place) == {"root": 0, "nobody": 0})
    for user in ("root", "nobody"):
        assert "cores are not shared" not in (place / f"{user}.out").read_text()
    again = train(place, "nobody", "seed=range(4)")
    assert kill.end(again, "nobody's sweep") == 0, (place / "nobody.out").read_text()
    assert "cores are not shared" not in (place / "nobody.out").read_text()


def test_a_folder_of_root_alone_is_said_in_one_line(place: Path) -> None:
    (place / "leases").chmod(0o755)
    assert kill.end(train(place, "nobody", "seed=0,1"), "nobody's sweep") == 0
    said = [line for line in (place / "nobody.out").read_text().splitlines() if "leases" in line]
    assert len(said) == 1
    assert said[0].startswith("cores are not shared with other sweeps of this machine: ")
    assert said[0].endswith("Permission denied")


def test_a_store_of_another_user_is_read_and_not_changed(place: Path) -> None:
    words = ("-m", "data=digits", "tracking=off", "trainer.epochs=1", "sweep.report=false")
    with kill.command(place / "root", str(kill.PROJECT / "train.py"), *words, "seed=0,1") as sweep:
        assert sweep.wait(kill.LIMIT) == 0
    (run, _) = Store(place / "root/runs").runs()
    environment = {**os.environ, "HOME": str(place / "nobody")}
    for command, code, said in (
        (("runs",), 0, "2 runs in "),
        (("show", run.id), 0, "test.png: Permission denied\n"),
        (("runs", "rm", run.id, "--yes"), 2, "runs cannot be written; name a folder "),
        (("runs", "rm", run.id, "--dry-run"), 0, "nothing was removed: --dry-run\n"),
        (("stop", run.id), 2, "is another user's, who alone steers it\n"),
    ):
        program = [*AS_NOBODY, sys.executable, "-m", "sweeplab.commands.cli", *command]
        asked = subprocess.run(
            program, cwd=place / "root", env=environment, capture_output=True, text=True
        )
        assert asked.returncode == code, asked.stderr
        assert code == 0 or asked.stderr.count("\n") == 1
        assert said in asked.stdout + asked.stderr
    assert len(Store(place / "root/runs").runs()) == 2
