"""What the numbers of a comparison promise, and what simulated sweeps keep of it.

    uv run python -m benchmarks.statistics                 all parts
    uv run python -m benchmarks.statistics known           parts by name
    uv run python -m benchmarks.statistics --store runs batchnorm     a sweep, replayed with looks at its seeds

Each part is a function that simulates so many sweeps (`--sweeps`) and returns a table. Differences
are in standard deviations of a paired difference; the tests are two-sided at 5 % unless it is said otherwise.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from benchmarks import sequential
from benchmarks.importance import bold, importance
from benchmarks.simulated import LEVEL, Floats, Part, Table, p_values, rejected_by_holm, share
from sweeplab.compare import power
from sweeplab.store import Store


def known(random: np.random.Generator, sweeps: int) -> Table:
    """The promised number of pairs, where the spread is known."""
    rows = []
    for comparisons in (1, 13):
        tail = LEVEL / comparisons / 2
        for effect in (0.3, 0.5, 0.8, 1.2):
            n = power.pairs_for(effect, tail)
            assert n is not None
            told = np.empty(sweeps, bool)
            for part in np.array_split(np.arange(sweeps), 20):  # as they fit into memory
                differences = random.normal(size=(len(part), comparisons, n))
                differences[:, 0] += effect  # the others are the same as their baseline
                told[part] = rejected_by_holm(p_values(differences))[:, 0]
            promised = f"{100 * power.power(effect, n, tail):.1f} %"
            rows.append([f"{effect:g}", str(comparisons), str(n), promised, share(told)])
    columns = ["difference (SD)", "comparisons (Holm)", "pairs promised", "power computed"]
    about = (
        f"The spread is known: power of the promised number of pairs, n={sweeps:,} sweeps a row."
    )
    return Table(about=about, columns=[*columns, "power simulated"], rows=rows)


@dataclass
class Pilot:
    """Sweeps of so few pairs that many cannot tell; means and sums of squares are continued."""

    effect: float
    n: int
    means: Floats
    squares: Floats  # sums of squared deviations

    @classmethod
    def draw(cls, random: np.random.Generator, effect: float, n: int, sweeps: int) -> Pilot:
        means = random.normal(effect, 1 / np.sqrt(n), sweeps)
        return cls(effect, n, means, random.chisquare(n - 1, sweeps))

    @property
    def deviations(self) -> Floats:
        return np.sqrt(self.squares / (self.n - 1))

    def told(self) -> NDArray[np.bool_]:
        """Which of them tell a difference at once."""
        return self._p(self.means, self.squares, np.full(self.means.size, self.n)) < LEVEL

    def told_after(self, random: np.random.Generator, numbers: Floats) -> NDArray[np.bool_]:
        """Which of them tell a difference in the right direction when continued to so many pairs.

        Of a difference of 0 any direction counts.
        """
        more = np.clip(numbers, self.n + 1, power.MOST) - self.n
        total = self.n + more
        means = random.normal(self.effect, 1 / np.sqrt(more))
        squares = np.where(more > 1, random.chisquare(np.maximum(more - 1, 1)), 0.0)
        squares += self.squares + self.n * more / total * (means - self.means) ** 2
        means = (self.n * self.means + more * means) / total
        told = self._p(means, squares, total) < LEVEL
        return told & ((means > 0) | (self.effect == 0)) & np.isfinite(numbers)

    @staticmethod
    def _p(means: Floats, squares: Floats, n: Floats) -> Floats:
        t = means / np.sqrt(squares / (n - 1) / n)
        return 2 * np.asarray(special.stdtr(n - 1, -np.abs(t)))


def numbers_for(effects: Floats, tail: float = LEVEL / 2) -> Floats:
    """The promised number of pairs of each effect, infinite where there is none."""
    grid = np.geomspace(1e-3, 100, 4000)
    promised = np.array([power.pairs_for(effect, tail) or np.inf for effect in grid])
    return promised[np.searchsorted(grid, np.clip(np.abs(effects), grid[0], grid[-1]))]


def estimated(random: np.random.Generator, sweeps: int) -> Table:
    """The promised number for a difference that is known, where the spread is that of a few pairs."""
    rows = []
    for effect in (0.5, 1.0):
        for n in (3, 5, 10):
            deviations = Pilot.draw(random, effect, n, sweeps).deviations
            row = [f"{effect:g}", str(n)]
            for factor in (1.0, power.upper_limit(n - 1)):
                numbers = numbers_for(effect / (deviations * factor))
                enough = numbers >= (power.pairs_for(effect, LEVEL / 2) or np.inf)
                told = Pilot.draw(random, effect, 2, sweeps).told_after(random, numbers)
                row += [f"{np.median(numbers):.0f}", share(told), share(enough)]
            rows.append(row)
    about = (
        f"The spread is estimated from few pairs, the difference is known, n={sweeps:,} sweeps a row: the promised number "
        "of pairs (the median), the power of new pairs of that number, and how many of the promises have a power of 80 %."
    )
    promises = [f"{title}{of}" for of in ("", ", SD's upper limit") for title in PROMISED]
    columns = ["difference (SD)", "pairs before", *promises]
    return Table(about=about, columns=columns, rows=rows)


PROMISED = ("promised", "power", "promises with 80 %")


def seen(random: np.random.Generator, sweeps: int) -> Table:
    """The promised number for the difference that was seen, as a comparison gives it."""
    rows = []
    for effect in (0.5, 1.0, 1.5):
        for n in (3, 5, 10):
            pilot = Pilot.draw(random, effect, n, sweeps)
            undecided = ~pilot.told()
            row = [f"{effect:g}", str(n), str(power.pairs_for(effect, LEVEL / 2)), share(undecided)]
            for factor in (1.0, power.upper_limit(n - 1)):
                numbers = numbers_for(pilot.means / (pilot.deviations * factor))
                told = pilot.told_after(random, numbers)
                row += [f"{np.median(numbers[undecided]):.0f}", share(told[undecided])]
            rows.append(row)
    about = (
        f"The pairs cannot tell, and go on to the number that is promised for the difference that they show (up to {power.MOST:,}), "
        f"n={sweeps:,} sweeps a row: the median of that number, and how many of those that could not tell tell the true difference then."
    )
    columns = ["difference (SD)", "pairs before", "pairs that it takes", "cannot tell"]
    columns += ["promised", "power", "promised, SD's upper limit", "power, SD's upper limit"]
    return Table(about=about, columns=columns, rows=rows)


def continued(random: np.random.Generator, sweeps: int) -> Table:
    """How often chance is called a difference by who looks, and goes on to the promised number."""
    rows = []
    for n in (3, 5, 10):
        pilot = Pilot.draw(random, 0.0, n, sweeps)
        told = pilot.told()
        numbers = numbers_for(pilot.means / pilot.deviations)
        rows.append([str(n), share(told), share(told | pilot.told_after(random, numbers))])
    about = (
        f"There is no difference, n={sweeps:,} sweeps a row: how often one is called, at the first look, and by who goes "
        f"on to the promised number (up to {power.MOST:,}) and looks again without a correction."
    )
    return Table(about=about, columns=["pairs before", "first look", "both looks"], rows=rows)


def as_good(values: Floats, margin: float) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """The best config of each sweep, and the smallest that is shown to be as good (-1 if none is).

    `values` are sweeps x configs x seeds; each config has fewer parameters than the one before it.
    """
    count, n = values.shape[1:]
    best = values.mean(-1).argmax(-1)
    differences = values[np.arange(len(values)), best][:, None] - values
    deviations = differences.std(-1, ddof=1)
    t = (margin - differences.mean(-1)) / np.where(deviations > 0, deviations, 1.0) * np.sqrt(n)
    is_smaller = np.arange(count) > best[:, None]
    p = np.where(is_smaller, special.stdtr(n - 1, -t), 1.0)
    shown = rejected_by_holm(p, is_smaller.sum(-1, keepdims=True)) & is_smaller
    return best, np.where(shown, np.arange(count), -1).max(-1)


def smallest(random: np.random.Generator, sweeps: int) -> Table:
    """How often the sentence on the smallest config that is as good names one that is worse by the margin."""
    rows = []
    for title, count, steps in TRUTHS:
        for n in (3, 5, 10):
            row = [title, str(count), str(n)]
            for margin in (1.0, 2.0):
                means = -margin * np.array(steps(count))
                noise = random.normal(0, np.sqrt(0.5), (sweeps, count, n))  # of a difference: 1
                _, named = as_good(means[:, None] + noise, margin)
                is_false = (named >= 0) & (means[named] <= -margin)
                row += [share(is_false), share((named >= 0) & ~is_false)]
            rows.append(row)
    about = (
        f"The smallest config that is as good, by a margin of 1 and of 2 SD of a difference, n={sweeps:,} sweeps a row: how often the one "
        "that is named is worse, by the margin or more, than the config that is best in truth; how often one is named rightly. Each "
        "config is smaller than the one before it."
    )
    columns = ["the others", "configs", "seeds", "false, 1 SD", "right, 1 SD", "false, 2 SD"]
    return Table(about=about, columns=[*columns, "right, 2 SD"], rows=rows)


def all_at_margin(count: int) -> list[float]:
    return [0.0] + [1.0] * (count - 1)


def one_at_margin(count: int) -> list[float]:
    return [0.0] * (count - 1) + [1.0]


def ladder(count: int) -> list[float]:
    """Steps of a quarter of the margin down, the fifth config is at it."""
    return [index / 4 for index in range(count)]


TRUTHS: tuple[tuple[str, int, Callable[[int], list[float]]], ...] = (
    ("worse by the margin", 2, all_at_margin),
    ("all worse by the margin", 8, all_at_margin),
    ("the last worse by the margin", 3, one_at_margin),
    ("the last worse by the margin", 14, one_at_margin),
    ("each worse by a quarter of it", 14, ladder),
)
"""How much worse than the best the configs are in truth, in margins."""

PARTS: dict[str, Part] = {
    "known": known,
    "estimated": estimated,
    "seen": seen,
    "continued": continued,
    "smallest": smallest,
    "importance": importance,
    "bold": bold,
    "looks": sequential.looks,
    "schedules": sequential.schedules,
    "margins": sequential.margins,
    "given-up": sequential.given_up,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.statistics",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = ", ".join(PARTS)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {names}; none: all")
    parser.add_argument("--sweeps", type=int, default=10_000, help="simulated for each row")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--store", help="replay its sweeps of these names instead")
    given = parser.parse_args()
    if given.store:
        print(sequential.replay(Store(given.store), given.parts).markdown())
        return
    for name in given.parts:
        if name not in PARTS:
            parser.error(f"{name}: no such part; choose of {names}")
    for name in given.parts or PARTS:
        began = time.perf_counter()
        table = PARTS[name](np.random.default_rng(given.seed), given.sweeps)
        print(f"{table.markdown()}\n\n({name}: {time.perf_counter() - began:.0f} s)\n")


if __name__ == "__main__":
    main()
