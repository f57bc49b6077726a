"""Read a composed config as typed objects. Hydra's `DictConfig` comes in here; the rest of the
package sees none.
"""

from __future__ import annotations

import math
import os
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sweeplab.config import resolving
from sweeplab.config.explanation import NOTHING, omegaconf_message
from sweeplab.config.nodes import Node, flat_parts, walk
from sweeplab.config.redaction import hidden_keys, redact
from sweeplab.config.sections import (
    COMPONENTS,
    OR_NULL,
    SECTIONS,
    SEEDS,
    Config,
    Data,
    Trainer,
)
from sweeplab.config.slips import (
    dotted_keys,
    key_meant,
    meant,
    numbers_meant,
    setting_meant,
    target_meant,
)
from sweeplab.config.text import SCALAR_NAMES, from_text, yaml_str
from sweeplab.errors import UserError, comma_for_point, did_you_mean, nearest

if TYPE_CHECKING:
    from omegaconf import DictConfig

T = TypeVar("T")

OPTIONAL = ("metrics", "step")
"""The sections of nodes that may be missing, and empty."""

KIND_NAMES = SCALAR_NAMES | {
    Node: "a section of keys",
    list[int]: "a list of whole numbers",
    list[str]: "a list of texts",
}

YES_WORDS = ("true", "yes", "on", "1")
NO_WORDS = ("false", "no", "off", "none", "0", "-1")
"""What stands for true, and for false or null, elsewhere."""

_SURROGATE = re.compile("[\ud800-\udfff]")  # has no bytes in UTF-8


def root() -> Path:
    """Return the folder that everything lies in: SWEEPLAB_ROOT, or the current folder."""
    return expand_home(os.environ.get("SWEEPLAB_ROOT") or ".").resolve()


def expand_home(path: str | Path) -> Path:
    """Replace `~` or `~user` by the home folder; the path stays as it is if there is no such
    user. Raises UserError for a blank text, and for what is no path.
    """
    if not isinstance(path, str | os.PathLike) or not str(path).strip():
        raise UserError(f"{path!r}: must be the path of a file or a folder")
    return Path(os.path.expanduser(path))  # noqa: PTH111  # pathlib's raises


def absolute(path: str | Path) -> Path:
    """Return the absolute path of what a user typed: `~` is the home folder, relative paths start
    at the root.
    """
    return root() / expand_home(path)


def parse(raw: DictConfig | Mapping[str, Any]) -> Config:
    """Read a composed config. Raises UserError as `resolve` and `validate` do."""
    return validate(resolve(raw))


def resolve(raw: DictConfig | Mapping[str, Any]) -> Node:
    """Return a composed config as plain nested data, interpolations resolved and Hydra's own
    section left out.

    Raises UserError for an interpolation that leads nowhere, for a value that is missing, and for
    one that was copied from a record, which hides it.
    """
    from omegaconf import DictConfig, OmegaConf, errors

    resolving.register(root())
    node = raw if isinstance(raw, DictConfig) else OmegaConf.create(dict(raw))
    try:
        if "hydra" in node:
            node = OmegaConf.masked_copy(node, [str(key) for key in node if key != "hydra"])
        container = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    except errors.OmegaConfBaseException as error:
        if own := resolving.own_error(error):
            raise own from None
        raise UserError(omegaconf_message(error)) from error
    assert isinstance(container, dict)
    plain = {str(key): value for key, value in container.items()}
    redact(plain)  # notes the secrets, which are hidden from now on wherever a message repeats them
    if masked := list(hidden_keys(plain)):
        keys = ", ".join(masked)
        raise UserError(
            f"{keys}: *** stands for a secret that a record hides; give its value instead"
        )
    _unwrap_single_layer(plain.get("model"))
    _name_no_loss(plain)
    return plain


def _name_no_loss(plain: Node) -> None:
    """Give a step of one's own that needs no loss, by `~loss`, one that cannot be called."""
    step = plain.get("step")
    has_step = isinstance(step, dict) and step.get("_target_") is not None
    if has_step and plain.get("loss") is None:
        plain["loss"] = {"_target_": "sweeplab.models.NoLoss"}


def _unwrap_single_layer(model: Any) -> None:
    """Write `hidden: [392]` as `hidden: 392`, so that one layer has one name in every record and
    column.
    """
    if isinstance(model, dict):
        hidden = model.get("hidden")
        if isinstance(hidden, list) and len(hidden) == 1:
            model["hidden"] = hidden[0]


def validate(plain: Mapping[str, Any]) -> Config:
    """Return a resolved config as typed sections, paths made absolute.

    Raises UserError that lists every wrong key and value, each with its dotted name, what is
    allowed and the nearest valid name.
    """
    problems: list[str] = []
    valid = [f.name for f in fields(Config)]
    unknown = [key for key in plain if key not in valid]
    for key in unknown:
        known = {name: plain[name] for name in plain if name not in unknown}
        setting = f"{key}={plain[key]}"
        is_section = isinstance(plain[key], Mapping)  # whose keys belong to no other
        if not is_section and (near := key_meant(key, dotted_keys(known))):
            problems.append(f"{setting}: no such key{setting_meant(setting, [near])}")
        else:
            problems.append(f"{key}: no such key{did_you_mean(key, valid)}")
    missing = [key for key in valid if key not in plain and key not in OPTIONAL]
    problems += [f"{key}: missing{NOTHING.get(key, '')}" for key in missing]
    sections: dict[str, Any] = {}
    for name, cls in SECTIONS.items():
        sections[name] = _section(cls, plain.get(name) or {}, name, problems)
    seed: Any = None
    if "seed" in plain:
        seed = _convert(plain["seed"], int, "seed", SEEDS, problems)
    nodes: dict[str, Any] = {}
    for name in (*COMPONENTS, *OPTIONAL):
        nodes[name] = plain.get(name) or {}
        if not isinstance(plain.get(name, {}), dict):
            advice = target_meant("metrics.NAME", plain[name]) if name == "metrics" else ""
            problems.append(f"{name}={plain[name]}: a section of keys is expected{advice}")
    nodes["optimizer"] = _without_null_groups(flat_parts(nodes["optimizer"]))
    nodes["scheduler"] = flat_parts(nodes["scheduler"])
    nodes["step"] = _without_null_step(nodes["step"])
    problems += _shift_problems(sections["trainer"], sections["data"])
    if problems:
        raise UserError(*problems)
    config = Config(seed=seed, **nodes, **sections)
    _leave_out_what_is_off(config)
    config.store.root = str(absolute(config.store.root))
    config.data.root = str(absolute(config.data.root))
    if not config.tracking.experiment:
        config.tracking.experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or None
    _ensure_utf_8(config, plain)
    return config


def _leave_out_what_is_off(config: Config) -> None:
    """Set to null what changes nothing, so that one run has one name."""
    if config.trainer.accumulate == 1:
        config.trainer.accumulate = None
    config.trainer.freeze = sorted(set(config.trainer.freeze or [])) or None


def _without_null_step(step: Any) -> Any:
    """Leave out a step that is switched off by `step._target_=null`, with its arguments."""
    if isinstance(step, dict) and step.get("_target_", "") is None:
        return {}
    return step


def _without_null_groups(optimizer: Any) -> Any:
    """Leave out `groups` without patterns, which is as none, so that one run has one name.

    Of optimizers of parts of the network it is left out in each.
    """
    if not isinstance(optimizer, dict):
        return optimizer
    if "_target_" not in optimizer:
        return {part: _without_null_groups(own) for part, own in optimizer.items()}
    return {key: value for key, value in optimizer.items() if key != "groups" or value}


def _ensure_utf_8(config: Config, plain: Mapping[str, Any]) -> None:
    """Raise UserError for what no record can hold: bytes of a command line or a path that are no
    text in UTF-8.
    """
    completed: dict[str, Node] = {
        "store": {"root": config.store.root},
        "data": {"root": config.data.root},
        "tracking": {"experiment": config.tracking.experiment},
    }
    sections = {name: {**plain[name], **values} for name, values in completed.items()}
    texts = _texts({**plain, **sections})
    wrong = [(key, text) for key, text in texts if _SURROGATE.search(text)]
    if wrong:
        raise UserError(*[f"{key}={text}: is no text in UTF-8; rename it" for key, text in wrong])


def _texts(plain: Node) -> Iterator[tuple[str, str]]:
    """Yield every text in a config, the names of keys included, with its dotted key."""
    for key, value in walk(plain, ""):
        if isinstance(value, str):
            yield key, value
        if isinstance(value, dict):
            for name in value:
                yield f"{key}.{name}".lstrip("."), str(name)


def _shift_problems(trainer: Trainer | None, data: Data | None) -> list[str]:
    """Check that `trainer.shift` does not move pictures out of sight: it must be less than their
    smaller side.
    """
    if trainer is None or data is None or trainer.shift is None or data.shape is None:
        return []
    side = min(data.shape[1:], default=math.inf)
    if trainer.shift < side:
        return []
    limit = f"{side}, the smaller side of data.shape={data.shape}"
    return [f"trainer.shift={trainer.shift}: must be less than {limit}"]


def read_section(cls: type[T], values: Mapping[str, Any], name: str) -> T:
    """Return the dataclass `cls` with these values. Raises UserError with all that is wrong."""
    problems: list[str] = []
    section = _section(cls, dict(values), name, problems)
    if section is None:
        raise UserError(*problems)
    return section


_hints: Callable[[type], dict[str, Any]] = lru_cache(maxsize=32)(typing.get_type_hints)  # slow


def _section(cls: type[T], values: Any, name: str, problems: list[str]) -> T | None:
    """Return the dataclass `cls` with these values; what is wrong is added to `problems`."""
    known = {f.name.removesuffix("_"): f for f in fields(cls)}  # type: ignore[arg-type]  # a dataclass
    if not isinstance(values, dict):
        problem = f"{name}={yaml_str(values)}: a section of keys is expected"
        problems.append(problem + did_you_mean("", known))
        return None
    hints = _hints(cls)
    before = len(problems)
    for key, value in values.items():
        if key not in known:
            problems.append(f"{name}.{key}={value}: no such key{did_you_mean(str(key), known)}")
    converted: Node = {}
    for key, field in known.items():
        rule = field.metadata
        is_required = field.default is MISSING and field.default_factory is MISSING
        if is_required and values.get(key) is None:
            problems.append(f"{name}.{key}: missing{rule.get('advice', '')}")
        elif key in values:
            hint = hints[field.name]
            converted[field.name] = _convert(values[key], hint, f"{name}.{key}", rule, problems)
    return cls(**converted) if len(problems) == before else None


def _convert(value: Any, hint: Any, key: str, rule: Mapping[str, Any], problems: list[str]) -> Any:
    """Return the value as the type `hint`. If it cannot be converted, or the rule of its field (its
    metadata) forbids it, a problem is added.
    """
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    or_null = OR_NULL if types.NoneType in kinds else ""
    if value is None and or_null:
        return None
    if isinstance(hint, type) and is_dataclass(hint):
        return _section(hint, {} if value is None else value, key, problems)
    kind = _nearest_kind(value, [k for k in kinds if k is not types.NoneType])
    allowed, converted = _as_kind(value, kind)
    if value == "None" and or_null:
        allowed = False  # Python's word; null is meant
    if allowed and "choices" in rule:
        allowed = converted in rule["choices"]
    elif allowed and "test" in rule:
        allowed = rule["test"](converted)
    if not allowed:
        must = expected(kind, rule, is_optional=bool(or_null))
        advice = _advice(key, value, kind, rule)
        if or_null and str(value).lower() in NO_WORDS:
            advice = meant(f"{key}=null")
        problems.append(f"{key}={yaml_str(value)}: must be {must}{advice}")
    elif excess := _excess(converted, rule.get("most")):
        problems.append(f"{key}={value}: must be {excess}{or_null}")
    return converted


def expected(kind: Any, rule: Mapping[str, Any], *, is_optional: bool) -> str:
    """Say which values a field takes, as `a whole number >= 1`."""
    if "choices" in rule:
        return f"one of {', '.join(rule['choices'])}" + (OR_NULL if is_optional else "")
    if "allowed" in rule:
        return str(rule["allowed"])
    return KIND_NAMES.get(kind, "any value") + (OR_NULL if is_optional else "")


def _nearest_kind(value: Any, kinds: Sequence[Any]) -> Any:
    """Return the kind that a value is of; the first if it is of none."""
    return next((kind for kind in kinds if _as_kind(value, kind)[0]), kinds[0])


def _advice(key: str, value: Any, kind: Any, rule: Mapping[str, Any]) -> str:
    """Return the nearest choice, or what was meant by `0,0001`, by several numbers or by `yes`; ''
    if nothing is near.
    """
    if (
        isinstance(value, str)
        and kind in (int, float, bool)
        and _as_kind(from_text(value), kind)[0]
    ):
        return f"; {value} is a text here: no quotes, and ${{oc.decode:${{oc.env:NAME}}}} for a variable"
    if kind in (int, float):
        return comma_for_point(value) or numbers_meant(key, value)
    if kind == Node and "allowed" not in rule:  # sweep.when holds no class
        return target_meant(key, value)
    if kind is bool and str(value).lower() in (*YES_WORDS, *NO_WORDS):
        return meant(f"{key}={'true' if str(value).lower() in YES_WORDS else 'false'}")
    return nearest(str(value), rule.get("choices", ()))


def _excess(value: Any, most: float | None) -> str:
    """Say what a number that is too large must be instead; '' for other values."""
    if isinstance(value, float) and math.isinf(value):
        return "finite"
    if most is not None and isinstance(value, int | float) and value > most:
        return f"at most {int(most)}"
    return ""


def _as_kind(value: Any, kind: Any) -> tuple[bool, Any]:
    """Return whether a value is of that kind, and the value as that kind.

    A boolean is no number; 3.0 is the whole number 3; a number is a text, too.
    """
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool), value
    if kind is Any:
        return True, value
    if typing.get_origin(kind) is list:
        return _as_list(value, typing.get_args(kind)[0])
    if kind is int and isinstance(value, int):
        return True, value
    if kind is int and isinstance(value, float) and value.is_integer():
        return True, int(value)
    if kind is float and isinstance(value, int | float):
        number = _float(value)
        return not math.isnan(number), number
    if kind is str and isinstance(value, str | int | float):
        return True, str(value)
    return kind == Node and isinstance(value, dict), value


def _as_list(value: Any, kind: Any) -> tuple[bool, Any]:
    """Return `_as_kind` of a list whose items are to be of that kind; a text alone is a list of one."""
    if kind is str and isinstance(value, str):
        return True, [value]
    if not isinstance(value, list):
        return False, value
    items = [_as_kind(item, kind) for item in value]
    if not all(fits for fits, _ in items):
        return False, value
    return True, [item for _, item in items]


def _float(value: float) -> float:
    """Return the number as a float; infinite if it is a whole number too large for that."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
