"""docs/json.md against what the commands print: every field of either is one of the other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from compared import Node, add, begin, manifest
from conftest import PROJECT, Command, ended

from sweeplab.commands import cli
from sweeplab.store import Event, Store, code

PAGE = (PROJECT / "docs/json.md").read_text()
KINDS = {str: "text", bool: "true or false", int: "number", float: "number", type(None): "null"}


def documented(schema: str) -> dict[str, str]:
    """Field -> type, by the table of a schema."""
    table = PAGE.partition(f"\n## `{schema}`\n")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| `(.+?)` \| (.+?) \|", table, flags=re.MULTILINE))


def leaves(value: Any, fields: dict[str, str], path: str = "") -> Iterator[tuple[str, str]]:
    """Each field of what was printed that holds no further ones, and its type."""
    if fields.get(path) == "any":
        yield path, "any"
    elif isinstance(value, list):
        for entry in value:
            yield from leaves(entry, fields, f"{path}[]")
    elif isinstance(value, dict):
        for key, entry in value.items():
            name = f"{path}.{key}".lstrip(".")
            if any(field.startswith(f"{path}.*") for field in fields):
                name = f"{path}.*"
            yield from leaves(entry, fields, name)
    else:
        yield path, KINDS[type(value)]


def unlike(schema: str, *printed: str) -> list[str]:
    """What is printed and not in the table with its type, and what is in the table and not printed."""
    fields = documented(schema)
    assert fields["schema"] == "text"
    seen, wrong = set(), []
    for text in printed:
        content = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
        assert content["schema"] == schema
        for field, kind in leaves(content, fields):
            if kind not in fields.get(field, "") and fields.get(field) != "any":
                wrong.append(f"{field} is {kind}")
            seen.add(field)
    inner = {field for field, kind in fields.items() if not kind.startswith("object")}
    return sorted({*wrong, *(f"{field} is not printed" for field in inner - seen)})


def test_the_page_names_every_schema() -> None:
    listed = re.findall(r"^\| `.+` \| `(sweeplab\..+)` \|$", PAGE, flags=re.MULTILINE)
    assert re.findall(r"^## `(sweeplab\..+)`$", PAGE, flags=re.MULTILINE) == listed


def test_runs_compare_and_watch(home: Store, sweeplab: Command) -> None:
    cells: list[Node] = []
    for hidden, norm, best in (
        (8, "true", 0.5),
        (16, "true", 0.75),
        (8, "false", 0.7),
        (16, "false", 0.72),
    ):
        for seed in range(5):
            words = (f"model.hidden={hidden}", f"model.batch_norm={norm}", f"seed={seed}")
            valid = (0.25, best + 0.01 * ((seed * (hidden + len(norm))) % 7))
            more = {"parameters": 100.0 * hidden}
            cells.append(add(home, *words, valid=valid, more=more, provenance={"host": "here"}))
    cells.append(add(home, "model.hidden=8", "seed=5", status="failed"))
    run, cell = begin(home, ["model.hidden=8", "seed=6"])
    made = home.manifest(manifest(home, [*cells, cell], baseline="model.batch_norm=true"))
    home.write_manifest(made | {"status": "running", "time": 1.0})
    kept = home.run(cells[0]["fingerprint"]).kept
    kept.mkdir()
    (kept / "1.safetensors").touch()
    with run.claim():
        for epoch in (1, 2):
            values = {"valid/accuracy": 0.5}
            run.journal.append(Event.EPOCH, epoch=epoch, metrics=values, seconds=0.5)
        assert unlike("sweeplab.runs/1", sweeplab("runs", "--json").out) == []
        assert unlike("sweeplab.watch/1", sweeplab("watch", "--json").out) == []
    compared = ("compare", "--json", "--margin", "0.01", "--target", "0.7")
    undecided = ("compare", "--json", "--where", "not model.batch_norm")
    assert unlike("sweeplab.compare/1", sweeplab(*compared).out, sweeplab(*undecided).out) == []
    other = {"code": {"net": "b" * 64}, "data": {"digest": "e" * 64}}
    two = []
    for untracked, facts in (({"net.py": "x = 1\n"}, {}), ({}, other)):
        content = {"commit": None, "diff": {}, "untracked": untracked, "left_out": {}}
        git = {"diff": code.write(home.root, content)}
        cell = add(
            home, f"seed={9 + len(two)}", test=0.1 * len(two), provenance={"git": git}, **facts
        )
        two.append(home.run(cell["fingerprint"]).id)
    assert unlike("sweeplab.differences/1", sweeplab("compare", *two, "--json").out) == []


def test_plan_and_why(train: Command, capfd: pytest.CaptureFixture[str]) -> None:
    plan = ("-m", "data=digits", "sweep.plan=json")
    grid = train(*plan, "model.hidden=8,16", "model.dropout=0.1")
    search = train(*plan, "hydra/sweeper=optuna", "optimizer.lr=tag(log, interval(1e-4,0.1))")
    assert (grid.code, search.code) == (0, 0), grid.err + search.err
    assert unlike("sweeplab.plan/1", grid.out, search.out) == []
    why = ended(lambda: cli.main(["why", "model.in_features", "--json", "data=digits"]), capfd)
    assert unlike("sweeplab.why/1", why.out) == []
