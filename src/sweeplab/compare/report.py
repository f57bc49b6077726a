"""The report: one HTML file that needs nothing else, with PNGs and CSV beside it."""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from sweeplab.compare import export, figures, tables
from sweeplab.compare.comparison import Comparison
from sweeplab.compare.drawing import Drawing
from sweeplab.compare.notes import lead_note, machines
from sweeplab.compare.runs import SEED, Replica
from sweeplab.compare.tables import Table
from sweeplab.config import key_of
from sweeplab.console import counted
from sweeplab.errors import UserError
from sweeplab.store import write_atomic

NAME = "report.html"
MOST_FAILURES = 500  # lines of what is not in the means; runs.csv has all
MOST_ROWS = 1000  # configs of a table: a browser opens that many in seconds
ROWS_IN_SIGHT = 20  # of the ranking: more than that can be filtered


@dataclass(kw_only=True, slots=True, frozen=True)
class Section:
    """A part of the page under a heading of its own: a table, or a figure."""

    title: str
    caption: str = ""
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    sort_values: Sequence[Sequence[str]] = ()  # by which the rows sort; by what is shown, if empty
    texts: range = range(0)  # indices of the columns that are flush left
    code: int | None = None  # index of the column that is for copying
    left_out: str = ""  # how many rows, and where they are
    has_filter: bool = False
    drawing: Drawing | None = None

    @property
    def anchor(self) -> str:
        return re.sub(r"\W+", "-", self.title.lower())


def write_report(comparison: Comparison, folder: Path) -> Path:
    """Write the report, its figures as PNG, and its numbers as CSV; returns the HTML file.

    The same comparison gives the same bytes. Raises UserError if the folder cannot be made or
    written.
    """
    drawings = figures.draw(comparison)
    files = {
        "groups.csv": export.groups_csv(comparison).encode(),
        "runs.csv": export.runs_csv(comparison).encode(),
        **{f"{drawing.name}.png": drawing.png for drawing in drawings},
        NAME: render(comparison, drawings).encode(),
    }
    if comparison.importance is not None and comparison.importance.shares:
        files["importance.csv"] = export.importance_csv(comparison.importance).encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            write_atomic(folder / name, content)
    except OSError as error:
        problem = f"{error.strerror}; name a folder that can be made"
        raise UserError(f"--report={folder}: {problem}") from error
    return folder / NAME


def render(comparison: Comparison, drawings: Sequence[Drawing]) -> str:
    """Render the HTML, which may load nothing and run nothing but its own script."""
    from jinja2 import Environment

    # The indentation of the template is no part of the page.
    template = "".join(line.strip() for line in _file("html.jinja").splitlines())
    script = _file("js")
    ranking, *others = tables.shown(comparison, MOST_ROWS)
    sections = [
        _ranking(comparison, ranking),
        *(_section(table) for table in others[:1]),
        *(Section(title=drawing.title, drawing=drawing) for drawing in drawings),
        *(_section(table) for table in others[1:]),
        *_troubles(comparison),
        _commands(comparison),
    ]
    verdict = tables.contrast_sentence(comparison) or lead_note(comparison)
    page = Environment(autoescape=True).from_string(template)
    text = page.render(
        title=comparison.title,
        about=_about(comparison),
        answer=[*([f"Verdict: {verdict}."] if verdict else []), *_best(comparison)],
        notes=[note for note in comparison.notes if note != verdict],
        sections=sections,
        style=_file("css"),
        script=script,
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    return f"{text}\n"


def _file(ending: str) -> str:
    return Path(__file__).with_name(f"report.{ending}").read_text(encoding="utf-8")


def _about(comparison: Comparison) -> list[str]:
    """Say which sweeps are compared, what became of their runs, and what machines made them."""
    lines = []
    for sweep in comparison.sweeps:
        if not sweep["id"]:
            lines.append(f"{counted(len(sweep['cells']), 'run')}, named one by one")
            continue
        ended = time.gmtime(float(sweep.get("ended") or sweep["time"]))
        line = f"Sweep {str(sweep['id'])[:12]}"
        if sweep["experiment"]:
            line += f", MLflow experiment {sweep['experiment']}"
        line += f", {sweep['status']} {time.strftime('%Y-%m-%d %H:%M UTC', ended)}"
        if len(comparison.sweeps) > 1:
            line += f": {sweep['name']}"
        lines.append(line)
    return [*lines, f"{comparison.statuses()}.", *machines(comparison.replicas)]


def _best(comparison: Comparison) -> list[str]:
    """Say which group won, by how much, and which smaller one is as good; nothing without values."""
    group = comparison.groups[0]
    if group.mean(comparison.monitor) is None:
        return []
    parts = [group.name or "the one config"]
    parts += [
        f"{metric} {tables.mean_cell(comparison, group, metric)}"
        for metric in (comparison.monitor, comparison.score)
    ]
    parts.append(f"n = {tables.n_cell(comparison, group)}")
    lines = [f"Best: {', '.join(parts)}."]
    if comparison.smallest is not None:
        lines.append(_sentence(comparison.smallest.sentence))
    return lines


def _sentence(text: str) -> str:
    """Begin a text with a capital letter, and end it with a full stop; '' stays ''."""
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _section(table: Table) -> Section:
    """Show a table of differences, or of importance."""
    return Section(
        title=table.heading,
        caption=_sentence(table.about),
        columns=table.columns,
        rows=table.rows,
        texts=range(table.texts),
        left_out=_more_configs(table.left_out, "sweeplab compare --json has all"),
    )


def _ranking(comparison: Comparison, table: Table) -> Section:
    """Show the ranking, with ranks."""
    sort_values = []
    for rank, group in enumerate(comparison.groups[:MOST_ROWS], 1):
        values = [str(rank), *group.cells, str(len(group.measured(comparison.monitor)))]
        for metric in tables.measures(comparison):
            mean = group.mean(metric)
            values.append("" if mean is None else repr(mean.mean))
        sort_values.append(values)
    return replace(
        _section(table),
        columns=["rank", *table.columns],
        rows=[[str(rank), *row] for rank, row in enumerate(table.rows, 1)],
        sort_values=sort_values,
        texts=range(1, 1 + table.texts + 1),  # n is text, too: `3 of 5 (1 failed)`
        left_out=_more_configs(table.left_out, "groups.csv has all"),
        has_filter=len(table.rows) > ROWS_IN_SIGHT,
    )


def _troubles(comparison: Comparison) -> list[Section]:
    rows = []
    for group, replica, why in comparison.troubles():
        rows.append([tables.label(group, replica), replica.id[:8], why, command([replica])])
    if not rows:
        return []
    more = len(rows) - MOST_FAILURES
    section = Section(
        title="What is not in the means",
        columns=["run", "id", "what happened", "command"],
        rows=rows[:MOST_FAILURES],
        texts=range(4),
        code=3,
        left_out=f"{more} more: runs.csv" if more > 0 else "",
    )
    return [section]


def _commands(comparison: Comparison) -> Section:
    rows = []
    for rank, group in enumerate(comparison.groups[:MOST_ROWS], 1):
        rows.append([str(rank), group.name, command(group.replicas)])
    return Section(
        title="Commands",
        caption="Each asks for the runs of a row. Finished ones are reused; another store.root trains anew.",
        columns=["rank", "config", "command"],
        rows=rows,
        texts=range(1, 3),
        code=2,
        left_out=_more_configs(
            len(comparison.groups) - len(rows), "their values are in groups.csv"
        ),
    )


def _more_configs(count: int, where: str) -> str:
    return f"{counted(count, 'more config')}: {where}" if count else ""


def command(replicas: Sequence[Replica]) -> str:
    """Write what to type for these runs of one config, all seeds at once."""
    over = replicas[0].cell.get("replica", (SEED,))
    # The rules of a sweep are of its swept keys, which all have one value here.
    asked = [word for word in replicas[0].cell["overrides"] if not word.startswith("sweep.")]
    words = [override for override in asked if key_of(override) not in over]
    is_sweep = False
    for key in over:
        values: dict[str, None] = {}  # in order
        typed_key = ""
        for override in chain.from_iterable(run.cell["overrides"] for run in replicas):
            if key_of(override) == key:
                name, _, value = override.partition("=")
                typed_key = typed_key or name
                values[value] = None
        if values:
            words.append(f"{typed_key}={','.join(values)}")
        is_sweep = is_sweep or len(values) > 1
    return shlex.join(["python", "train.py", *(["-m"] if is_sweep else []), *words])
