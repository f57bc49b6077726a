"""Print lines, tables and bars, whatever the locale. What users type is never taken for markup."""

from __future__ import annotations

import codecs
import io
import json
import math
import operator
import os
import re
import stat
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from typing import Any, Literal

import rich
from rich.cells import cell_len, set_cell_size
from rich.console import Console, RenderableType
from rich.live import Live
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.style import Style
from rich.table import Table
from rich.text import Text

from sweeplab import config
from sweeplab.errors import counted as counted

ASCII = {
    "±": "+-", "→": "->", "×": "x", "−": "-", "–": "-", "—": "-", "…": "...", "•": "*",
    "≤": "<=", "≥": ">=", "─": "-", "━": "-", "╸": "-", "╺": "-", "│": "|", "╷": " ", "╵": " ",
    "‘": "'", "’": "'", "“": '"', "”": '"',
}  # fmt: skip
BRAILLE = range(0x2800, 0x2900)  # the characters of rich's spinner
BYTES = range(0xDC80, 0xDD00)  # what os.fsdecode makes of bytes that are no text
NEAREST = "sweeplab.nearest"  # the name of our error handler for `codecs`
MOST_WARNINGS = 8
LEAST_TEXT = 12  # columns of the terminal for a text, or rows are stacked
ENOUGH_TEXT = 24  # or columns are left out that can be
MOST_LINES = 3  # of a text there
WIDER = "a wider terminal has them"

# Control characters and bidirectional marks move a terminal's cursor, colour it or turn its lines
# round; surrogates cannot be written at all. Line ends and tabs stay.
_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters
    r"\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidirectional marks
    r"\ud800-\udfff]"  # surrogates
)


def screen() -> Console:
    """Return the default console of rich: one for all, so that bars and other output do not garble
    each other.
    """
    return rich.get_console()


@contextmanager
def words_apart(is_json: bool) -> Iterator[None]:
    """Print words on stderr meanwhile if stdout is for JSON."""
    before = screen().stderr
    screen().stderr = is_json or before
    try:
        yield
    finally:
        screen().stderr = before


def shown(text: str) -> str:
    """Return a text as it may be shown: secrets hidden, control characters spelled out."""
    return _CONTROL.sub(
        lambda match: match[0].encode("unicode_escape").decode(), config.redact_text(text)
    )


def plain(text: str, style: str = "") -> Text:
    """Return a text for rich in which nothing is taken for markup."""
    return Text(fitting(shown(text)), style=style)


def leave_terminal() -> None:
    """Write to a terminal no more that has gone: every write would fail."""
    with open(os.devnull, "r+b") as nothing:  # noqa: PTH123  # a descriptor is wanted
        for descriptor in (0, 1, 2):
            with suppress(OSError):  # closed already
                if stat.S_ISCHR(os.fstat(descriptor).st_mode):
                    os.dup2(nothing.fileno(), descriptor)


def say(text: str, style: str = "") -> None:
    """Print one line (or several) as it is: no markup, never wrapped, so that paths and links can
    be copied.
    """
    _print(screen(), text, style)


def _print(console: Console, text: str, style: str) -> None:
    if console.is_jupyter:  # where rich would make an output of its own of each line
        console = Console(stderr=console.stderr, force_jupyter=False)
    line = Text(shown(text), style=style)
    # A terminal opens the whole of an address with a click, however many lines it takes.
    line.highlight_regex(r"https?://\S+", lambda address: Style(link=address))
    console.print(line, emoji=False, highlight=False, soft_wrap=True)


def warn(notes: Iterable[str]) -> None:
    """Print lines in yellow, each once, and of many only the first few."""
    lines = list(dict.fromkeys(notes))
    for line in lines[:MOST_WARNINGS]:
        say(line, style="yellow")
    if len(lines) > MOST_WARNINGS:
        say(f"... and {len(lines) - MOST_WARNINGS} more of that kind", style="yellow")


def complain(text: str) -> None:
    """Print a message in red on stderr."""
    _print(Console(stderr=True), text, "red")


def command(name: str) -> str:
    """Return how a user starts one of our commands from this shell: under `uv run` the environment
    is not active.
    """
    return f"uv run {name}" if "UV_RUN_RECURSION_DEPTH" in os.environ else name


def table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    left: int = 1,
    spare: Sequence[str] = (),
    elsewhere: str = WIDER,
) -> None:
    """Print a table, as `grid` makes it."""
    show(grid(title, columns, rows, left, spare, elsewhere))


def grid(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    left: int = 1,
    spare: Sequence[str] = (),
    elsewhere: str = WIDER,
) -> Table:
    """Make a table; the first `left` columns are flush left, the others (numbers) flush right.

    Where a terminal has no room for it, numbers take as little as they need; then `spare` columns
    are left out, the first one first, and the table says `elsewhere` they are; texts are broken
    between words, and long words cut in the middle. Where even that is not enough, the cells of
    each row stand one below the other.
    """
    rows = list(rows)
    made = _grid(title, columns, rows, left)
    if not screen().is_terminal or _measure(made).maximum <= screen().width:
        return made
    headings, broken = _narrowed(columns, rows, left)
    kept = list(range(len(columns)))
    dropped = []
    for name in filter(columns.__contains__, spare):
        if _text_widths(headings, broken, left, kept, ENOUGH_TEXT):
            break
        kept.remove(columns.index(name))
        dropped.append(name)
    widths = _text_widths(headings, broken, left, kept)
    if not widths:
        return _stacked(title, columns, rows)
    whole = [*columns[:left], *headings[left:]]
    roomy = _text_widths(whole, broken, left, kept)
    if roomy and all(map(operator.ge, roomy, map(len, columns))):
        headings, widths = whole, roomy
    lines = []
    for row in (headings, *broken):
        texts = [wrapped(cell, width) for cell, width in zip(row, widths, strict=False)]
        lines.append([*texts, *(row[index] for index in kept[left:])])
    made = _grid(title, lines[0], lines[1:], left)
    if dropped:
        left_out = f"no room here for {', '.join(dropped)}; {elsewhere}\n"  # a table ends with a blank line
        made.caption = plain(left_out, style="dim")
        made.caption_justify = "left"
    return made


def _text_widths(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    left: int,
    kept: Sequence[int],
    least: int = LEAST_TEXT,
) -> list[int]:
    """Share the width that numbers leave among the texts; [] if some would get less than `least`.

    Each column has what it needs, or as much as others that need more.
    """
    needs = [max(_width(row[index]) for row in (headings, *rows)) for index in kept]
    room = screen().width - 1 - sum(needs[left:]) - 3 * len(kept)
    if room < sum(min(need, least) for need in needs[:left]):
        return []
    widths = needs[:left]
    for place, index in enumerate(sorted(range(left), key=needs.__getitem__)):
        widths[index] = max(min(needs[index], room // (left - place)), 1)
        room -= widths[index]
    return widths


def _width(text: str) -> int:
    """Count the columns of the longest line of a text."""
    return max(map(cell_len, fitting(shown(text)).split("\n")))


def wrapped(text: str, width: int) -> str:
    """Break a text between words, into MOST_LINES at most: what is too long is cut in the middle."""
    if _width(text) <= width:
        return text
    words = " ".join(cut(word, width) for word in text.split())
    for length in range(min(len(words), MOST_LINES * width), width, -1):
        lines = textwrap.wrap(cut(words, length), width, break_on_hyphens=False)
        if len(lines) <= MOST_LINES and " ".join(lines) == cut(words, length):  # no word broken
            return "\n".join(lines)
    return cut(words, width)


def cut(text: str, width: int) -> str:
    """Cut a text in the middle if it is wider, and mark that."""
    if cell_len(text) <= width:
        return text
    tail = (width - 1) // 2
    end = set_cell_size(text[::-1], tail)[::-1]
    return f"{set_cell_size(text, width - 1 - tail)}…{end}"


def _stacked(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Make a table of two columns: the headings, and the cells of a row; then the next row."""
    made = _frame(title)
    made.show_header = False
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    for row in rows:
        for column, cell in zip(columns, row, strict=True):
            made.add_row(plain(cut(column, screen().width // 2)), plain(cell))
        made.add_section()
    return made


def _narrowed(
    columns: Sequence[str], rows: Sequence[Sequence[str]], left: int
) -> tuple[list[str], list[list[str]]]:
    """Break the lines of numbers: what is in brackets, and headings that are wider than these.

    Headings that are keys are shortened.
    """
    broken = [list(row) for row in rows]
    for row in broken:
        row[left:] = [cell.replace(" (", "\n(") for cell in row[left:]]
    headings = [*config.short_names(columns[:left]), *columns[left:]]
    for index in range(left, len(columns)):
        lines = "\n".join(row[index] for row in broken).splitlines()
        width = max(map(len, lines), default=0) or 1
        headings[index] = textwrap.fill(columns[index], width, break_long_words=False)
    return headings, broken


def _frame(title: str) -> Table:
    return Table(
        title=plain(title), title_justify="left", title_style="bold", box=rich.box.SIMPLE_HEAD
    )


def _grid(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> Table:
    made = _frame(title)
    for index, column in enumerate(columns):
        is_text = index < left
        justify: Literal["left", "right"] = "left" if is_text else "right"
        made.add_column(plain(column), justify=justify, no_wrap=not is_text, overflow="fold")
    for row in rows:
        made.add_row(*(plain(cell) for cell in row))
    return made


def _measure(drawing: RenderableType) -> Measurement:
    """Measure how wide a table would be: at least, with no word broken, and where nothing is folded."""
    return Measurement.get(screen(), screen().options.update(width=1000), drawing)


def show(drawing: RenderableType) -> None:
    """Print a table, or more, as wide as it needs to be if no terminal sets a width."""
    if screen().is_terminal:
        screen().print(drawing)
        return
    Console(file=screen().file, width=_measure(drawing).maximum).print(drawing)


def json_text(name: str, content: Mapping[str, Any]) -> str:
    """Write what a command lists for scripts: with its schema's name, as docs/json.md states it.

    JSON has no nan and no infinity: they become null.
    """
    return json.dumps(
        {"schema": f"sweeplab.{name}/1", **_finite(content)}, indent=2, allow_nan=False
    )


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def number(value: float | None, digits: int = 4) -> str:
    """Return a metric for people: fixed digits, a very small one in powers of ten; a dash for
    none.
    """
    if value is None:
        return "-"
    if value != 0 and digits >= 4 and abs(value) < 10**-digits:
        return f"{value:.1e}"
    return f"{value:.{digits}f}"


def two_digits(value: float) -> str:
    """Write two significant digits, and no tenths from ten on."""
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def duration(seconds: float) -> str:
    """Return a duration for people: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


class NotebookLive:
    """What `rich.live.Live` is on a terminal, below a notebook's cell; gone when it stops."""

    def __init__(self) -> None:
        self._output: Any = None
        self._page = ""

    def start(self) -> None:
        """Make the output, which is empty as yet."""
        from IPython.display import display

        self._output = display(  # type: ignore[no-untyped-call]
            {"text/html": "", "text/plain": ""}, raw=True, display_id=True
        )

    def update(self, shown: RenderableType, *, refresh: bool) -> None:
        """Show something in the place of what was shown before, at once as `refresh` says."""
        assert refresh
        page = io.StringIO()
        drawn = Console(file=page, record=True, force_jupyter=False, force_terminal=True, width=110)
        drawn.print(shown)
        self._put(drawn.export_html(inline_styles=True, code_format="<pre>{code}</pre>"))

    def stop(self) -> None:
        """Empty the output."""
        self._put("")

    def _put(self, page: str) -> None:
        if page != self._page:
            self._page = page
            self._output.update({"text/html": page, "text/plain": ""}, raw=True)


def live() -> Live | NotebookLive | None:
    """Return what shows something that changes; None where only lines can be printed."""
    if screen().is_jupyter:
        return NotebookLive()
    if screen().is_terminal:
        return Live(console=screen(), auto_refresh=False, transient=True)
    return None


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """Show a spinner while something takes its time; nothing if this is no terminal."""
    if not screen().is_terminal:
        yield
        return
    with screen().status(plain(text)):
        yield


@contextmanager
def counting(text: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar for things that are counted; yields `progress(done, total)`. Shows nothing if this
    is no terminal.
    """
    if not screen().is_terminal:
        yield lambda _done, _total: None
        return
    columns = TextColumn(shown(text), markup=False), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, console=screen(), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def nearest_ascii(error: UnicodeError) -> tuple[str, int]:
    """Replace what a stream cannot show by something near to it, or by its number: an error handler
    for `codecs`.
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    return "".join(map(_nearest, characters)), error.end


def _nearest(character: str) -> str:
    code = ord(character)
    if code in BRAILLE:
        return "*"
    if code in BYTES:
        return f"\\x{code - 0xDC00:02x}"
    return ASCII.get(character) or character.encode("ascii", "backslashreplace").decode("ascii")


def fitting(text: str) -> str:
    """Return what stdout will show of a text, which has to be known before it is laid out in
    columns.
    """
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    codecs.register_error(NEAREST, nearest_ascii)
    return text.encode(encoding, NEAREST).decode(encoding)


def start_streams(*, encoding: str | None = None) -> None:
    """Let stdout and stderr show any text, with replacements; a log sets their `encoding`."""
    codecs.register_error(NEAREST, nearest_ascii)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding=encoding, errors=NEAREST)


@contextmanager
def streams_started() -> Iterator[None]:
    """Let stdout and stderr show any text meanwhile, in a program that goes on afterwards."""
    streams = [each for each in (sys.stdout, sys.stderr) if isinstance(each, TextIOWrapper)]
    before = [stream.errors for stream in streams]
    start_streams()
    try:
        yield
    finally:
        for stream, errors in zip(streams, before, strict=True):
            stream.reconfigure(errors=errors)


def start_in_utf_8() -> None:
    """Start this program anew in Python's UTF-8 mode if it can open no file whose name is not
    ASCII.

    That is so in the locales C and POSIX if PYTHONUTF8=0; arguments come as bytes that are no text,
    then.
    """
    is_ascii = codecs.lookup(sys.getfilesystemencoding()).name == "ascii"
    if not is_ascii or not sys.orig_argv or sys.flags.utf8_mode:
        return
    os.environ["PYTHONUTF8"] = "1"
    os.environ.setdefault("PYTHONIOENCODING", sys.stdout.encoding)  # the terminal's, as before
    arguments = [word for word in sys.orig_argv[1:] if word not in ("-X", "utf8=0", "-Xutf8=0")]
    os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606  # the same program
