"""The typed sections of a config: each key with its type, its default, and what is allowed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from sweeplab import metrics
from sweeplab.config.nodes import Node, class_paths, walk

COMPONENTS = ("model", "loss", "optimizer", "scheduler")
"""The sections that are a `_target_` with its arguments."""

BY_BATCH = ("OneCycleLR", "CyclicLR")
"""The schedules of torch that step after each batch, unless `trainer.scheduler_interval` says
otherwise.
"""

MOST_COUNT = 2**31 - 1  # no run ends that needs more, and PyTorch takes no larger sizes everywhere
MOST_THREADS = 1024
MOST_WORKERS = 100_000
MOST_SEED = 2**63 - 1
MOST_SEEDS = 1000  # of a config
LEAST_SEEDS = 5  # of a config at its first look: a t test of fewer pairs tells next to nothing
MOST_SECONDS = 1e9  # more than 30 years; the system's clocks take no wait that is much longer

FOLD = "data.fold"
"""The key over which a config is always repeated, as over seeds, if it is given."""

OR_NULL = ", or null"
Test = Callable[[Any], bool]


def _rule(default: Any, allowed: str, test: Test, most: float | None = None) -> Any:
    """Return a dataclass field with the values that it allows, in words and as a test.

    None is allowed where the type has it. The upper limit `most` is named in no message but to
    those who exceed it.
    """
    return field(default=default, metadata={"allowed": allowed, "test": test, "most": most})


def _count(least: int, default: int | None = None, unit: str = "", most: int = MOST_COUNT) -> Any:
    """Return a field with a whole number; it is null by default if no default is given."""
    allowed = f"a whole number >= {least}{unit}"
    if default is None:
        allowed += OR_NULL
    return _rule(default, allowed, lambda v: v >= least, most)


def _positive(unit: str = "", most: float | None = None) -> Any:
    """Return a field with a number above 0, which is null by default."""
    return _rule(None, f"a number > 0{unit}{OR_NULL}", lambda v: v > 0, most)


def _channels(number: str, test: Test = lambda _: True) -> Any:
    """Return a field with a number, or a list of a number for each channel; null by default."""

    def fits(value: Any) -> bool:
        if not isinstance(value, list):
            return test(value)
        return bool(value) and all(math.isfinite(number) and test(number) for number in value)

    return _rule(None, f"{number}, or a list with one for each channel{OR_NULL}", fits)


def _time_limit() -> Any:
    """Return a field with a time above 0; by default it is null, which is no limit."""
    return _positive(" (seconds)", MOST_SECONDS)


def _folder(default: str) -> Any:
    """Return a field with the path of a folder."""
    return _rule(default, "the path of a folder", lambda v: bool(v.strip()))


def _choice(*names: str) -> Any:
    """Return a field with one of these values; the first is the default."""
    return field(default=names[0], metadata={"choices": names})


def _is_auto_or_count(value: Any) -> bool:
    return value == "auto" or (type(value) is int and value >= 1)


def _is_share_or_whole(value: float) -> bool:
    return 0 < value < 1 or (value >= 1 and value.is_integer())


def _are_conditions(section: Node) -> bool:
    return all(isinstance(value, str | dict) for _, value in walk(section, ""))


DATA_NODES = ("collate", "transform", "train_transform", "batch_transform")
"""The keys of the section `data` that are nodes, and null by default."""

NO_NODE: Node = {"_target_": None}
"""What a node that is off looks like, as does null."""


def without_null_target(node: Node) -> Node:
    """Leave out a `_target_` of null, which stands in conf/ to be overridden."""
    if "_target_" in node and node["_target_"] is None:
        return {key: value for key, value in node.items() if key != "_target_"}
    return node


@dataclass(kw_only=True, slots=True)
class Data:
    """The data set, its split, and how examples become tensors; conf/data/mnist.yaml comments each
    key.
    """

    name: str = field(metadata={"advice": "; give the data set a name, as in name: mine"})
    task: str = _choice(metrics.CLASSIFICATION, metrics.REGRESSION, metrics.ANY)
    in_features: int = _count(1, 1)
    out_features: int = _count(1, 1)
    shape: list[int] | None = _rule(  # noqa: RUF009  # as the others, whose types ruff knows
        None, "a list of whole numbers >= 1, or null", lambda v: bool(v) and min(v) >= 1
    )
    flatten: bool = True
    dataset: Node = field(default_factory=dict)
    collate: Node | None = None
    transform: Node | None = None
    train_transform: Node | None = None
    batch_transform: Node | None = None
    root: str = _folder("data")
    valid: int | None = _count(1)
    test: int | None = _count(1)
    folds: int | None = _count(2)
    fold: int | None = _count(0)
    split_seed: int = _count(0, 0, most=MOST_SEED)
    group: str | None = None
    mean: float | list[float] | None = _channels("a number")  # noqa: RUF009
    std: float | list[float] | None = _channels("a number > 0", lambda v: v > 0)  # noqa: RUF009
    target_mean: float | None = None
    target_std: float | None = _positive()
    version: str | None = None
    buffer: int | None = _count(1, unit=" (examples)")
    workers: int = _count(0, 0, most=MOST_THREADS)
    memory: int = _count(0, 2048, " (MiB)")

    def __post_init__(self) -> None:
        for name in DATA_NODES:  # of which null, empty and without a target are one
            node = getattr(self, name)
            if isinstance(node, dict):
                setattr(self, name, without_null_target(node) or None)


@dataclass(kw_only=True, slots=True)
class Trainer:
    """How long, on what, and when to stop; conf/trainer/default.yaml comments each key."""

    epochs: int = _count(1, 20)
    batch_size: int = _count(1, 128)
    eval_batch_size: int = _count(1, 1000)
    patience: int | None = _rule(5, "a whole number >= 1, or null", lambda v: v >= 1, MOST_COUNT)
    min_delta: float = _rule(0.0, "a number >= 0", lambda v: v >= 0)
    monitor: str = "auto"
    mode: str = _choice("auto", "max", "min")
    target: float | None = None
    time_limit: float | None = _time_limit()
    clip_norm: float | None = _positive()
    accumulate: int | None = _count(1)
    ema: float | None = _rule(None, "a number > 0 and < 1, or null", lambda v: 0 < v < 1)
    freeze: list[str] | None = None
    shift: int | None = _count(1, unit=" (pixels)")
    scheduler_interval: str = _choice("auto", "step", "epoch")
    precision: str = _choice("fp32", "bf16", "fp16")
    compile: bool = False
    device: str = "auto"
    threads: int | None = _count(1, most=MOST_THREADS)
    deterministic: bool = True
    limit_batches: int | None = _count(1)
    overfit_batches: int | None = _count(1)
    init_from: str | None = None
    keep_every: int | None = _count(1, unit=" (epochs)")
    checkpoint_every: float = _rule(30.0, "a number >= 0 (seconds)", lambda v: v >= 0, MOST_SECONDS)
    profile: bool = False
    progress: bool = True


@dataclass(kw_only=True, slots=True)
class Tracking:
    """Where MLflow is, what goes there, and how long a command waits; conf/tracking/mlflow.yaml
    comments each key.
    """

    enabled: bool = True
    uri: str | None = None
    experiment: str | None = None
    wait: float = _rule(10.0, "a number >= 0 (seconds)", lambda v: v >= 0, MOST_SECONDS)
    log_model: bool = False
    system_metrics: bool = False
    exporters: Node = field(default_factory=dict)


@dataclass(kw_only=True, slots=True)
class StoreSection:
    """The folder of runs, and which of its finished runs are taken for the one that is asked
    for.
    """

    root: str = _folder("runs")
    reuse: str = _choice("exact", "any")
    keep: str = _choice("none", "last")
    code: str = _choice("none", "diff")


def _are_looks(numbers: list[int]) -> bool:
    return bool(numbers) and numbers[0] >= LEAST_SEEDS and numbers == sorted(set(numbers))


@dataclass(kw_only=True, slots=True)
class Seeds:
    """How many seeds a config gets; conf/config.yaml comments each key."""

    until: str | None = field(default=None, metadata={"choices": ("decided",)})
    max: int = _count(LEAST_SEEDS, 30, most=MOST_SEEDS)
    looks: list[int] | None = _rule(  # noqa: RUF009
        None, f"a list of whole numbers >= {LEAST_SEEDS}, each more than the one before", _are_looks
    )


@dataclass(kw_only=True, slots=True)
class Sweep:
    """Which combinations a sweep is of, and how they are carried out; conf/config.yaml comments
    each key.
    """

    id: str | None = None
    plan: bool | str = _rule(False, "true, false, or json", lambda v: v in (True, False, "json"))
    zip: list[str] = field(default_factory=list)
    when: Node | None = _rule(  # noqa: RUF009
        None,
        'swept keys with a condition each, as in {model.dropout: "model.hidden > 256"}, or null',
        _are_conditions,
    )
    where: str | None = None
    sample: int | None = _count(1)
    sample_seed: int = _count(0, 0, most=MOST_SEED)
    from_: str | None = None
    baseline: str | None = None
    margin: float | None = _positive()
    replicate: list[str] = field(default_factory=lambda: ["seed"])
    seeds: Seeds = field(default_factory=Seeds)
    workers: Any = _rule(  # noqa: RUF009
        "auto", "auto, or a whole number >= 1", _is_auto_or_count, MOST_WORKERS
    )
    gpus_per_worker: float | None = _rule(
        None, "a number > 0, above 1 a whole one, or null", _is_share_or_whole, MOST_THREADS
    )
    priority: int = 0
    job_timeout: float | None = _time_limit()
    retries: int = _count(0, 0)
    fail_fast: bool = False
    time_limit: float | None = _time_limit()
    detach: bool = False
    then: str | None = None
    report: bool = True
    fuse: bool = True


SEEDS: dict[str, Any] = {
    "allowed": "a whole number >= 0",
    "test": lambda v: v >= 0,
    "most": MOST_SEED,
}
"""The rule of the top-level key `seed`."""

SECTIONS: dict[str, type] = {
    "data": Data,
    "trainer": Trainer,
    "tracking": Tracking,
    "store": StoreSection,
    "sweep": Sweep,
}


def as_node(section: Any) -> Node:
    """Return a typed section as keys and values; the field `from_` is the key `from`, which is a
    word of Python's.
    """
    return {name.removesuffix("_"): value for name, value in asdict(section).items()}


def defaults() -> dict[str, Node]:
    """Return every key of every typed section with its default; `data.name`, which has none, is
    null.
    """
    sections: list[Any] = [Data(name=""), Trainer(), Tracking(), StoreSection(), Sweep()]
    nodes = {name: as_node(section) for name, section in zip(SECTIONS, sections, strict=True)}
    nodes["data"]["name"] = None
    for name in DATA_NODES:
        nodes["data"][name] = dict(NO_NODE)  # so that data.collate._target_=... needs no `+`
    return nodes


@dataclass(kw_only=True, slots=True)
class Config:
    """One fully resolved config: typed sections, and plain dicts for what is built by
    `_target_`.
    """

    seed: int
    model: Node
    loss: Node
    optimizer: Node
    scheduler: Node
    metrics: Node
    data: Data
    trainer: Trainer
    tracking: Tracking
    store: StoreSection
    sweep: Sweep
    step: Node = field(default_factory=dict)  # empty: the plain step

    @property
    def monitor(self) -> str:
        """The metric that early stopping and model choice look at, `auto` resolved."""
        if self.trainer.monitor == "auto" and self.step:
            return metrics.VALID_LOSS  # the only one that every step has
        if self.trainer.monitor == "auto":
            return metrics.default_monitor(self.data.task)
        return self.trainer.monitor

    @property
    def mode(self) -> str:
        """`max` or `min`, `auto` resolved."""
        if self.trainer.mode == "auto":
            return metrics.default_mode(self.monitor)
        return self.trainer.mode

    @property
    def replicate(self) -> list[str]:
        """The keys that repeat a config: those of `sweep.replicate`, and that of the fold."""
        keys = list(self.sweep.replicate)
        if self.data.fold is not None and FOLD not in keys:
            keys.append(FOLD)
        return keys

    @property
    def interval(self) -> str:
        """What the schedule counts, `step` (batches) or `epoch`; `auto` if only the built schedule
        tells.
        """
        chosen, targets = self.trainer.scheduler_interval, class_paths(self.scheduler)
        if chosen != "auto":
            return chosen
        if any(target.rpartition(".")[2] in BY_BATCH for target in targets):
            return "step"
        if all(target.startswith("torch.optim.") for target in targets):
            return "epoch"
        return "auto"
