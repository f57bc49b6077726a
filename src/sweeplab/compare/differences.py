"""Two runs side by side: what differs in config, code, data and environment, and what came out."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import unified_diff
from typing import Any

from sweeplab import config, console
from sweeplab.compare import runs
from sweeplab.compare.computation import DATA_DIGEST, DIGITS, computation
from sweeplab.config import Node
from sweeplab.console import counted
from sweeplab.errors import UserError
from sweeplab.store import DamagedError, History, Run, code

Pair = tuple[Any, Any]
FILES = "files"  # what store.code=diff has kept, if both runs have it
MOST_LINES = 200  # of their difference
Differences = dict[str, dict[str, Pair]]
"""Section -> key -> the values of both runs; None where a run has no such key."""


def differences(first: Run, second: Run) -> Differences:
    """Find what differs between two runs.

    Where things lie is left out; how they were computed is in the environment. Raises UserError for
    a run that was never started.
    """
    one, other = _facts(first), _facts(second)
    if one["data"].get("digest") == other["data"].get("digest"):
        # The examples are the same, wherever they come from.
        for facts in (one, other):
            values = facts["config"].items()
            facts["config"] = {key: value for key, value in values if not _names_data_set(key)}
    files, other_files = _files(first), _files(second)
    if files is not None and other_files is not None:
        one[FILES], other[FILES] = files, other_files
    result: Differences = {}
    for section in one:
        result[section] = {}
        for key in {**one[section], **other[section]}:
            a, b = one[section].get(key), other[section].get(key)
            if a != b and config.to_text(a) != config.to_text(b):
                result[section][key] = (a, b)
    return result


def _names_data_set(key: str) -> bool:
    return key == "data.name" or key.startswith("data.dataset.")


def _facts(run: Run) -> dict[str, Node]:
    """Collect what is known of a run, in sections of flat keys."""
    replica = runs.read_run(run)
    start = replica.start
    if replica.status == runs.DAMAGED:
        raise UserError(str(replica.error))
    if not start:
        problem = "has no start in its journal; nothing is known of what it was asked"
        raise UserError(f"{run.folder}: {problem}")
    values = computation(start, over=())
    del values[DATA_DIGEST]
    code = {}
    for key in [key for key in values if key.startswith("code.")]:
        code[key.removeprefix("code.")] = values.pop(key)
    if "code" not in start:
        code = {"(not recorded)": start["fingerprint"][:DIGITS]}
    environment = config.flatten(start.get("provenance", {}))
    environment["deterministic"] = start["config"].get("trainer", {}).get("deterministic")
    return {
        "config": values,
        "code": code,
        "data": dict(start.get("data", {})),
        "environment": environment,
        "result": {"status": replica.status, "stop_reason": replica.stop_reason, **replica.metrics},
    }


def _files(run: Run) -> dict[str, str] | None:
    """Read the code that was kept: of a changed file its difference to the commit, else the text.

    None if the run has not kept its code, or it is damaged, which is said; empty if that was the
    commit's.
    """
    try:
        kept = code.read(run.folder.parent, History.of(run.journal))
    except DamagedError as error:
        console.complain(f"the kept code of run {run.id} cannot be read: {error}")
        return None
    return None if kept is None else {**kept.get("diff", {}), **kept.get("untracked", {})}


def show(found: Mapping[str, Mapping[str, Pair]], names: Pair) -> None:
    """Print a table for each section that differs, and name those that do not."""
    for section, pairs in found.items():
        rows = [(key, _text(a), _text(b)) for key, (a, b) in pairs.items()]
        if section == FILES:
            _show_files(pairs, names, same_commit="git.commit" not in found["environment"])
        elif rows:
            console.table(section, ("", *names), rows, left=3)
    same = [section for section, pairs in found.items() if not pairs]
    if same:
        console.say(f"no difference in: {', '.join(same)}")


def _show_files(pairs: Mapping[str, Pair], names: Pair, *, same_commit: bool) -> None:
    """Print the difference of what both runs have kept of their code, as `diff -u` does."""
    lines: list[str] = []
    for path, texts in pairs.items():
        a, b = ((text or "").splitlines() for text in texts)
        first, second = (f"{name}: {path}" for name in names)
        lines += unified_diff(a, b, first, second, lineterm="")
    if lines:
        own = "" if same_commit else ", each from its own commit"
        console.say(f"\nfiles that store.code=diff has kept; of a changed one the git diff{own}")
    for line in lines[:MOST_LINES]:
        console.say(line)
    if len(lines) > MOST_LINES:
        console.say(
            f"... and {counted(len(lines) - MOST_LINES, 'more line')}; sweeplab compare --json has all"
        )


def _text(value: Any) -> str:
    return "-" if value is None else config.to_text(value)
