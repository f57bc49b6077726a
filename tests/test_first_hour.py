"""The README's commands, one after the other, in one fresh shell in a fresh clone; and a machine that is new."""

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
SMALL = "data=digits debug=smoke"  # for what would train MNIST for minutes
QUICK = (  # one of each kind
    "pip install uv && uv run train.py",
    "uv run pytest",
    "source .venv/bin/activate",
    "python train.py -m model.hidden=392,256",
    "sweeplab ui",
    "sweeplab compare",
    "sweeplab compare d2f51087 9ac31b07",
    "sweeplab runs",
    "sweeplab replay RUN",
)
RUNS = "$(cd runs && ls -d ????????????????)"
UI = """
sweeplab ui --port=0 >ui.log &
for _ in $(seq 600); do grep -q 'Ctrl-C ends it' ui.log && break; sleep 0.1; done
kill $! && grep -A1 'the latest run' ui.log
wait $! || (($? == 143))"""


def commands() -> Iterator[str]:
    """Every line of the README's blocks of commands without its comment, then those within its sentences."""
    for block in re.findall(r"^```bash\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            yield re.sub(r"\s+# .*$", "", line)
    yield from re.findall(r"`((?:python train\.py|sweeplab|eval) [^`]+)`", README)


def fill(command: str, full: bool) -> str:
    """What the shell gets: placeholders filled in, and unless `full`, a small data set in the place of MNIST."""
    command = command.removeprefix("pip install uv && ")  # the environment is shared
    if command == "uv run pytest":
        return "uv run pytest -n0 -q tests/test_errors.py"  # or this test would run itself
    if command == "sweeplab ui":
        return UI
    command = command.replace("replay RUN", f'replay "$(echo "{RUNS}" | head -n 1)"')
    command = re.sub(
        r"compare [0-9a-f]{8} [0-9a-f]{8}", f'compare $(echo "{RUNS}" | head -n 2)', command
    )
    if full or not re.search(r"train\.py(?! --help| -sc)", command) or "my_package" in command:
        return command
    return f"{command} {SMALL.removeprefix('data=digits ') if ' data=' in command else SMALL}"


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
    """Run the script with bash as after logging in, nothing activated; what it said, both streams together."""
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        pytest.skip("there is no uv")
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


def test_a_fresh_shell_knows_the_readmes_commands(clone: Path) -> None:
    assert [command for command in commands() if command in QUICK][: len(QUICK)] == list(QUICK)
    chosen = list(QUICK)
    said = shell(clone, script(chosen, full=False), timeout=240)
    assert "2 runs of 2 configs: 2 finished; ranked by valid/accuracy" in said
    assert "identical: " in said
    assert not (clone / "outputs").exists()
    assert not (clone / "multirun").exists()


@pytest.mark.full
@pytest.mark.mnist
def test_all_of_the_readmes_commands(clone: Path, mnist_root: Path) -> None:
    (clone / "data").symlink_to(mnist_root)
    chosen = [command for command in commands() if "my_package" not in command]
    said = shell(clone, script(chosen, full=True), timeout=7200)
    assert "test accuracy" in said
    assert not (clone / "outputs").exists()
    assert not (clone / "multirun").exists()


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
