"""Same is same: two ways to write one config are one run in every place, and two configs are two in every place.

Pairs are drawn by what they mean: a config is written in two ways, or one of its values is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import meanings
import pytest
from conftest import PROJECT, Tried
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from hypothesis import strategies
from meanings import Meaning

from sweeplab import config
from sweeplab.compare import baseline, differences
from sweeplab.compare.computation import HOW, PLACES, computation
from sweeplab.compare.groups import Group, group_runs, name_groups
from sweeplab.compare.runs import planned, read_run
from sweeplab.runs import run
from sweeplab.runs.job import Job, prepare
from sweeplab.runs.once import Once
from sweeplab.store import Event, Run, Store
from sweeplab.sweep import combinations, compose
from sweeplab.sweep.cell import Cell, make_cell, varied_keys
from sweeplab.tracking import terms

ALWAYS = ("tracking=off", "trainer.threads=1")
F1 = """\
class F1:
    def __init__(self, average=None): pass
    def update(self, output, target): pass
    def compute(self): return 0.5
    def reset(self): pass
"""

Checked = Callable[..., list[Cell]]


@pytest.fixture
def cells(root: Path, monkeypatch: pytest.MonkeyPatch) -> Checked:
    """Make the jobs of one plan, each of a list of overrides. What was found out for one is known for all."""
    (root / "own_f1.py").write_text(F1)
    monkeypatch.syspath_prepend(root)
    once = Once()
    with initialize_config_dir(str(PROJECT / "conf"), version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        master = hydra.compose_config(
            "config", [*ALWAYS], run_mode=RunMode.MULTIRUN, from_shell=False
        )
        composer = compose.Composer(hydra.config_loader, master)

    def make(*lists: Sequence[str]) -> list[Cell]:
        jobs = [job for words in lists for job in _jobs([*ALWAYS, *words])]
        found = [make_cell(job, varied_keys(jobs), composer, once) for job in jobs]
        return [cell for cell in found if cell is not None]

    return make


def _jobs(words: Sequence[str]) -> list[list[str]]:
    parsed = OverridesParser.create().parse_overrides(list(words))
    return combinations.combined(combinations.axes(parsed))


@strategies.composite
def pairs(draw: Any) -> tuple[list[str], list[str], list[str]]:
    """(the keys in which they differ, and the two lists)."""
    meaning = draw(meanings.meanings())
    other = meaning if draw(strategies.booleans()) else draw(meanings.edited(meaning))
    one, two = meaning.canonical(), other.canonical()
    changed = [key for key in {**one, **two} if one.get(key) != two.get(key)]
    return changed, draw(meanings.spelled(meaning)), draw(meanings.spelled(other))


def recorded(job: Job, home: Store) -> Run:
    found = home.run(job.fingerprint)
    if not found.folder.exists():
        found.folder.mkdir(parents=True)
        found.journal.append(Event.START, **job.record(), provenance={})
    return found


def params(job: Job) -> dict[str, str]:
    """What MLflow gets of it, but for how it is computed and where things lie."""
    return {key: text for key, text in terms.params(job.record()).items() if key not in HOW}


def told(run: Run) -> dict[str, Any]:
    """What `--where` looks at, but for how it is computed and where things lie."""
    values = read_run(run).flat_config()
    return {
        key: value for key, value in values.items() if key not in HOW and not key.startswith(PLACES)
    }


def ensure_baselines(groups: Sequence[Group]) -> None:
    """Each value of each column is found, in every way to write it."""
    columns = name_groups(groups)
    for column, *cells in zip(columns, *(one.cells for one in groups), strict=True):
        for cell in cells:
            value = config.from_text(cell)
            for way in (
                [cell] if isinstance(value, list | dict) or cell in "-" else meanings.ways(value)
            ):
                given = baseline.read([f"{column}={way}"])
                assert baseline.find(columns, groups, given, "") == {column: cell}


def test_two_ways_to_write_a_config_are_one_run_and_two_configs_are_two(
    cells: Checked, root: Path, tried: Tried
) -> None:
    one, two = Store(root / "one").open(), Store(root / "two").open()

    def check(pair: tuple[list[str], list[str], list[str]]) -> None:
        changed, first, second = pair
        a, b = cells(first, second)
        runs = recorded(a.job, one), recorded(b.job, two)
        shown = differences.differences(*runs)
        values = [told(run) for run in runs]
        found = {
            "fingerprint": a.job.fingerprint == b.job.fingerprint,
            "question": a.job.question == b.job.question,
            "asked": computation(a.job.outline(), ()) == computation(b.job.outline(), ()),
            "parameters": params(a.job) == params(b.job),
            "differences": not any(shown[section] for section in ("config", "code")),
            "where": all(
                values[0][key] == values[1][key] for key in values[0].keys() & values[1].keys()
            ),
        }
        if (
            "where" in found
            and changed
            and not any(key in values[0] and key in values[1] for key in changed)
        ):
            del found["where"]  # a key that only one of them has
        assert found == dict.fromkeys(found, not changed), shown
        groups = group_runs([planned(cell.record, cell.job.outline()) for cell in (a, b)])
        assert (
            (a.record["group"] == b.record["group"])
            == (len(groups) == 1)
            == (changed in ([], ["seed"]))
        )
        ensure_baselines(groups)
        assert len({tuple(one.cells) for one in groups}) == len(groups)

    tried(check, pairs(), few=8, many=2000)


def test_a_single_run_is_the_same_as_the_job_of_a_sweep(cells: Checked, tried: Tried) -> None:
    """Hydra composes the one, our own composer the other."""

    def check(words: list[str]) -> None:
        (cell,) = cells(words)
        assert prepare(config.compose([*ALWAYS, *words]), []).fingerprint == cell.job.fingerprint

    tried(check, meanings.meanings().flatmap(meanings.spelled), few=4, many=200)


def test_two_ways_to_write_a_config_come_to_the_same_weights(
    cells: Checked, root: Path, tried: Tried
) -> None:
    import torch

    one, two = Store(root / "one").open(), Store(root / "two").open()
    brief = {"trainer.epochs": 1, "trainer.limit_batches": 2}

    def twice(meaning: Meaning) -> strategies.SearchStrategy[tuple[list[str], list[str]]]:
        short = Meaning(meaning.choices, {**meaning.values, **brief})
        return strategies.tuples(meanings.spelled(short), meanings.spelled(short))

    def check(pair: tuple[list[str], list[str]]) -> None:
        results = [
            run.train(cells(words)[0].job, home)
            for words, home in zip(pair, (one, two), strict=True)
        ]
        assert results[0].weights_sha256 == results[1].weights_sha256 is not None

    tried(check, meanings.meanings().flatmap(twice), few=2, many=100)
    torch.use_deterministic_algorithms(False)
