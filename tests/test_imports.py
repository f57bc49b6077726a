"""Who may import whom (DESIGN 3): imports go one way, each big dependency has one door, and importing is quick."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import PROJECT

SOURCE = PROJECT / "src"
FILES = sorted(SOURCE.rglob("*.py"))

BASE = {"errors", "metrics", "config", "targets"}
RECORDS = {"errors", "metrics", "config", "console", "store"}
RUNS = BASE | {"console", "data", "models", "speed", "train", "store", "tracking"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "metrics": {"errors"},
    "config": {"errors", "metrics"},
    "targets": {"errors", "config"},
    "console": {"errors", "config", "metrics"},
    "store": {"errors", "metrics", "config"},
    "tracking": RECORDS | {"targets"},
    "compare": RECORDS | {"tracking"},
    "data": BASE,
    "models": {"errors"},
    "speed": set(),
    "train": BASE | {"console", "data", "models", "speed"},
    "runs": RUNS,
    "replay": RUNS | {"runs", "compare"},
    "sweep": RUNS | {"runs", "compare"},
    "commands": RUNS | {"runs", "replay", "sweep", "compare"},
    "__init__": {"errors", "runs", "commands"},
    "hydra_plugins": RUNS | {"runs", "sweep"},
}
HYDRA = {"config", "targets", "speed", "sweep", "hydra_plugins"}
MLFLOW = {"tracking"}
NO_TORCH = {
    "errors",
    "config",
    "console",
    "store",
    "tracking",
    "compare",
    "commands",
    "hydra_plugins",
}


def room(file: Path) -> str:
    """`metrics` for sweeplab/metrics.py, `data` for every file of sweeplab/data."""
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


def for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def at_import(tree: ast.Module) -> Iterator[str]:
    """What is imported when the module is: neither in functions, nor for the type checker alone."""
    for node in tree.body:
        if not for_types(node) and not isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield from imported(node)


def packages(names: Iterator[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def module(file: Path) -> str:
    """`sweeplab.store` for sweeplab/store/__init__.py."""
    parts = file.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def imported_files(file: Path, modules: set[str]) -> set[str]:
    """Which of our modules a file imports, in functions, too."""
    tree = ast.parse(file.read_text())
    tree.body = [node for node in tree.body if not for_types(node)]
    found = set()
    for name in imported(tree):
        found.add(name if name in modules else name.rpartition(".")[0])
    return found & modules - {module(file)}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(SOURCE).as_posix())
def test_imports_go_one_way(file: Path) -> None:
    tree, here = ast.parse(file.read_text()), room(file)
    rooms = {name.split(".")[1] for name in imported(tree) if name.startswith("sweeplab.")}
    assert rooms - MAY_IMPORT[here] - {here} == set()
    everywhere, first = packages(imported(tree)), packages(at_import(tree))
    assert "hydra" not in everywhere or here in HYDRA
    assert "mlflow" not in everywhere or here in MLFLOW
    assert "mlflow" not in first
    assert "ray" not in everywhere or file.stem == "ray_driver"
    assert "ray" not in first
    tree.body = [node for node in tree.body if not for_types(node)]
    assert "torch" not in (packages(imported(tree)) if here in NO_TORCH else set())


def test_no_file_imports_itself_by_way_of_others() -> None:
    modules = {module(file) for file in FILES}
    graph = {module(file): imported_files(file, modules) for file in FILES}
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) == len(FILES)


def test_the_table_names_what_is_there_and_nothing_else() -> None:
    assert {room(file) for file in FILES} == set(MAY_IMPORT)


def test_there_are_at_most_seventeen_rooms() -> None:
    entries = [
        entry
        for entry in (SOURCE / "sweeplab").iterdir()
        if entry.is_dir() or entry.suffix == ".py"
    ]
    assert len([entry for entry in entries if entry.name != "__pycache__"]) <= 17


def test_importing_loads_neither_torch_nor_mlflow() -> None:
    modules = [
        "sweeplab",
        "sweeplab.config",
        "sweeplab.store",
        "sweeplab.tracking",
        "sweeplab.commands",
    ]
    modules.append("sweeplab.compare")
    plugins = (SOURCE / "hydra_plugins/hydra_sweeplab").glob("[!_]*.py")
    modules += [f"hydra_plugins.hydra_sweeplab.{file.stem}" for file in plugins]
    program = (
        f"import sys, {', '.join(modules)}\n"
        "print(sorted(sys.modules.keys() & {'torch', 'mlflow', 'jinja2', 'matplotlib', 'sweeplab.commands'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("['sweeplab.commands']\n", "")
