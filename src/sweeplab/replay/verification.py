"""What is drawn of a sweep to be trained again, and what came out; without PyTorch."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from sweeplab.compare.statistics import LEVEL, most_wrong
from sweeplab.config import Node
from sweeplab.errors import UserError
from sweeplab.store import Status, Store

IDENTICAL, DIFFERS = "identical", "differs"
AGREES, DISAGREES = "agrees", "disagrees"  # within the spread of the seeds, or not
GOOD = (IDENTICAL, AGREES)
UNTOLD, UNTRAINED = "cannot be told", "not trained"


@dataclass(kw_only=True, slots=True)
class Verdict:
    """What became of a run that was drawn."""

    run: str
    name: str
    verdict: str = UNTRAINED
    said: list[str] = field(default_factory=list)


@dataclass(kw_only=True, slots=True)
class Verification:
    """Which runs of a sweep were drawn, and what became of those that were looked at so far."""

    sweep: Node
    seed: int
    cells: list[Node]  # those that were drawn, in the order in which they were
    finished: int
    others: dict[str, int]  # status -> runs that cannot be drawn
    verdicts: list[Verdict] = field(default_factory=list)

    def count(self, *kinds: str) -> int:
        """Count the runs with one of these verdicts."""
        return sum(each.verdict in kinds for each in self.verdicts)

    def bound(self) -> tuple[int, int]:
        """Return (how many can be wrong, of how many), of the runs whose bits can be told here."""
        told = self.count(IDENTICAL, DIFFERS)
        population = self.finished - (len(self.verdicts) - told)
        return most_wrong(population, told, self.count(DIFFERS)), population

    def conclusions(self) -> list[str]:
        """Say how many came out how, and what it tells of the runs that were not drawn."""
        counts = Counter(each.verdict for each in self.verdicts)
        outcome = ", ".join(f"{count} {verdict}" for verdict, count in counts.items()) or "none"
        lines = [f"of {len(self.cells)} drawn, {len(self.verdicts)} looked at: {outcome}"]
        told, wrong = self.count(IDENTICAL, DIFFERS), self.count(DIFFERS)
        if told:
            most, population = self.bound()
            least = f"at least {wrong:,} and " * bool(wrong)
            share = f"{100 * most / population:.0f} %"
            lines += [
                f"bit for bit, {told - wrong} of {told} came out as recorded",
                f"so {least}at most {most:,} of {population:,} runs ({share}) would come out otherwise",
                "(95 %, one-sided; exact, by the hypergeometric distribution)",
            ]
        if self.count(UNTRAINED, UNTOLD) and told:
            lines.append(
                "that is said of the runs that can be trained and told here, as these were"
            )
        if self.count(AGREES):
            lines.append("those that agree within the spread of seeds are not counted in it")
        return lines

    def as_json(self) -> str:
        """Write it for scripts; docs/handing_on.md tells what each key means."""
        bound = None
        if self.count(IDENTICAL, DIFFERS):
            wrong, population = self.bound()
            bound = {"wrong_at_most": wrong, "of": population, "confidence": LEVEL}
        content: dict[str, Any] = {
            "sweep": self.sweep["id"],
            "seed": self.seed,
            "finished": self.finished,
            "not_finished": self.others,
            "drawn": len(self.cells),
            "runs": [asdict(each) for each in self.verdicts],
            "bound": bound,
        }
        return json.dumps(content, indent=2)


def draw(home: Store, sweep: Node, sample: int, seed: int) -> Verification:
    """Draw from the finished runs of a sweep; the same seed draws the same ones.

    Raises UserError if it has none.
    """
    cells = {cell["fingerprint"]: cell for cell in sweep["cells"]}
    statuses = {key: home.run(key).status for key in sorted(cells)}
    finished = [key for key, status in statuses.items() if status == Status.FINISHED]
    if not finished:
        raise UserError(
            f"{sweep['id'][:12]}: none of its runs is finished: nothing can be verified"
        )
    drawn = random.Random(seed).sample(finished, min(sample, len(finished)))  # noqa: S311  # no secret
    others = Counter(str(status) for status in statuses.values() if status != Status.FINISHED)
    return Verification(
        sweep=sweep,
        seed=seed,
        cells=[cells[key] for key in drawn],
        finished=len(finished),
        others=dict(others),
    )
