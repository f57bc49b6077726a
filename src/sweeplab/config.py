"""The typed config: sections, validation with did-you-mean, and the canonical form that a fingerprint is made of.

Hydra's `DictConfig` comes in here and typed objects go out; the rest of the package sees no `DictConfig`.
"""

from __future__ import annotations

import math
import os
import re
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sweeplab import metrics
from sweeplab.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from omegaconf import DictConfig

T = TypeVar("T")
Node = dict[str, Any]

COMPONENTS = ("model", "loss", "optimizer", "scheduler")
"""The sections that are a `_target_` with its arguments."""

HOW = frozenset({"device", "threads", "deterministic", "progress"})
"""Trainer keys that say how a run is computed, not what: recorded, not hashed."""


def _rule(default: Any, allowed: str, test: Callable[[Any], bool]) -> Any:
    """A dataclass field with the values it allows, in words and as a test; None passes where the type has it."""
    return field(default=default, metadata={"allowed": allowed, "test": test})


def _at_least(least: int, default: Any = None, unit: str = "", *, off: bool = True) -> Any:
    allowed = f"a whole number >= {least}{unit}" + (", or null" if default is None and off else "")
    return _rule(default, allowed, lambda v: v >= least)


def _positive(default: Any = None, unit: str = "") -> Any:
    return _rule(default, f"a number > 0{unit}" + (", or null" if default is None else ""), lambda v: v > 0)


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
    shape: list[int] | None = None
    flatten: bool = True
    dataset: Node = field(default_factory=dict)
    root: str = "data"
    valid: int | None = _at_least(1)
    test: int | None = _at_least(1)
    split_seed: int = 0
    mean: float | None = None
    std: float | None = _positive()
    target_mean: float | None = None
    target_std: float | None = _positive()
    version: str | None = None
    workers: int = _at_least(0, 0)
    memory: int = _at_least(0, 2048, " (MiB)")


@dataclass(kw_only=True, slots=True)
class Trainer:
    """How long, on what, and when to stop; conf/trainer/default.yaml comments each key."""

    epochs: int = _at_least(1, 20)
    batch_size: int = _at_least(1, 128)
    eval_batch_size: int = _at_least(1, 1000)
    patience: int | None = _rule(5, "a whole number >= 1, or null", lambda v: v >= 1)
    min_delta: float = _rule(0.0, "a number >= 0", lambda v: v >= 0)
    monitor: str = "auto"
    mode: str = _one_of("auto", "max", "min")
    target: float | None = None
    time_limit: float | None = _positive(unit=" (seconds)")
    clip_norm: float | None = _positive()
    shift: int | None = _at_least(1, unit=" (pixels)")
    scheduler_interval: str = _one_of("auto", "step", "epoch")
    precision: str = _one_of("fp32", "bf16")
    compile: bool = False
    device: str = "auto"
    threads: int | None = _at_least(1)
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
    wait: float = _rule(10.0, "a number >= 0 (seconds)", lambda v: v >= 0)
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
    workers: Any = _rule(  # noqa: RUF009  # as the others, whose types ruff knows
        "auto", "auto, or a whole number >= 1", lambda v: v == "auto" or (type(v) is int and v >= 1)
    )
    gpus_per_worker: float | None = _rule(
        None, "a number > 0, above 1 a whole one, or null", lambda v: 0 < v < 1 or (v >= 1 and v.is_integer())
    )
    job_timeout: float | None = _positive(unit=" (seconds)")
    retries: int = _at_least(0, 0)
    fail_fast: bool = False
    time_limit: float | None = _positive(unit=" (seconds)")
    report: bool = True
    fuse: bool = True


SECTIONS: dict[str, type] = {"data": Data, "trainer": Trainer, "tracking": Tracking, "store": Store, "sweep": Sweep}


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


def root() -> Path:
    """The one place where things are: SWEEPLAB_ROOT, else the current folder."""
    return Path(os.environ.get("SWEEPLAB_ROOT") or Path.cwd()).resolve()


def parse(raw: DictConfig | Mapping[str, Any]) -> Config:
    """A composed config as typed sections, paths made absolute. Raises UserError as `resolved` and `typed` do."""
    return typed(resolved(raw))


def resolved(raw: DictConfig | Mapping[str, Any]) -> dict[str, Any]:
    """A composed config as plain nested data with its interpolations resolved; Hydra's own section is left out.

    Raises UserError for an interpolation that leads nowhere, and for a value that is missing.
    """
    from omegaconf import DictConfig, OmegaConf, errors

    node = raw if isinstance(raw, DictConfig) else OmegaConf.create(dict(raw))
    try:
        if "hydra" in node:
            node = OmegaConf.masked_copy(node, [str(key) for key in node if key != "hydra"])
        container = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    except errors.OmegaConfBaseException as error:
        raise UserError(f"{error.full_key}: {str(error).splitlines()[0]}") from error
    assert isinstance(container, dict)
    plain = {str(key): value for key, value in container.items()}
    model = plain.get("model")
    if isinstance(model, dict) and isinstance(hidden := model.get("hidden"), list) and len(hidden) == 1:
        model["hidden"] = hidden[0]  # one layer has one name, in every record and column
    return plain


def typed(plain: Mapping[str, Any]) -> Config:
    """A resolved config as typed sections, paths made absolute.

    Raises UserError that lists every wrong key and value, each with its dotted name, what is allowed and the nearest
    valid name.
    """
    problems: list[str] = []
    valid = [f.name for f in fields(Config)]
    problems += [f"{key}: no such key{did_you_mean(key, valid)}" for key in plain if key not in valid]
    problems += [f"{key}: missing" for key in valid if key not in plain and key != "metrics"]
    sections: dict[str, Any] = {
        name: _section(cls, plain.get(name) or {}, name, problems) for name, cls in SECTIONS.items()
    }
    seed = _convert(plain.get("seed"), int, "seed", {"allowed": "a whole number"}, problems)
    for name in (*COMPONENTS, "metrics"):
        if not isinstance(plain.get(name, {}), dict):
            problems.append(f"{name}={plain[name]}: a section of keys is expected")
    if problems:
        raise UserError("\n".join(problems))
    nodes: dict[str, Node] = {name: plain.get(name) or {} for name in (*COMPONENTS, "metrics")}
    config = Config(seed=seed, **{**nodes, **sections})
    config.store.root = str(root() / config.store.root)
    config.data.root = str(root() / config.data.root)
    return config


def to_dict(config: Config) -> dict[str, Any]:
    """The config as plain nested data; `parse` of it gives the same config."""
    return asdict(config)


def canonical(config: Config) -> dict[str, Any]:
    """What a run is asked to compute, and nothing else: equal for configs that must give the same numbers.

    Numbers that are equal are the same number (`lr=1` and `lr=1.0`); `auto` is resolved; where things lie and how
    they are computed is left out. What is off (null) is left out, too, so that a later key, off by default, leaves the
    fingerprints as they are. The examples themselves enter a fingerprint by the data digest.
    """
    trainer = {k: v for k, v in asdict(config.trainer).items() if k not in HOW}
    trainer |= {"monitor": config.monitor, "mode": config.mode}
    data = {k: v for k, v in asdict(config.data).items() if k not in ("name", "dataset", "root", "workers", "memory")}
    parts = {name: getattr(config, name) for name in (*COMPONENTS, "metrics", "seed")}
    sections = {"trainer": trainer, "data": data}
    on = {name: {k: v for k, v in values.items() if v is not None} for name, values in sections.items()}
    plain = _normal({**parts, **on})
    assert isinstance(plain, dict)
    return plain


def flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"model": {"hidden": 392}}` -> `{"model.hidden": 392}`; lists stay whole, an empty section is left out."""
    result: dict[str, Any] = {}
    for key, value in nested.items():
        name = f"{prefix}{key}"
        result |= flat(value, f"{name}.") if isinstance(value, Mapping) else {sys.intern(name): value}
    return result


_WORDS = r"(?:password|passwd|token|secret|api_?key|credentials?)"
_SECRET = re.compile(rf"(?:^|[_-]){_WORDS}$", re.IGNORECASE)
_INLINE_SECRET = re.compile(rf"(\b(?:\w+[_-])?{_WORDS}['\"]?\s*[:=]\s*)[^,}}\s]+", re.IGNORECASE)
# Up to the last @ of the host's part, and beyond a / that stands in a password by mistake, but not beyond a port.
_URI_CREDENTIALS = re.compile(r"(?<=://)(?:[^/?#\s]*|[^/:@\s]*:(?!\d*/)\S*)@")
_QUERY_SECRET = re.compile(rf"([?&]\w*{_WORDS}=)[^&#\s]*", re.IGNORECASE)


def redact(value: Any, key: str = "") -> Any:
    """The value as it may be written down: secrets (by whole words of their key) and credentials in URIs hidden."""
    if _SECRET.search(key) and value is not None:
        return "***"
    if isinstance(value, Mapping):
        return {k: redact(v, str(k)) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [redact(v) for v in value]
    return _QUERY_SECRET.sub(r"\1***", _URI_CREDENTIALS.sub("***@", value)) if isinstance(value, str) else value


def redact_override(override: str) -> str:
    """`+data.dataset.token=abc` -> `+data.dataset.token=***`."""
    key, equals, value = override.partition("=")
    value = _INLINE_SECRET.sub(r"\1***", str(redact(value, key.rpartition(".")[2])))
    return f"{key}{equals}{value}"


_hints: Callable[[type], dict[str, Any]] = lru_cache(maxsize=32)(typing.get_type_hints)  # slow


def _section(cls: type[T], values: Any, name: str, problems: list[str]) -> T | None:
    """The dataclass `cls` with these values; what is wrong is added to `problems`."""
    if not isinstance(values, dict):
        problems.append(f"{name}={values}: a section of keys is expected")
        return None
    hints = _hints(cls)
    known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]  # every SECTIONS class is a dataclass
    before = len(problems)
    unknown = [key for key in values if key not in known]
    problems += [f"{name}.{key}={values[key]}: no such key{did_you_mean(str(key), known)}" for key in unknown]
    good = {
        key: _convert(values[key], hints[key], f"{name}.{key}", known[key].metadata, problems)
        for key in known
        if key in values
    }
    if name == "data" and "name" not in values:
        problems.append("data.name: missing")
    return cls(**good) if len(problems) == before else None


def _convert(value: Any, hint: Any, key: str, rule: Mapping[str, Any], problems: list[str]) -> Any:
    """`value` as the type `hint`, if it is one and the field's rule allows it; else a problem is noted."""
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value is None and types.NoneType in kinds:
        return None
    kind = next(k for k in kinds if k is not types.NoneType)
    good, converted = _as_kind(value, kind)
    choices: Sequence[str] = rule.get("choices", ())
    if good and choices:
        good = converted in choices
    elif good and "test" in rule:
        good = rule["test"](converted)
    if not good:
        allowed = rule.get("allowed") or (f"one of {', '.join(choices)}" if choices else _in_words(kind, kinds))
        near = did_you_mean(str(value), choices) if choices else ""
        problems.append(f"{key}={value}: must be {allowed}{near if 'did you mean' in near else ''}")
    return converted


def _as_kind(value: Any, kind: Any) -> tuple[bool, Any]:
    """(whether `value` is of that kind, the value as that kind); a bool is no number, 3.0 is the whole number 3."""
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool), value
    if kind is int:
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        return whole, int(value) if whole else value
    if kind is float:
        number = isinstance(value, int | float) and not math.isnan(value)
        return number, float(value) if number else value
    if kind is str:
        simple = isinstance(value, str | int | float)
        return simple, str(value) if simple else value
    if kind is Any:
        return True, value
    if typing.get_origin(kind) is list:
        return isinstance(value, list) and all(_as_kind(v, typing.get_args(kind)[0])[0] for v in value), value
    return isinstance(value, dict), value


def _in_words(kind: Any, kinds: Sequence[Any]) -> str:
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", Node: "a section of keys"}
    words |= {list[str]: "a list of texts"}
    return words.get(kind, "a list of whole numbers") + (", or null" if types.NoneType in kinds else "")


def _normal(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _normal(v) for k, v in sorted(value.items(), key=lambda item: str(item[0]))}
    if isinstance(value, list | tuple):
        return [_normal(v) for v in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def explain(error: Exception) -> str | None:
    """What Hydra's or OmegaConf's exception says about a config, in one or two lines; None if it is not about one."""
    from hydra.errors import HydraException, MissingConfigException, OverrideParseException
    from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

    cause = error.__cause__
    if isinstance(error, MissingConfigException):
        group, _, option = (error.missing_cfg_file or "").rpartition("/")
        return f"{group}={option}: no such option{did_you_mean(option, error.options or [])}"
    if isinstance(error, OverrideParseException):
        return f"{error.override}: cannot be read: {str(error).splitlines()[0]}"
    if isinstance(cause, ConfigAttributeError | ConfigKeyError):
        if cause.key == "experiment":
            return "experiment: there is none; an experiment is a file experiments/<name>.yaml beside conf/"
        asked = re.search(r"use \+(\S+)", str(error))
        valid = [] if cause.parent_node is None else [str(key) for key in cause.parent_node if str(key) != "hydra"]
        return f"{asked[1] if asked else cause.full_key}: no such key{did_you_mean(str(cause.key), valid)}"
    if isinstance(error, OmegaConfBaseException):
        return f"{error.full_key}: {str(error).splitlines()[0]}" if error.full_key else str(error).splitlines()[0]
    if isinstance(error, HydraException):
        text = " ".join(str(error).split())
        return f"{text} ({str(cause).splitlines()[0]})" if isinstance(cause, OmegaConfBaseException) else text
    if isinstance(error, ValueError) and str(error).startswith("Config group override must be a string"):
        return "experiment, model and other groups of options take a name, as in model=mlp, not null: leave it out"
    return None


def compose(overrides: Sequence[str], folder: Path | None = None) -> Config:
    """The config that `train.py` would get with these overrides, from the `conf/` of the project or the package."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    with initialize_config_dir(str(folder or conf_dir()), version_base="1.3"):
        return parse(hydra_compose("config", overrides=list(overrides)))


def conf_dir() -> Path:
    """The folder of YAML files: inside the installed package, in a checkout beside `src/`."""
    package = Path(__file__).resolve().parent
    return next(folder for folder in (package / "conf", package.parents[1] / "conf") if folder.is_dir())


def task_overrides() -> list[str]:
    """What the user overrode on the command line of the running Hydra program, secrets hidden."""
    from hydra.core.hydra_config import HydraConfig

    given = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    return [redact_override(override) for override in given if not override.startswith("sweep.id=")]
