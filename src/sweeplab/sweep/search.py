"""An adaptive search: Optuna chooses each trial's config by what came out of the others, and ends those without hope.

The study is a file in the store, and each value in it comes from a run of the store, so that the same command, issued
again after whatever has happened, goes on where the search was.
"""

from __future__ import annotations

import hashlib
import json
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from sweeplab import console, store
from sweeplab.config import Config
from sweeplab.errors import UserError
from sweeplab.runs import report
from sweeplab.runs.once import Once
from sweeplab.sweep import conduct, plan
from sweeplab.sweep.cell import Cell, Compose, make_cell, varied_keys
from sweeplab.sweep.jobs import Jobs
from sweeplab.sweep.options import Options
from sweeplab.sweep.plan import Plan
from sweeplab.sweep.space import Space, read

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

    from sweeplab.sweep.pool import Workers

Node = dict[str, Any]

LOOK = 0.05  # seconds between two looks at the journals, if a run may be pruned
STUDY_ADVICE = "remove it, and the same command searches anew; runs that are finished are reused"
ENOUGH = 4  # complete trials before it is said which key mattered


def make(
    parsed: Sequence[Override],
    given: Sequence[str],
    compose: Compose,
    pool: Workers,
    options: Options,
    *,
    ours: bool,
) -> Search | None:
    """The search over what these overrides span; None if `sweep.plan` asks for no more than to see it.

    Every choice and both ends of every interval are checked first, one at a time: raises UserError with all that is
    wrong. A combination that is wrong all the same fails as a trial.
    """
    space = read(parsed)
    probes = plan.make(space.probes(), given, compose)
    settings, objectives = probes.settings, options.objectives(probes.settings)
    _ensure_searchable(settings, options, objectives, ours)
    asked = {
        "first": probes.cells[0].job.fingerprint,  # data, code, and all that is not swept
        "space": [(each.name, repr(each.distribution())) for each in space.dimensions],
        "seeds": space.seeds,
        "objectives": objectives,
        "how": [options.sampler, options.pruner],
    }
    search_id = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    found: Node = {"objectives": objectives, "n_trials": options.n_trials}
    planned = Plan(cells=[], overrides=probes.overrides, settings=settings, search_id=search_id, search=found)
    search = Search(planned, space, options, compose)
    if settings.sweep.plan:
        rows = [(each.name, str(each.distribution())) for each in space.dimensions]
        console.table(planned.name, ("key", "is drawn from"), rows, left=2)
        console.say(f"{search.total} jobs at most\nnothing was trained: sweep.plan=true")
        return None
    conduct.load(probes.cells, pool, share=ours)
    return search


def _ensure_searchable(settings: Config, options: Options, objectives: Mapping[str, str], ours: bool) -> None:
    options.sampler_after(0)
    if options.new_pruner() and options.prunes:
        if len(objectives) > 1:
            raise UserError("hydra.sweeper.pruner: Optuna prunes for one objective only; leave it out")
        if not ours:
            raise UserError("hydra.sweeper.pruner: runs can be ended early by hydra/launcher=sweeplab or ray only")
    for key, value in (("zip", settings.sweep.zip), ("where", settings.sweep.where)):
        if value:
            raise UserError(f"sweep.{key}: is for a list of combinations, which a search has not")


@dataclass(slots=True)
class Asked:
    """A trial that has been asked for and not been told."""

    trial: Trial
    cells: list[Cell]  # its replicas
    waiting: set[str] = field(default_factory=set)  # fingerprints of those that have not ended
    reported: int = 0  # the last epoch that its pruner knows
    hopeless: bool = False


class Search(Jobs):
    """The jobs of a search, each trial asked for when its first job is."""

    def __init__(self, planned: Plan, space: Space, options: Options, compose: Compose) -> None:
        super().__init__(planned)
        self.look = LOOK if options.prunes else self.look
        self.batch = options.n_jobs
        self._space, self._options, self._compose = space, options, compose
        self._varied = varied_keys([*space.probes(), *([seed] for seed in space.seeds)])
        self._distributions = {each.name: each.distribution() for each in space.dimensions}
        self._objectives: dict[str, str] = planned.search["objectives"]
        self._once = Once()
        self._asked: list[Asked] = []
        self._at_work: set[str] = set()
        self._left: list[FrozenTrial] = []
        self._count = 0
        self._exhausted = False  # the sampler has tried everything

    @property
    def total(self) -> int:
        return self._options.n_trials * max(1, len(self._space.seeds))

    @property
    def left(self) -> bool:
        return bool(self._left) or self._count < self._options.n_trials

    def summary(self) -> str:
        known = f", {self._count - len(self._left)} of them done" if self._count else ""
        return f"search of {self._options.n_trials} trials{known}: {self._study_file}"

    # --- the study

    def begin(self, home: store.Store, record: Callable[[], None]) -> None:
        """Open the study, and take up what it has. Raises UserError if another process is at work on it."""
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._home, self._record, self._study_file = home, record, home.study_file(self.plan.id)
        self._lock = FileLock(self._study_file.with_suffix(".lock"))
        try:
            self._lock.acquire(timeout=0.3)
        except Timeout:
            raise UserError(f"another process is at work on this search: {self._study_file}") from None
        store.Journal(self._study_file).mend()
        Path(f"{self._study_file}.lock").unlink(missing_ok=True)  # Optuna's own, of a process that was killed
        try:
            self._study: Study = optuna.create_study(
                storage=JournalStorage(JournalFileBackend(str(self._study_file))),
                study_name=self.plan.id[: store.ID_LENGTH],
                pruner=self._options.new_pruner(),
                directions=list[Any](self._objectives.values()),
                load_if_exists=True,
            )
            self._take_up(self._study.get_trials(deepcopy=False))
        except Exception as error:  # whatever Optuna makes of a damaged file
            self._lock.release()
            why = " ".join(str(error).split()) or type(error).__name__
            raise store.DamagedError(self._study_file, why, STUDY_ADVICE) from error
        self._study.sampler = self._options.sampler_after(self._count)

    def _take_up(self, trials: Sequence[FrozenTrial]) -> None:
        """What earlier commands have asked for: trials that were not told are trained first."""
        from optuna.trial import TrialState

        for each in trials:
            if each.params.keys() != self._distributions.keys():  # killed in the middle of drawing
                if not each.state.is_finished():
                    self._study.tell(each.number, state=TrialState.FAIL)
                continue
            self._count += 1
            if not each.state.is_finished():
                self._left.append(each)
                continue
            cells = self._prepared(each.params) or []
            if each.state == TrialState.PRUNED:
                self.given_up |= {cell.job.fingerprint for cell in cells}
                cells = [cell for cell in cells if self._run(cell).journal.path.exists()]  # not all were started
            if each.state == TrialState.COMPLETE:
                self._ensure_known(each, cells)
            self._add(cells)

    def _ensure_known(self, trial: FrozenTrial, cells: Sequence[Cell]) -> None:
        """Raise ValueError for a complete trial whose values are not those that its finished runs have."""
        if not cells:
            raise ValueError(f"trial {trial.number} has values that the search has not")
        if all(self._run(cell).status == store.Status.FINISHED for cell in cells):
            values = [self._mean(name, cells) for name in self._objectives]
            if values != trial.values and not any(map(math.isnan, values)):
                raise ValueError(f"trial {trial.number} has {trial.values}, its runs have {values}")

    def end(self) -> None:
        """Say which keys mattered, and let go of the study."""
        try:
            self.plan.search["importance"] = self._importance()
        finally:
            self._lock.release()

    def _importance(self) -> dict[str, float]:
        """Key -> its share of what explains the good trials, the greatest first; nothing after too few of them."""
        import optuna
        from optuna.trial import TrialState

        done = self._study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
        values = {each.values[0] for each in done}
        if len(done) < ENOUGH or len(values) < 2 or not all(map(math.isfinite, values)):
            return {}
        return optuna.importance.get_param_importances(self._study)

    # --- jobs

    def __iter__(self) -> Iterator[Cell]:
        for asked in self._trials():
            for cell in asked.cells:
                if not asked.hopeless and cell.job.fingerprint not in self._at_work:
                    self._add([cell])
                    self._record()
                    self._at_work.add(cell.job.fingerprint)
                    yield cell

    def groups(self, workers: int) -> Iterator[list[Cell]]:
        """Each by itself, since what came out of it decides on the next."""
        del workers
        return ([cell] for cell in self)

    def _trials(self) -> Iterator[Asked]:
        import optuna

        for frozen in self._left:
            trial = optuna.Trial(self._study, frozen._trial_id)  # there is no public way
            yield from self._begun(trial, max(frozen.intermediate_values, default=0))
        self._left = []
        while self._count < self._options.n_trials and not self._exhausted:
            self._count += 1
            yield from self._begun(self._study.ask(self._distributions))

    def _begun(self, trial: Trial, reported: int = 0) -> Iterator[Asked]:
        """The trial with its jobs, but one that is wrong, or is known to be hopeless, which is told at once."""
        cells = self._prepared(trial.params, complain=True)
        asked = Asked(trial, cells or [], {cell.job.fingerprint for cell in cells or []}, reported)
        self._asked.append(asked)
        if cells is None:
            self._tell(asked)
        else:
            yield asked

    def _prepared(self, values: Mapping[str, Any], *, complain: bool = False) -> list[Cell] | None:
        """The jobs of a trial; None if its combination is wrong, which can be said."""
        cells = []
        for overrides in self._space.jobs(dict(values)):
            try:
                cell = make_cell(overrides, self._varied, self._compose, self._once)
            except UserError as error:
                if complain:
                    console.say(f"{' '.join(overrides)}: {error}", style="red")
                return None
            assert cell is not None  # there is no sweep.where
            cells.append(cell)
        return cells

    def _add(self, cells: Sequence[Cell]) -> None:
        known = {cell.job.fingerprint for cell in self.plan.cells}
        self.plan.cells.extend(cell for cell in cells if cell.job.fingerprint not in known)

    # --- what comes out of them

    def ended(self, cell: Cell) -> None:
        """Tell the trials that have no other run to wait for."""
        self._at_work.discard(cell.job.fingerprint)
        for asked in list(self._asked):
            asked.waiting.discard(cell.job.fingerprint)
            if not asked.waiting or (asked.hopeless and not asked.waiting & self._at_work):
                self._tell(asked)

    def hopeless(self, cell: Cell) -> bool:
        """Whether no trial has a use for this run any more."""
        if not self._options.prunes or not self._run(cell).epochs():
            return False
        asked = [each for each in self._asked if cell.job.fingerprint in each.waiting]
        for each in asked:
            self._report(each)
        return all(each.hopeless for each in asked)

    def _report(self, asked: Asked) -> None:
        """Report each epoch that all replicas have reached, as their mean, until the pruner has seen enough."""
        replicas = [(cell.job.config, self._run(cell).epochs()) for cell in asked.cells]
        for epoch in range(asked.reported + 1, 1 + min(max(epochs, default=0) for _, epochs in replicas)):
            if asked.hopeless:
                return
            values = [epochs[epoch].get(next(iter(self._objectives)), math.nan) for _, epochs in replicas]
            asked.trial.report(statistics.fmean(values), epoch)
            asked.reported = epoch
            last = any(epoch >= settings.trainer.epochs for settings, _ in replicas)  # it has come to its end
            asked.hopeless = not last and asked.trial.should_prune()

    def _tell(self, asked: Asked) -> None:
        from optuna.trial import TrialState

        self._asked.remove(asked)
        finished = bool(asked.cells) and all(self._run(cell).status == store.Status.FINISHED for cell in asked.cells)
        if self._options.prunes and finished:
            self._report(asked)
        values = [self._mean(name, asked.cells) for name in self._objectives] if finished else [math.nan]
        if not any(map(math.isnan, values)):
            state = TrialState.COMPLETE
        else:
            state = TrialState.PRUNED if asked.hopeless else TrialState.FAIL
        if state == TrialState.PRUNED:
            self.given_up |= {cell.job.fingerprint for cell in asked.cells}
        try:
            self._study.tell(asked.trial, values if state == TrialState.COMPLETE else None, state)
        except (
            RuntimeError
        ):  # a sampler that has tried everything wants to stop Optuna's own loop, which is not at work
            if not self._study.get_trials(deepcopy=False)[asked.trial.number].state.is_finished():
                raise
            self._exhausted = True

    def _mean(self, metric: str, cells: Sequence[Cell]) -> float:
        """Over the replicas, at the best epoch; nan if one has none."""
        return statistics.fmean(report.value_of(cell.job, self._home, metric) for cell in cells)

    def _run(self, cell: Cell) -> store.Run:
        return self._home.run(cell.job.fingerprint)
