"""The command that was issued: noted when it starts, recorded, and issued again."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from sweeplab.config.nodes import Node
from sweeplab.config.redaction import is_hidden, redact_override
from sweeplab.errors import UserError

ROOT = "SWEEPLAB_ROOT"
_issued: Node | None = None


@contextmanager
def command_noted() -> Iterator[None]:
    """Note the program of this process and its words, before anything changes them."""
    global _issued  # a process has one command
    specification = getattr(sys.modules["__main__"], "__spec__", None)
    program = [str(Path(sys.argv[0]).absolute())]
    if specification is not None:
        program = ["-m", specification.name]
    _issued = {"folder": str(Path.cwd()), "program": program, "words": sys.argv[1:]}
    if os.environ.get(ROOT):
        _issued["root"] = os.environ[ROOT]
    try:
        yield
    finally:
        _issued = None


def issued_command() -> Node | None:
    """Return the command as it may be recorded, secrets hidden; None if Python was called."""
    if _issued is None:
        return None
    return {**_issued, "words": [redact_override(word) for word in _issued["words"]]}


def issued_line() -> list[str] | None:
    """Return what starts the command again as it was typed; None if Python was called."""
    if _issued is None:
        return None
    return [sys.executable, *_issued["program"], *_issued["words"]]


def reissue(command: Node, about: str) -> NoReturn:
    """Become the program that a record tells of, in its folder.

    Raises UserError if that cannot be; `about` begins the message.
    """
    folder, program, words = Path(command["folder"]), command["program"], command["words"]
    hidden = [word for word in words if is_hidden(word)]
    if hidden:
        problem = f"{hidden[0]} is a secret, which the record hides; issue its command yourself"
        raise UserError(f"{about}: {problem}")
    for place in (folder, Path(program[0]) if program[0] != "-m" else folder):
        if not place.exists():
            raise UserError(f"{about}: {place}, of its command, is not there; issue it yourself")
    environment = dict(os.environ)
    if command.get("root"):
        environment[ROOT] = command["root"]
    os.chdir(folder)
    sys.stdout.flush()
    sys.stderr.flush()
    line = [sys.executable, *program, *words]
    os.execve(sys.executable, line, environment)  # noqa: S606  # no shell


def command_text(command: Node) -> str:
    """Return a recorded command for people."""
    return shlex.join(["python", *command["program"], *command["words"]])
