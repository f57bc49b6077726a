"""Which numbers can be compared: a loss of another loss function is another number."""

from __future__ import annotations

from collections.abc import Sequence

from sweeplab import config, metrics
from sweeplab.compare.computation import DATA_DIGEST
from sweeplab.compare.groups import TO_TARGET, Group

EXAMPLES = (
    DATA_DIGEST,
    "data.split_seed",
    "data.folds",
    "data.test",  # examples, which are then not in the other splits
    "trainer.limit_batches",
    "trainer.overfit_batches",
)
SCALE = ("data.target_mean", "data.target_std")
NOT_MEASURED_ON_EXAMPLES = (
    metrics.PARAMETERS,
    metrics.SECONDS,
    metrics.EXAMPLES_PER_SECOND,
    metrics.BEST_EPOCH,
    metrics.EARLY_STOP_EPOCH,
)


def incomparable_keys(metric: str, monitor: str, groups: Sequence[Group]) -> list[str]:
    """List the keys that a metric depends on and in which these groups differ.

    If there is none, its values can be compared. An accuracy, and the error in the target's own
    unit, depend on the examples alone; a loss on the loss function and on how targets are scaled,
    too; a metric of the user's own on its section. `epochs_to_target` depends on what the `monitor`
    does.
    """
    if metric in NOT_MEASURED_ON_EXAMPLES:
        return []
    if metric == TO_TARGET:
        return incomparable_keys(monitor, monitor, groups)
    # Of runs that have not begun, or were removed, only what was swept is known.
    groups = [group for group in groups if any(run.start for run in group.replicas)]
    differing = []
    for key in dict.fromkeys(key for group in groups for key in group.values):
        if not _depends_on(metric, key, groups):
            continue
        if len({config.to_text(group.values.get(key)) for group in groups}) > 1:
            differing.append(key)
    return differing


def _depends_on(metric: str, key: str, groups: Sequence[Group]) -> bool:
    split, _, name = metric.partition("/")
    if key in EXAMPLES or (key == "data.valid" and split == metrics.VALID):
        return True
    if name in (metrics.ACCURACY, metrics.MAE):
        return False
    if key in SCALE:
        return True
    if name == metrics.LOSS:
        return key.startswith("loss.") or _is_code_of(key, "loss._target_", groups)
    section = key.removeprefix("metrics.").partition(".")[0]
    if key.startswith("metrics.") and (name == section or name.startswith(f"{section}_")):
        return True
    return _is_code_of(key, f"metrics.{name}._target_", groups)


def _is_code_of(key: str, target: str, groups: Sequence[Group]) -> bool:
    """Tell whether the key is the digest of the module in which a class of the user's own is."""
    modules = {str(group.values.get(target, "")).rpartition(".")[0] for group in groups}
    return key.startswith("code.") and key.removeprefix("code.") in modules
