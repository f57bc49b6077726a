"""Sweeps whose seeds stop when the answer is certain (`sweep.seeds.until=decided`).

Simulated ones, a part of `python -m benchmarks.statistics`, and one that was trained, replayed from
its journals: `python -m benchmarks.statistics --store runs batchnorm`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import special

from benchmarks.simulated import Floats, Table, p_values, rejected_by_holm, share
from sweeplab import compare, config, metrics
from sweeplab.compare.looks import HOPELESS, in_words, planned
from sweeplab.compare.sequential import Looked, predictive_power
from sweeplab.compare.statistics import ALPHA
from sweeplab.store import Store

LOOKS = tuple(planned(config.Seeds()))
SCHEDULES = ((5, 10, 20, 30), (5, 7, 10, 14, 20, 30), LOOKS, tuple(range(5, 31)))
EFFECTS = (0.0, 0.5, 1.0, 2.0)

Flags = NDArray[np.bool_]


@dataclass(kw_only=True)
class Found:
    """What was concluded, by sweep and contrast, and how many runs it took, by sweep."""

    is_shown: Flags
    is_positive: Flags
    runs: Floats


@dataclass(kw_only=True)
class Design:
    """Configs of simulated sweeps, and which of them are compared."""

    truth: Floats  # the mean of each config, in standard deviations of a paired difference
    pairs: list[tuple[int, int]]
    is_race: bool

    @property
    def effects(self) -> Floats:
        return np.array([self.truth[one] - self.truth[other] for one, other in self.pairs])

    def draw(self, random: np.random.Generator, sweeps: int) -> Floats:
        """Draw a value for each sweep, config and seed."""
        noise = random.normal(scale=np.sqrt(0.5), size=(sweeps, len(self.truth), LOOKS[-1]))
        return noise + self.truth[:, None]

    def differences(self, values: Floats) -> Floats:
        ones, others = np.array(self.pairs).T
        return values[:, ones] - values[:, others]

    def fixed(self, differences: Floats, n: int) -> Found:
        """Test after n seeds of every config."""
        runs = np.full(len(differences), float(n * len(self.truth)))
        known = differences[..., :n]
        return Found(
            is_shown=rejected_by_holm(p_values(known)), is_positive=known.mean(-1) > 0, runs=runs
        )

    def fixed_number(self, differences: Floats, power: float) -> int:
        """The least fixed number of seeds that shows as many of the true differences."""
        least, most = 2, LOOKS[-1]
        while least < most:
            middle = (least + most) // 2
            if self.power(self.fixed(differences, middle)) >= power:
                most = middle
            else:
                least = middle + 1
        return least

    def looked(
        self,
        differences: Floats,
        hopeless: float = HOPELESS,
        schedule: Sequence[int] = LOOKS,
    ) -> Found:
        """Look as often as a sweep does, and give more to what is neither settled nor hopeless."""
        shape = differences.shape[:2]
        corrected, is_positive = np.ones(shape), np.zeros(shape, bool)
        is_open, is_hopeless = np.ones(shape, bool), np.zeros(shape, bool)
        last = looked_until(schedule)
        tests = len(self.pairs)
        levels = np.array([last.level(ALPHA / (tests - shown)) for shown in range(tests)] + [1.0])
        found = Found(is_shown=~is_open, is_positive=is_positive, runs=np.zeros(len(differences)))
        for before, n in zip((0, *schedule), schedule, strict=False):
            found.runs += self._on_either_side(is_open, is_open).sum(1) * (n - before)
            known = differences[..., :n]
            p = p_values(known)
            corrected = np.where(is_open, looked_until(schedule, n).sequential_p(p), corrected)
            found.is_positive = np.where(is_open, known.mean(-1) > 0, found.is_positive)
            found.is_shown = rejected_by_holm(corrected)
            if n < schedule[-1]:
                level = levels[found.is_shown.sum(1)][:, None]
                is_hopeless |= is_open & (predictive_power(p, n / schedule[-1], level) < hopeless)
            is_open = ~(found.is_shown | is_hopeless)
            if self.is_race:
                is_out = self._on_either_side(
                    found.is_shown & ~found.is_positive, found.is_shown & found.is_positive
                )
                ones, others = np.array(self.pairs).T
                is_open &= ~(is_out[:, ones] | is_out[:, others])
        return found

    def _on_either_side(self, firsts: Flags, seconds: Flags) -> Flags:
        """Which configs are the first of one of these contrasts, or the second of one of those."""
        flags = np.zeros((len(firsts), len(self.truth)), bool)
        for place, (one, other) in enumerate(self.pairs):
            flags[:, one] |= firsts[:, place]
            flags[:, other] |= seconds[:, place]
        return flags

    def wrong(self, found: Found) -> Flags:
        """Which sweeps call a difference that there is not, or in the wrong direction."""
        is_right = np.where(found.is_positive, self.effects > 0, self.effects < 0)
        return np.asarray((found.is_shown & ~is_right).any(1))

    def least_runs(self, power: float) -> float:
        """The runs that any sequential test takes in the mean, at this level and with this power.

        That is a lower bound for one that knows the spread, and the difference that it is to find
        (Wald 1947, Sequential Analysis, appendix A.7; Hoeffding 1953, Annals of Mathematical
        Statistics 24): by what each seed tells of a difference against none. Each config gets the
        seeds of the first look at least.
        """
        effect = float(np.abs(self.effects).max())
        nulls = int((self.effects == 0).sum())
        level = ALPHA / 2 / (nulls + 1)  # of a true difference, when Holm has the others behind it
        power = min(power, 1 - 1e-4)
        told = power * math.log(power / level)
        told += (1 - power) * math.log((1 - power) / (1 - level))
        with_effect = max(LOOKS[0], told / (effect**2 / 2))
        missed = (1 - level) * math.log((1 - level) / (1 - power))
        missed += level * math.log(level / power)
        without = max(LOOKS[0], missed / (effect**2 / 2))
        configs = len(self.truth)
        if self.is_race or nulls == 0:  # who lost to the best has nothing else to be told of
            return configs * with_effect
        with_effects = configs - nulls
        return with_effects * with_effect + nulls * without

    def power(self, found: Found) -> float:
        """The share of the true differences that are shown."""
        is_right = np.where(found.is_positive, self.effects > 0, self.effects < 0)
        return float((found.is_shown & is_right)[:, self.effects != 0].mean())


def looked_until(schedule: Sequence[int], n: int | None = None) -> Looked:
    """The looks of a schedule after so many seeds, or all of them."""
    known = tuple(look for look in schedule if n is None or look <= n)
    return Looked(fractions=tuple(look / schedule[-1] for look in known), pairs=known)


def designs(configs: int, effect: float) -> dict[str, Design]:
    """The questions that are asked of so many configs."""
    against = [(number, 0) for number in range(1, configs)]
    every = list(combinations(range(configs), 2))
    one, all_but_one = np.zeros(configs), np.full(configs, effect)
    one[-1], all_but_one[0] = effect, 0.0
    found = {"baseline, one differs": Design(truth=one, pairs=against, is_race=False)}
    if configs > 2:
        found["baseline, all differ"] = Design(truth=all_but_one, pairs=against, is_race=False)
        found["race, one is better"] = Design(truth=one, pairs=every, is_race=True)
    return found


def looks(random: np.random.Generator, sweeps: int) -> Table:
    """Seeds that stop when the answer is certain, against as many seeds for all."""
    rows = []
    for configs in (2, 4, 8, 16):
        for effect in EFFECTS:
            for name, design in designs(configs, effect).items():
                if effect or name != "baseline, all differ":
                    row = _row(design, design.differences(design.draw(random, sweeps)))
                    rows.append([name, str(configs), f"{effect:g}", *row])
    about = (
        f"sweep.seeds.until=decided with looks after {in_words(LOOKS)}, n={sweeps:,} sweeps a row: sweeps with a wrong decision, "
        "the share of true differences that are shown, the mean number of runs, the least fixed number of seeds that shows as many, "
        "and the runs saved against that, which nobody knows before; the most that any sequential test could save; and the runs saved "
        f"against {LOOKS[-1]} seeds for all."
    )
    columns = ["question", "configs", "difference (SD)", "wrong", "shown", "runs", "fixed seeds"]
    columns += ["saved", "at most", f"saved of {LOOKS[-1]}"]
    return Table(about=about, columns=columns, rows=rows)


def schedules(random: np.random.Generator, sweeps: int) -> Table:
    """What more or fewer looks save: means over the questions."""
    rows = []
    for schedule in SCHEDULES:
        row = [in_words(schedule) if len(schedule) < 15 else "5, 6, 7, ... and 30 seeds"]
        for effect in EFFECTS:
            found = []
            for configs in (2, 8):
                for name, design in designs(configs, effect).items():
                    if effect or name != "baseline, all differ":
                        differences = design.differences(design.draw(random, sweeps))
                        found.append(_saved(design, differences, schedule))
            shown, saved, of_all = np.array(found).mean(0)
            row.append(
                f"{saved if effect else of_all:.0f} %" + (f", {shown:.1f} %" if effect else "")
            )
        rows.append(row)
    about = (
        f"Other looks, n={sweeps:,} sweeps a row of 2 and 8 configs, means over their rows of the table above: the runs saved against "
        "the fixed number of seeds that shows as many, and the share of true differences that are shown; without a difference, the "
        "runs saved against 30 seeds for all."
    )
    columns = ["looks", "no difference", *(f"{effect:g} SD" for effect in EFFECTS if effect)]
    return Table(about=about, columns=columns, rows=rows)


def _saved(design: Design, differences: Floats, schedule: Sequence[int]) -> list[float]:
    """The share of true differences that are shown, and what is saved of the fixed and of all runs."""
    found = design.looked(differences, schedule=schedule)
    runs, configs = found.runs.mean(), len(design.truth)
    of_all = 100 * (1 - runs / (LOOKS[-1] * configs))
    if not design.effects.any():
        return [0.0, 0.0, of_all]
    power = design.power(found)
    n = design.fixed_number(differences, power)
    return [100 * power, 100 * (1 - runs / (n * configs)), of_all]


def margins(random: np.random.Generator, sweeps: int) -> Table:
    """Two configs and a margin: what is called the same, and what another."""
    rows = []
    for truth, margin in ((1.0, 1.0), (0.5, 0.5), (0.0, 0.5), (0.0, 1.0), (0.0, 2.0)):
        values = random.normal(truth, size=(sweeps, LOOKS[-1]))
        is_open = np.ones(sweeps, bool)
        is_same, is_shown, runs = ~is_open, ~is_open, np.zeros(sweeps)
        for before, n in zip((0, *LOOKS), LOOKS, strict=False):
            runs += 2 * (n - before) * is_open
            known, level = values[:, :n], looked_until(LOOKS, n).level(ALPHA)
            half = -special.stdtrit(n - 1, level / 2) * known.std(1, ddof=1) / math.sqrt(n)
            size = np.abs(known.mean(1))
            is_shown |= is_open & (size > half)
            is_same |= is_open & (size + half < margin) & ~is_shown
            is_open = ~(is_shown | is_same)
        told = share(is_same), share(is_shown)
        rows.append([f"{truth:g}", f"{margin:g}", *told, f"{runs.mean():.0f}"])
    about = (
        f"Two configs with `sweep.margin`, the same looks, n={sweeps:,} sweeps a row (in standard deviations of a paired difference): how "
        "often they are called the same within the margin, how often one better, and the mean number of runs, of 60."
    )
    return Table(
        about=about, columns=["difference", "margin", "the same", "better", "runs"], rows=rows
    )


def given_up(random: np.random.Generator, sweeps: int) -> Table:
    """What is saved, and missed, by giving up what all seeds would hardly decide."""
    rows = []
    for configs, effect in ((2, 0.0), (8, 0.0), (2, 0.5), (8, 0.5)):
        name = "baseline, all differ" if configs > 2 and effect else "baseline, one differs"
        design = designs(configs, effect)[name]
        differences = design.differences(design.draw(random, sweeps))
        row = [name, str(configs), f"{effect:g}"]
        for hopeless in (0.0, HOPELESS, 2 * HOPELESS):
            found = design.looked(differences, hopeless)
            shown = f", {100 * design.power(found):.1f} %" if effect else ""
            row.append(f"{found.runs.mean():.0f}{shown}")
        rows.append(row)
    about = (
        f"The same looks, n={sweeps:,} sweeps a row: the mean number of runs, and the share of true differences that are shown, "
        "where no contrast is given up, and where it is at this probability of an answer at the last look."
    )
    columns = ["question", "configs", "difference (SD)", "never"]
    return Table(about=about, columns=[*columns, f"{HOPELESS:g}", f"{2 * HOPELESS:g}"], rows=rows)


def _row(design: Design, differences: Floats) -> list[str]:
    found = design.looked(differences)
    runs = found.runs.mean()
    row = [share(design.wrong(found))]
    saved_of_all = f"{100 * (1 - runs / (LOOKS[-1] * len(design.truth))):.0f} %"
    if not design.effects.any():
        return [*row, "-", f"{runs:.0f}", "-", "-", "-", saved_of_all]
    power = design.power(found)
    n = design.fixed_number(differences, power)
    saved = 1 - runs / (n * len(design.truth))
    most = 1 - design.least_runs(power) / (n * len(design.truth))
    return [
        *row,
        f"{100 * power:.1f} %",
        f"{runs:.0f}",
        str(n),
        f"{100 * saved:.0f} %",
        f"{100 * most:.0f} %",
        saved_of_all,
    ]


# --- a sweep that was trained


def replay(home: Store, names: Sequence[str]) -> Table:
    """Ask a sweep again that has all its seeds, as `sweep.seeds.until=decided` had asked it."""
    sweeps = [sweep for name in names for sweep in home.named(name)]
    if not sweeps:
        raise SystemExit(f"{home.root} has no sweep of {', '.join(names)}")
    whole = compare.compare(home, sweeps)
    cells: dict[str, dict[int, config.Node]] = {}
    for cell in (cell for sweep in sweeps for cell in sweep["cells"]):
        cells.setdefault(cell["group"], {})[cell["replica"]["seed"]] = cell
    seeds = sorted(set.intersection(*(set(own) for own in cells.values())))
    after = planned(config.Seeds(max=len(seeds)))
    asked: dict[str, config.Node] = {}
    undecided = list(cells)
    for taken, n in enumerate(after, 1):
        for group in undecided:
            asked |= {cells[group][seed]["fingerprint"]: cells[group][seed] for seed in seeds[:n]}
        rule = {"first": seeds[0], "after": after, "taken": taken}
        found = compare.compare(home, [{**sweeps[0], "cells": list(asked.values()), "looks": rule}])
        undecided = [group.replicas[0].cell["group"] for group in found.undecided]
    return _replayed(whole, found)


def _replayed(whole: compare.Comparison, found: compare.Comparison) -> Table:
    question = next(iter(whole.contrasts))
    before = {contrast.group.name: contrast for contrast in whole.contrasts[question]}
    rows = []
    for contrast in found.decisive:
        fixed = before[contrast.group.name]
        rows.append([contrast.group.name, fixed.verdict, contrast.verdict, contrast.stopped])
    runs = len(found.replicas), len(whole.replicas)
    seconds = [
        sum(run.measured.get(metrics.SECONDS, 0.0) for run in one.replicas)
        for one in (found, whole)
    ]
    about = f"{whole.title} by {question}: {runs[0]} of {runs[1]} runs, {seconds[0]:.0f} of {seconds[1]:.0f} s of training."
    return Table(about=about, columns=["config", "all seeds", "with looks", "stopped"], rows=rows)
