"""Which runs `sweeplab runs` lists or removes, and in which order."""

from __future__ import annotations

import math
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from typing import Any

from sweeplab.commands import listing
from sweeplab.commands.compare import chosen
from sweeplab.commands.listing import RUNNING, UNITS, Row
from sweeplab.config import Config
from sweeplab.config.where import Condition
from sweeplab.errors import UserError, did_you_mean
from sweeplab.store import ID_LENGTH, Status, Store
from sweeplab.tracking import resolve_uri

STATUSES = (*Status, RUNNING)


def add_options(parser: ArgumentParser) -> None:
    """Add what runs are chosen by."""
    where = "only those whose config, metrics and status fit: 'valid/accuracy > 0.97 and seed == 0'"
    parser.add_argument("--where", metavar="EXPR", help=where)
    parser.add_argument(
        "--status", metavar="STATUS[,...]", help=f"only these: {', '.join(STATUSES)}"
    )
    sweep = "only those of a sweep: latest, the beginning of its id, an experiment"
    parser.add_argument("--sweep", metavar="SWEEP", help=sweep)
    age = "only those idle for so long: 30m, 12h, 7d, 2w"
    parser.add_argument("--older-than", metavar="AGE", help=age)
    keys = ", ".join(listing.KEYS)
    sort = f"the order: {keys}, a metric or a key of the config; --sort=-KEY: the largest first"
    parser.add_argument("--sort", metavar="KEY", help=sort)
    parser.add_argument("--reverse", action="store_true", help="the order turned round")
    limit = "only the first so many; without --sort, the latest"
    parser.add_argument("--limit", metavar="N", type=int, help=limit)


def is_filtered(arguments: Namespace) -> bool:
    """Tell whether some runs are chosen by name or by what they are."""
    options = (arguments.where, arguments.status, arguments.sweep, arguments.older_than)
    return bool(arguments.names) or options != (None,) * len(options)


def choose(
    home: Store, arguments: Namespace, settings: Config, sizes: Mapping[str, Mapping[str, int]]
) -> list[Row]:
    """List the runs that are chosen, in order. Raises UserError for what cannot be chosen by.

    `sizes` are those of the store's folders.
    """
    if arguments.limit is not None and arguments.limit < 1:
        raise UserError(f"--limit={arguments.limit}: must be a whole number >= 1")
    statuses = _statuses(arguments.status)
    age = 0.0 if arguments.older_than is None else seconds(arguments.older_than)
    runs = home.runs()
    if arguments.names:
        named = {home.find(name).id for name in arguments.names}
        runs = [run for run in runs if run.id in named]
    if arguments.sweep is not None:
        sweeps = chosen(home, [arguments.sweep], resolve_uri(settings.tracking))
        ids = {cell["fingerprint"][:ID_LENGTH] for sweep in sweeps for cell in sweep["cells"]}
        runs = [run for run in runs if run.id in ids]
    is_whole = arguments.where is not None or arguments.sort is not None
    rows = [listing.read(run, sizes.get(run.id, {}), whole=is_whole) for run in runs]
    rows = [row for row in rows if row.status in statuses and row.age >= age]
    if arguments.where is not None:
        rows = _fitting(rows, Condition.read(arguments.where, "--where"))
    return _ordered(rows, arguments)


def _statuses(text: str | None) -> Sequence[str]:
    if text is None:
        return STATUSES
    statuses = text.split(",")
    for status in statuses:
        if status not in STATUSES:
            raise UserError(f"--status={status}: no such status{did_you_mean(status, STATUSES)}")
    return statuses


def seconds(age: str) -> float:
    """Read an age: `7d` in seconds. Raises UserError if it is none."""
    number, unit = age[:-1], age[-1:]
    if not (number.isdecimal() and number.isascii()) or unit not in ("m", "h", "d", "w"):
        allowed = "must be a whole number and its unit, as in 30m, 12h, 7d, 2w"
        raise UserError(f"--older-than={age}: {allowed}")
    return int(number) * UNITS[unit]


def _fitting(rows: Sequence[Row], condition: Condition) -> list[Row]:
    """Keep the runs that fulfil the condition; what only some of them have is null in the others.

    A run that is not finished does not fulfil what cannot be told of it.
    """
    nulls = dict.fromkeys(key for row in rows for key in row.values)
    fitting: list[Row] = []
    problem: UserError | None = None
    is_told = False  # whether it can be told of any run
    for row in rows:
        try:
            fits = condition.holds(nulls | row.values)
        except UserError as error:
            if row.status == Status.FINISHED:
                raise
            problem = problem or error
            continue
        is_told = True
        if fits:
            fitting.append(row)
    if problem is not None and not is_told:
        raise problem
    return fitting


def _ordered(rows: list[Row], arguments: Namespace) -> list[Row]:
    """Sort the runs, those without a value last, and keep the first ones."""
    key: str | None = arguments.sort
    if key is None:
        rows = rows[-arguments.limit :] if arguments.limit else rows
        return rows[::-1] if arguments.reverse else rows
    name = key.removeprefix("-")
    valid = dict.fromkeys(key for row in rows for key in row.values)
    if rows and name not in valid:
        raise UserError(f"--sort={key}: no such key{did_you_mean(name, valid)}")
    with_value = [row for row in rows if _has_value(row, name)]
    without = [row for row in rows if not _has_value(row, name)]

    def order(row: Row) -> tuple[bool, Any]:
        value = row.values[name]
        is_number = isinstance(value, int | float)
        return not is_number, value if is_number else str(value)

    with_value.sort(key=order, reverse=arguments.reverse != key.startswith("-"))
    return [*with_value, *without][: arguments.limit]


def _has_value(row: Row, name: str) -> bool:
    value = row.values.get(name)
    return value is not None and not (isinstance(value, float) and math.isnan(value))
