"""The documentation site: its links hold on the site and in the repository alike."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
from conftest import PROJECT

SITE: dict[str, Any] = runpy.run_path(str(PROJECT / "docs" / "site_pages.py"))
PAGES = [f"docs/{file.name}" for file in (PROJECT / "docs").glob("*.md")] + SITE["taken"]()


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


def test_a_part_of_the_guide_that_is_still_to_be_written_is_left_out(tmp_path: Path) -> None:
    listed = "```{toctree}\nfirst_hour*\nhow_do_i/*\nsweeps\n```\n"
    (tmp_path / "how_do_i").mkdir()
    (tmp_path / "how_do_i" / "seeds.md").touch()
    without = SITE["without_empty_patterns"](listed, tmp_path)
    assert without == "```{toctree}\nhow_do_i/*\nsweeps\n```\n"


def test_the_first_page_lists_every_page_of_the_guide() -> None:
    index = (PROJECT / "docs" / "index.md").read_text(encoding="utf-8")
    listed = re.findall(r"^[\w/*]+$", index, flags=re.MULTILINE)
    pages = [file.stem for file in (PROJECT / "docs").glob("*.md") if file.stem != "index"]
    assert [name for name in pages if not {name, f"{name}*"} & set(listed)] == []
