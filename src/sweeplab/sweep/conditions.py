"""Keys that are swept only where a condition holds: `sweep.when`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sweeplab import config
from sweeplab.config import Node, key_of
from sweeplab.config.where import Condition
from sweeplab.errors import UserError, did_you_mean
from sweeplab.sweep.cell import Compose, composed, facts

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override


class Conditions:
    """The conditions of `sweep.when`, each for a swept key, in the order in which they stand."""

    def __init__(self, when: Node, overrides: Sequence[Override], compose: Compose) -> None:
        """Read the conditions.

        Raises UserError for a key that is not swept, for a condition that cannot be read, and for
        one that looks at a key that is decided later.
        """
        self._compose = compose
        self._conditions: dict[str, Condition] = {}
        keys = {key_of(override.get_key_element()): override for override in overrides}
        swept = [key for key, override in keys.items() if override.is_sweep_override()]
        texts = config.flatten(when)
        for key, text in texts.items():
            if key not in keys:
                raise UserError(f"sweep.when.{key}: is not swept{did_you_mean(key, swept)}")
            self._conditions[key] = Condition.read(text, f"sweep.when.{key}")
        self._ensure_ordered()

    def _ensure_ordered(self) -> None:
        undecided = list(self._conditions)
        for key, condition in self._conditions.items():
            for name in condition.keys:
                if any(name == other or name.startswith(f"{other}.") for other in undecided):
                    rule = "a condition looks only at keys whose own conditions stand before it"
                    raise UserError(f"sweep.when.{key}: looks at {name}; {rule}")
            undecided.remove(key)

    def kept(self, job: Sequence[str]) -> list[str]:
        """Return the overrides of a job without the keys whose condition does not hold.

        Raises UserError for a condition that cannot be evaluated.
        """
        left_out = set(self._conditions)
        for key, condition in self._conditions.items():
            known = [override for override in job if key_of(override) not in left_out]
            try:
                values = facts(config.resolve(composed(known, self._compose)), known)
            except UserError:  # told with those of all jobs, when they are checked
                return known
            if condition.holds(values):
                left_out.discard(key)
        return [override for override in job if key_of(override) not in left_out]
