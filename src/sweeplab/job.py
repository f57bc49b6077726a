"""A job: one run, checked from end to end and named by its fingerprint, before anything is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sweeplab import checkpoint, code, config, data, parts, runtime, screen, store
from sweeplab.config import Config
from sweeplab.errors import UserError


@dataclass(kw_only=True, slots=True, frozen=True)
class Job:
    """A run that was found to be in order: everything is checked, nothing is made yet."""

    config: Config
    overrides: list[str]
    facts: data.Facts
    layers: list[screen.Layer]
    fingerprint: str
    question: str
    finished: bool  # the store has its result

    @property
    def name(self) -> str:
        """What sets the run apart, for people: `hidden=392 seed=1`, or the network's name."""
        shown = [o for o in self.overrides if not o.startswith(("store.", "tracking", "data.root", "sweep."))]
        short = (f"{key.rpartition('.')[2]}={value}" for key, _, value in (o.partition("=") for o in shown))
        return " ".join(short) or str(self.config.model["_target_"]).rpartition(".")[2]

    def result(self, status: str, reason: str | None, **more: Any) -> store.Result:
        """A result of this job; `more` are its metrics and the digest of its weights."""
        return store.Result(
            fingerprint=self.fingerprint,
            question=self.question,
            status=status,
            stop_reason=reason,
            metrics=more.get("metrics", {}),
            weights_sha256=more.get("weights_sha256"),
            overrides=self.overrides,
        )


def prepare(settings: Config, overrides: list[str]) -> Job:
    """Check everything that can be checked before any work. Raises UserError with all that is wrong."""
    if problems := parts.problems(settings):
        raise UserError("\n".join(problems))
    runtime.choose_device(settings.trainer.device)
    home = store.Store(settings.store.root).check()
    facts = data.facts(settings.data)
    if settings.trainer.batch_size > facts.train:
        raise UserError(
            f"trainer.batch_size={settings.trainer.batch_size}: the training split has {facts.train} examples; "
            "give at most that"
        )
    fingerprint, question = _identity(settings, facts, home)
    finished = home.run(fingerprint).status == store.FINISHED
    return Job(
        config=settings,
        overrides=overrides,
        facts=facts,
        layers=[] if finished else _fit(settings, home),  # what was trained was in order
        fingerprint=fingerprint,
        question=question,
        finished=finished,
    )


def _identity(settings: Config, facts: data.Facts, home: store.Store) -> tuple[str, str]:
    """(fingerprint, question); with `store.reuse=any` those of a finished run that asked the same of other code."""
    canonical = config.canonical(settings)
    if settings.trainer.init_from is not None:  # the weights count, not where they came from
        canonical["trainer"]["init_from"] = initial_run(settings, home)[1]
    fingerprint, question = store.fingerprint(canonical, facts.digest, code.digest(parts.targets(settings)))
    if settings.store.reuse == "any":
        asked = (r.result() for r in home.runs())
        same = [r.fingerprint for r in asked if r and r.question == question and r.status == store.FINISHED]
        fingerprint = fingerprint if fingerprint in same else next(iter(same), fingerprint)
    return fingerprint, question


def initial_run(settings: Config, home: store.Store) -> tuple[store.Run, str]:
    """The run whose weights `trainer.init_from` names, and their digest. Raises UserError if there is none."""
    assert settings.trainer.init_from is not None
    try:
        run = home.find(settings.trainer.init_from)
    except UserError as error:
        raise UserError(f"trainer.init_from={error}") from error
    result = run.result()
    if result is None or result.weights_sha256 is None or not run.weights_file.exists():
        raise UserError(f"trainer.init_from={settings.trainer.init_from}: that run has no weights; it is {run.status}")
    return run, result.weights_sha256


def _fit(settings: Config, home: store.Store) -> list[screen.Layer]:
    """Whether the parts fit, the weights to start from included; returns the layer table."""
    layers = parts.fit(settings)
    if settings.trainer.init_from is not None:
        run, _ = initial_run(settings, home)
        parts.fit_weights(settings, checkpoint.load_weights(run.weights_file))
    return layers
