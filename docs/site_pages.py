"""The pages of the site that lie elsewhere in the repository, and links that hold there and here."""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
TAKEN = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "benchmarks/README.md",
    "deploy/README.md",
    "examples/*/README.md",
    "experiments/*.md",
)
"""The pages of the repository that are shown as they are."""

FRONT = ("README.md", "README.ko.md")
"""What the site's first page stands for."""

_LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)(#[^)\s]*)?(?=\))")


def write(docs: Path) -> None:
    """Write docs/repository/ and docs/reference/, which git ignores."""
    import reference_pages

    for name, text in reference_pages.pages().items():
        write_page(docs / "reference" / name, text)
    for page in taken():
        text = (PROJECT / page).read_text(encoding="utf-8")
        write_page(docs / site_place(page).removeprefix("docs/"), relinked(text, page))


def write_page(file: Path, text: str) -> None:
    """Write a page, unless it is there already: Sphinx reads again what is newer."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists() or file.read_text(encoding="utf-8") != text:
        file.write_text(text, encoding="utf-8")


def taken() -> list[str]:
    """List the pages of TAKEN, from the repository's root."""
    return [
        file.relative_to(PROJECT).as_posix()
        for pattern in TAKEN
        for file in sorted(PROJECT.glob(pattern))
    ]


def relink_source(_: Any, docname: str, content: list[str]) -> None:
    """Point the links of a page in docs/ at the site: Sphinx's event `source-read`."""
    if docname.partition("/")[0] not in ("reference", "repository"):
        content[0] = relinked(content[0], f"docs/{docname}.md")


def relinked(text: str, page: str) -> str:
    """Point the links of a page of the repository at the pages of the site, where there are such."""
    here = posixpath.dirname(site_place(page))

    def link(found: re.Match[str]) -> str:
        there = posixpath.normpath(posixpath.join(posixpath.dirname(page), found[1]))
        place = os.path.relpath(site_place(there), here)
        return place + (found[2] or "")

    return _LINK.sub(link, text)


def site_place(page: str) -> str:
    """Return where a file of the repository stands on the site, from the repository's root."""
    if page in FRONT:
        return "docs/index.md"
    return f"docs/repository/{page}" if page in taken() else page
