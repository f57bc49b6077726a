"""The report: one HTML file that needs nothing else, for the disk, for MLflow and for paper; PNGs and CSV beside it."""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
import time
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from sweeplab.compare import export, figures, tables
from sweeplab.compare.comparison import Comparison
from sweeplab.compare.groups import Group
from sweeplab.compare.notes import machines
from sweeplab.compare.runs import SEED, Replica, key_of
from sweeplab.config import Node
from sweeplab.errors import UserError
from sweeplab.store import write_atomic

NAME = "report.html"
MOST_FAILURES = 500  # lines of what is not in the means; runs.csv has all
MOST_ROWS = 1000  # configs of a table: a browser opens that many in seconds


def write_report(found: Comparison, folder: Path) -> Path:
    """Write the report, its figures as PNG, and groups.csv and runs.csv; the HTML file's path.

    The same comparison gives the same bytes. Raises UserError if the folder cannot be made or written.
    """
    drawn = figures.draw(found)
    files = {
        "groups.csv": export.groups_csv(found).encode(),
        "runs.csv": export.runs_csv(found).encode(),
        **{f"{drawing.name}.png": drawing.png for drawing in drawn},
        NAME: page(found, drawn).encode(),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            write_atomic(folder / name, content)
    except OSError as error:
        raise UserError(f"--report={folder}: {error.strerror}; name a folder that can be made") from error
    return folder / NAME


def page(found: Comparison, drawn: Sequence[figures.Drawing]) -> str:
    """The HTML, which may load nothing and run nothing but its own script."""
    style, script = (Path(__file__).with_name(f"report.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    parts = {
        "Ranking": _ranking(found),
        **{f"Differences in {name}": _differences(found, name) for name in tables.shown_contrasts(found)},
        "Importance": _importance(found),
        **{drawing.title: _figure(drawing) for drawing in drawn},
        "What is not in the means": _troubles(found),
        "Commands": _commands(found),
    }
    shown = {title: text for title, text in parts.items() if text}
    links = "".join(f'<a href="#{_anchor(title)}">{escape(title)}</a>' for title in shown)
    sections = "".join(
        f'<section id="{_anchor(title)}"><h2>{escape(title)}</h2>{text}</section>' for title, text in shown.items()
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(found.title)}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{style}</style></head><body>{_head(found)}<nav>{links}</nav>{sections}<script>{script}</script></body></html>\n"
    )


def _anchor(title: str) -> str:
    return re.sub(r"\W+", "-", title.lower())


def _head(found: Comparison) -> str:
    about = [*(_about(sweep, alone=len(found.sweeps) == 1) for sweep in found.sweeps)]
    about += [f"{found.statuses()}.", *machines(found.replicas)]
    best = found.groups[0]
    lead = ""
    if best.mean(found.monitor):
        values = [f"{name} {tables.mean_cell(found, best, name)}" for name in (found.monitor, found.score)]
        lead = f"Best: {', '.join((best.name or 'the one config', *values))}, n = {tables.n_cell(found, best)}."
    said = "".join(f"<li>{escape(note)}</li>" for note in found.notes)
    return (
        f"<h1>{escape(found.title)}</h1>{''.join(f'<p class=about>{escape(line)}</p>' for line in about)}"
        + (f"<p class=best>{escape(lead)}</p>" if lead else "")
        + (f"<ul class=notes>{said}</ul>" if said else "")
    )


def _about(sweep: Node, *, alone: bool) -> str:
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(float(sweep.get("ended") or sweep["time"])))
    experiment = f", MLflow experiment {sweep['experiment']}" if sweep["experiment"] else ""
    name = "" if alone else f": {sweep['name']}"
    return f"Sweep {str(sweep['id'])[:12]}{experiment}, {sweep['status']} {when}{name}"


def _ranking(found: Comparison) -> str:
    table = tables.ranking(found, MOST_ROWS)
    groups = found.groups[:MOST_ROWS]
    values = [
        [
            str(rank),
            *one.cells,
            str(len(one.measured.get(found.monitor, {}))),
            *(_raw(one, name) for name in tables.measures(found)),
        ]
        for rank, one in enumerate(groups, 1)
    ]
    rows = [[str(rank), *row] for rank, row in enumerate(table.rows, 1)]
    search = '<input type="search" placeholder="filter rows" aria-label="filter rows">' if len(rows) > 20 else ""
    caption = _caption(f"{tables.ranking_title(found)}; {tables.ranking_caption(found)}.")
    left_out = _left_out(len(found.groups), "groups.csv has all")
    return caption + search + _table(["rank", *table.columns], rows, range(1, 2 + table.texts), values) + left_out


def _left_out(count: int, where: str) -> str:
    """What is to be said below the first MOST_ROWS of so many configs, ranked."""
    return f"<p class=bad>... and {count - MOST_ROWS:,} more configs: {where}</p>" if count > MOST_ROWS else ""


def _caption(text: str) -> str:
    return f"<p class=caption>{escape(text[:1].upper() + text[1:])}</p>"


def _raw(one: Group, metric: str) -> str:
    mean = one.mean(metric)
    return "" if mean is None else repr(mean.mean)


def _differences(found: Comparison, metric: str) -> str:
    table = tables.contrasts(found, metric, MOST_ROWS)
    caption = _caption(f"{tables.contrast_caption(found, metric)}.")
    left_out = _left_out(len(found.contrasts[metric]), "sweeplab compare --json has all")
    return caption + _table(table.columns, table.rows, range(table.texts)) + left_out


def _importance(found: Comparison) -> str:
    if not found.importance:
        return ""
    caption = _caption(
        "how much each key explains which trials of the search came out well (Optuna's default measure)."
    )
    table = tables.importance(found)
    return caption + _table(table.columns, table.rows, range(1))


def _figure(drawing: figures.Drawing) -> str:
    label = f'role="img" aria-label="{escape(drawing.title)}"'
    return (
        f"<figure>{drawing.svg.replace('<svg', f'<svg {label}', 1)}"
        f"<figcaption>{escape(drawing.caption)}</figcaption></figure>"
    )


def _troubles(found: Comparison) -> str:
    lines = [(one, replica, why) for one, replica, why in found.troubles()]
    rows = [[tables.label(one, r), r.id[:8], why, command([r])] for one, r, why in lines[:MOST_FAILURES]]
    more = len(lines) - MOST_FAILURES
    left_out = f"<p class=bad>... and {more} more: runs.csv</p>" if more > 0 else ""
    return _table(["run", "id", "what happened", "command"], rows, range(4), code=3) + left_out if rows else ""


def _commands(found: Comparison) -> str:
    rows = [[str(rank), one.name, command(one.replicas)] for rank, one in enumerate(found.groups[:MOST_ROWS], 1)]
    intro = _caption("Each asks for the runs of a row. Finished ones are reused; another store.root trains anew.")
    left_out = _left_out(len(found.groups), "their values are in groups.csv")
    return intro + _table(["rank", "config", "command"], rows, range(1, 3), code=2) + left_out


def command(replicas: Sequence[Replica]) -> str:
    """What to type for these runs of one config: the overrides of their cells, all seeds at once."""
    over = replicas[0].cell.get("replica", (SEED,))
    words = [o for o in replicas[0].cell["overrides"] if key_of(o) not in over]
    several = False
    for key in over:
        given = [o for run in replicas for o in run.cell["overrides"] if key_of(o) == key]
        values = list(dict.fromkeys(override.partition("=")[2] for override in given))
        several = several or len(values) > 1
        words += [f"{given[0].partition('=')[0]}={','.join(values)}"] if values else []
    return shlex.join(["python", "train.py", *(["-m"] if several else []), *words])


def _table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    text: Iterable[int] = (),
    values: Sequence[Sequence[str]] | None = None,
    code: int | None = None,
) -> str:
    """A table that sorts, by `values` if they are given; the columns `text` are flush left, `code` is for copying."""
    kinds = dict.fromkeys(text, " class=text")
    head = "".join(
        f"<th scope=col{kinds.get(i, '')}><button>{escape(name)}</button></th>" for i, name in enumerate(columns)
    )
    lines = []
    for line, raw in zip(rows, values or rows, strict=True):
        cells = [
            f"<td{kinds.get(i, '')}{f' data-v={chr(34)}{escape(v)}{chr(34)}' if v != shown else ''}>"
            + (f"<code>{escape(shown)}</code>" if i == code else escape(shown))
            + "</td>"
            for i, (shown, v) in enumerate(zip(line, raw, strict=True))
        ]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    body = f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody>"
    return f"<div class=wide><table class=sorts>{body}</table></div>"
