"""The documentation site: its links hold on the site and in the repository alike, its reference is whole."""

from __future__ import annotations

import dataclasses
import re
import runpy
import shlex
from pathlib import Path
from typing import Any

import pytest
from conftest import PROJECT
from hydra.core.override_parser.overrides_parser import OverridesParser

import sweeplab
from sweeplab.commands.cli import COMMANDS
from sweeplab.config import compose, defaults

SITE: dict[str, Any] = runpy.run_path(str(PROJECT / "docs" / "site_pages.py"))
REFERENCE: dict[str, Any] = runpy.run_path(str(PROJECT / "docs" / "reference_pages.py"))
MADE = ("_build", "reference", "repository")
PAGES = [
    f"docs/{place}"
    for place in (file.relative_to(PROJECT / "docs") for file in (PROJECT / "docs").rglob("*.md"))
    if place.parts[0] not in MADE
] + SITE["taken"]()


@pytest.mark.parametrize("page", sorted(PAGES))
def test_every_link_of_a_page_leads_to_a_file(page: str) -> None:
    text = (PROJECT / page).read_text(encoding="utf-8")
    for target, _ in SITE["_LINK"].findall(text):
        assert ((PROJECT / page).parent / target).exists(), target


def test_a_link_leads_to_the_same_page_on_the_site() -> None:
    relinked = SITE["relinked"]
    assert relinked("[a](sweeps.md#seeds)", "docs/python.md") == "[a](sweeps.md#seeds)"
    assert relinked("[a](../../experiments/width.md)", "docs/how_do_i/seeds.md") == (
        "[a](../repository/experiments/width.md)"
    )
    assert relinked("[a](../benchmarks/README.md#x)", "docs/comparison.md") == (
        "[a](repository/benchmarks/README.md#x)"
    )
    assert relinked("[a](../README.md)", "docs/comparison.md") == "[a](index.md)"
    assert relinked("[a](../docs/comparison.md)", "benchmarks/README.md") == (
        "[a](../../comparison.md)"
    )
    assert relinked("![a](figures/b.png)", "experiments/width.md") == (
        "![a](../../../experiments/figures/b.png)"
    )
    assert relinked("[a](https://pytorch.org) [b](#c)", "docs/a.md") == (
        "[a](https://pytorch.org) [b](#c)"
    )


def test_the_first_page_lists_every_page_of_the_guide() -> None:
    index = (PROJECT / "docs" / "index.md").read_text(encoding="utf-8")
    listed = re.findall(r"^[\w/*]+$", index, flags=re.MULTILINE)
    pages = [file.stem for file in (PROJECT / "docs").glob("*.md") if file.stem != "index"]
    assert [name for name in pages if not {name, f"{name}*"} & set(listed)] == []


@pytest.fixture(scope="module")
def config_page() -> str:
    return str(REFERENCE["config_page"]())


def keys_of(section: dict[str, Any], name: str) -> list[str]:
    keys: list[str] = []
    for key, value in section.items():
        inner = value if isinstance(value, dict) else {}
        keys += keys_of(inner, f"{name}.{key}") or [f"{name}.{key}"]
    return keys


def test_every_key_of_the_schema_has_its_entry(config_page: str) -> None:
    entries = re.findall(r"^:::\{confval\} (\S+)$", config_page, flags=re.MULTILINE)
    keys = [key for name, section in defaults().items() for key in keys_of(section, name)]
    assert len(keys) > 80
    whole = [entry.removesuffix("._target_") for entry in entries]
    assert [key for key in keys if key not in entries and key not in whole] == []
    assert {"seed", "metrics", "model.hidden", "model.channels", "optimizer.momentum"} <= {*entries}
    assert {"hydra.sweeper.n_trials", "hydra.launcher.partition", "hydra.launcher.address"} <= {
        *entries
    }
    assert len(entries) == len(set(entries))


def test_every_entry_says_what_the_key_means(config_page: str) -> None:
    entries = re.findall(r":::\{confval\} (\S+)\n((?::.*\n)+)\n(.*)\n:::", config_page)
    assert len(entries) > 150
    assert [key for key, _, meaning in entries if not meaning] == []
    shown = {key: (options, meaning) for key, options, meaning in entries}
    assert shown["trainer.batch_size"] == (
        ":type: a whole number >= 1\n:default: `128`\n",
        "training examples of an update",
    )
    assert shown["optimizer.lr"][0].endswith(":default: `0.001` (adam, adamw), `0.1` (sgd)\n")


def test_every_command_has_its_entry_with_its_options() -> None:
    page = REFERENCE["commands_page"]()
    assert re.findall(r"^## sweeplab (.*)$", page, flags=re.MULTILINE) == list(COMMANDS)
    assert "| `--baseline" in page.partition("## sweeplab compare\n")[2].partition("\n## ")[0]
    assert "| `--multirun, -m` |" in page.partition("## python train.py\n")[2].partition("\n## ")[0]


def test_every_public_name_has_its_entry() -> None:
    page = REFERENCE["python_page"]()
    for name in sweeplab.__all__:
        assert re.search(rf"^\.\. auto(function|class):: sweeplab\.{name}$", page, re.MULTILINE), (
            name
        )
    assert ".. autofunction:: sweeplab.run\n" in page
    assert ".. autoclass:: sweeplab.tracking.Exporter\n" in page


def first_value(word: str) -> str:
    """An override with the first of the values that it sweeps over."""
    override = OverridesParser.create().parse_override(word)
    if not override.is_sweep_override():
        return word
    value = override.value()
    if dataclasses.is_dataclass(value) and hasattr(value, "start"):
        return f"{override.get_key_element()}={value.start}"
    return f"{override.get_key_element()}={next(iter(override.sweep_string_iterator()))}"


MOVES = (PROJECT / "docs" / "coming_from.md").read_text(encoding="utf-8")


@pytest.mark.few(8)
@pytest.mark.parametrize("words", re.findall(r"`python train\.py([^`]*)`", MOVES))
def test_every_command_for_those_who_come_from_elsewhere_composes(root: Path, words: str) -> None:
    overrides = [each for each in shlex.split(words) if each not in ("-m", "--cfg", "job")]
    given = [first_value(each) for each in overrides if not each.startswith("sweep.from")]
    if "my_package" in words:
        given = [each for each in given if not re.search(r"my_package|^\+model\.", each)]
    assert compose(given).seed in (0, 1)
