"""What a person sees: lines, tables and bars, whatever the locale says. What users type is never taken for markup."""

from __future__ import annotations

import codecs
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper

import rich
from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from sweeplab import config

ASCII = {
    "±": "+-", "→": "->", "×": "x", "−": "-", "–": "-", "—": "-", "…": "...", "•": "*", "≤": "<=", "≥": ">=",
    "─": "-", "━": "-", "╸": "-", "╺": "-", "│": "|", "╷": " ", "╵": " ", "‘": "'", "’": "'", "“": '"', "”": '"',
}  # fmt: skip
BRAILLE = range(0x2800, 0x2900)  # of which rich's spinner is made
BYTES = range(0xDC80, 0xDD00)  # what os.fsdecode makes of bytes that are no text
READABLE = "sweeplab.readable"
WARNINGS = 8

# What moves a terminal's cursor, colours it or turns its lines round: control characters, bidirectional marks, and
# halves of characters, which cannot be written at all. Line ends and tabs stay.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def screen() -> Console:
    """rich's default console: one for all, so that bars and other output do not garble each other."""
    return rich.get_console()


def shown(text: str) -> str:
    """A text as it may be shown: secrets hidden, and control characters that somebody put into it spelled out."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), config.redact_text(text))


def plain(text: str, style: str = "") -> Text:
    """A text for rich, which takes nothing in it for markup."""
    return Text(fitting(shown(text)), style=style)


def say(text: str, style: str = "") -> None:
    """One line (or several) as it is: no markup, never wrapped, so that paths and links can be copied."""
    screen().print(shown(text), style=style, markup=False, emoji=False, highlight=False, soft_wrap=True)


def warn(notes: Iterable[str]) -> None:
    """Lines in yellow, each once, the first few of many."""
    lines = list(dict.fromkeys(notes))
    for line in lines[:WARNINGS]:
        say(line, style="yellow")
    if len(lines) > WARNINGS:
        say(f"... and {len(lines) - WARNINGS} more of that kind", style="yellow")


def complain(text: str) -> None:
    """A message on stderr."""
    Console(stderr=True).print(shown(text), style="red", markup=False, emoji=False, highlight=False, soft_wrap=True)


def command(name: str) -> str:
    """How a user starts one of our commands from this shell: under `uv run` the environment is not active."""
    return f"uv run {name}" if "UV_RUN_RECURSION_DEPTH" in os.environ else name


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> None:
    """A table; the first `left` columns are flush left, the others (numbers) flush right."""
    grid = Table(title=plain(title), title_justify="left", title_style="bold", box=rich.box.SIMPLE_HEAD)
    for index, column in enumerate(columns):
        text = index < left
        grid.add_column(plain(column), justify="left" if text else "right", no_wrap=not text, overflow="fold")
    for row in rows:
        grid.add_row(*(plain(cell) for cell in row))
    show(grid)


def show(grid: Table) -> None:
    """Print a table; where there is no terminal whose width counts, as wide as it needs to be."""
    if screen().is_terminal:
        screen().print(grid)
        return
    width = Measurement.get(screen(), screen().options.update(width=1000), grid).maximum
    Console(file=screen().file, width=width).print(grid)


def number(value: float | None, digits: int = 4) -> str:
    """A metric for people: fixed digits, a very small one in powers of ten; a dash for none."""
    if value is None:
        return "-"
    if value != 0 and digits >= 4 and abs(value) < 10**-digits:
        return f"{value:.1e}"
    return f"{value:.{digits}f}"


def duration(seconds: float) -> str:
    """For people: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """A spinner while something takes its time; silent when not a terminal."""
    if not screen().is_terminal:
        yield
        return
    with screen().status(plain(text)):
        yield


@contextmanager
def counting(text: str) -> Iterator[Callable[[int, int], None]]:
    """A bar for things that are counted; yields `progress(done, total)`. Silent when not a terminal."""
    if not screen().is_terminal:
        yield lambda _done, _total: None
        return
    with Progress(
        TextColumn(shown(text), markup=False), BarColumn(), MofNCompleteColumn(), console=screen(), transient=True
    ) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def readable(error: UnicodeError) -> tuple[str, int]:
    """Replace what a stream cannot show by something near to it, or by its number: a handler for `codecs`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_nearest, error.object[error.start : error.end])), error.end


def _nearest(character: str) -> str:
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


def start_streams(*, encoding: str | None = None) -> None:
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
