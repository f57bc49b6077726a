"""Where the jobs of a sweep come from: all known beforehand, or each chosen by what came out of the others."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator

from sweeplab import targets
from sweeplab.config import Node
from sweeplab.runs.once import Once
from sweeplab.store import Store
from sweeplab.sweep import preview
from sweeplab.sweep.cell import Cell
from sweeplab.sweep.fate import NEW, STALE
from sweeplab.sweep.plan import Plan
from sweeplab.train import fused
from sweeplab.train.device import choose_device

MOST = 8  # runs that are trained as one: more gain little, and are lost together if their process is killed
SMALL = 200_000  # parameters; the step of a larger network is nearly all arithmetic
LOOK = 0.2  # seconds between two looks at the clock, the journals and the signals


def _alike(cell: Cell, once: Once) -> Hashable:
    """Equal for jobs that can be trained as one, which changes no bit of them and pays for small networks.

    They see the same batches (of one seed), have the same network, and begin now. What makes a process of its own
    differ from several in one - a time limit, another device, more threads, classes of the user's own, a set that is
    read while they train - keeps a job by itself.
    """
    config, trainer, alone = cell.job.config, cell.job.config.trainer, cell.job.fingerprint
    optimizer = str(config.optimizer["_target_"])
    parts = [config.model, config.loss, config.optimizer, config.scheduler, *config.metrics.values()]
    if not (
        config.sweep.fuse
        and cell.fate.kind in (NEW, STALE)
        and config.sweep.job_timeout is trainer.time_limit is None
        and trainer.threads in (None, 1)
        and trainer.precision == "fp32"
        and not (trainer.compile or trainer.profile or trainer.init_from or trainer.overfit_batches)
        and once(choose_device, trainer.device).type == "cpu"
        and optimizer.startswith("torch.optim.")
        and not optimizer.endswith(".LBFGS")  # which looks at a batch several times
        and cell.job.facts.held
        and fused.stateless(parts)
        and once(_shareable, config.loss)
        and sum(layer.parameters for layer in cell.job.layers) <= SMALL
        and once(fused.possible, config.model)
    ):
        return alone
    seen = (trainer.batch_size, trainer.limit_batches, trainer.shift)
    return repr((config.model, config.loss, config.data, config.seed, seen))


def _shareable(loss: Node) -> bool:
    target = targets.locate(loss["_target_"], "loss._target_")
    return isinstance(target, type) and fused.shareable(target)


class Jobs:
    """Those of a plan that has them all."""

    look = LOOK
    batch: int | None = None  # how many a launcher of Hydra's gets at once; None: all

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.given_up: set[str] = set()  # fingerprints of runs that are not wanted to their end any more

    @property
    def total(self) -> int:
        """How many jobs the whole sweep has, at most."""
        return len(self.plan.cells)

    @property
    def left(self) -> bool:
        """Whether there may be anything to train."""
        return any(not cell.job.finished for cell in self.plan.cells)

    def summary(self) -> str:
        """One line, after `begin`."""
        return preview.summary(self.plan)

    def __iter__(self) -> Iterator[Cell]:
        """The jobs that are left, once."""
        return (cell for cell in self.plan.cells if not cell.job.finished)

    def groups(self, workers: int) -> Iterator[list[Cell]]:
        """The same, those together that so many workers had best train as one; 0: each by itself."""
        left = [cell for cell in self.plan.cells if not cell.job.finished]
        # Two groups a worker, if there are so many, so that none waits long for the last.
        most = min(MOST, len(left) // (2 * workers)) if workers else 1
        if most < 2:
            yield from ([cell] for cell in left)
            return
        alike: dict[Hashable, list[Cell]] = {}
        once = Once()
        for cell in left:
            alike.setdefault(_alike(cell, once), []).append(cell)
        for each in alike.values():
            yield from (each[start : start + most] for start in range(0, len(each), most))

    def begin(self, home: Store, record: Callable[[], None]) -> None:
        """To be called before the first job; `record` writes the plan's manifest."""

    def end(self) -> None:
        """To be called after the last one, however that ended."""

    def ended(self, cell: Cell) -> None:
        """Its run has come to an end, whatever that is, and is not started again."""

    def hopeless(self, cell: Cell) -> bool:
        """Whether a run that is at work is to be ended now."""
        del cell
        return False
