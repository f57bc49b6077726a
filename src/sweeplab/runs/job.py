"""A job: one run, checked from end to end and named by its fingerprint, before anything is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from sweeplab import config, console, data, store, targets
from sweeplab.config import Config
from sweeplab.errors import UserError
from sweeplab.runs import identity, parts, system, trial
from sweeplab.runs.identity import Identity
from sweeplab.runs.screen import Layer
from sweeplab.runs.weights import verified_weights
from sweeplab.speed import denormals
from sweeplab.train.device import choose_device
from sweeplab.train.inert_keys import replaced_keys
from sweeplab.train.schedule import batches_per_epoch

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")


class Memo:
    """Remember what was found out by what it depends on, refusals included.

    The jobs of a sweep are much alike. A memo is made for one plan and forgotten with it, since
    code and store may change in between.
    """

    def __init__(self, most: int = 4096) -> None:
        self._found: dict[tuple[str, str], Any] = {}
        self._most = most

    def __call__(self, what: str, given: object, find: Callable[[], T]) -> T:
        """Return `find()`, or what it gave or raised before for the same `repr(given)`."""
        key = what, repr(given)  # 1, 1.0 and true are equal, but not the same
        if key in self._found:
            found = self._found.pop(key)
        else:
            try:
                found = find()
            except UserError as error:
                found = error
        self._found[key] = found  # at the end: what was not asked for longest stands first
        if len(self._found) > self._most:
            del self._found[next(iter(self._found))]
        if isinstance(found, UserError):
            raise found.with_traceback(None)
        return found  # type: ignore[no-any-return]  # what `find` of this key returned


@dataclass(kw_only=True, slots=True, frozen=True)
class Job:
    """A run that was found to be in order: everything is checked, nothing is made yet."""

    config: Config
    overrides: list[str]
    facts: data.Facts
    layers: list[Layer]
    identity: Identity
    code: dict[str, str]  # what the code digest is over, as targets.parts gives it
    finished: bool  # the store has its result
    notes: list[str]  # what of its config does nothing, or not all that it seems to

    @property
    def fingerprint(self) -> str:
        return self.identity.fingerprint

    @property
    def question(self) -> str:
        return self.identity.question

    @property
    def name(self) -> str:
        """What sets the run apart, for people: `hidden=392 seed=1`, or the network's name."""
        shown = [o for o in self.overrides if not o.startswith(("store.", "tracking", "data.root", "sweep."))]
        short = (f"{key.rpartition('.')[2]}={value}" for key, _, value in (o.partition("=") for o in shown))
        return " ".join(short) or str(self.config.model["_target_"]).rpartition(".")[2]

    def record(self) -> dict[str, Any]:
        """Return what the journal's first line says of the job, with secrets hidden."""
        return {
            "fingerprint": self.fingerprint,
            "question": self.question,
            "name": self.name,
            "overrides": self.overrides,
            "config": config.redact(config.to_dict(self.config)),
            **self.outline(),
        }

    def outline(self) -> dict[str, Any]:
        """Return what is asked for, of which examples and by which code: what comparisons read."""
        return {
            "asked": config.redact(self.identity.asked),
            "data": {"name": self.config.data.name, **asdict(self.facts)},
            "code": self.code,
        }

    def load(self) -> data.Splits:
        """Load the examples. Raises UserError unless they are those of the plan."""
        denormals.flush()
        splits = data.load(self.config.data)
        planned, loaded = self.facts.sample or self.facts.digest, splits.sample or splits.digest
        if loaded != planned:
            changed = f"was {planned[:12]} when the run was planned, and is {loaded[:12]} now"
            raise UserError(
                f"data.dataset: the set's digest {changed}: it has changed meanwhile, or is another one each time it "
                "is built; draw from the global generators of torch, random or numpy, which are seeded for it, or give "
                "a generator of its own a seed; the clock and the order of a set of texts are other ones in each "
                "process"
            )
        for note in splits.notes:
            console.complain(note)
        return splits

    def ensure_unchanged(self) -> None:
        """Import the job's code, and raise UserError if it or a file changed after planning.

        Otherwise the results would stand under the fingerprint of the code before.
        """
        paths, words = named(self.config, self.facts)
        for path in paths:
            targets.locate(path, "_target_")
        now = targets.parts(
            paths, words
        )  # only now: what was changed before the import and what was changed after it shows
        if changed := [name for name in {**self.code, **now} if self.code.get(name) != now.get(name)]:
            raise UserError(f"{', '.join(changed)}: changed after the run was planned; issue the command again")

    def result(self, status: store.Status, reason: str | None, **more: Any) -> store.Result:
        """Make a result of this job; `more` are its metrics and the digest of its weights."""
        return store.Result(
            fingerprint=self.fingerprint,
            question=self.question,
            status=status,
            stop_reason=reason,
            metrics=more.get("metrics", {}),
            weights_sha256=more.get("weights_sha256"),
            overrides=self.overrides,
        )


def prepare(settings: Config, overrides: list[str], memo: Memo | None = None) -> Job:
    """Check everything that can be checked before any work.

    The jobs of one plan share a `memo`. Raises UserError with all that is wrong.
    """
    denormals.flush()
    memo = memo or Memo()
    nodes = [getattr(settings, name) for name in (*config.COMPONENTS, "metrics")]
    data_of, trainer = settings.data, settings.trainer
    watched = [settings.monitor, trainer.mode, trainer.target, trainer.min_delta, settings.interval]
    asked = [nodes, data_of.dataset, data_of.task, data_of.shape, watched, trainer.epochs, trainer.shift]
    if problems := memo("problems", asked, lambda: parts.problems(settings)):
        raise UserError(*problems)
    if settings.tracking.enabled and settings.tracking.system_metrics:
        system.check()
    memo("device", settings.trainer.device, lambda: choose_device(settings.trainer.device))
    home = store.Store(settings.store.root)
    memo("place", settings.store.root, lambda: home.check(to_write=False))
    facts = memo("facts", settings.data, lambda: data.facts(settings.data))
    if settings.trainer.batch_size > facts.train:
        raise UserError(
            f"trainer.batch_size={settings.trainer.batch_size}: the training split has {facts.train} examples; "
            "give at most that"
        )
    given = named(settings, facts)
    digest, pieces = memo("code", given, lambda: (targets.digest(*given), targets.parts(*given)))
    found = _identity(settings, facts, digest, home, memo)
    finished = home.run(found.fingerprint).status == store.Status.FINISHED
    if not finished:
        memo("store", settings.store.root, home.check)
    layers, notes = ([], []) if finished else _fit(settings, home, memo, facts)  # what was trained was in order
    return Job(
        config=settings,
        overrides=overrides,
        facts=facts,
        layers=layers,
        identity=found,
        code=pieces,
        finished=finished,
        notes=notes,
    )


def named(settings: Config, facts: data.Facts) -> tuple[list[str], dict[str, str]]:
    """Return what a config names that may be code or a file, as `targets.digest` takes it."""
    return parts.class_paths(settings), parts.words(settings, held=facts.held)


def other_answers(settings: Config, question: str, home: store.Store, memo: Memo) -> list[store.Run]:
    """List the finished runs that answer the same question by other code, the latest last."""
    paths = sorted(parts.class_paths(settings))
    found = memo("answers", [settings.store.root, paths], lambda: identity.answers(home, paths))
    return found.get(question, [])


def changed_code(planned: Job, began: dict[str, Any]) -> str:
    """Name the modules that changed since that run began; '' if none did, or none were recorded."""
    now, then = planned.code, began.get("code") or planned.code
    names = sorted(name for name in {**now, **then} if now.get(name) != then.get(name))
    shown = ["sweeplab's own numerics" if name == "numerics" else name for name in names]
    more = f" and {len(shown) - 3} more" if len(shown) > 3 else ""
    return f"{', '.join(shown[:3])}{more} changed" if shown else ""


def _identity(settings: Config, facts: data.Facts, digest: str, home: store.Store, memo: Memo) -> Identity:
    """Name the run that is asked for.

    With `store.reuse=any` it is the latest finished run of the same question, whatever its code.
    """
    weights = None if settings.trainer.init_from is None else _initial(settings, home, memo)[1]
    found = identity.identify(_asked(settings, facts, weights, memo), facts.digest, digest)
    if settings.store.reuse == "any" and home.run(found.fingerprint).status != store.Status.FINISHED:
        for run in other_answers(settings, found.question, home, memo)[-1:]:
            result = run.result()
            assert result is not None
            return replace(found, fingerprint=result.fingerprint)
    return found


def _asked(settings: Config, facts: data.Facts, weights: str | None, memo: Memo) -> dict[str, Any]:
    """Return `identity.asked`, keeping sections that several jobs of a plan share in memory once."""
    found = identity.asked(settings, facts, weights)
    return {name: memo("asked", [name, value], partial(_itself, value)) for name, value in found.items()}


def _itself(value: T) -> T:
    return value


def _weights(settings: Config, run: store.Run) -> dict[str, Any]:
    try:
        run.recorded("loss")  # by which it is decided whether the loss starts from them, too
        return verified_weights(run)
    except UserError as error:
        raise UserError(f"trainer.init_from={settings.trainer.init_from}: {error}") from error


def _initial(settings: Config, home: store.Store, memo: Memo) -> tuple[store.Run, str]:
    return memo(
        "init_from", [settings.store.root, settings.trainer.init_from], lambda: identity.initial_run(settings, home)
    )


def _fit(settings: Config, home: store.Store, memo: Memo, facts: data.Facts) -> tuple[list[Layer], list[str]]:
    """Check that the parts fit together, the initial weights included.

    Returns the layer table, and notes to be shown to the user.
    """
    network = [settings.model, settings.loss, settings.data]
    fitted = memo("network", network, lambda: trial.fit_network(settings, lambda: _examples(settings, memo)))
    further = [settings.metrics, settings.data, settings.monitor, settings.mode]
    memo("metrics", further, lambda: trial.fit_metrics(settings))
    trainer, in_epoch = settings.trainer, batches_per_epoch(settings, facts.train)
    how = [fitted.parameters, settings.optimizer, settings.scheduler, settings.mode, trainer.device]
    when = [settings.interval, trainer.epochs, in_epoch, trainer.time_limit]
    said = memo("optimizer", [how, when], lambda: trial.fit_optimizer(settings, fitted.parameters, in_epoch))
    replaced = replaced_keys(settings)
    notes = [f"{key}={config.flatten(config.to_dict(settings))[key]}: {why}" for key, why in replaced.items()]
    if settings.trainer.init_from is not None:
        run, digest = _initial(settings, home, memo)
        memo(
            "weights",
            [settings.model, digest],
            lambda: trial.fit_weights(settings, fitted, _weights(settings, run)),
        )
    return fitted.layers, [*said, *notes]


def _examples(settings: Config, memo: Memo) -> Tensor:
    """Return the inputs of the first examples of the training split."""

    def first() -> Tensor:
        split = data.load(settings.data).train
        inputs, _ = next(data.Batches(split, trial.EXAMPLES, device="cpu", limit=1).epoch(0))
        return inputs

    return memo("examples", settings.data, first)
