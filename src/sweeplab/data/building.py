"""A user's `data.dataset`, built: as a whole, or as training and test set."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sweeplab.data import seeding
from sweeplab.data.sources import MNIST, Diabetes, Digits, combined
from sweeplab.errors import UserError
from sweeplab.targets import accepts, build, locate

if TYPE_CHECKING:
    from sweeplab.config import Data


def supplied_arguments(data: Data) -> list[str]:
    """Name those of `train` and `root` that the set takes and its config leaves open."""
    target = data.dataset["_target_"]
    open_names = [name for name in ("train", "root") if name not in data.dataset]
    accepted = [name for name in open_names if accepts(target, name)]
    brings_test_set = getattr(locate(target, "data.dataset._target_"), "brings_test_set", None)
    if brings_test_set is not None and not brings_test_set(data.dataset):
        return [name for name in accepted if name != "train"]  # one set, which is split
    return accepted


def build_set(data: Data) -> list[object]:
    """Build the whole set, or training and test set where the target can make both.

    What its constructor draws from the global generators is the same in each process; training and
    test set differ.
    """
    supplied = supplied_arguments(data)
    arguments: dict[str, object] = {"root": data.root} if "root" in supplied else {}
    if "train" not in supplied:
        return [_call(data, arguments)]
    return [_call(data, {**arguments, "train": train}) for train in (True, False)]


def class_names(data: Data) -> list[str]:
    """Return the names of the classes, as the set has them (`classes`); else their numbers."""
    with seeding.preserved():
        names = getattr(build_set(data)[0], "classes", None)
    if isinstance(names, list | tuple) and len(names) == data.out_features:
        return [str(name) for name in names]
    return [str(number) for number in range(data.out_features)]


def _call(data: Data, arguments: dict[str, object]) -> object:
    """Call the target.

    A UserError that our own sets raise comes out as it is, from below Hydra's exception.
    """
    seeding.seed(f"constructor/{arguments.get('train')}")
    try:
        return build(data.dataset, "data.dataset", **arguments)
    except UserError as error:
        cause = error.__cause__
        while cause is not None:
            if isinstance(cause, UserError):
                raise cause from None
            cause = cause.__cause__
        raise


def own_digests(datasets: Sequence[object]) -> list[str]:
    """Collect the digests that built-in sets bring.

    A user's subclass has none: it may have other examples.
    """
    own = [dataset for dataset in datasets if type(dataset).__module__ == MNIST.__module__]
    return [dataset.digest for dataset in own if isinstance(dataset, MNIST | Digits | Diabetes)]


def version_digest(data: Data, reason: str, advice: str = "") -> str:
    """Digest what names the state of a streamed set.

    Raises UserError, with the reason why it is streamed, where nothing names it.
    """
    if data.version is None:
        raise UserError(
            f"data.version=null: {reason}, so it is streamed and never read as a whole; name its "
            f"state, as in data.version=1{advice}"
        )
    node = {key: value for key, value in data.dataset.items() if key != "root"}
    return combined([data.version, json.dumps(node, sort_keys=True, default=str)])


def too_large_digest(data: Data, mebibytes: int) -> str:
    """Digest what names the state of a set that does not fit into memory.

    Raises UserError where nothing does.
    """
    reason = f"the set needs {mebibytes} MiB, more than data.memory={data.memory}"
    return version_digest(data, reason, f", or hold it by data.memory={mebibytes}")
