"""A random sample of a grid, `sweep.sample`: drawn one by one, so that the grid may be huge."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterator, Sequence

from sweeplab import config, console
from sweeplab.config import Sweep, key_of
from sweeplab.config.where import Condition
from sweeplab.console import counted
from sweeplab.errors import UserError
from sweeplab.sweep.cell import Compose, composed, facts
from sweeplab.sweep.combinations import Axis, Row, ensure_countable, job, size
from sweeplab.sweep.conditions import Conditions

MOST_LISTED = 1_000_000  # combinations that are put into an order all at once
MOST_MISSES = 3_000  # jobs that are drawn in vain, one after another: a quarter of a minute
LEAST_MISSES = 1_000  # before that nothing is concluded from jobs that are drawn in vain
MOST_AHEAD = 10_000  # jobs that are still to be drawn, at the least: a minute
RULE_OF_THREE = 3  # of n that were drawn in vain, at most 3 / n are wanted (95 %)
PATIENCE = 2.0  # seconds of drawing after which is said how far it is


def draw(
    grid: Sequence[Axis], rules: Sweep, conditions: Conditions, compose: Compose
) -> list[list[str]]:
    """Draw `sweep.sample` configs at random, without replacement, each with all of its replicas.

    A config comes with every value of the keys of `sweep.replicate`, of the fold and of
    `sweep.baseline`: what is paired stays together. The order in which configs are drawn depends on
    the grid and on `sweep.sample_seed` alone, so that a larger sample has all of a smaller one.
    Raises UserError if `sweep.where` and `sweep.when` leave hardly any.
    """
    assert rules.sample is not None
    drawn, paired = _split(grid, rules)
    ensure_countable(min(rules.sample, size(drawn)) * size(paired))
    jobs: dict[tuple[str, ...], None] = {}
    progress = _Progress(rules.sample, size(drawn))
    with console.waiting("drawing configs"):
        for rows in _shuffled(drawn, rules.sample_seed):
            if progress.count == rules.sample:
                break
            drawn_jobs = [job([*rows, *others]) for others in itertools.product(*paired)]
            reduced = dict.fromkeys(tuple(conditions.kept(words)) for words in drawn_jobs)
            new = [words for words in reduced if words not in jobs]
            wanted = [words for words in new if _is_wanted(words, rules, compose)]
            jobs |= dict.fromkeys(wanted)
            progress.add(len(drawn_jobs), is_wanted=bool(wanted))
    if not jobs:
        total = size(drawn) * size(paired)
        raise UserError(
            f"sweep.where: holds for none of the {counted(total, 'job')}; nothing was trained"
        )
    alike = _shared(drawn, list(jobs))
    console.say(_summary(rules.sample, progress.count, drawn, paired) + alike)
    return [list(words) for words in jobs]


class _Progress:
    """How many configs are drawn, and whether the others will be within a reasonable time."""

    def __init__(self, sample: int, combinations: int) -> None:
        self.count = 0  # configs that are wanted
        self._sample, self._combinations = sample, combinations
        self._jobs = self._misses = 0  # drawn in all, and in vain since the last one that is wanted
        self._began: float | None = time.monotonic()

    def add(self, jobs: int, *, is_wanted: bool) -> None:
        """Count the jobs of a config. Raises UserError if hardly any are wanted.

        The rule of three (Hanley and Lippman-Hand 1983) bounds the share of wanted ones from above,
        and so the number of jobs still to be drawn from below.
        """
        self._jobs += jobs
        self.count += is_wanted
        self._misses = 0 if is_wanted else self._misses + jobs
        missing = self._sample - self.count
        if is_wanted or missing == 0:
            return
        is_hopeless = self._misses >= MOST_MISSES
        if self.count == 0 and self._misses >= LEAST_MISSES:
            is_hopeless |= missing * self._misses / RULE_OF_THREE >= MOST_AHEAD
        if is_hopeless:
            raise UserError(self._too_rare())
        if self._began is not None and time.monotonic() - self._began > PATIENCE:
            self._began = None
            drawn = (
                f"{counted(self.count, 'config')} of {counted(self._jobs, 'job')} that were drawn"
            )
            console.say(f"sweep.sample={self._sample}: so far {drawn}; still drawing")

    def _too_rare(self) -> str:
        found = f"{counted(self._misses, 'job')} in a row were drawn in vain"
        found += f", after {counted(self.count, 'config')}"
        return (
            f"sweep.sample={self._sample}: {found}: sweep.where and sweep.when leave hardly any of "
            f"the {self._combinations} combinations; narrow the swept values, or ask for fewer"
        )


def _split(grid: Sequence[Axis], rules: Sweep) -> tuple[list[Axis], list[Axis]]:
    """Separate the axes that are drawn from those of which each config gets every value."""
    from sweeplab.compare import baseline

    replicated = {*rules.replicate, config.FOLD}
    compared = set() if rules.baseline is None else set(baseline.read([rules.baseline]))

    def is_paired(override: str) -> bool:
        key = key_of(override)
        return key in replicated or not compared.isdisjoint([key, key.rpartition(".")[2]])

    drawn: list[Axis] = []
    paired: list[Axis] = []
    for axis in grid:
        belongs = any(is_paired(override) for _, override in axis[0])
        (paired if belongs else drawn).append(axis)
    return drawn, paired


def _shuffled(grid: Sequence[Axis], seed: int) -> Iterator[list[Row]]:
    """Yield the combinations of a grid in a random order, which is the same in whatever order keys
    and values were typed.
    """
    ordered = sorted((sorted(axis, key=_texts) for axis in grid), key=lambda axis: _texts(axis[0]))
    for index in _permutation(size(grid), seed):
        rows = []
        for axis in ordered:
            index, place = divmod(index, len(axis))
            rows.append(axis[place])
        yield rows


def _texts(row: Row) -> list[str]:
    return sorted(override for _, override in row)


def _permutation(count: int, seed: int) -> Iterator[int]:
    """Yield the numbers below `count` in a random order; of very many, without listing them."""
    rng = random.Random(seed)  # noqa: S311  # no secret
    if count <= MOST_LISTED:
        numbers = list(range(count))
        rng.shuffle(numbers)
        yield from numbers
        return
    seen: set[int] = set()
    while True:
        number = rng.randrange(count)
        if number not in seen:
            seen.add(number)
            yield number


def _is_wanted(words: Sequence[str], rules: Sweep, compose: Compose) -> bool:
    """Whether `sweep.where` holds for a job; what is wrong with it is told when it is checked."""
    if rules.where is None:
        return True
    try:
        values = facts(config.resolve(composed(words, compose)), words)
    except UserError:
        return True
    return Condition.read(rules.where, "sweep.where").holds(values)


def _shared(drawn: Sequence[Axis], jobs: Sequence[tuple[str, ...]]) -> str:
    """Name the drawn values that all jobs have, for which no table has a column; '' without any."""
    rows = itertools.chain(*(axis for axis in drawn if len(axis) > 1))
    overrides = {override for _, override in itertools.chain(*rows)}
    shared = sorted(overrides.intersection(*jobs))
    return f"; all have {' '.join(shared)}" if shared else ""


def _summary(sample: int, count: int, drawn: Sequence[Axis], paired: Sequence[Axis]) -> str:
    """Say how many configs are drawn, and of which keys each has every value."""
    keys = [key_of(override) for axis in paired if len(axis) > 1 for _, override in axis[0]]
    each = f", each with every value of {', '.join(keys)}" if keys else ""
    if count < sample:
        return f"sweep.sample={sample}: all there are, {counted(count, 'config')}{each}"
    return f"sweep.sample={sample}: drawn from {size(drawn)} combinations{each}"
