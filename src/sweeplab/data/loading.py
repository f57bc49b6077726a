"""From a `data` config to train, valid and test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sweeplab.data import any_form, pairs, seeding
from sweeplab.data.sources import MNIST, FashionMNIST, combined
from sweeplab.data.splits import Facts, Splits, is_held
from sweeplab.data.splitting import sizes
from sweeplab.metrics import ANY
from sweeplab.targets import locate

if TYPE_CHECKING:
    from sweeplab.config import Data


def load(data: Data) -> Splits:
    """Build `data.dataset` and split it. Raises UserError where set and config do not fit."""
    with seeding.preserved():
        if data.task == ANY:
            return any_form.load(data)
        return pairs.load(data)


def facts(data: Data) -> Facts:
    """Return sizes and digest as `load` gives them; of (fashion_)mnist without reading any file."""
    target: Any = locate(data.dataset["_target_"], "data.dataset._target_")
    is_known = target in (MNIST, FashionMNIST) and "train" not in data.dataset
    if is_known and data.task != ANY and data.group is None:
        digest = combined(target.digest_of_half(train) for train in (True, False))
        return Facts(*sizes(data, *target.sizes), digest=digest)
    splits = load(data)
    return Facts(
        train=len(splits.train),
        valid=len(splits.valid),
        test=len(splits.test),
        digest=splits.digest,
        held=is_held(splits.train) and is_held(splits.test),
        sample=splits.sample,
    )
