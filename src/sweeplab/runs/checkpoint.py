"""Checkpoints on disk: written whole or not at all, read without running code in them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from sweeplab.errors import first_line
from sweeplab.store import ID_LENGTH, write_atomic
from sweeplab.train import state as states
from sweeplab.train.state import State
from sweeplab.train.stopping import StopReason


@dataclass(kw_only=True, slots=True)
class Checkpoint:
    """Everything that a resume needs: tensors, numbers, texts and containers of them."""

    fingerprint: str
    epoch: int
    reason: StopReason | None  # why it was the last epoch, if it was
    threads: int
    model: State  # of network and loss
    best: State | None  # the same at the best epoch so far
    optimizer: dict[str, Any]
    scheduler: dict[str, Any]
    stopping: dict[str, Any]
    attributes: dict[tuple[str, str], Any]
    random: dict[str, Any]
    trained_examples: int
    train_seconds: float
    averaged: dict[str, Any] | None = None  # the moving average of the weights
    step: dict[str, Any] = field(default_factory=dict)  # states of the modules that a step holds
    scaler: dict[str, Any] = field(default_factory=dict)  # scales of fp16, by part

    @classmethod
    def names(cls) -> list[str]:
        return [spec.name for spec in fields(cls)]


OWN = frozenset({"fingerprint", "reason", "best", "stopping", "trained_examples", "train_seconds"})
"""The fields that differ between runs that share their epochs."""

OPTIONAL = frozenset({"averaged", "step", "scaler"})
"""The fields that checkpoints of earlier versions lack."""

NO_COMMENT = (0).to_bytes(2, "little")  # the end of a ZIP file: the length of its comment
DIGEST = b"sha256:"
COMMENT_LENGTH = (len(DIGEST) + 64).to_bytes(2, "little")


def save(folder: Path, checkpoint: Checkpoint) -> None:
    """Write the checkpoint of an epoch, whole or not at all, and keep it and the one before.

    Those of later epochs are deleted: they were damaged, and training went on from an earlier one.
    """
    folder.mkdir(exist_ok=True)
    saved = {name: getattr(checkpoint, name) for name in Checkpoint.names()}
    if checkpoint.reason is not None:
        saved["reason"] = str(checkpoint.reason)  # torch reads no classes of ours
    write_atomic(folder / f"{checkpoint.epoch}.pt", _sealed(states.to_bytes(saved)))
    before = [file for number, file in _files(folder) if number < checkpoint.epoch]
    after = [file for number, file in _files(folder) if number > checkpoint.epoch]
    for file in (*before[:-1], *after):
        file.unlink(missing_ok=True)


def keep_last(folder: Path) -> None:
    """Delete all checkpoints but the last."""
    for _, file in _files(folder)[:-1]:
        file.unlink(missing_ok=True)


def latest(folder: Path, fingerprint: str, complain: Callable[[str], None]) -> Checkpoint | None:
    """Read the last whole checkpoint of the run with this fingerprint; None if there is none.

    A damaged checkpoint, or another run's, is complained of, and the one before it is taken.
    """
    for _, file in reversed(_files(folder)):
        try:
            saved = states.from_bytes(_opened(file.read_bytes()))
            needed = [name for name in Checkpoint.names() if name not in OPTIONAL]
            missing = [name for name in needed if name not in saved]
        except Exception as error:  # whatever torch makes of damaged bytes
            complain(
                f"{file}: this checkpoint is damaged ({first_line(error)}); the one before is taken"
            )
            continue
        if missing:
            complain(
                f"{file}: this checkpoint has no {', '.join(missing)}, as of an earlier version; it is left aside"
            )
        elif saved["fingerprint"] != fingerprint:
            complain(
                f"{file}: this checkpoint is of run {saved['fingerprint'][:ID_LENGTH]}; it is left aside"
            )
        else:
            known = {name: saved[name] for name in Checkpoint.names() if name in saved}
            known["reason"] = None if known["reason"] is None else StopReason(known["reason"])
            return Checkpoint(**known)
    return None


def _sealed(archive: bytes) -> bytes:
    """Add a digest to an archive of `torch.save`, as a ZIP comment, which torch ignores."""
    assert archive.endswith(NO_COMMENT)
    body = archive[: -len(NO_COMMENT)]
    return body + COMMENT_LENGTH + DIGEST + hashlib.sha256(body).hexdigest().encode()


def _opened(content: bytes) -> bytes:
    """Check the digest of an archive, if it has one, and return the archive. Raises ValueError."""
    head, mark, digest = content.rpartition(COMMENT_LENGTH + DIGEST)
    if mark and hashlib.sha256(head).hexdigest().encode() != digest:
        raise ValueError("its content does not fit the digest in it")
    return content


def _files(folder: Path) -> list[tuple[int, Path]]:
    """List the checkpoints in a folder with their epochs, the first epoch first."""
    return sorted((int(file.stem), file) for file in folder.glob("*.pt") if file.stem.isdigit())
