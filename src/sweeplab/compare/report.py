"""The report: one HTML file that needs nothing else, with PNGs and CSV beside it."""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from sweeplab.compare import export, figures, tables
from sweeplab.compare.comparison import Comparison
from sweeplab.compare.drawing import Drawing
from sweeplab.compare.notes import machines
from sweeplab.compare.runs import SEED, Replica, key_of
from sweeplab.config import Node
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
    """Write the report, its figures as PNG, groups.csv and runs.csv; returns the HTML file.

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
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            write_atomic(folder / name, content)
    except OSError as error:
        raise UserError(
            f"--report={folder}: {error.strerror}; name a folder that can be made"
        ) from error
    return folder / NAME


def render(comparison: Comparison, drawings: Sequence[Drawing]) -> str:
    """Render the HTML, which may load nothing and run nothing but its own script."""
    from jinja2 import Environment

    # The indentation of the template is no part of the page.
    template = "".join(line.strip() for line in _file("html.jinja").splitlines())
    script = _file("js")
    sections = [
        _ranking(comparison),
        *(_differences(comparison, metric) for metric in tables.shown_contrasts(comparison)),
        *_importance(comparison),
        *(Section(title=drawing.title, drawing=drawing) for drawing in drawings),
        *_troubles(comparison),
        _commands(comparison),
    ]
    page = Environment(autoescape=True).from_string(template)
    return (
        page.render(
            title=comparison.title,
            about=_about(comparison),
            best=_best(comparison),
            notes=comparison.notes,
            sections=sections,
            style=_file("css"),
            script=script,
            script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
        + "\n"
    )


def _file(ending: str) -> str:
    return Path(__file__).with_name(f"report.{ending}").read_text(encoding="utf-8")


def _about(comparison: Comparison) -> list[str]:
    """Say which sweeps are compared, what became of their runs, and what machines made them."""
    lines = []
    for sweep in comparison.sweeps:
        name = "" if len(comparison.sweeps) == 1 else f": {sweep['name']}"
        lines.append(f"{_about_sweep(sweep)}{name}")
    return [*lines, f"{comparison.statuses()}.", *machines(comparison.replicas)]


def _about_sweep(sweep: Node) -> str:
    when = time.strftime(
        "%Y-%m-%d %H:%M UTC", time.gmtime(float(sweep.get("ended") or sweep["time"]))
    )
    experiment = f", MLflow experiment {sweep['experiment']}" if sweep["experiment"] else ""
    return f"Sweep {str(sweep['id'])[:12]}{experiment}, {sweep['status']} {when}"


def _best(comparison: Comparison) -> str:
    """Say which group won, by how much; '' if nothing is measured."""
    group = comparison.groups[0]
    if group.mean(comparison.monitor) is None:
        return ""
    metrics = (comparison.monitor, comparison.score)
    means = ", ".join(
        f"{metric} {tables.mean_cell(comparison, group, metric)}" for metric in metrics
    )
    name = group.name or "the one config"
    return f"Best: {name}, {means}, n = {tables.n_cell(comparison, group)}."


def _ranking(comparison: Comparison) -> Section:
    table = tables.ranking(comparison, MOST_ROWS)
    sort_values = []
    for rank, group in enumerate(comparison.groups[:MOST_ROWS], 1):
        values = [str(rank), *group.cells, str(len(group.measured.get(comparison.monitor, {})))]
        for metric in tables.measures(comparison):
            mean = group.mean(metric)
            values.append("" if mean is None else repr(mean.mean))
        sort_values.append(values)
    return Section(
        title="Ranking",
        caption=_sentence(
            f"{tables.ranking_title(comparison)}; {tables.ranking_caption(comparison)}."
        ),
        columns=["rank", *table.columns],
        rows=[[str(rank), *row] for rank, row in enumerate(table.rows, 1)],
        sort_values=sort_values,
        texts=range(1, 1 + table.texts + 1),  # n is text, too: `3 of 5 (1 failed)`
        left_out=_more_configs(table.left_out, "groups.csv has all"),
        has_filter=len(table.rows) > ROWS_IN_SIGHT,
    )


def _differences(comparison: Comparison, metric: str) -> Section:
    table = tables.contrasts(comparison, metric, MOST_ROWS)
    return Section(
        title=f"Differences in {metric}",
        caption=_sentence(f"{tables.contrast_caption(comparison, metric)}."),
        columns=table.columns,
        rows=table.rows,
        texts=range(table.texts),
        left_out=_more_configs(table.left_out, "sweeplab compare --json has all"),
    )


def _importance(comparison: Comparison) -> list[Section]:
    if not comparison.importance:
        return []
    table = tables.importance(comparison)
    caption = "How much each key explains which trials of the search came out well (Optuna's default measure)."
    return [
        Section(
            title="Importance", caption=caption, columns=table.columns, rows=table.rows, texts=range(table.texts)
        )
    ]  # fmt: skip


def _troubles(comparison: Comparison) -> list[Section]:
    troubles = comparison.troubles()
    if not troubles:
        return []
    rows = []
    for group, replica, why in troubles[:MOST_FAILURES]:
        rows.append([tables.label(group, replica), replica.id[:8], why, command([replica])])
    more = len(troubles) - len(rows)
    return [
        Section(
            title="What is not in the means",
            columns=["run", "id", "what happened", "command"],
            rows=rows,
            texts=range(4),
            code=3,
            left_out=f"{more} more: runs.csv" if more else "",
        )
    ]


def _commands(comparison: Comparison) -> Section:
    groups = comparison.groups[:MOST_ROWS]
    return Section(
        title="Commands",
        caption="Each asks for the runs of a row. Finished ones are reused; another store.root trains anew.",
        columns=["rank", "config", "command"],
        rows=[
            [str(rank), group.name, command(group.replicas)] for rank, group in enumerate(groups, 1)
        ],
        texts=range(1, 3),
        code=2,
        left_out=_more_configs(
            len(comparison.groups) - len(groups), "their values are in groups.csv"
        ),
    )


def _more_configs(count: int, where: str) -> str:
    return f"{count:,} more configs: {where}" if count else ""


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def command(replicas: Sequence[Replica]) -> str:
    """Write what to type for these runs of one config, all seeds at once."""
    over = replicas[0].cell.get("replica", (SEED,))
    words = [override for override in replicas[0].cell["overrides"] if key_of(override) not in over]
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
