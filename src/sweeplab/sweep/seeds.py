"""Seeds that end when the answer is certain: `sweep.seeds.until=decided`.

All configs get as many seeds as the first look needs; after each look only those that it did not
decide get more. What is decided follows from the runs of the store alone: the same command, issued
again after whatever has happened, goes on where the sweep was.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from sweeplab import config, console, store
from sweeplab.compare import compare, looks
from sweeplab.config import Seeds, Sweep
from sweeplab.console import counted
from sweeplab.errors import UserError
from sweeplab.sweep.cell import Cell
from sweeplab.sweep.jobs import Jobs
from sweeplab.sweep.plan import SEED, Plan

if TYPE_CHECKING:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import Override

UNTIL = "sweep.seeds.until=decided"
MOST_RACERS = 100  # configs without a baseline: each is compared with each


def spread(
    overrides: Sequence[Override], rules: Sweep, first: object, parser: OverridesParser
) -> list[Override]:
    """Sweep the seed upwards from the one that is given, or else from `first`, the config's.

    Raises UserError if the seed is swept already, or something is set that is not used.
    """
    seeds = rules.seeds
    if seeds.until is None:
        if seeds != Seeds():
            way = "without it, sweep the seed, as in 'seed=range(10)'"
            raise UserError(f"sweep.seeds: max and looks are for {UNTIL}; {way}")
        return list(overrides)
    looks.planned(seeds)
    if rules.replicate != [SEED]:
        rule = f"{UNTIL} repeats a config over the seed alone; leave it out"
        raise UserError(f"sweep.replicate=[{','.join(rules.replicate)}]: {rule}")
    others = []
    for override in overrides:
        if override.key_or_group != SEED:
            others.append(override)
            continue
        if override.is_sweep_override():
            way = "leave it out, or give the first one, as in seed=0"
            raise UserError(f"{override.input_line}: {UNTIL} counts the seeds itself; {way}")
        first = override.value()
    if not isinstance(first, int):
        return list(overrides)  # checking the jobs reports it
    return [*others, parser.parse_override(f"{SEED}=range({first},{first + seeds.max})")]


def ensure_few(jobs: Sequence[Sequence[str]], rules: Sweep) -> None:
    """Raise UserError if jobs are surely of too many configs; before they are composed."""
    if rules.seeds.until is None or rules.where is not None or not jobs:
        return
    if config.FOLD not in map(config.key_of, jobs[0]):  # which is refused for another reason
        _ensure_comparable(len(jobs) // rules.seeds.max, rules)


class SeedJobs(Jobs):
    """The jobs of a sweep that takes looks; `whole` is the plan of all that there may be."""

    def __init__(self, whole: Plan) -> None:
        """Take the looks whose runs the store has. Raises UserError for what cannot be decided."""
        self._whole = whole
        self.notice: str = outlook(whole)
        self._after = looks.planned(whole.settings.sweep.seeds)
        self._configs = _by_config(whole)
        rule = {"first": whole.cells[0].job.config.seed, "after": self._after}
        settings = whole.settings.sweep
        what = [rule, settings.baseline, settings.margin, whole.id]
        planned = Plan(
            cells=[],
            overrides=whole.overrides,
            settings=whole.settings,
            search_id=hashlib.sha256(json.dumps(what).encode()).hexdigest(),
            looks={**rule, "taken": 0, "stopped": []},
            start=whole.start,
        )
        super().__init__(planned)
        self._home = store.Store(whole.settings.store.root)
        self._record: Callable[[], None] = lambda: None
        self._active = list(self._configs)
        self._start_look()
        self._leave_out_finished()
        while self.more():
            self._leave_out_finished()

    @property
    def possible(self) -> list[Cell]:
        return self._whole.cells

    @property
    def left(self) -> bool:
        return bool(self._waiting)

    def summary(self) -> str:
        return f"{super().summary()}; {self.notice}"

    def begin(self, home: store.Store, record: Callable[[], None]) -> None:
        self._home, self._record = home, record

    def __iter__(self) -> Iterator[Cell]:
        return iter(self._round)

    def ended(self, cell: Cell) -> None:
        self._waiting.discard(cell.job.fingerprint)

    def more(self) -> bool:
        """Take the next look if all of its runs have ended; returns whether it asks for more."""
        if self._waiting or not self._active:
            return False
        self._look()
        self._record()
        if not self._active:
            return False
        self._start_look()
        return True

    def _start_look(self) -> None:
        """Add the jobs of the configs that are not decided, up to the next look."""
        seeds = self._after[self.plan.looks["taken"]]
        known = {cell.job.fingerprint for cell in self.plan.cells}
        asked = [cell for name in self._active for cell in self._configs[name][:seeds]]
        self._round = [cell for cell in asked if cell.job.fingerprint not in known]
        self._waiting = {cell.job.fingerprint for cell in self._round}
        self.plan.add(self._round)

    def _leave_out_finished(self) -> None:
        """Leave out runs that the store has: they count as reused from the start."""
        self._round = [cell for cell in self._round if not cell.job.finished]
        self._waiting = {cell.job.fingerprint for cell in self._round}

    def _look(self) -> None:
        """Compare the runs so far, and keep the configs that are not decided."""
        rule = self.plan.looks
        seeds = self._after[rule["taken"]]
        rule["taken"] += 1
        comparison = compare(self._home, [self.plan.manifest(None, "running", 0.0)])
        open_ = {group.replicas[0].cell["group"] for group in comparison.undecided}
        verdicts = {contrast.group.name: contrast.verdict for contrast in comparison.decisive}
        for group in comparison.groups:
            name = group.replicas[0].cell["group"]
            if name in self._active and name not in open_ and group.name in verdicts:
                stop = {"config": group.name, "seeds": seeds, "verdict": verdicts[group.name]}
                rule["stopped"].append(stop)
        self._active = [name for name in self._configs if name in open_]
        if rule["taken"] == len(self._after):
            self._active = []
        console.say(_said(rule, seeds, len(self._configs), len(open_)))


def _said(rule: config.Node, seeds: int, configs: int, undecided: int) -> str:
    look = f"look {rule['taken']} of {len(rule['after'])}, after {counted(seeds, 'seed')}"
    stopped = [
        f"{stop['config']}: {stop['verdict']}" for stop in rule["stopped"] if stop["seeds"] == seeds
    ]
    listed = f"{'; '.join(stopped)}; " if stopped else ""
    rest = f"{undecided} of {counted(configs, 'config')}"
    if rule["taken"] == len(rule["after"]):
        return f"{look}: {listed}{rest} not decided"
    return f"{look}: {listed}{rest} {'goes' if undecided == 1 else 'go'} on"


def _by_config(whole: Plan) -> dict[str, list[Cell]]:
    """Map the digest of each config to its jobs, the first seed first."""
    settings = whole.settings
    if settings.replicate != [SEED]:
        rule = "only the seed repeats a config then"
        raise UserError(f"{UNTIL}: {rule}, not {' and '.join(settings.replicate)}")
    configs: dict[str, list[Cell]] = {}
    for cell in sorted(whole.cells, key=lambda cell: cell.job.config.seed):
        configs.setdefault(cell.record["group"], []).append(cell)
    for cells in configs.values():
        if len(cells) != settings.sweep.seeds.max:
            rule = "something else changes with the seed, or sweep.where leaves some out"
            raise UserError(
                f"{UNTIL}: {cells[0].name} has only {len(cells)} of {settings.sweep.seeds.max} "
                f"seeds: {rule}"
            )
    if len(configs) < 2:
        raise UserError(f"{UNTIL}: one config has nothing to be compared with; sweep a key")
    _ensure_comparable(len(configs), settings.sweep)
    return configs


def _ensure_comparable(configs: int, rules: Sweep) -> None:
    """Raise UserError if there are too many configs to compare each with each."""
    if configs > MOST_RACERS and rules.baseline is None:
        rule = f"more than {MOST_RACERS} are not compared each with each; name a sweep.baseline"
        raise UserError(f"{UNTIL}: {counted(configs, 'config')}, and {rule}")


def outlook(whole: Plan) -> str:
    """Say how many of the jobs are trained at least."""
    seeds = whole.settings.sweep.seeds
    after = looks.planned(seeds)
    least, most = len(whole.cells) // seeds.max * after[0], len(whole.cells)
    jobs = counted(most, "job") if least == most else f"{least} to {counted(most, 'job')}"
    return f"looks after {looks.in_words(after)}: {jobs}"
