"""The Optuna study of a search, which one process at a time has open.

It is a file in the store, or in a PostgreSQL that `hydra.sweeper.storage` names.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from sweeplab import config, console, store
from sweeplab.config import Node
from sweeplab.errors import RunFailed, UserError, one_line
from sweeplab.sweep import importance
from sweeplab.sweep.options import Options
from sweeplab.tracking import causes

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.distributions import BaseDistribution
    from optuna.storages import BaseStorage, RDBStorage
    from optuna.trial import FrozenTrial, TrialState

ADVICE = "remove it, and the same command searches anew; runs that are finished are reused"
REPLACES = "replaces"  # attribute of a trial: the number of the failed one in whose place it is
EARLIER = "earlier"  # attribute of a trial that is known from a search of another space
OTHER = 0.3  # seconds in which another process may just be closing the study
AGAIN = 1.0  # seconds between two tries to open one that another process has
WAITING = "another command is at work on this search: waiting for it"


class Study:
    """Asks Optuna for trials, and tells it their results."""

    def __init__(
        self,
        file: Path,
        distributions: Mapping[str, BaseDistribution],
        options: Options,
        objectives: Mapping[str, str],
    ) -> None:
        """Take the lock of the study, after another process that may have it."""
        self.file = file
        self.is_exhausted = False  # the sampler has tried everything
        self.is_lost = False  # the database went while at work
        self._distributions = dict(distributions)
        self._options = options
        self._directions = list(objectives.values())
        self._open = ExitStack()
        lock = FileLock(file.with_suffix(".lock"))
        try:
            lock.acquire(timeout=OTHER)
        except Timeout:
            console.say(WAITING)
            lock.acquire()
        self._open.callback(lock.release)

    @property
    def place(self) -> str:
        """Where it is, without what is secret of that."""
        return config.redact_uri(self._options.storage or str(self.file))

    def load(self, name: str) -> None:
        """Create the study, or read the trials that earlier commands have left in it."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with self.reporting_damage():
            self._study = optuna.create_study(
                storage=_open_storage(self.file, self._options.storage, name, self._open),
                study_name=name,
                pruner=self._options.new_pruner(),
                directions=list[Any](self._directions),
                load_if_exists=True,
            )

    @contextmanager
    def reporting_damage(self) -> Iterator[None]:
        """Turn an exception into a UserError, and close the study: it is damaged, or out of reach."""
        try:
            yield
        except Exception as error:  # whatever Optuna makes of a damaged file
            self.close()
            if self._options.storage is None:
                why = one_line(error) or type(error).__name__
                raise store.DamagedError(self.file, why, ADVICE) from error
            why = causes.in_short(error, self._options.storage)
            raise UserError(f"hydra.sweeper.storage={self.place}: {why}") from error

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Turn the loss of the database, wherever it is noticed, into RunFailed."""
        from optuna.exceptions import StorageInternalError
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (StorageInternalError, SQLAlchemyError) as error:
            self.is_lost = True
            why = causes.in_short(error.__cause__ or error, self._options.storage or "")
            lost = f"the study in {self.place} was lost: {why}"
            raise RunFailed(f"{lost}; issue the same command again, which goes on") from error

    def start_sampling(self, after: int) -> None:
        """Set the sampler, which depends on the number of trials that there are."""
        self._study.sampler = self._options.sampler_after(after)

    def close(self) -> None:
        """Let another process have the study."""
        self._open.close()

    @property
    def trials(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def is_drawn(self, trial: FrozenTrial) -> bool:
        """Whether a trial has all its values: a process may have been killed while drawing them."""
        return trial.params.keys() == self._distributions.keys()

    def ask(self) -> Trial:
        """Draw a new trial."""
        return self._study.ask(self._distributions)

    def resume(self, trial: FrozenTrial) -> Trial:
        """Return a trial of an earlier command as one that can be reported to."""
        import optuna

        return optuna.Trial(self._study, trial._trial_id)  # there is no public way

    @property
    def replaced(self) -> set[int]:
        """The numbers of failed trials in whose place there is another."""
        attributes = [trial.user_attrs for trial in self.trials]
        return {found[REPLACES] for found in attributes if REPLACES in found}

    def replace(self, trial: FrozenTrial) -> Trial:
        """Begin a trial with the values of a failed one, in its place: Optuna changes no result."""
        from optuna.trial import TrialState, create_trial

        begun = create_trial(
            state=TrialState.RUNNING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs={REPLACES: trial.number},
        )
        self._study.add_trial(begun)
        return self.resume(self.trials[-1])

    def learn(self, params: Node, values: Sequence[float], sweep: str) -> bool:
        """Add a trial of another search as knowledge; return False if this space lacks it."""
        from optuna.trial import create_trial

        try:
            trial = create_trial(
                params=params,
                distributions=self._distributions,
                values=values,
                user_attrs={EARLIER: sweep},
            )
        except ValueError:  # a value out of this space
            return False
        self._study.add_trial(trial)
        return True

    def tell(self, number: int, state: TrialState, values: Sequence[float] | None = None) -> None:
        """Note how a trial has ended."""
        try:
            self._study.tell(number, values, state)
        except RuntimeError:
            # A sampler that has tried everything stops Optuna's own loop, after telling the trial.
            if not self.trials[number].state.is_finished():
                raise
            self.is_exhausted = True

    def importances(self) -> Node:
        """Say which keys mattered, for the record of the search."""
        shares = importance.shares(self._study)
        return {
            "importance": shares,
            "importance_intervals": importance.intervals(self._study, self._distributions, shares),
        }


def _open_storage(file: Path, uri: str | None, name: str, stack: ExitStack) -> BaseStorage:
    """Open the file, or the database, of which nobody on another machine has this study open."""
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend

    if uri is not None:
        storage = RDBStorage(uri, {"pool_pre_ping": True})
        stack.callback(storage.engine.dispose)
        _lock_in_database(storage, name, stack)
        return storage
    store.Journal(file).mend()
    # Optuna's own lock, which a process that was killed may have left.
    Path(f"{file}.lock").unlink(missing_ok=True)
    return JournalStorage(JournalFileBackend(str(file)))


def _lock_in_database(storage: RDBStorage, name: str, stack: ExitStack) -> None:
    """Take a lock that ends with the connection: launchers may have a store each."""
    from sqlalchemy import text

    connection = stack.enter_context(storage.engine.connect())
    connection.detach()  # from the pool, which would keep it, and the lock with it
    number = int(name[:15], 16)
    is_said = False
    while not connection.scalar(text(f"select pg_try_advisory_lock({number})")):
        connection.commit()
        if not is_said:
            console.say(WAITING)
            is_said = True
        time.sleep(AGAIN)
    connection.commit()  # the lock stays
