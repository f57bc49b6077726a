"""What the intervals of importance, and the bold rows of a paper's table, keep of their promise.

uv run python -m benchmarks.statistics importance bold
"""

from __future__ import annotations

import numpy as np

from benchmarks.simulated import Table, p_values, rejected_by_holm, share
from sweeplab.compare import variance

GRID: variance.Levels = {"first": ["1", "1", "2", "2", "3", "3"], "second": ["x", "y"] * 3}


def importance(random: np.random.Generator, sweeps: int) -> Table:
    """How often the interval of a key's share of the variance between runs holds the true one."""
    sweeps //= 10  # each resamples its seeds up to 10,000 times
    rows = []
    for first, second, together, of_seed, chance in (
        (1.0, 1.0, 0.5, 0.5, 0.5),
        (1.0, 0.0, 0.0, 0.3, 1.0),
        (1.0, 0.3, 0.2, 1.0, 0.2),
        (0.0, 0.0, 0.0, 0.5, 1.0),
    ):
        effects = np.stack([
            first * np.array([-1.0, -1.0, 0.0, 0.0, 1.0, 1.0]),
            second * np.array([-0.5, 0.5, -0.5, 0.5, -0.5, 0.5]),
            together * np.array([0.5, -0.5, -0.5, 0.5, 0.0, 0.0]),
        ])  # fmt: skip
        parts = (effects**2).mean(1)
        truth = parts / (parts.sum() + of_seed**2 + chance**2)
        for n in (5, 10, 30):
            holds = np.empty((sweeps, len(truth)), bool)
            for held in holds:
                values = effects.sum(0)[:, None] + of_seed * random.normal(size=n)
                values = values + chance * random.normal(size=values.shape)
                for index, part in enumerate(variance.divide(GRID, values)[:-1]):
                    assert part.low is not None
                    assert part.high is not None
                    held[index] = part.low <= truth[index] <= part.high
            true = ", ".join(f"{100 * part:.0f} %" for part in truth)
            rows.append([true, str(n), *(share(held) for held in holds.T)])
    columns = ["true shares", "seeds", "first key", "second key", "interactions"]
    about = (
        "Two keys of three and two values in a full grid: how often the 95 % interval of a share in the variance between "
        f"runs holds the true share, n={sweeps:,} sweeps a row."
    )
    return Table(about=about, columns=columns, rows=rows)


def bold(random: np.random.Generator, sweeps: int) -> Table:
    """How often the truly best config is among those that `--latex` writes in bold."""
    rows = []
    for configs in (2, 5, 16):
        for n in (3, 5, 10):
            cells = [str(configs), str(n)]
            for lead in (0.0, 0.5, 1.0):
                values = random.normal(size=(sweeps, configs, n)) / np.sqrt(2)
                values[:, 0] += lead
                best = values.mean(2).argmax(1)
                is_other = np.arange(configs) != best[:, None]
                others = values[is_other].reshape(sweeps, configs - 1, n)
                differences = others - values[np.arange(sweeps), best][:, None]
                is_bold = np.ones((sweeps, configs), bool)
                is_bold[is_other] = ~rejected_by_holm(p_values(differences)).ravel()
                cells += [share(is_bold[:, 0]), f"{is_bold.sum(1).mean():.1f}"]
            rows.append(cells)
    columns = ["configs", "seeds"]
    for lead in ("any of equal ones", "the best by 0.5 SD", "the best by 1 SD"):
        columns += [lead, "bold in all"]
    about = (
        "How often the truly best config is bold in `sweeplab compare --latex`, that is the one with the best mean or not told "
        f"from it, and how many are bold, n={sweeps:,} sweeps a row."
    )
    return Table(about=about, columns=columns, rows=rows)
