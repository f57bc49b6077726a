"""Streams that people read, and names of files, whatever the locale says: set once, where a program starts."""

from __future__ import annotations

import codecs
import os
import sys
from io import TextIOWrapper

ASCII = {
    "±": "+-", "→": "->", "×": "x", "−": "-", "–": "-", "—": "-", "…": "...", "•": "*", "≤": "<=", "≥": ">=",
    "─": "-", "━": "-", "╸": "-", "╺": "-", "│": "|", "╷": " ", "╵": " ", "‘": "'", "’": "'", "“": '"', "”": '"',
}  # fmt: skip
BRAILLE = range(0x2800, 0x2900)  # of which rich's spinner is made
BYTES = range(0xDC80, 0xDD00)  # what os.fsdecode makes of bytes that are no text
READABLE = "sweeplab.readable"


def readable(error: UnicodeError) -> tuple[str, int]:
    """Replace what a stream cannot show by something near to it, or by its number: a handler for `codecs`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_shown, error.object[error.start : error.end])), error.end


def _shown(character: str) -> str:
    number = ord(character)
    if number in BRAILLE:
        return "*"
    if number in BYTES:
        return f"\\x{number - 0xDC00:02x}"
    return ASCII.get(character) or character.encode("ascii", "backslashreplace").decode("ascii")


def fitting(text: str) -> str:
    """What stdout will show of a text: to be known before it is laid out in columns."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    codecs.register_error(READABLE, readable)
    return text.encode(encoding, READABLE).decode(encoding)


def start(*, encoding: str | None = None) -> None:
    """Let stdout and stderr show anything, with replacement; `encoding`: in this one, for a log."""
    codecs.register_error(READABLE, readable)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding=encoding, errors=READABLE)


def start_in_utf_8() -> None:
    """Begin this program anew in Python's UTF-8 mode, where it could name no file beyond ASCII.

    That is so in the locales C and POSIX if PYTHONUTF8=0: arguments come as bytes that are no text, and to open a file
    of another name fails.
    """
    if codecs.lookup(sys.getfilesystemencoding()).name == "ascii" and sys.orig_argv and not sys.flags.utf8_mode:
        os.environ["PYTHONUTF8"] = "1"
        os.environ.setdefault("PYTHONIOENCODING", sys.stdout.encoding)  # what the terminal shows is not ours to say
        arguments = [word for word in sys.orig_argv[1:] if word not in ("-X", "utf8=0", "-Xutf8=0")]
        os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606  # the same program
