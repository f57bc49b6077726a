"""Configs by what they mean, and the many ways to write one on the command line: what `test_same.py` draws from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hypothesis import strategies

T = TypeVar("T")
Draw = Callable[[strategies.SearchStrategy[T]], T]

ABSENT = "(absent)"  # a key that is not there
HOW = (
    "trainer.progress=false",
    "trainer.deterministic=true",
    "data.workers=0",
    "data.memory=1024",
    "data.root=elsewhere",
)


@dataclass(frozen=True)
class Key:
    """A key of a config, what it is where it is not given, and what it may be."""

    name: str
    default: Any
    values: Sequence[Any]
    silent: bool = False  # null says the same as no such key
    there: bool = False  # it is in the conf, with a value that depends on others

    @property
    def section(self) -> str:
        return self.name.partition(".")[0]

    @property
    def loose(self) -> bool:
        """Whether a whole number may be written as 8.0: what is typed is read as what it is."""
        return (
            self.section in ("data", "trainer", "seed") and self.name != "trainer.epochs"
        )  # to which schedulers refer


@dataclass(frozen=True)
class Meaning:
    """The options that are chosen, and the value of every key."""

    choices: Mapping[str, str]
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def keys(self) -> list[Key]:
        return keys(self.choices)

    def canonical(self) -> dict[str, Any]:
        """Equal for meanings that are the same."""
        found: dict[str, Any] = dict(self.choices)
        for key in self.keys:
            value = self.values.get(key.name, key.default)
            if value is ABSENT or (value is None and key.silent):
                continue
            found[key.name] = float(value) if type(value) is int else value
        for name, size in SIZES[self.choices["data"]].items():
            found.setdefault(name, float(size))
        if self.choices["scheduler"] == "one_cycle":
            found.setdefault("scheduler.max_lr", found["optimizer.lr"])
        return found


SIZES = {
    "digits": {"data.valid": 119, "data.test": 359},
    "diabetes": {"data.valid": 29, "data.test": 88},
}
MODELS = {
    "linear": [Key("model.bias", ABSENT, [True, False])],
    "mlp": [
        Key("model.hidden", [392, 196], [8, 16, 10, [8, 8], [16, 8]]),
        Key("model.batch_norm", True, [True, False]),
        Key("model.activation", "relu", ["relu", "tanh"]),
        Key("model.dropout", None, [None, 0.0, 0.5], silent=True),
    ],
}
LOSSES = {
    "cross_entropy": [
        Key("loss.label_smoothing", 0.0, [0.0, 0.1]),
        Key("loss.ignore_index", ABSENT, [-100, 3]),
        Key("loss.weight", ABSENT, [None], silent=True),
        Key("loss.reduction", ABSENT, ["mean", "sum"]),
    ],
    "nll": [Key("loss.weight", ABSENT, [None], silent=True)],
    "mse": [
        Key("loss.size_average", ABSENT, [None], silent=True),
        Key("loss.reduction", ABSENT, ["mean", "sum"]),
    ],
}
ADAM = [
    Key("optimizer.fused", True, [True, False, None], silent=True),
    Key("optimizer.foreach", ABSENT, [None], silent=True),
    Key("optimizer.amsgrad", ABSENT, [True, False]),
    Key("optimizer.betas", ABSENT, [[0.9, 0.99], [0.5, 0.999]]),
    Key("optimizer.eps", ABSENT, [1e-8, 1e-6]),
]
LR = [0.1, 0.01, 0.001, 1e-5, 1.0, 0.3]
OPTIMIZERS = {
    "adam": [
        Key("optimizer.lr", 0.001, LR),
        Key("optimizer.weight_decay", 0.0, [0.0, 0.01]),
        *ADAM,
    ],
    "adamw": [
        Key("optimizer.lr", 0.001, LR),
        Key("optimizer.weight_decay", 0.01, [0.0, 0.01, 0.1]),
        *ADAM,
    ],
    "sgd": [
        Key("optimizer.lr", 0.1, LR),
        Key("optimizer.momentum", 0.9, [0.9, 0.0, 0.5]),
        Key("optimizer.fused", True, [True, False, None], silent=True),
        Key("optimizer.foreach", ABSENT, [None], silent=True),
    ],
}
SCHEDULERS = {
    "constant": [Key("scheduler.factor", 1.0, [1.0, 0.5]), Key("scheduler.total_iters", 0, [0, 1])],
    "plateau": [
        Key("scheduler.factor", 0.5, [0.5, 0.1]),
        Key("scheduler.patience", 2, [1, 2, 3]),
        Key("scheduler.cooldown", ABSENT, [0, 1]),
    ],
    "cosine": [Key("scheduler.eta_min", 0.0, [0.0, 1e-6])],
    "one_cycle": [
        Key("scheduler.cycle_momentum", True, [True, False]),
        Key("scheduler.max_lr", ABSENT, LR, there=True),  # ${optimizer.lr}
        Key("scheduler.pct_start", ABSENT, [0.3, 0.5]),
        Key("scheduler.total_steps", ABSENT, [None], silent=True),
    ],
}
ALWAYS = [
    Key("seed", 0, [0, 1, 2]),
    Key("trainer.epochs", 20, [1, 2, 3, 10, 20]),
    Key("trainer.batch_size", 128, [16, 32, 64, 128]),
    Key("trainer.eval_batch_size", 1000, [64, 1000]),
    Key("trainer.patience", 5, [1, 5, None]),
    Key("trainer.min_delta", 0.0, [0.0, 0.01]),
    Key("trainer.target", None, [None, 0.5, 1.0]),
    Key("trainer.clip_norm", None, [None, 1.0, 0.5]),
    Key("trainer.limit_batches", None, [None, 2]),
    Key("trainer.time_limit", None, [None, 600.0]),
    Key("trainer.precision", "fp32", ["fp32", "bf16", "fp16"]),
    Key("trainer.monitor", "auto", ["auto", "valid/loss", "train/loss"]),
    Key("data.valid", None, [None, 20, 29, 119], silent=True),
    Key("data.split_seed", 0, [0, 1]),
    Key("data.std", 16.0, [16.0, 1.0, None]),
    Key("metrics.f1.average", ABSENT, [None, "micro"], silent=True),
]
DEFAULTS = {"model": "mlp", "optimizer": "adam", "scheduler": "plateau", "loss": "cross_entropy"}
FAST = ("trainer.epochs", "trainer.batch_size", "trainer.patience", "optimizer.lr")
"""The keys that `trainer=fast` sets."""


def keys(choices: Mapping[str, str]) -> list[Key]:
    """Every key of a config with these options."""
    kinds = (
        (MODELS, "model"),
        (LOSSES, "loss"),
        (OPTIMIZERS, "optimizer"),
        (SCHEDULERS, "scheduler"),
    )
    always = [key for key in ALWAYS if key.section != "metrics" or "metrics" in choices]
    regression = choices["data"] == "diabetes"
    if regression:
        always = [key for key in always if key.name not in ("data.std", "trainer.target")]
    return [key for kind, group in kinds for key in kind[choices[group]]] + always


@strategies.composite
def meanings(draw: Draw[Any]) -> Meaning:
    """Any config that trains on digits or diabetes."""
    of = {"model": MODELS, "optimizer": OPTIMIZERS, "scheduler": SCHEDULERS}
    choices = {
        group: draw(strategies.sampled_from(sorted(options))) for group, options in of.items()
    }
    choices["data"] = draw(strategies.sampled_from(["digits", "digits", "digits", "diabetes"]))
    losses = ["mse"] if choices["data"] == "diabetes" else ["cross_entropy", "nll", "mse"]
    choices["loss"] = draw(strategies.sampled_from(losses))
    if _chance(draw, 6):
        choices["metrics"] = "f1"
    possible = keys(choices)
    given = draw(
        strategies.lists(
            strategies.sampled_from(possible), max_size=6, unique_by=lambda key: key.name
        )
    )
    return Meaning(choices, {key.name: draw(strategies.sampled_from(key.values)) for key in given})


@strategies.composite
def edited(draw: Draw[Any], of: Meaning) -> Meaning:
    """The meaning with one value changed to another one."""
    key = draw(strategies.sampled_from([key for key in of.keys if _others(of, key)]))
    return draw(strategies.sampled_from(_others(of, key)))


def _others(of: Meaning, key: Key) -> list[Meaning]:
    """The meanings that differ in this key alone."""
    every = [
        Meaning(of.choices, {**of.values, key.name: value}) for value in (key.default, *key.values)
    ]
    return [other for other in every if other.canonical() != of.canonical()]


@strategies.composite
def spelled(draw: Draw[Any], meaning: Meaning) -> list[str]:
    """One of the ways to write it: overrides in some order."""
    options, explicit = draw(_options(meaning))
    words: list[list[str]] = []  # in each list the order counts
    if _chance(draw, 10):
        words += [[draw(_option(word))] for word in options]
        options = []
    if "metrics" in meaning.choices:
        word = draw(
            strategies.sampled_from(
                ["metrics.f1._target_=own_f1.F1", "metrics={f1:{_target_:own_f1.F1}}"]
            )
        )
        words.append([f"+{word}"])
    for key in meaning.keys:
        value = draw(_said(key, meaning.values.get(key.name, key.default)))
        default = value == key.default and key.name not in explicit
        if value is not ABSENT and (not default or _chance(draw, 10)):
            words.append(draw(_given(key, value, meaning)))
    if _chance(draw, 3):
        words.append([draw(strategies.sampled_from(HOW))])
    words += [[text] for text in said_anyway(meaning) if _chance(draw, 8)]
    return [*options, *draw(_mixed(words))]


@strategies.composite
def _options(draw: Draw[Any], meaning: Meaning) -> tuple[list[str], set[str]]:
    """The choices of options, and the keys that have other defaults by them.

    They are mostly written alike: each choice of them takes Hydra a tenth of a second.
    """
    choices = {group: option for group, option in meaning.choices.items() if group != "metrics"}
    words: list[str] = []
    explicit: set[str] = set()
    if choices["scheduler"] == "one_cycle" and _chance(draw, 4):
        words.append("trainer=fast")
        explicit = set(FAST)
        del choices["scheduler"]
    words += [
        f"{group}={option}" for group, option in choices.items() if option != DEFAULTS.get(group)
    ]
    return words, explicit


@strategies.composite
def _said(draw: Draw[Any], key: Key, value: Any) -> Any:
    """The value, or another that says the same: null, or no such key."""
    if not key.silent or key.default is not ABSENT or key.section == "metrics":
        return value
    if value in (ABSENT, None):
        return None if _chance(draw, 6) else ABSENT
    return value


def said_anyway(meaning: Meaning) -> list[str]:
    """What a run fills in, written out."""
    data, monitor = meaning.choices["data"], meaning.values.get("trainer.monitor", "auto")
    found = [
        f"{name}={size}" for name, size in SIZES[data].items() if meaning.values.get(name) is None
    ]
    mode = "min" if monitor != "auto" or data == "diabetes" else "max"
    found.append(f"trainer.mode={mode}")
    if monitor == "auto":
        found.append(
            "trainer.monitor=valid/mae" if data == "diabetes" else "trainer.monitor=valid/accuracy"
        )
    if meaning.choices["scheduler"] == "plateau":
        found += [f"scheduler.mode={mode}", "trainer.scheduler_interval=epoch"]
    if meaning.choices["scheduler"] == "cosine":
        found.append(f"scheduler.T_max={meaning.values.get('trainer.epochs', 20)}")
    if meaning.choices["scheduler"] == "one_cycle":
        found += ["trainer.scheduler_interval=step", "scheduler.epochs=${trainer.epochs}"]
    found += [
        "+model._convert_=all",
        "+optimizer._partial_=false",
        "++loss._args_=[]",
        "trainer.init_from=null",
    ]
    if "metrics" not in meaning.choices:
        found.append("metrics={}")
    return [*found, "++trainer={}"]


@strategies.composite
def _option(draw: Draw[Any], word: str) -> str:
    """A choice of options, otherwise written."""
    group, _, option = word.partition("=")
    return f"{group}={draw(strategies.sampled_from([option, f'[{option}]', repr(option)]))}"


@strategies.composite
def _given(draw: Draw[Any], key: Key, value: Any, meaning: Meaning) -> list[str]:
    """One key with its value; sometimes another one before, which it replaces."""
    signs = ["++", "+"] if key.default is ABSENT and not key.there else ["", "", "++"]
    sign = draw(strategies.sampled_from(signs))
    if value is None and key.name == "optimizer.fused" and _chance(draw, 2):
        return ["~optimizer.fused"]
    text = draw(texts(value, loose=key.loose))
    if key.name == "model.hidden" and type(value) is int and _chance(draw, 3):
        text = f"[{value}]"
    equal = {"model.hidden": (10, "${data.out_features}"), "seed": (0, "${data.split_seed}")}
    if (
        key.name in equal
        and equal[key.name][0] == value
        and _is_ten(key, meaning)
        and _chance(draw, 2)
    ):
        text = equal[key.name][1]
    if (
        "." in key.name
        and key.section != "metrics"
        and sign != "+"
        and "$" not in text
        and _chance(draw, 6)
    ):
        plain = draw(texts(value, loose=key.loose, inside=True))
        word = f"{sign}{key.section}={{{key.name.partition('.')[2]}:{plain}}}"
    else:
        word = f"{sign}{key.name}={text}"
    if not _chance(draw, 8):
        return [word]
    before = draw(texts(draw(strategies.sampled_from(key.values)), loose=key.loose))
    first = f"{sign}{key.name}={before}"
    return [first, word if sign != "+" else f"++{word[1:]}"]


def _is_ten(key: Key, meaning: Meaning) -> bool:
    """Whether what is referred to has that value."""
    if key.name == "seed":
        return meaning.values.get("data.split_seed", 0) == 0
    return meaning.choices["data"] == "digits"


@strategies.composite
def texts(draw: Draw[Any], value: Any, *, loose: bool = True, inside: bool = False) -> str:
    """A value as it may be typed; `inside` a list or a section of keys."""
    if isinstance(value, list):
        items = [draw(texts(item, loose=loose, inside=True)) for item in value]
        return draw(strategies.sampled_from([f"[{','.join(items)}]", f"[ {' , '.join(items)} ]"]))
    plain = ways(value, loose=loose)
    if inside or value is None:
        return draw(strategies.sampled_from(plain))
    kind = type(value).__name__
    calls = [] if isinstance(value, str) and "/" in value else [f"{kind}({value})".lower()]
    calls += [] if isinstance(value, str) else [f"\"${{oc.decode:'{str(value).lower()}'}}\""]
    calls += [f"float({value})"] if loose and type(value) is int else []
    return draw(strategies.sampled_from([*plain, *calls]))


def ways(value: Any, *, loose: bool = True) -> list[str]:
    """All the plain ways to type what is no list."""
    if value is None:
        return ["null", "Null", "NULL"]
    if isinstance(value, bool):
        return [str(value).lower(), str(value), str(value).upper()]
    if isinstance(value, int):
        long = [f"{str(value)[0]}_{str(value)[1:]}"] if value > 9 else []
        return [str(value), *long, *([f"{value}.0"] if loose else [])]
    if isinstance(value, float):
        found = [repr(value), f"{value:.12e}", f"{value:e}".upper()]
        found += (
            [str(int(value))]
            if value.is_integer()
            else [f"{value:.6f}", f"{value:.6f}".lstrip("0")]
        )
        return [way for way in found if math.isclose(float(way), value, rel_tol=1e-15)]
    return [value, f"'{value}'", f'"{value}"']


@strategies.composite
def _mixed(draw: Draw[Any], words: Sequence[Sequence[str]]) -> list[str]:
    """All words, those of one list in their order."""
    slots = draw(strategies.permutations([n for n, several in enumerate(words) for _ in several]))
    rest = [list(several) for several in words]
    return [rest[n].pop(0) for n in slots]


def _chance(draw: Draw[Any], of: int) -> bool:
    return bool(draw(strategies.integers(0, of - 1)) == of - 1)
