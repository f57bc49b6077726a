"""What a measured number is made of: numbers that are made otherwise are in other units, and none of them is better."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from sweeplab import config, metrics
from sweeplab.compare.groups import DATA_DIGEST, TO_TARGET, Group

EXAMPLES = (
    DATA_DIGEST,
    "data.split_seed",
    "data.test",  # examples, which are then not in the other splits
    "trainer.limit_batches",
    "trainer.overfit_batches",
)
SCALE = ("data.target_mean", "data.target_std")
NO_MEASURES = (
    metrics.PARAMETERS,
    metrics.SECONDS,
    metrics.EXAMPLES_PER_SECOND,
    metrics.BEST_EPOCH,
    metrics.EARLY_STOP_EPOCH,
)


def differing(metric: str, monitor: str, groups: Sequence[Group]) -> list[str]:
    """The keys of what a metric is made of in which these groups differ; empty if their numbers can be compared.

    An accuracy, and the error in the target's own unit, are made of the examples alone; a loss of the loss function and
    of how targets are scaled, too; a metric of the user's own of its section. `epochs_to_target` is a matter of the
    `monitor`.
    """
    if metric in NO_MEASURES:
        return []
    if metric == TO_TARGET:
        return differing(monitor, monitor, groups)
    keys = dict.fromkeys(chain.from_iterable(one.values for one in groups))
    made_of = [key for key in keys if _is_part(metric, key, groups)]
    return [key for key in made_of if len({config.to_text(one.values.get(key)) for one in groups}) > 1]


def _is_part(metric: str, key: str, groups: Sequence[Group]) -> bool:
    split, _, name = metric.partition("/")
    if key in EXAMPLES or (key == "data.valid" and split == metrics.VALID):
        return True
    if name in (metrics.ACCURACY, metrics.MAE):
        return False
    if key in SCALE:
        return True
    if name == metrics.LOSS:
        return key.startswith("loss.") or _is_code_of(key, "loss._target_", groups)
    own = key.removeprefix("metrics.").partition(".")[0]
    if key.startswith("metrics.") and (name == own or name.startswith(f"{own}_")):
        return True
    return _is_code_of(key, f"metrics.{name}._target_", groups)


def _is_code_of(key: str, target: str, groups: Sequence[Group]) -> bool:
    """Whether the key is the digest of the module in which a class of the user's own is."""
    modules = {str(one.values.get(target, "")).rpartition(".")[0] for one in groups}
    return key.startswith("code.") and key.removeprefix("code.") in modules


def sentence(metric: str, keys: Sequence[str], instead: str | None) -> str:
    """Why a metric ranks nothing, and what does instead."""
    shown = ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
    verb = "differs" if len(keys) == 1 else "differ"
    said = f"{metric} is another number where {shown} {verb}, and cannot be compared"
    return f"{said}; {instead} can, and ranks the configs" if instead else f"{said}; the order means nothing"
