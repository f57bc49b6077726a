"""An adaptive search: Optuna chooses each trial's config by the results of the trials before.

It also ends trials without hope. The study is a file in the store, and each value in it comes from
a run of the store: the same command, issued again after whatever has happened, goes on where the
search was.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from sweeplab import console, store
from sweeplab.config import Config, Node
from sweeplab.console import counted
from sweeplab.errors import RunFailed, UserError
from sweeplab.sweep import conduct, plan, preview
from sweeplab.sweep.cell import Cell, Compose
from sweeplab.sweep.jobs import Jobs
from sweeplab.sweep.options import Options
from sweeplab.sweep.past import learn, take_up
from sweeplab.sweep.plan import Plan
from sweeplab.sweep.space import Space, read
from sweeplab.sweep.study import Study
from sweeplab.sweep.trials import (
    ActiveTrial,
    CellMaker,
)

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.trial import FrozenTrial

    from sweeplab.sweep.place import SweepPlace
    from sweeplab.sweep.rules import Command

LOOK = 0.05  # seconds between two looks at the journals, if a run may be pruned
UNREPEATABLE = (
    "not reproducible with several workers: a trial is drawn by the results that are there just then; "
    "sweep.workers=1 draws the same trials each time"
)


def make(
    command: Command,
    compose: Compose,
    place: SweepPlace,
    options: Options,
    *,
    ours: bool,
) -> Search:
    """Plan the search over what the command's overrides span; show it if `sweep.plan` only asks for that.

    Every choice and both ends of every interval are checked first, one at a time: raises UserError
    with all that is wrong. A combination that is wrong all the same fails as a trial. `ours`: the
    launcher is sweeplab's, not one of Hydra's.
    """
    space = read(command.overrides)
    probes = plan.make(space.probes(), command.typed, compose)
    settings = probes.settings
    objectives = options.objectives(settings)
    _ensure_searchable(settings, options, objectives, ours)
    distributions = space.distributions()
    identity = {
        "first": probes.cells[0].job.fingerprint,  # data, code, and all that is not swept
        "space": [(name, repr(distribution)) for name, distribution in distributions.items()],
        "seeds": [" ".join(repeat) for repeat in space.repeats if repeat],
        "objectives": objectives,
        "how": [options.sampler, options.pruner],
    }
    search_id = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    record: Node = {"objectives": objectives, "n_trials": options.n_trials}
    planned = Plan(
        cells=[],
        overrides=probes.overrides,
        settings=settings,
        search_id=search_id,
        search=record,
        start=command.start,
    )
    search = Search(planned, space, options, compose)
    if ours and settings.sweep.workers != 1 and options.draws_by_results:
        console.say(UNREPEATABLE)
    if settings.sweep.plan:
        keys = {name: str(distribution) for name, distribution in distributions.items()}
        place.expect(search)
        asked, _ = place.preview(settings)
        preview.show_search(planned, keys, search.total, asked)
        return search
    conduct.load(probes.cells, place, share=ours)
    return search


def _ensure_searchable(
    settings: Config,
    options: Options,
    objectives: Mapping[str, str],
    ours: bool,
) -> None:
    """Raise UserError for options that cannot be built, or do not go together."""
    options.sampler_after(0)
    if options.new_pruner() and options.prunes:
        if len(objectives) > 1:
            reason = "Optuna prunes for one objective only; leave it out"
            raise UserError(f"hydra.sweeper.pruner: {reason}")
        if not ours:
            reason = "runs can be ended early by hydra/launcher=sweeplab or ray only"
            raise UserError(f"hydra.sweeper.pruner: {reason}")
    for key in ("zip", "when", "where", "sample"):
        if getattr(settings.sweep, key):
            reason = "is for a list of combinations, which a search has not"
            raise UserError(f"sweep.{key}: {reason}")
    if settings.sweep.seeds.until is not None:
        reason = "is for configs that are compared; each trial of a search has a config of its own"
        raise UserError(f"sweep.seeds.until={settings.sweep.seeds.until}: {reason}")


class Search(Jobs):
    """The jobs of a search; each trial is drawn when its first job is asked for."""

    ahead = False

    def __init__(self, planned: Plan, space: Space, options: Options, compose: Compose) -> None:
        super().__init__(planned)
        if options.prunes:
            self.look = LOOK
        self.batch: int = options.n_jobs
        self._space = space
        self._options = options
        self._maker = CellMaker(space, compose)
        self._metrics = list(planned.search["objectives"])
        self._active: list[ActiveTrial] = []
        self._at_work: set[str] = set()  # fingerprints
        self._left: list[FrozenTrial] = []  # of earlier commands, without a result
        self._count = 0  # of trials, those of earlier commands included
        self._known = 0  # trials of searches of another space, beside these

    @property
    def total(self) -> int:
        return (self._options.n_trials + self._known) * len(self._space.repeats)

    @property
    def left(self) -> bool:
        return bool(self._left) or self._count < self._options.n_trials

    def summary(self) -> str:
        done = f", {self._count - len(self._left)} of them done" if self._count else ""
        known = f", {self._known} more known from earlier searches" if self._known else ""
        return f"search of {counted(self._options.n_trials, 'trial')}{done}{known}: {self._study.place}"

    def begin(self, home: store.Store, record: Callable[[], None]) -> None:
        """Open the study, and take up the trials that it has.

        A new one learns from searches of another space.
        """
        self._home, self._record = home, record
        self._study = _open_study(self.plan, self._space, self._options, home)
        objectives, said = self.plan.search["objectives"], ""
        with self._study.reporting_damage():
            if not self._study.trials:
                said = learn(self._study, self._space, self._maker, objectives, home, self.plan.id)
            past = take_up(self._study, self._maker, self._metrics, home)
        self.plan.add(past.cells)
        self.given_up |= past.given_up
        self._count, self._left, self._known = past.count, past.left, past.known
        if said:
            console.say(said)
        self._study.start_sampling(after=self._count)

    def at_work(self) -> AbstractContextManager[None]:
        return self._study.at_work()

    def end(self) -> None:
        """Record which keys mattered, and close the study."""
        try:
            if not self._study.is_lost:
                with self._study.at_work():
                    self.plan.search.update(self._study.importances())
        except RunFailed as error:  # the runs are there all the same
            console.complain(str(error))
        finally:
            self._study.close()

    def __iter__(self) -> Iterator[Cell]:
        for active in self._trials():
            for cell in active.cells:
                if active.is_hopeless or cell.job.fingerprint in self._at_work:
                    continue
                self.plan.add([cell])
                self._record()
                self._at_work.add(cell.job.fingerprint)
                yield cell

    def groups(self, workers: int) -> Iterator[list[Cell]]:
        """Yield each job by itself, since its result decides on the next."""
        del workers
        return ([cell] for cell in self)

    def _trials(self) -> Iterator[ActiveTrial]:
        """Yield the trials: first those of earlier commands without a result, then new ones."""
        for trial in self._left:
            if trial.state.is_finished():
                yield self._start(self._study.replace(trial))
                continue
            reported = max(trial.intermediate_values, default=0)
            yield self._start(self._study.resume(trial), reported)
        self._left = []
        while self._count < self._options.n_trials and not self._study.is_exhausted:
            self._count += 1
            yield self._start(self._study.ask())

    def _start(self, trial: Trial, reported: int = 0) -> ActiveTrial:
        """Make the jobs of a trial; a wrong combination has none, and fails at once."""
        active = ActiveTrial(
            trial=trial,
            cells=self._maker.make(trial.params, complain=True),
            home=self._home,
            metrics=self._metrics,
            reported=reported,
        )
        self._active.append(active)
        if not active.cells:
            self._tell(active)
        return active

    def ended(self, cell: Cell) -> None:
        """Tell Optuna the trials that wait for no other run."""
        self._at_work.discard(cell.job.fingerprint)
        for active in list(self._active):
            active.waiting.discard(cell.job.fingerprint)
            is_given_up = active.is_hopeless and not active.waiting & self._at_work
            if is_given_up or not active.waiting:
                self._tell(active)

    def hopeless(self, cell: Cell) -> bool:
        """Whether no trial has a use for this run any more."""
        if not self._options.prunes:
            return False
        fingerprint = cell.job.fingerprint
        trials = [active for active in self._active if fingerprint in active.waiting]
        for active in trials:
            active.report_epochs()
        is_unwanted = all(active.is_hopeless for active in trials)
        return is_unwanted and bool(self._home.run(fingerprint).epochs())

    def _tell(self, active: ActiveTrial) -> None:
        """Tell Optuna the result of a trial.

        One whose runs neither finished nor raised, but were killed or never started, stays open:
        the same command, issued again, goes on with it.
        """
        from optuna.trial import TrialState

        self._active.remove(active)
        values = None
        if active.is_finished:
            if self._options.prunes:
                active.report_epochs()
            values = active.values()
        if values is not None and not any(map(math.isnan, values)):
            self._study.tell(active.trial.number, TrialState.COMPLETE, values)
        elif active.is_hopeless:
            self.given_up |= {cell.job.fingerprint for cell in active.cells}
            self._study.tell(active.trial.number, TrialState.PRUNED)
        elif not active.is_open:
            self._study.tell(active.trial.number, TrialState.FAIL)


def _open_study(plan: Plan, space: Space, options: Options, home: store.Store) -> Study:
    """Open the study of a search, once no other process has it."""
    objectives = plan.search["objectives"]
    study = Study(home.study_file(plan.id), space.distributions(), options, objectives)
    study.load(plan.id[: store.ID_LENGTH])
    return study
