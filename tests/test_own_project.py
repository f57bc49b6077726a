"""The example of a project of one's own, on the built wheel: nothing of this checkout is used but what it shows."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import PROJECT, Ended

EXAMPLE = PROJECT / "examples" / "own_project"


def words(*program: str | Path, cwd: Path, timeout: float = 120, **environment: str) -> Ended:
    """A command in a folder, in an environment that knows nothing of this test's."""
    ours = (
        "PYTHONPATH",
        "VIRTUAL_ENV",
        "SWEEPLAB_ROOT",
        "MLFLOW_TRACKING_URI",
        "HYDRA_FULL_ERROR",
        "PYTEST_ADDOPTS",
    )
    env = {name: value for name, value in os.environ.items() if name not in ours}
    done = subprocess.run(
        [str(word) for word in program],
        cwd=cwd,
        env={**env, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def uv(*arguments: str | Path, cwd: Path, timeout: float = 300) -> Ended:
    """uv, where there is one: from its cache, else from the network, else the test is skipped."""
    program = os.environ.get("UV") or shutil.which("uv")
    if program is None:
        pytest.skip("there is no uv to build and install the wheel with")
    ended = words(program, *arguments, "--offline", cwd=cwd, timeout=timeout)
    if ended.code:
        ended = words(program, *arguments, cwd=cwd, timeout=timeout)
    if ended.code:
        pytest.skip(f"uv {arguments[0]} needs a network here: {ended.err[-500:]}")
    return ended


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    uv("build", "--wheel", "--out-dir", folder, PROJECT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the example, far from this checkout."""
    left = shutil.ignore_patterns("runs", "mlruns", "mlflow.db*", "__pycache__")
    return Path(shutil.copytree(EXAMPLE, tmp_path / "project", ignore=left))


def edit(file: Path, old: str, new: str) -> None:
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


def test_the_example_runs_on_the_wheel_alone(wheel: Path, project: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    templates = {file.name for file in (tmp_path / "installed/sweeplab/compare").glob("report.*")}
    assert templates == {"report.css", "report.html.jinja", "report.js", "report.py"}
    found = "import sweeplab.config as c, hydra_plugins.hydra_sweeplab as h; print(c.conf_dir(), h.__file__)"
    path = {"PYTHONPATH": str(tmp_path / "installed")}
    assert words(sys.executable, "-c", found, cwd=project, **path).out.split() == [
        f"{tmp_path}/installed/sweeplab/conf",
        f"{tmp_path}/installed/hydra_plugins/hydra_sweeplab/__init__.py",
    ]
    few = [
        "experiment=skip",
        "model.depth=2",
        "seed=0",
        "trainer.epochs=2",
        "sweep.report=false",
        "tracking=off",
        "step=noisy",
        "trainer.monitor=valid/accuracy",
    ]
    few += [
        "hydra/launcher=basic"
    ]  # one process, which is quicker; the full test takes the default one
    ended = words(sys.executable, "train.py", *few, "optimizer=sgd", cwd=project, **path)
    assert ended.code == 0, ended.err
    assert "2 runs of 2 configs: 2 finished; ranked by valid/accuracy" in ended.out
    for file in (project / "runs").glob("*/result.json"):
        measured = json.loads(file.read_text())["metrics"]
        assert measured["test/recall"] >= 0
        assert {"test/margin", "test/accuracy"} <= set(measured)
    configs = [file.read_text() for file in (project / "runs").glob("*/config.yaml")]
    assert len(configs) == 2
    assert all(
        "own_project.model.Residual" in text and "torch.optim.SGD" in text for text in configs
    )


@pytest.mark.full
def test_the_example_in_a_fresh_environment_as_its_readme_says(
    wheel: Path, project: Path, tmp_path: Path
) -> None:
    uv("venv", "--python", sys.executable, tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    uv("pip", "install", "--python", python, wheel, "pytest", cwd=tmp_path)

    def train(*arguments: str) -> Ended:
        return words(python, "train.py", *arguments, cwd=project, timeout=600)

    def sweeplab(*arguments: str) -> Ended:
        return words(tmp_path / "venv" / "bin" / "sweeplab", *arguments, cwd=project, timeout=300)

    helped = train("--help")
    assert "mnist, torchvision, tumours\n" in helped.out
    assert "  experiment   skip\n" in helped.out

    swept = train("experiment=skip", "tracking.wait=60")
    assert swept.code == 0, swept.err
    assert "20 runs of 4 configs: 20 finished; ranked by valid/accuracy" in swept.out
    assert (project / "mlflow.db").exists()

    compared = sweeplab("compare", "skip", "--where", "model.depth == 2")
    assert "10 runs of 2 configs" in compared.out

    run = sorted((project / "runs").glob("*/result.json"))[0].parent.name
    refused = sweeplab("replay", run)
    assert (refused.code, "--trust own_project" in refused.err) == (2, True)
    again = sweeplab("replay", run, "--trust", "own_project")
    assert again.code == 0, again.err
    assert "identical: " in again.out

    assert "20 jobs: 20 reuse" in train("experiment=skip", "sweep.plan=true").out
    edit(project / "own_project" / "model.py", "nn.ReLU()", "nn.GELU()")
    assert "20 jobs: 20 stale" in train("experiment=skip", "sweep.plan=true").out
    edit(project / "own_project" / "model.py", "nn.GELU()", "nn.ReLU()")

    edit(project / "conf" / "model" / "residual.yaml", "\ndepth: 4", "\ndeph: 4")
    wrong = train()
    assert (wrong.code, wrong.err) == (
        2,
        "model.deph=4: own_project.model.Residual has no argument 'deph'; did you mean 'depth'?\n",
    )
    edit(project / "conf" / "model" / "residual.yaml", "\ndeph: 4", "\ndepth: 4")

    tested = words(python, "-m", "pytest", "-q", "-W", "error", cwd=project, timeout=300)
    assert tested.code == 0, tested.out
    assert "5 passed" in tested.out


@pytest.mark.full
def test_what_init_writes_runs_by_its_two_commands(wheel: Path, tmp_path: Path) -> None:
    uv("venv", "--python", sys.executable, tmp_path / "venv", cwd=tmp_path)
    uv("pip", "install", "--python", tmp_path / "venv" / "bin" / "python", wheel, cwd=tmp_path)
    made = words(tmp_path / "venv" / "bin" / "sweeplab", "init", "my-project", cwd=tmp_path)
    assert made.code == 0, made.err
    assert f'{{ path = "{wheel}" }}' in made.out
    project = tmp_path / "my-project"
    uv("sync", "--python", sys.executable, cwd=project, timeout=600)
    program = os.environ.get("UV") or str(shutil.which("uv"))
    trained = words(program, "run", "--offline", "train.py", "tracking.wait=60", cwd=project)
    assert trained.code == 0, trained.err
    assert "test/recall" in next(project.glob("runs/*/result.json")).read_text()
    assert (project / "mlflow.db").exists()
    tested = words(program, "run", "--offline", "pytest", "-q", cwd=project, timeout=300)
    assert tested.code == 0, tested.out
    assert "5 passed" in tested.out
