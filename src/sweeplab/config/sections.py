"""The typed sections of a config: each key with its type, its default, and what is allowed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from sweeplab import metrics
from sweeplab.config.nodes import Node, class_paths

COMPONENTS = ("model", "loss", "optimizer", "scheduler")
"""The sections that are a `_target_` with its arguments."""


COUNT = 2**31 - 1
"""The most that a count may be: no computation ends that needs more, and PyTorch takes no larger sizes everywhere."""
THREADS = 1024
RUNS_AT_ONCE = 100_000
SEED = 2**63 - 1
SECONDS = 1e9
"""More than 30 years; the system's clocks take no wait that is much longer."""


def _rule(default: Any, allowed: str, test: Callable[[Any], bool], most: float | None = None) -> Any:
    """A dataclass field with the values it allows, in words and as a test; None passes where the type has it.

    `most` is named only to those who ask for more.
    """
    return field(default=default, metadata={"allowed": allowed, "test": test, "most": most})


def _at_least(least: int, default: Any = None, unit: str = "", *, off: bool = True, most: int = COUNT) -> Any:
    allowed = f"a whole number >= {least}{unit}" + (", or null" if default is None and off else "")
    return _rule(default, allowed, lambda v: v >= least, most)


def _positive(default: Any = None, unit: str = "", most: float | None = None) -> Any:
    return _rule(default, f"a number > 0{unit}" + (", or null" if default is None else ""), lambda v: v > 0, most)


def _seconds(default: float | None = None) -> Any:
    """A field with a time: above 0, or null for no limit; with a default it may be 0."""
    if default is None:
        return _positive(unit=" (seconds)", most=SECONDS)
    return _rule(default, "a number >= 0 (seconds)", lambda v: v >= 0, SECONDS)


def _one_of(*names: str) -> Any:
    """A field with these values; the first is the default."""
    return field(default=names[0], metadata={"choices": names})


@dataclass(kw_only=True, slots=True)
class Data:
    """The data set, its split, and how examples become tensors; conf/data/mnist.yaml comments each key."""

    name: str
    task: str = _one_of(metrics.CLASSIFICATION, metrics.REGRESSION)
    in_features: int = _at_least(1, 1)
    out_features: int = _at_least(1, 1)
    shape: list[int] | None = _rule(  # noqa: RUF009  # as the others, whose types ruff knows
        None, "a list of whole numbers >= 1, or null", lambda v: bool(v) and min(v) >= 1
    )
    flatten: bool = True
    dataset: Node = field(default_factory=dict)
    root: str = "data"
    valid: int | None = _at_least(1)
    test: int | None = _at_least(1)
    split_seed: int = _at_least(0, 0, most=SEED)
    mean: float | None = None
    std: float | None = _positive()
    target_mean: float | None = None
    target_std: float | None = _positive()
    version: str | None = None
    workers: int = _at_least(0, 0, most=THREADS)
    memory: int = _at_least(0, 2048, " (MiB)")


@dataclass(kw_only=True, slots=True)
class Trainer:
    """How long, on what, and when to stop; conf/trainer/default.yaml comments each key."""

    epochs: int = _at_least(1, 20)
    batch_size: int = _at_least(1, 128)
    eval_batch_size: int = _at_least(1, 1000)
    patience: int | None = _rule(5, "a whole number >= 1, or null", lambda v: v >= 1, COUNT)
    min_delta: float = _rule(0.0, "a number >= 0", lambda v: v >= 0)
    monitor: str = "auto"
    mode: str = _one_of("auto", "max", "min")
    target: float | None = None
    time_limit: float | None = _seconds()
    clip_norm: float | None = _positive()
    shift: int | None = _at_least(1, unit=" (pixels)")
    scheduler_interval: str = _one_of("auto", "step", "epoch")
    precision: str = _one_of("fp32", "bf16")
    compile: bool = False
    device: str = "auto"
    threads: int | None = _at_least(1, most=THREADS)
    deterministic: bool = True
    limit_batches: int | None = _at_least(1)
    overfit_batches: int | None = _at_least(1)
    init_from: str | None = None
    profile: bool = False
    progress: bool = True


@dataclass(kw_only=True, slots=True)
class Tracking:
    """Where MLflow is, what goes there, and how long a command waits; conf/tracking/mlflow.yaml comments each key."""

    enabled: bool = True
    uri: str | None = None
    experiment: str | None = None
    wait: float = _seconds(10.0)
    log_model: bool = False
    system_metrics: bool = False


@dataclass(kw_only=True, slots=True)
class Store:
    """The folder of runs, and which of its finished runs are taken for the one that is asked for."""

    root: str = "runs"
    reuse: str = _one_of("exact", "any")


@dataclass(kw_only=True, slots=True)
class Sweep:
    """Which combinations a sweep is of, and how they are carried out; conf/config.yaml comments each key."""

    id: str | None = None
    plan: bool = False
    zip: list[str] = field(default_factory=list)
    where: str | None = None
    baseline: str | None = None
    replicate: list[str] = field(default_factory=lambda: ["seed"])
    workers: Any = _rule(  # noqa: RUF009  # as above
        "auto", "auto, or a whole number >= 1", lambda v: v == "auto" or (type(v) is int and v >= 1), RUNS_AT_ONCE
    )
    gpus_per_worker: float | None = _rule(
        None, "a number > 0, above 1 a whole one, or null", lambda v: 0 < v < 1 or (v >= 1 and v.is_integer()), THREADS
    )
    job_timeout: float | None = _seconds()
    retries: int = _at_least(0, 0)
    fail_fast: bool = False
    time_limit: float | None = _seconds()
    report: bool = True
    fuse: bool = True


SEEDS = {"allowed": "a whole number >= 0", "test": lambda v: v >= 0, "most": SEED}
"""The rule of the top-level key `seed`."""

SECTIONS: dict[str, type] = {"data": Data, "trainer": Trainer, "tracking": Tracking, "store": Store, "sweep": Sweep}


def defaults() -> dict[str, Node]:
    """Return every key of every typed section with its default; `data.name`, which has none, is null."""
    nodes = {name: asdict(cls(name="") if cls is Data else cls()) for name, cls in SECTIONS.items()}
    nodes["data"]["name"] = None
    return nodes


BY_BATCH = ("OneCycleLR", "CyclicLR")
"""The schedules of torch that step after each batch, unless `trainer.scheduler_interval` says otherwise."""


def interval(chosen: str, scheduler: Node) -> str:
    """What a schedule counts: `step` (batches) or `epoch`; `auto` where the user's own code makes the schedule."""
    targets = class_paths(scheduler)
    if chosen != "auto":
        return chosen
    if any(target.rpartition(".")[2] in BY_BATCH for target in targets):
        return "step"
    return "epoch" if all(target.startswith("torch.optim.") for target in targets) else "auto"


@dataclass(kw_only=True, slots=True)
class Config:
    """One fully resolved config: typed sections, and plain dicts for what is built by `_target_`."""

    seed: int
    model: Node
    loss: Node
    optimizer: Node
    scheduler: Node
    metrics: Node
    data: Data
    trainer: Trainer
    tracking: Tracking
    store: Store
    sweep: Sweep

    @property
    def monitor(self) -> str:
        """The metric that early stopping and model choice look at, `auto` resolved."""
        chosen = self.trainer.monitor
        return metrics.default_monitor(self.data.task) if chosen == "auto" else chosen

    @property
    def mode(self) -> str:
        """`max` or `min`, `auto` resolved."""
        return metrics.default_mode(self.monitor) if self.trainer.mode == "auto" else self.trainer.mode

    @property
    def interval(self) -> str:
        """What the schedule counts, `step` or `epoch`; `auto` where only the built schedule tells."""
        return interval(self.trainer.scheduler_interval, self.scheduler)
