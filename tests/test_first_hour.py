"""The commands of the README and of the first hour, in order, in a fresh shell in a fresh clone; and a new machine."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import PROJECT

README = (PROJECT / "README.md").read_text()
GUIDE = ["README.md", "docs/first_hour.md"]
GUIDE += sorted(f"docs/how_do_i/{file.name}" for file in (PROJECT / "docs/how_do_i").glob("*.md"))
SMALL = "data=digits debug=smoke"  # for what would train MNIST for minutes
PATIENT = "tracking.wait=120"  # for MLflow on a busy machine
QUICK = (  # one of each kind; `sweeplab ui`, which starts a server for seconds, is that of test_browser.py
    "pip install uv && uv run train.py",
    "uv run pytest",
    "source .venv/bin/activate",
    "python train.py -m model.hidden=392,256",
    "sweeplab compare",
    "sweeplab runs",
    "sweeplab replay 0fd16aa5",
)
LONG = re.compile(r"experiment=(?!linear_vs_mlp)|until=decided")  # half an hour of MNIST and more
RUN = '"$(cd runs && ls -d ???????????????? | head -n 1)"'
INTERRUPTED = "  # press Ctrl-C"
UI = """
sweeplab ui --port=0 >ui.log &
for _ in $(seq 600); do grep -q 'Ctrl-C ends it' ui.log && break; sleep 0.1; done
kill $! && grep -A1 'the latest run' ui.log
wait $! || (($? == 143))"""


def commands(page: str) -> Iterator[str]:
    """Find the commands of a page: those of its blocks, without comments, then those in its sentences.

    A command with a text of its own (`<<'END'`) has several lines.
    """
    for block in re.findall(r"^```bash\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL):
        for command in re.findall(r"^(?:.*<<'END'\n(?:.*\n)*?END|.+)$", block, flags=re.MULTILINE):
            if "<<" in command or INTERRUPTED in command:
                yield command
            else:
                yield re.sub(r"\s+# .*$", "", command)
    yield from re.findall(r"`((?:python train\.py|sweeplab|eval) [^`]+)`", page)


def fill(command: str, full: bool) -> str:
    """Return what the shell gets: unless `full`, a small data set stands in the place of MNIST."""
    command = command.removeprefix("pip install uv && ")  # the environment is shared
    if command == "uv run pytest":
        return "uv run pytest -n0 -q tests/test_errors.py"  # or this test would run itself
    if command == "sweeplab ui":
        return UI
    if INTERRUPTED in command:
        command = command.partition(INTERRUPTED)[0]
        return f"timeout --signal=INT 20 {command} || (($? == 124))"
    if not full:  # the digits' run has another id
        command = command.replace("0fd16aa5", RUN)
    if "<<" in command or not re.search(r"train\.py(?! --help| -sc)", command):
        return command
    if full and not LONG.search(command):
        return f"{command} {PATIENT}"
    small = SMALL
    if "early_stopping" in command:  # which a single epoch leaves nothing to stop
        small = "data=digits trainer.epochs=12"
    elif " data=" in command:
        small = SMALL.removeprefix("data=digits ")
    return f"{command} {small} {PATIENT}"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone of the work tree as it is, with this environment in it; the rest of the machine's is not on the PATH."""
    if sys.prefix == sys.base_prefix:
        pytest.skip("there is no virtual environment to activate")
    folder = tmp_path / "sweeplab"
    subprocess.run(["git", "clone", "--quiet", PROJECT, folder], check=True)
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=PROJECT, check=True, capture_output=True, text=True).stdout
    for name in names.split("\0"):
        if name and (PROJECT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, folder / name)
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


def shell(clone: Path, script: str, timeout: float) -> str:
    """Run the script with bash as a new user does, nothing activated; what it said, both streams together."""
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        pytest.skip("there is no uv")
    cache = subprocess.run([uv, "cache", "dir"], check=True, capture_output=True, text=True).stdout
    (clone.parent / "home").mkdir()
    (clone.parent / "bin").mkdir()
    (clone.parent / "bin" / "uv").symlink_to(uv)
    ours = re.compile(r"VIRTUAL_ENV|PYTEST|SWEEPLAB|MLFLOW|HYDRA|UV_RUN|UV_PROJECT")
    env = {name: value for name, value in os.environ.items() if not ours.match(name)}
    path = [
        folder
        for folder in env["PATH"].split(os.pathsep)
        if Path(folder) != Path(sys.prefix, "bin")
    ]
    env["PATH"] = os.pathsep.join([str(clone.parent / "bin"), *path])
    # The environment has sweeplab from elsewhere, and is not to be changed.
    env |= {
        "HOME": str(clone.parent / "home"),  # an empty one
        "UV_CACHE_DIR": cache.strip(),
        "PYTHONPATH": str(clone / "src"),
        "UV_NO_SYNC": "1",
        "UV_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    with (clone.parent / "said").open("w+") as said:
        words = ["bash", "-euo", "pipefail", "-c", script]
        code = subprocess.run(
            words,
            cwd=clone,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            timeout=timeout,
            check=False,
        ).returncode
        said.seek(0)
        text = said.read()
    assert code == 0, text
    return text


def script(chosen: list[str], full: bool) -> str:
    """The commands in order, each told before it starts."""
    return "\n".join(
        f"echo {shlex.quote(f'+ {command}')}\n{fill(command, full)}" for command in chosen
    )


@pytest.mark.long
def test_a_fresh_shell_knows_the_readmes_commands(clone: Path) -> None:
    quick = [command for command in commands(README) if command in QUICK]
    assert quick[: len(QUICK)] == list(QUICK)
    said = shell(clone, script(list(QUICK), full=False), timeout=240)
    assert "2 runs of 2 configs: 2 finished; ranked by valid/accuracy" in said
    assert "identical: " in said
    assert not (clone / "outputs").exists()
    assert not (clone / "multirun").exists()


@pytest.mark.full
@pytest.mark.mnist
@pytest.mark.parametrize("page", GUIDE)
def test_all_commands_of_a_page(clone: Path, mnist_root: Path, page: str) -> None:
    (clone / "data").symlink_to(mnist_root)
    chosen = list(commands((PROJECT / page).read_text()))
    if "source .venv/bin/activate" not in chosen:
        chosen.insert(0, "source .venv/bin/activate")
    said = shell(clone, script(chosen, full=True), timeout=7200)
    assert all(f"+ {command}\n" in said for command in chosen)
    assert not (clone / "outputs").exists()
    assert not (clone / "multirun").exists()


@pytest.mark.full
def test_a_new_machine_has_nothing_in_its_home_and_in_tmp(tmp_path: Path) -> None:
    (tmp_path / "left").write_text("from before")
    look = 'pwd; ls -A "${TMPDIR:-/tmp}" | head; find "$HOME" -maxdepth 1 -type f; git status --short | grep "^ D" || true'
    program = [str(PROJECT / ".ci" / "new_machine"), "bash", "-c", f"{look}; exit 7"]
    env = {**os.environ, "SWEEPLAB_ROOT": str(tmp_path), "TMPDIR": str(tmp_path)}
    ended = subprocess.run(
        program, env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 7, ended.stderr
    lines = [line for line in ended.stdout.splitlines() if "TMPDIR" not in line]
    assert len(lines) == 1, lines
    assert lines[0].endswith("/home/sweeplab")
    assert not Path(lines[0]).exists(), "nothing of it is left"
