"""Who may import whom (DESIGN 3): imports go one way, each big dependency has one door, and importing is quick."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src"
FILES = sorted(p for p in SOURCE.rglob("*.py"))

BASE = {"errors", "metrics", "config", "code"}
LEAVES = {"runtime", "data", "models", "stopping", "checkpoint", "loop", "screen"}  # neighbours: not one another
TRACKED = BASE | {"store", "tracking"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "metrics": {"errors"},
    "config": {"errors", "metrics"},
    "code": {"errors", "metrics"},
    "schedule": BASE,
    "expression": {"errors"},
    "ranks": set(),
    "cpus": set(),
    "terminal": set(),
    "dynamo": set(),
    "store": BASE,
    "tracking": BASE | {"store", "terminal"},
    **dict.fromkeys(LEAVES, BASE),
    "screen": BASE | {"terminal"},
    "reduction": BASE | {"models"},
    "measured": BASE,
    "loop": BASE | {"reduction", "measured", "schedule"},
    "attributes": {"state"},
    "attachments": {"measured", "state", "store"},
    "metric_trial": BASE | {"measured"},
    "runtime": BASE | {"ranks", "cpus"},
    "state": BASE,
    "checkpoint": BASE | {"store", "state"},
    "parts": BASE | {"measured", "data", "schedule", "stopping"},
    "build": BASE | {"dynamo", "loop", "measured", "models", "runtime", "schedule"},
    "trial": BASE | {"metric_trial", "checkpoint", "state", "dynamo", "parts", "runtime", "schedule", "screen"},
    "system": {"errors", "store"},
    "fused": BASE | {"loop", "models", "runtime"},
    "ddp": BASE | {"ranks", "data", "loop", "reduction", "runtime", "screen"},
    "identity": BASE | {"store", "data", "parts", "schedule"},
    "job": BASE | LEAVES | {"store", "parts", "schedule", "trial", "system", "identity"},
    "training": TRACKED
    | LEAVES
    | {"ranks", "identity", "state", "attributes", "attachments", "build", "job", "system", "ddp"},
    "outcome": TRACKED | {"screen", "stopping", "job"},
    "recording": BASE | {"store", "screen", "stopping", "job"},
    "run": TRACKED | LEAVES | {"ranks", "state", "parts", "job", "ddp", "fused", "training", "recording", "outcome"},
    "listing": {"errors", "metrics", "config", "store", "screen"},
    "compare": TRACKED | {"expression", "screen"},
    "record": BASE | LEAVES | {"store"},
    "replay": TRACKED | LEAVES | {"parts", "identity", "job", "run", "record"},
    "sweep": TRACKED
    | LEAVES
    | {"expression", "compare", "parts", "build", "schedule", "job", "fused", "run", "outcome", "terminal"},
    "cli": TRACKED | LEAVES | {"ranks", "terminal", "parts", "job", "run", "replay", "sweep", "listing", "compare"},
    "__init__": {"run"},
    "hydra_plugins": TRACKED | LEAVES | {"ranks", "parts", "job", "run", "outcome", "sweep", "cli"},
}
HYDRA = {"config", "code", "sweep", "hydra_plugins"}
MLFLOW = {"tracking"}
NO_TORCH = {
    "errors",
    "config",
    "expression",
    "ranks",
    "cpus",
    "terminal",
    "store",
    "tracking",
    "listing",
    "compare",
    "cli",
    "hydra_plugins",
}


def room(file: Path) -> str:
    """`store` for sweeplab/store.py, `data` for every file of sweeplab/data."""
    package, *rest = file.relative_to(SOURCE).with_suffix("").parts
    return rest[0] if package == "sweeplab" else package


def imported(node: ast.AST) -> Iterator[str]:
    """The dotted names that the import statements in `node` name: `from a import b` is a.b."""
    for found in ast.walk(node):
        if isinstance(found, ast.Import):
            yield from (name.name for name in found.names)
        elif isinstance(found, ast.ImportFrom):
            assert found.level == 0, "a relative import"
            yield from (f"{found.module}.{name.name}" for name in found.names)


def at_import(tree: ast.Module) -> Iterator[str]:
    """What is imported when the module is: neither in functions, nor for the type checker alone."""
    for node in tree.body:
        for_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if not for_types and not isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield from imported(node)


def packages(names: Iterator[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(SOURCE).as_posix())
def test_imports_go_one_way(file: Path) -> None:
    tree, here = ast.parse(file.read_text()), room(file)
    rooms = {name.split(".")[1] for name in imported(tree) if name.startswith("sweeplab.")}
    assert rooms - MAY_IMPORT[here] - {here} == set()
    everywhere, first = packages(imported(tree)), packages(at_import(tree))
    assert "hydra" not in everywhere or here in HYDRA
    assert "mlflow" not in everywhere or here in MLFLOW
    assert "mlflow" not in first
    assert "ray" not in everywhere or file.stem == "cluster"
    assert "ray" not in first
    assert "torch" not in (everywhere if here in NO_TORCH else set())


def test_the_table_names_what_is_there_and_nothing_else() -> None:
    assert {room(file) for file in FILES} == set(MAY_IMPORT)


def test_importing_loads_neither_torch_nor_mlflow() -> None:
    modules = ["sweeplab", "sweeplab.config", "sweeplab.store", "sweeplab.tracking", "sweeplab.commands.cli"]
    modules += [
        f"hydra_plugins.hydra_sweeplab.{file.stem}"
        for file in (SOURCE / "hydra_plugins/hydra_sweeplab").glob("[!_]*.py")
    ]
    program = f"import sys, {', '.join(modules)}\nprint(sorted(sys.modules.keys() & {{'torch', 'mlflow', 'sweeplab.commands.cli'}}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("['sweeplab.commands.cli']\n", "")
