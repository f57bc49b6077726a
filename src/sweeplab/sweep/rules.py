"""The jobs that a sweep is of, by the rules of its section `sweep`: zip, when, where, sample, from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from sweeplab import config, console
from sweeplab.config import Node, StoreSection, Sweep
from sweeplab.errors import UserError
from sweeplab.store import Store
from sweeplab.sweep import combinations, sampling, seeds, winner
from sweeplab.sweep.cell import Compose, composed
from sweeplab.sweep.conditions import Conditions
from sweeplab.sweep.plan import SEED, Plan, make

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader
    from omegaconf import DictConfig

    from sweeplab.sweep.compose import Composer

T = TypeVar("T")

EARLY = ("zip", "when", "sample", "sample_seed", "from_", "seeds")
"""The rules that must be known before a job is composed."""

ONE = "must be the same for all jobs of a sweep; it is carried out as one"
LISTS = ("sweep.zip", "sweep.replicate", "sweep.seeds.looks")
BRACKETS = "; a list needs brackets"


@dataclass(kw_only=True, slots=True, frozen=True)
class Command:
    """A sweep as it is asked for."""

    overrides: list[Override]  # what it takes from another sweep first, then its own
    typed: list[str]
    rules: Sweep
    start: Node  # the sweep that it starts from, for the manifest; empty: none


def read(typed: list[str], loader: ConfigLoader, composer: Composer) -> Command:
    """Read a command: the overrides of `hydra.sweeper.params` and of the command line.

    Raises UserError for what is wrong in its section `sweep`, for a key of it that is swept, and
    for a sweep that it cannot start from.
    """
    parser = OverridesParser.create(config_loader=loader)
    overrides = parser.parse_overrides(typed)
    words = []
    for override in overrides:
        name = override.key_or_group
        if name == "experiment":
            words.append(f"experiment={combinations.values_of(override)[0]}")
        elif name.partition(".")[0] in ("sweep", "store"):
            if not override.is_sweep_override():
                words.append(str(override.input_line))
            elif not name.startswith("store"):  # the plan reports those
                raise UserError(f"{name}: {ONE}{BRACKETS if name in LISTS else ''}")
    sections = composed(words, composer)
    rules = _section(Sweep, sections, "sweep")
    start: Node = {}
    if rules.from_ is not None:
        root = config.absolute(_section(StoreSection, sections, "store").root)
        shown = [config.redact_override(word) for word in typed]
        start = winner.take(rules.from_, overrides, shown, composer, Store(root))
        overrides = [*parser.parse_overrides(start["taken"]), *overrides]
    overrides = seeds.spread(overrides, rules, sections.get(SEED), parser)
    return Command(overrides=overrides, typed=typed, rules=rules, start=start)


def _section(cls: type[T], composed: DictConfig, name: str) -> T:
    return config.read_section(cls, config.as_plain(composed.get(name)) or {}, name)


def plan(command: Command, compose: Compose) -> Plan:
    """Plan the jobs that a command's rules make of its overrides."""
    rules = command.rules
    jobs = _jobs(command.overrides, rules, compose)
    seeds.ensure_few(jobs, rules)
    planned = make(jobs, command.typed, compose)
    for field in EARLY:  # an option of a group may set them, too
        if getattr(planned.settings.sweep, field) != getattr(rules, field):
            key = field.removesuffix("_")
            reason = "is known too late here; give it on the command line, too"
            raise UserError(f"sweep.{key}: {reason}")
    return replace(planned, start=command.start)


def ensure_none(sweep: Sweep) -> None:
    """Raise UserError for a rule that only sweeplab's own sweepers know."""
    for field in EARLY:
        if getattr(sweep, field) != getattr(Sweep(), field):
            key = field.removesuffix("_")
            raise UserError(f"sweep.{key}: hydra/sweeper=sweeplab is needed for it")


def _jobs(overrides: Sequence[Override], rules: Sweep, compose: Compose) -> list[list[str]]:
    """List the jobs as overrides: all combinations, or a sample of them."""
    grid = combinations.axes(overrides, rules.zip)
    conditions = Conditions(rules.when or {}, overrides, compose)
    for key in config.flatten(rules.when or {}):
        if key in (*rules.replicate, config.FOLD):
            reason = "repeats configs, of which each is to have all of its values"
            raise UserError(f"sweep.when.{key}: {reason}")
    if rules.sample is not None:
        return sampling.draw(grid, rules, conditions, compose)
    combined = combinations.combined(grid)
    if not rules.when:
        return combined
    with console.waiting("looking where sweep.when holds"):
        jobs = list(dict.fromkeys(tuple(conditions.kept(job)) for job in combined))
    asked = {config.key_of(word) for job in jobs for word in job}
    for key in config.flatten(rules.when):
        if key not in asked:
            console.say(f"sweep.when.{key}: holds in no job; {key} keeps its default")
    if len(jobs) < len(combined):
        same = len(combined) - len(jobs)
        verb = "is" if same == 1 else "are"
        console.say(
            f"{same:,} of {len(combined):,} jobs {verb} the same as another without the keys that "
            "sweep.when leaves out"
        )
    return [list(job) for job in jobs]
