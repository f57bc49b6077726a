"""The command that was issued: noted when it starts, recorded, and issued again."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NoReturn

from sweeplab.config.nodes import Node
from sweeplab.config.redaction import is_hidden, redact_override
from sweeplab.errors import UserError

ROOT = "SWEEPLAB_ROOT"
_issued: Node | None = None
_environment: dict[str, str] | None = None


@contextmanager
def command_noted() -> Iterator[None]:
    """Note the program of this process and its words, before anything changes them."""
    global _issued, _environment  # a process has one command
    specification = getattr(sys.modules["__main__"], "__spec__", None)
    try:
        folder = Path.cwd()
    except FileNotFoundError:  # it was removed, which `reported` tells
        folder = Path()
    program = [str(folder / sys.argv[0])]
    if specification is not None:
        program = ["-m", specification.name]
    _issued = {"folder": str(folder), "program": program, "words": sys.argv[1:]}
    if os.environ.get(ROOT):
        _issued["root"] = os.environ[ROOT]
    _environment = dict(os.environ)
    try:
        yield
    finally:
        _issued = _environment = None


def issued_command() -> Node | None:
    """Return the command as it may be recorded, secrets hidden; None if Python was called."""
    if _issued is None:
        return None
    return {**_issued, "words": [redact_override(word) for word in _issued["words"]]}


def environment() -> dict[str, str]:
    """Return the environment that the command was issued in, before anything changed it."""
    return dict(os.environ if _environment is None else _environment)


def issue_apart(log: IO[bytes], more: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Issue the command again in a session of its own, which no terminal can hang up.

    `more` is in addition to the environment; what is said goes to `log`.
    """
    assert _issued is not None
    return subprocess.Popen(  # noqa: S603  # as the user has typed it
        [sys.executable, *_issued["program"], *_issued["words"]],
        env={**environment(), **more},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )


def ensure_issuable(command: Node, about: str) -> None:
    """Raise UserError if a command cannot be issued again; `about` begins the message."""
    folder, program = Path(command["folder"]), command["program"]
    hidden = [word for word in command["words"] if is_hidden(word)]
    if hidden:
        problem = f"{hidden[0]} is a secret, which the record hides; issue its command yourself"
        raise UserError(f"{about}: {problem}")
    for place in (folder, Path(program[0]) if program[0] != "-m" else folder):
        if not place.exists():
            raise UserError(f"{about}: {place}, of its command, is not there; issue it yourself")


def reissue(command: Node) -> NoReturn:
    """Become the program that a record tells of, in its folder."""
    words = command["words"]
    variables = environment()
    if command.get("root"):
        variables[ROOT] = command["root"]
    os.chdir(command["folder"])
    sys.stdout.flush()
    sys.stderr.flush()
    line = [sys.executable, *command["program"], *words]
    os.execve(sys.executable, line, variables)  # noqa: S606  # no shell


def command_text(command: Node) -> str:
    """Return a recorded command for people."""
    return shlex.join(["python", *command["program"], *command["words"]])
