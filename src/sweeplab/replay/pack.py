"""Put a sweep into one file, to hand it on."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from sweeplab import config, targets
from sweeplab.config import Node
from sweeplab.errors import UserError
from sweeplab.replay import archive, portable
from sweeplab.store import DamagedError, Event, Line, Status, Store, plain, weights
from sweeplab.store.journal import written

ENDED = (Status.FINISHED, Status.FAILED)
"""The runs that are handed on: any other would have to go on from a checkpoint."""


@dataclass(kw_only=True)
class Packed:
    """What a file holds of a sweep, and what it does not."""

    file: Path
    runs: int = 0
    modules: list[str] = field(default_factory=list)
    with_weights: int = 0
    paths: set[str] = field(default_factory=set)  # keys that look like places
    left_out: dict[str, str] = field(default_factory=dict)  # run, module or weights -> why


def pack(home: Store, sweep: Node, file: Path, *, with_weights: bool = False) -> Packed:
    """Write the runs of a sweep that have ended, and the code that they call, to a file.

    The same runs make the same bytes. Raises UserError if no run can be packed.
    """
    packed = Packed(file=file)
    members: dict[str, bytes | Path] = {}
    members[archive.SWEEP] = json.dumps(plain(portable.manifest(sweep))).encode()
    code: dict[str, set[str]] = {}  # module -> the digests that runs have recorded
    for cell in sweep["cells"]:
        run = home.run(cell["fingerprint"])
        name = f"{run.id} ({cell['name']})"
        try:
            _, history = run.history()
        except DamagedError as error:
            packed.left_out[name] = str(error)
            continue
        if history.status not in ENDED:
            packed.left_out[name] = f"is {history.status}"
            continue
        journal, member = _journal(history.lines), f"{archive.RUNS}/{run.id}.jsonl"
        if not archive.fits(member, journal):
            packed.left_out[name] = "its journal is too large"
            continue
        packed.runs += 1
        members[member] = journal
        packed.paths |= _paths(history.start)
        if "diff" in (history.provenance.get("git") or {}):
            packed.left_out["what store.code=diff has kept"] = "it stays in this store"
        for module, digest in (history.start.get("code") or {}).items():
            code.setdefault(str(module), set()).add(str(digest))
        if with_weights and (held := _weights(run.weights_file, weights.why_none(run))):
            members[f"{archive.WEIGHTS}/{run.id}.safetensors"] = held
            packed.with_weights += 1
    if not packed.runs:
        why = "; ".join(f"{name}: {reason}" for name, reason in list(packed.left_out.items())[:3])
        raise UserError(f"{sweep['id'][:12]}: there is nothing to pack: {why or 'it has no runs'}")
    members |= _code(code, packed)
    about = {"sweeplab": metadata.version("sweeplab"), "sweep": sweep["id"]}
    archive.write(file, about, members)
    return packed


def _journal(lines: Iterable[Line]) -> bytes:
    kept = [line for line in lines if line["event"] != Event.MODEL]  # of a folder that stays here
    return b"".join(written(portable.line(line)) for line in kept)


def _weights(file: Path, missing: str | None) -> Path | None:
    """Return the file of weights; None without one, or if safetensors could not hold them."""
    return file if missing is None and file.suffix == ".safetensors" else None


def _code(digests: Mapping[str, set[str]], packed: Packed) -> dict[str, bytes | Path]:
    """Collect the modules of the user's that are today what they were when runs called them."""
    members: dict[str, bytes | Path] = {}
    folder = str(config.root())
    if folder not in sys.path:
        sys.path.append(folder)
    for module, recorded in digests.items():
        if module == "numerics" or module.endswith(")"):  # a version, or a file
            continue
        found = targets.source_of(module)
        if found is None or found.digest not in recorded:
            packed.left_out[module] = "its code is not here any more as it was when it was called"
            continue
        name = f"{archive.CODE}/{found.path}"
        text = found.content.decode(errors="replace")
        if config.holds_secret(text):
            packed.left_out[module] = "its code seems to hold a secret"
        elif archive.is_allowed(name):
            members[name] = found.content
            packed.modules.append(module)
    return members


def _paths(start: Line) -> set[str]:
    """List the keys that are handed on although they look like places of this machine.

    They are arguments of the user's own classes, and a part of what was asked.
    """
    flat = config.flatten(portable.line(start).get("config", {}))
    return {key for key, value in flat.items() if str(value).startswith(("/", "~"))}
