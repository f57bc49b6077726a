"""A composed config as typed objects: Hydra's `DictConfig` comes in here, and the rest of the package sees none."""

from __future__ import annotations

import math
import os
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sweeplab.config.redaction import hidden_keys, redact
from sweeplab.config.sections import COMPONENTS, SECTIONS, SEEDS, Config, Data, Node, Trainer
from sweeplab.errors import UserError, comma_for_point, did_you_mean

if TYPE_CHECKING:
    from omegaconf import DictConfig

T = TypeVar("T")

UNNAMED = ("data", "name", None)  # what `sections.defaults` has in the place of a name


def root() -> Path:
    """The one place where things are: SWEEPLAB_ROOT, else the current folder."""
    return expand_home(os.environ.get("SWEEPLAB_ROOT") or ".").resolve()


def expand_home(path: str | Path) -> Path:
    """The path with the home folder in place of `~` or `~user`; of a user that there is not, as it is."""
    return Path(os.path.expanduser(path))  # noqa: PTH111  # pathlib's raises where there is no such user


def absolute(path: str | Path) -> Path:
    """Read a path as a user gives it: `~` is the home folder, and a relative path is the root's."""
    return root() / expand_home(path)


def parse(raw: DictConfig | Mapping[str, Any]) -> Config:
    """A composed config as typed sections, paths made absolute. Raises UserError as `resolve` and `validate` do."""
    return validate(resolve(raw))


def resolve(raw: DictConfig | Mapping[str, Any]) -> dict[str, Any]:
    """A composed config as plain nested data with its interpolations resolved; Hydra's own section is left out.

    Raises UserError for an interpolation that leads nowhere, for a value that is missing, and for one that was copied
    from a record, which hides it.
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
    redact(plain)  # from here on its secrets are known, and hidden wherever a message repeats them
    if masked := list(hidden_keys(plain)):
        raise UserError(f"{', '.join(masked)}: *** stands for a secret that a record hides; give its value instead")
    model = plain.get("model")
    if isinstance(model, dict) and isinstance(hidden := model.get("hidden"), list) and len(hidden) == 1:
        model["hidden"] = hidden[0]  # one layer has one name, in every record and column
    return plain


def validate(plain: Mapping[str, Any]) -> Config:
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
    seed: Any = _convert(plain["seed"], int, "seed", SEEDS, problems) if "seed" in plain else None
    for name in (*COMPONENTS, "metrics"):
        if not isinstance(plain.get(name, {}), dict):
            problems.append(f"{name}={plain[name]}: a section of keys is expected")
    problems += _shift_problems(sections["trainer"], sections["data"])
    if problems:
        raise UserError(*problems)
    nodes: dict[str, Node] = {name: plain.get(name) or {} for name in (*COMPONENTS, "metrics")}
    config = Config(seed=seed, **{**nodes, **sections})
    config.store.root = str(absolute(config.store.root))
    config.data.root = str(absolute(config.data.root))
    config.tracking.experiment = config.tracking.experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or None
    found: dict[str, Node] = {
        "store": {"root": config.store.root},
        "data": {"root": config.data.root},
        "tracking": {"experiment": config.tracking.experiment},
    }
    _ensure_utf_8({**plain, **{name: {**plain[name], **values} for name, values in found.items()}})
    return config


def _ensure_utf_8(plain: Mapping[str, Any]) -> None:
    """Raise UserError for what no record can hold: bytes of a command line or a path that are no text in UTF-8."""
    wrong = [f"{key}={text}: is no text in UTF-8; rename it" for key, text in _texts(plain, "") if not _is_utf_8(text)]
    if wrong:
        raise UserError(*wrong)


def _texts(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Every text in a config, names of keys included, with its dotted key."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            inner = f"{key}.{name}" if key else str(name)
            yield inner, str(name)
            yield from _texts(item, inner)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, f"{key}[{index}]")


def _is_utf_8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shift_problems(trainer: Trainer | None, data: Data | None) -> list[str]:
    """Whether pictures could be moved out of sight: `trainer.shift` has to be less than their smaller side."""
    if trainer is None or data is None or trainer.shift is None or data.shape is None:
        return []
    side = min(data.shape[1:], default=math.inf)
    if trainer.shift < side:
        return []
    return [f"trainer.shift={trainer.shift}: must be less than {side}, the smaller side of data.shape={data.shape}"]


_hints: Callable[[type], dict[str, Any]] = lru_cache(maxsize=32)(typing.get_type_hints)  # slow


def _section(cls: type[T], values: Any, name: str, problems: list[str]) -> T | None:
    """The dataclass `cls` with these values; what is wrong is added to `problems`."""
    if not isinstance(values, dict):
        problems.append(f"{name}={'null' if values is None else values}: a section of keys is expected")
        return None
    hints = _hints(cls)
    known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]  # every SECTIONS class is a dataclass
    before = len(problems)
    unknown = [key for key in values if key not in known]
    problems += [f"{name}.{key}={values[key]}: no such key{did_you_mean(str(key), known)}" for key in unknown]
    good = {
        key: _convert(values[key], hints[key], f"{name}.{key}", known[key].metadata, problems)
        for key in known
        if key in values and (name, key, values[key]) != UNNAMED
    }
    if name == "data" and values.get("name") is None:
        problems.append("data.name: missing; give the data set a name, as in name: mine")
    return cls(**good) if len(problems) == before else None


def _convert(value: Any, hint: Any, key: str, rule: Mapping[str, Any], problems: list[str]) -> Any:
    """`value` as the type `hint`, if it is one and the field's rule allows it; else a problem is noted."""
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value is None and types.NoneType in kinds:
        return None
    kind = next(k for k in kinds if k is not types.NoneType)
    good, converted = _as_kind(value, kind)
    if value == "None" and types.NoneType in kinds:
        good = False  # Python's word: null is meant
    choices: Sequence[str] = rule.get("choices", ())
    if good and choices:
        good = converted in choices
    elif good and "test" in rule:
        good = rule["test"](converted)
    if not good:
        allowed = rule.get("allowed") or (f"one of {', '.join(choices)}" if choices else _in_words(kind, kinds))
        near = did_you_mean(str(value), choices) if choices else ""
        number = kind in (int, float)
        near = comma_for_point(value) if number else near if "did you mean" in near else ""
        problems.append(f"{key}={'null' if value is None else value}: must be {allowed}{near}")
    elif excess := _excess(converted, rule.get("most")):
        problems.append(f"{key}={value}: must be {excess}{', or null' if types.NoneType in kinds else ''}")
    return converted


def _excess(value: Any, most: float | None) -> str:
    """What a number that is too large must be instead; empty for one that is not."""
    if isinstance(value, float) and math.isinf(value):
        return "finite"
    if most is not None and isinstance(value, int | float) and value > most:
        return f"at most {int(most)}"
    return ""


def _as_kind(value: Any, kind: Any) -> tuple[bool, Any]:
    """(whether `value` is of that kind, the value as that kind); a bool is no number, 3.0 is the whole number 3."""
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool), value
    if kind is int:
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        return whole, int(value) if whole else value
    if kind is float:
        number = isinstance(value, int) or (isinstance(value, float) and not math.isnan(value))
        return number, _float(value) if number else value
    if kind is str:
        simple = isinstance(value, str | int | float)
        return simple, str(value) if simple else value
    if kind is Any:
        return True, value
    if typing.get_origin(kind) is list:
        return _as_list(value, typing.get_args(kind)[0])
    return isinstance(value, dict), value


def _as_list(value: Any, kind: Any) -> tuple[bool, Any]:
    """As `_as_kind`, for a list whose items are to be of that kind; a text alone is a list of one."""
    if kind is str and isinstance(value, str):
        return True, [value]
    if not isinstance(value, list):
        return False, value
    items = [_as_kind(item, kind) for item in value]
    good = all(fits for fits, _ in items)
    return good, [item for _, item in items] if good else value


def _float(value: int | float) -> float:
    """The number as a float; infinite where it is a whole one too large for that."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _in_words(kind: Any, kinds: Sequence[Any]) -> str:
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", Node: "a section of keys"}
    words |= {list[str]: "a list of texts"}
    return words.get(kind, "a list of whole numbers") + (", or null" if types.NoneType in kinds else "")
