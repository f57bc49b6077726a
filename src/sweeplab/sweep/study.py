"""The Optuna study of a search: a file in the store, which one process at a time has open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from sweeplab import store
from sweeplab.config import Node
from sweeplab.errors import UserError, one_line
from sweeplab.sweep import importance
from sweeplab.sweep.options import Options

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial, TrialState

ADVICE = "remove it, and the same command searches anew; runs that are finished are reused"
REPLACES = "replaces"  # attribute of a trial: the number of the failed one in whose place it is


class Study:
    """Asks Optuna for trials, and tells it their results."""

    def __init__(
        self,
        file: Path,
        distributions: Mapping[str, BaseDistribution],
        options: Options,
        objectives: Mapping[str, str],
    ) -> None:
        """Take the lock of the study. Raises UserError if another process has it."""
        self.file = file
        self.is_exhausted = False  # the sampler has tried everything
        self._distributions = dict(distributions)
        self._options = options
        self._directions = list(objectives.values())
        self._lock = FileLock(file.with_suffix(".lock"))
        try:
            self._lock.acquire(timeout=0.3)
        except Timeout:
            raise UserError(f"another process is at work on this search: {file}") from None

    def load(self, name: str) -> None:
        """Create the study, or read the trials that earlier commands have left in it."""
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        store.Journal(self.file).mend()
        # Optuna's own lock, which a process that was killed may have left.
        Path(f"{self.file}.lock").unlink(missing_ok=True)
        with self.reporting_damage():
            self._study = optuna.create_study(
                storage=JournalStorage(JournalFileBackend(str(self.file))),
                study_name=name,
                pruner=self._options.new_pruner(),
                directions=list[Any](self._directions),
                load_if_exists=True,
            )

    @contextmanager
    def reporting_damage(self) -> Iterator[None]:
        """Turn any exception into a DamagedError, and close the study."""
        try:
            yield
        except Exception as error:  # whatever Optuna makes of a damaged file
            self.close()
            why = one_line(error) or type(error).__name__
            raise store.DamagedError(self.file, why, ADVICE) from error

    def start_sampling(self, after: int) -> None:
        """Set the sampler, which depends on the number of trials that there are."""
        self._study.sampler = self._options.sampler_after(after)

    def close(self) -> None:
        """Let another process have the study."""
        self._lock.release()

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

    def tell(self, number: int, state: TrialState, values: Sequence[float] | None = None) -> None:
        """Note how a trial has ended."""
        try:
            self._study.tell(number, values, state)
        except RuntimeError:
            # A sampler that has tried everything wants to stop Optuna's own loop, which we do not
            # use; it has told the trial before that.
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
