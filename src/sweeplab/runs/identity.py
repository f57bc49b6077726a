"""Say what a run is asked to compute: the one form behind fingerprints, groups, differences.

A fingerprint is the SHA-256 (`store.fingerprint`) of that form, the digest of the data set, and the
digest of the code behind the `_target_`s; the question is the same without the code.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from sweeplab import config, data, store
from sweeplab.config import Config
from sweeplab.errors import UserError
from sweeplab.runs import parts
from sweeplab.targets import without_defaults
from sweeplab.train import schedule

STOPPING: dict[str, Any] = {"epochs": 1, "patience": None, "min_delta": 0.0, "target": None}
"""The trainer keys that say which epoch is the last and nothing else, each set to a fixed
value, so that it drops out of `path`.

`trainer.epochs` is among them where no schedule depends on it.
"""

KEEPING: dict[str, Any] = {"keep_every": None, "checkpoint_every": 0.0, "progress": True}
"""The trainer keys that say what is kept and shown of each epoch, set for the same reason."""


@dataclass(kw_only=True, slots=True, frozen=True)
class Identity:
    """Which run is asked for."""

    asked: dict[str, Any]  # as `asked` below
    fingerprint: str
    question: str
    code: str  # the digest of its code


def asked(settings: Config, facts: data.Facts, weights: str | None = None) -> dict[str, Any]:
    """Return the part of a config that decides the numbers: equal for configs that give the same.

    It is `config.canonical` without arguments that change nothing (`foreach: null`), and with what
    the run would fill in: the sizes of the split, a scheduler's mode, and for `trainer.init_from`
    the digest of those `weights`.
    """
    plain = config.canonical(settings)
    plain["scheduler"] = config.normalize(schedule.filled_by_part(settings, in_epoch=None))
    for name in (*config.COMPONENTS, "metrics", "step"):
        if name in plain:
            plain[name] = without_defaults(plain[name])
    for name, node in data.nodes(settings.data):
        plain["data"][name] = config.normalize(without_defaults(node))
    if not plain["metrics"]:
        del plain["metrics"]
    sizes = {"valid": facts.valid, "test": facts.test}
    if settings.data.fold is not None:  # the sizes follow from it, and may differ between folds
        del sizes["test"]
        if settings.data.group is not None:
            del sizes["valid"]
    plain["data"] |= sizes
    if weights is not None:
        plain["trainer"]["init_from"] = weights
    return plain


def path(settings: Config, examples: int) -> str:
    """Return a text that is equal for configs that compute the same epochs, as far as each goes.

    They may differ in when they stop. `examples` are those of the training split.
    """
    updates = schedule.updates_per_epoch(settings, examples)
    scheduler = schedule.filled_by_part(settings, updates)
    trainer = replace(settings.trainer, **STOPPING, **KEEPING)
    return repr(replace(settings, scheduler=scheduler, trainer=trainer))


def identify(asked_for: dict[str, Any], data_digest: str, code_digest: str) -> Identity:
    """Name a run by what is `asked` of it, the digest of its data, and that of its code."""
    fingerprint, question = store.fingerprint(asked_for, data_digest, code_digest)
    return Identity(asked=asked_for, fingerprint=fingerprint, question=question, code=code_digest)


def initial_run(init_from: str, root: str) -> tuple[store.Run, str]:
    """Find the run in this store that `trainer.init_from` names, and the digest of its weights.

    Its weights may have been removed since; the digest still names what was started from them.
    Raises UserError if there is no such run, or it never had weights.
    """
    try:
        run = store.Store(root).find(init_from)
    except UserError as error:
        raise UserError(f"trainer.init_from={error}") from error
    result = run.result()
    if result is None or result.weights_sha256 is None:
        raise UserError(
            f"trainer.init_from={init_from}: that run has no weights; it is {run.status}"
        )
    return run, result.weights_sha256


def answers(home: store.Store, targets: Collection[str]) -> dict[str, list[store.Run]]:
    """Map each question to the finished runs that answer it, by other code each, the latest last.

    The question of a run that an earlier version recorded is computed anew in today's form. That is
    done only for runs whose config calls nothing but `targets`, so that nothing else is imported.
    """
    runs_by_question: dict[str, list[store.Run]] = {}
    for run in home.runs():
        result = run.result()
        if result is not None and result.status == store.Status.FINISHED:
            question = _recomputed_question(run.start(), targets) or result.question
            runs_by_question.setdefault(question, []).append(run)
    return runs_by_question


def _recomputed_question(start: dict[str, Any], targets: Collection[str]) -> str | None:
    """Return today's question of a run that was recorded in an older form; None otherwise.

    None, too, if its config cannot be read any more, or if it started from the weights of another
    run, which older records do not name.
    """
    if "asked" in start or not start:
        return None
    try:
        settings = config.validate(start["config"])
        if settings.trainer.init_from is not None or not set(parts.class_paths(settings)) <= set(
            targets
        ):
            return None
        sizes = {name: start["data"][name] for name in ("train", "valid", "test", "digest")}
        return identify(asked(settings, data.Facts(**sizes)), sizes["digest"], "").question
    except (UserError, LookupError, TypeError):
        return None
