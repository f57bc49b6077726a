"""When a sweep with `sweep.seeds.until=decided` looks at its runs."""

from __future__ import annotations

from sweeplab.config import Seeds
from sweeplab.errors import UserError

LOOKS = (5, 10, 20, 30, 50, 100, 200, 500)  # seeds after which is looked, unless told otherwise


def looks(seeds: Seeds) -> list[int]:
    """Return after how many seeds of a config is looked, the last time after the most."""
    chosen = LOOKS if seeds.looks is None else seeds.looks
    if seeds.looks and seeds.looks[-1] > seeds.max:
        rule = f"sweep.seeds.max={seeds.max} ends before the last look"
        raise UserError(f"sweep.seeds.looks={seeds.looks}: {rule}")
    return [*(n for n in chosen if n < seeds.max), seeds.max]
