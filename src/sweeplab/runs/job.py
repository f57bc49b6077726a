"""A job: one run, checked from end to end and named by its fingerprint, before anything is made."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from sweeplab import config, console, data, store, targets, tracking
from sweeplab.config import Config
from sweeplab.console import counted
from sweeplab.errors import UserError
from sweeplab.runs import identity, optimizer_trial, parts, step_trial, system, trial
from sweeplab.runs.identity import Identity
from sweeplab.runs.once import Once, itself
from sweeplab.runs.screen import Layer
from sweeplab.runs.weights import ensure_fit, verified_weights
from sweeplab.speed import denormals
from sweeplab.train.device import choose_device
from sweeplab.train.inert_keys import replaced_keys
from sweeplab.train.schedule import by_part, updates_per_epoch


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
    def parameters(self) -> int:
        """The size of its network and loss; 0 if the job is finished, and so was not built."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def name(self) -> str:
        """What sets the run apart, for people: `hidden=392 seed=1`, or the network's name."""
        shown = [
            o
            for o in self.overrides
            if not o.startswith(("store.", "tracking", "data.root", "sweep."))
        ]
        short = (
            f"{key.rpartition('.')[2]}={value}"
            for key, _, value in (o.partition("=") for o in shown)
        )
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
        planned, loaded = self.facts.digest, splits.digest
        if self.facts.sample and splits.sample:  # the digest is not over the examples
            planned, loaded = self.facts.sample, splits.sample
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
        # Hashed after the import, so that a change before it and one during it both show
        now = targets.parts(paths, words)
        if changed := [
            name for name in {**self.code, **now} if self.code.get(name) != now.get(name)
        ]:
            raise UserError(
                f"{', '.join(changed)}: changed after the run was planned; issue the command again"
            )

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


def prepare(settings: Config, overrides: list[str], once: Once | None = None) -> Job:
    """Check everything that can be checked before any work.

    The jobs of one plan share `once`. Raises UserError with all that is wrong.
    """
    denormals.flush()
    once = once or Once()
    _ensure_step(settings, overrides)
    once(targets.ensure_current, parts.class_paths(settings))
    computed = _only(settings, *config.COMPONENTS, "metrics", "step", "data", "trainer")
    if problems := once(parts.problems, computed):
        raise UserError(*problems)
    _ensure_trackers(settings.tracking, once)
    once(choose_device, settings.trainer.device)
    home = store.Store(settings.store.root)
    once(_check_store, settings.store.root, False)
    facts = once(data.facts, settings.data)
    if settings.trainer.batch_size > facts.train:
        raise UserError(
            f"trainer.batch_size={settings.trainer.batch_size}: the training split has "
            f"{counted(facts.train, 'example')}; give at most that"
        )
    _ensure_updates(settings, facts.train)
    digest, pieces = once(_code, *named(settings, facts))
    identified = _identity(settings, facts, digest, home, once)
    finished = home.run(identified.fingerprint).status == store.Status.FINISHED
    if not finished:
        once(_check_store, settings.store.root, True)
        if settings.tracking.enabled and settings.sweep.id is None:  # not again on other machines
            once(tracking.ensure_writable, tracking.resolve_uri(settings.tracking))
        layers, notes = _fit(settings, once, facts)
    else:
        layers, notes = [], []  # what was trained was in order
    return Job(
        config=settings,
        overrides=overrides,
        facts=facts,
        layers=layers,
        identity=identified,
        code=pieces,
        finished=finished,
        notes=notes,
    )


def _ensure_step(settings: Config, overrides: list[str]) -> None:
    """Raise UserError for arguments of a step where there is none, unless it was switched off."""
    words = [override.lstrip("+") for override in overrides]
    if settings.step or any(word.startswith("step._target_=") for word in words):
        return
    wrong = [word for word in words if word.startswith("step.")]
    advice = "there is no step; name it, as in step._target_=my_package.step"
    if wrong:
        raise UserError(*[f"{word}: {advice}" for word in wrong])


def _ensure_updates(settings: Config, examples: int) -> None:
    """Raise UserError if an epoch has no whole group of batches, or ends with a part of one."""
    trainer = settings.trainer
    together, few = trainer.accumulate or 1, trainer.overfit_batches
    if few is not None and few % together:
        raise UserError(
            f"trainer.overfit_batches={few}: must be a multiple of trainer.accumulate={together}"
        )
    if updates_per_epoch(settings, examples) == 0:
        count = updates_per_epoch(
            replace(settings, trainer=replace(trainer, accumulate=1)), examples
        )
        raise UserError(
            f"trainer.accumulate={together}: an epoch has {counted(count, 'batch')}; give at most that"
        )


def _only(settings: Config, *sections: str) -> Config:
    """Return a config with these sections; the others are empty, for who must not read them."""
    empty = Config(
        seed=0,
        model={},
        loss={},
        optimizer={},
        scheduler={},
        metrics={},
        data=config.Data(name=""),
        trainer=config.Trainer(),
        tracking=config.Tracking(),
        store=config.StoreSection(),
        sweep=config.Sweep(),
    )
    return replace(empty, **{name: getattr(settings, name) for name in sections})


def _ensure_trackers(settings: config.Tracking, once: Once) -> None:
    """Raise UserError if MLflow, or another tracker, cannot take runs as the config has it."""
    if settings.enabled:
        once(tracking.checked, tracking.resolve_uri(settings))
    if settings.enabled and settings.system_metrics:
        system.check()
    if problems := once(tracking.exporter_problems, settings.exporters):
        raise UserError(*problems)


def _check_store(root: str, to_write: bool) -> None:
    store.Store(root).check(to_write=to_write)


def _code(paths: list[str], words: dict[str, str]) -> tuple[str, dict[str, str]]:
    targets.ensure_current(paths)
    return targets.digest(paths, words), targets.parts(paths, words)


def named(settings: Config, facts: data.Facts) -> tuple[list[str], dict[str, str]]:
    """Return what a config names that may be code or a file, as `targets.digest` takes it."""
    return parts.class_paths(settings), parts.words(settings, held=facts.held)


def other_answers(
    settings: Config, question: str, home: store.Store, once: Once
) -> list[store.Run]:
    """List the finished runs that answer the same question by other code, the latest last."""
    paths = sorted(parts.class_paths(settings))
    return once(_answers, str(home.root), paths).get(question, [])


def _answers(root: str, paths: list[str]) -> dict[str, list[store.Run]]:
    return identity.answers(store.Store(root), paths)


def changed_code(planned: Job, began: dict[str, Any]) -> str:
    """Name the modules that changed since that run began; '' if none did, or none were recorded."""
    now, then = planned.code, began.get("code") or planned.code
    names = sorted(name for name in {**now, **then} if now.get(name) != then.get(name))
    shown = ["sweeplab's own numerics" if name == "numerics" else name for name in names]
    more = f" and {len(shown) - 3} more" if len(shown) > 3 else ""
    return f"{', '.join(shown[:3])}{more} changed" if shown else ""


def _identity(
    settings: Config, facts: data.Facts, digest: str, home: store.Store, once: Once
) -> Identity:
    """Name the run that is asked for.

    With `store.reuse=any` it is the latest finished run of the same question, whatever its code.
    """
    weights = None if settings.trainer.init_from is None else _initial(settings, once)[1]
    identified = identity.identify(_asked(settings, facts, weights, once), facts.digest, digest)
    if (
        settings.store.reuse == "any"
        and home.run(identified.fingerprint).status != store.Status.FINISHED
    ):
        for run in other_answers(settings, identified.question, home, once)[-1:]:
            result = run.result()
            assert result is not None
            return replace(identified, fingerprint=result.fingerprint)
    return identified


def _asked(settings: Config, facts: data.Facts, weights: str | None, once: Once) -> dict[str, Any]:
    """Return `identity.asked`, keeping sections that several jobs of a plan share in memory once."""
    sections = identity.asked(settings, facts, weights)
    return {name: once(itself, value) for name, value in sections.items()}


def _initial(settings: Config, once: Once) -> tuple[store.Run, str]:
    """Find the run whose weights come first, and their digest."""
    assert settings.trainer.init_from is not None
    return once(identity.initial_run, settings.trainer.init_from, settings.store.root)


def _fit(settings: Config, once: Once, facts: data.Facts) -> tuple[list[Layer], list[str]]:
    """Check that the parts fit together, the initial weights included.

    Returns the layer table, and notes to be shown to the user.
    """
    if settings.step:
        fitted, notes = _fit_step(settings, once)
    else:
        fitted = once(trial.fit_network, _only(settings, "model", "loss", "data"), once)
        notes = list(fitted.notes)
        if settings.trainer.batch_size == 1:
            once(trial.ensure_one_trains, _only(settings, "model", "data"))
        once(trial.fit_metrics, _only(settings, "metrics", "data", "trainer"))
    schedule = _only(settings, "optimizer", "scheduler", "data", "trainer")
    parameters = optimizer_trial.parameter_groups(settings, fitted)
    updates = updates_per_epoch(settings, facts.train)
    if settings.trainer.freeze:
        notes += optimizer_trial.frozen_groups(settings, fitted)
    notes += once(optimizer_trial.fit, schedule, parameters, updates)
    if replaced := replaced_keys(settings):
        values = config.flatten(config.to_dict(settings))
        notes += [f"{key}={values[key]}: {why}" for key, why in replaced.items()]
    trainer = settings.trainer
    if trainer.keep_every is not None and trainer.keep_every > trainer.epochs:
        why = f"keeps nothing: the run has at most {counted(trainer.epochs, 'epoch')}"
        notes.append(f"trainer.keep_every={trainer.keep_every}: {why}")
    if (init_from := settings.trainer.init_from) is not None:
        _, digest = _initial(settings, once)
        once(
            _fit_weights,
            init_from,
            settings.store.root,
            digest,
            fitted.weights,
            sorted(fitted.free),
        )
    return fitted.layers, notes


def _fit_step(settings: Config, once: Once) -> tuple[trial.Fitted, list[str]]:
    """Check that network, loss, data and a step of the user's own fit together, and the metrics.

    Returns notes, too, to be shown to the user.
    """
    read = _only(settings, "model", "loss", "data", "step", "metrics")
    tried = once(step_trial.fit, read, list(by_part(settings)), settings.trainer.freeze, once)
    if tried.measured is None:
        return tried.fitted, []
    step_trial.check(settings, tried.measured)
    if tried.measured.answers is not None:
        trial.fit_metrics(settings, tried.measured.answers)
    return tried.fitted, step_trial.notes(tried.measured)


def _fit_weights(
    init_from: str, root: str, digest: str, wanted: dict[str, Any], free: list[str]
) -> None:
    """Raise UserError unless the weights of that run, of this digest, are whole and fit the network."""
    del digest  # it sets apart what `once` remembers: the name may mean another run by then
    run, _ = identity.initial_run(init_from, root)
    try:
        run.recorded("loss")  # by which it is decided whether the loss starts from them, too
        weights = verified_weights(run)
    except UserError as error:
        raise UserError(f"trainer.init_from={init_from}: {error}") from error
    ensure_fit(init_from, wanted, free, weights)
