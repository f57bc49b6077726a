"""What simulations of sweeps share: a table, a paired t test of many sweeps at once, a share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

LEVEL = 0.05

Floats = NDArray[np.float64]


@dataclass(kw_only=True)
class Table:
    """What a part found."""

    about: str
    columns: list[str]
    rows: list[list[str]]

    def markdown(self) -> str:
        lines = [self.columns, ["---", *["---:"] * (len(self.columns) - 1)], *self.rows]
        return "\n".join([self.about, "", *(f"| {' | '.join(cells)} |" for cells in lines)])


Part = Callable[[np.random.Generator, int], Table]


def p_values(differences: Floats) -> Floats:
    """Two-sided p of the paired t test over the last axis."""
    n = differences.shape[-1]
    t = differences.mean(-1) / differences.std(-1, ddof=1) * np.sqrt(n)
    return 2 * np.asarray(special.stdtr(n - 1, -np.abs(t)))


def rejected_by_holm(p: Floats, count: NDArray[np.int_] | int | None = None) -> NDArray[np.bool_]:
    """Which tests of each row have a corrected p below the level; of `count` tests, the others have p = 1."""
    count = p.shape[-1] if count is None else count
    order = p.argsort(-1)
    small = np.take_along_axis(p, order, -1) * (count - np.arange(p.shape[-1])).clip(1) < LEVEL
    rejected = np.empty_like(small)
    np.put_along_axis(rejected, order, np.logical_and.accumulate(small, -1), -1)
    return rejected


def share(values: NDArray[np.bool_]) -> str:
    """A share of the sweeps, with the standard error of the simulation."""
    rate = values.mean()
    return f"{100 * rate:.1f} ± {100 * np.sqrt(rate * (1 - rate) / values.size):.1f} %"
