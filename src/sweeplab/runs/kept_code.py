"""Keep what the project's code differs in from its commit when a run starts: `store.code=diff`."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from sweeplab import config, console
from sweeplab.config import Config
from sweeplab.errors import one_line
from sweeplab.runs.provenance import git, why_no_git
from sweeplab.store import code

log = logging.getLogger(__name__)

MOST_BYTES = 1_000_000  # of a project
MOST_FILES = 200
MOST_NAMED = 20  # of what is left out
DIFF = (
    *("diff", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames"),
    *("--irreversible-delete", "--submodule=short", "--ignore-submodules=dirty"),
)
SUBMODULE = "160000 "  # begins what git says of one


@dataclass(kw_only=True, slots=True)
class _Kept:
    """What is kept of a project."""

    commit: str | None
    diff: dict[str, str] = field(default_factory=dict)  # path -> its difference to the commit
    untracked: dict[str, str] = field(default_factory=dict)  # path -> content
    left_out: dict[str, str] = field(default_factory=dict)  # path -> why
    size: int = 0

    def add(self, to: dict[str, str], name: str, content: bytes) -> None:
        """Keep a text, unless it is too large, is none, or seems to hold a secret."""
        text = content.decode("utf-8", "surrogateescape")
        is_full = len(self.diff) + len(self.untracked) == MOST_FILES
        if is_full or self.size + len(content) > MOST_BYTES:
            why = f"more than {MOST_BYTES / 1e6:.0f} MB or {MOST_FILES} files in all"
        elif b"\0" in content:
            why = "it is no text"
        elif config.holds_secret(f"{name}\n{text}"):
            why = "it seems to hold a secret"
        else:
            to[name] = text
            self.size += len(content)
            return
        self.left_out[name] = why


def keep(settings: Config, folder: Path) -> dict[str, str]:
    """Keep `git diff HEAD` and the untracked files of the project that `folder` lies in.

    Returns the digest by which they are found, as part of the provenance; {} if nothing is kept.
    """
    if settings.store.code != "diff":
        return {}
    say: Callable[[str], None] = log.info
    if settings.sweep.id is None:
        say = console.say
    top = git("rev-parse", "--show-toplevel", folder=folder)
    if top is None:
        say(f"store.code=diff: no code is kept; git: {console.shown(why_no_git(folder))}")
        return {}
    store = Path(settings.store.root)
    places = [store.resolve(), Path(settings.data.root).resolve()]
    kept = _collect(Path(os.fsdecode(top.removesuffix(b"\n"))), places)
    content = asdict(kept)
    del content["size"]
    digest = code.write(store, content)
    files = console.counted(len(kept.diff) + len(kept.untracked), "changed file")
    say(f"store.code=diff: {files} kept in {store / code.CODE}/{digest[:12]}...")
    for name, why in list(kept.left_out.items())[:MOST_NAMED]:
        say(f"left out: {one_line(console.shown(name))}: {why}")
    if len(kept.left_out) > MOST_NAMED:
        say(f"... and {len(kept.left_out) - MOST_NAMED} more were left out")
    return {"diff": digest}


def _collect(project: Path, places: Sequence[Path]) -> _Kept:
    """Collect what differs from the commit; without a commit, from nothing."""
    kept = _Kept(commit=_commit(project) or None)
    _collect_of(kept, project, "", places)
    return kept


def _collect_of(kept: _Kept, project: Path, prefix: str, places: Sequence[Path]) -> None:
    """Collect what differs in the repository at `prefix` of a project, and in its submodules."""
    top = project / prefix
    base = _commit(top) or _digest(top, "hash-object", "-t", "tree", os.devnull)
    differ = (*DIFF, f"--src-prefix=a/{prefix}", f"--dst-prefix=b/{prefix}", base, "--")
    for inner in _names(top, *DIFF, "--name-only", "-z", base, "--"):
        name = f"{prefix}{inner}"
        if _is_small(project / name, name, kept, is_tracked=True):
            difference = git("--literal-pathspecs", *differ, inner, folder=top)
            kept.add(kept.diff, name, difference or b"")
    for inner in _names(top, "ls-files", "--others", "--exclude-standard", "-z"):
        name = f"{prefix}{inner}"
        file = project / name
        if not any(file.is_relative_to(place) for place in places) and _is_small(file, name, kept):
            try:
                kept.add(kept.untracked, name, file.read_bytes())
            except OSError as error:
                kept.left_out[name] = error.strerror or "it cannot be read"
    for entry in _names(top, "ls-files", "--stage", "-z"):
        facts, _, inner = entry.partition("\t")
        if facts.startswith(SUBMODULE) and (top / inner / ".git").exists():
            _collect_submodule(kept, project, f"{prefix}{inner}", places)


def _collect_submodule(kept: _Kept, project: Path, name: str, places: Sequence[Path]) -> None:
    """Collect what differs in a submodule from its own commit, unless git cannot read it."""
    if git("rev-parse", "--git-dir", folder=project / name) is None:
        kept.left_out[name] = "git cannot read this submodule"
    else:
        _collect_of(kept, project, f"{name}/", places)


def _commit(top: Path) -> str:
    """Return the commit of a repository; '' if it has none yet."""
    return _digest(top, "rev-parse", "--verify", "-q", "HEAD")


def _digest(top: Path, *command: str) -> str:
    return (git(*command, folder=top) or b"").decode().strip()


def _names(project: Path, *command: str) -> list[str]:
    """List the paths that git names; what is no UTF-8 in them is kept as Python keeps it."""
    return [
        os.fsdecode(name) for name in (git(*command, folder=project) or b"").split(b"\0") if name
    ]


def _is_small(file: Path, name: str, kept: _Kept, *, is_tracked: bool = False) -> bool:
    """Tell whether a file may be read at all; note why not."""
    try:
        info = file.lstat()
    except OSError:
        return is_tracked  # it was deleted
    if info.st_size > MOST_BYTES:
        kept.left_out[name] = f"it has more than {MOST_BYTES / 1e6:.0f} MB"
    elif not is_tracked and not stat.S_ISREG(info.st_mode):
        kept.left_out[name] = "it is no plain file"
    return name not in kept.left_out
